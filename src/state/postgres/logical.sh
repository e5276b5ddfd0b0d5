# Databases that move by publication and subscription. Follows server.sh.
#
# A closed database refuses all logins in pg_hba.conf, which a restart finds again, but those of the superuser of local commands and of the link.
export LC_ALL=C PGOPTIONS='-c default_transaction_read_only=off -c search_path= -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 -c bytea_output=hex -c row_security=off -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c synchronous_commit=on'
# What this move has in every database: a publication, a subscription and a schema have this name.
NAME=migrate_$PG_JOB
# Nobody has this name: only a closed database answers that pg_hba.conf rejects it.
NOBODY=migrate_fence
NOTE=$DATA/$NAME.closed

on() { db=$1 && shift && quickly "$BIN/psql" -XAtqw -v ON_ERROR_STOP=1 -h "$SOCKET" -p "$PORT" -U "$PG_ROLE" -d "$db" "$@"; }
# Asks the other side, by the link. Its first argument is a database.
there() { db=$1 && shift && quickly "$BIN/psql" -XAtqw -v ON_ERROR_STOP=1 "$PG_LINK dbname=$db" "$@"; }
# Does something for each database, whose name is $DB and whose slot is $DB_SLOT. Where that fails the script ends, or the loop where it is a condition.
each() {
  number=0
  for DB in $PG_DATABASES; do
    number=$((number + 1)) DB_SLOT=${SLOT}_$number
    "$@"
    [ $? = 0 ] || return 1
  done
}
names() { printf "'%s'," $PG_DATABASES | sed 's/,$//'; }
# A server that does not answer says neither yes nor no.
yes() { case $1 in 1) ;; 0) return 1 ;; *) die "$DB cannot be looked at" ;; esac; }
exists() { yes "$(sql "select count(*) from pg_database where datname = '$DB'")"; }
has_schema() { yes "$(on "$DB" -c "select count(*) from pg_namespace where nspname = '$NAME'")"; }
# The subscription of a database, as a condition: all databases of a server are in one list.
OURS="(select s.oid from pg_subscription s join pg_database d on d.oid = s.subdbid where s.subname = '$NAME' and d.datname = current_database())"
has_subscription() { yes "$(on "$DB" -c "select count(*) from $OURS ours")"; }
# Of pg_class c and pg_namespace n: what users have made.
USERS="n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and n.nspname <> '$NAME'"
TABLES="pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and c.relpersistence = 'p' and $USERS"

# The shape of all tables, in one word: changes to them are not carried.
SHAPE="select md5(coalesce(string_agg(line, ',' order by line collate \"C\"), '')) from (
  select format('%I.%I %I %s %s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)::text as line
  from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
  where c.relkind in ('r', 'p') and c.relpersistence = 'p' and a.attnum > 0 and not a.attisdropped and $USERS) lines"
same_shape() {
  here=$(on "$DB" -c "$SHAPE") && same_as "$here" || die "nobody can tell whether the tables of $DB are the same on both sides"
}
same_as() {
  its=$(there "$DB" -c "$SHAPE") || die "nobody can tell whether the tables of $DB are the same on both sides"
  [ -n "$its" ] && [ "$1" = "$its" ] || die "the tables of $DB are not the same on both sides any more: changes to them are not carried. Make them here, too, then \`alter subscription $NAME refresh publication\`"
}
# Every table is subscribed to, and has been copied. An empty subscription would know of nothing that is missing.
UNREADY="select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and c.relpersistence = 'p' and ($USERS or n.nspname = '$NAME') and not exists (
    select from pg_subscription_rel r where r.srsubid = $OURS and r.srrelid = c.oid and r.srsubstate = 'r')"
unready() { on "$DB" -c "$UNREADY"; }
is_ready() { [ "$(unready)" = 0 ]; }
is_followed() { [ "$(on "$DB" -c "select count(*) from pg_stat_subscription where subid = $OURS and relid is null and pid is not null")" = 1 ]; }
is_linked() { has_subscription && is_ready && is_followed; }
drop_subscription() {
  has_subscription || return 0
  on "$DB" -c "alter subscription $NAME disable" -c "alter subscription $NAME set (slot_name = none)" -c "drop subscription $NAME"
}
GOOD_SLOTS="select count(*) from pg_replication_slots where confirmed_flush_lsn is not null and wal_status is distinct from 'lost' and slot_name ="
has_slot() { [ "$(sql "$GOOD_SLOTS '$DB_SLOT'")" = 1 ]; }
no_slot_yet() { die "the slot $DB_SLOT is lost, or still waits for transactions that were open before it"; }
drop_slot() {
  sql "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '$DB_SLOT' and active" >/dev/null
  sql "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '$DB_SLOT' and not active" >/dev/null
  [ "$(sql "select count(*) from pg_replication_slots where slot_name = '$DB_SLOT'")" = 0 ]
}
no_slot() { until_so drop_slot || die "the slot $DB_SLOT is in use"; }
# What a follower of this side needs. The publication comes first: a slot sees none that is younger.
print_publish() {
  cat <<EOF
select 'create publication $NAME for all tables' where not exists (select from pg_publication where pubname = '$NAME') \gexec
select pg_create_logical_replication_slot('$DB_SLOT', 'pgoutput') where not exists (select from pg_replication_slots where slot_name = '$DB_SLOT');
EOF
}
publish() {
  print_publish | on "$DB" >/dev/null
  has_slot || no_slot_yet
}
unpublish() {
  exists || return 0
  on "$DB" -c 'set client_min_messages = warning' -c "drop publication if exists $NAME"
  no_slot
}
is_published() { exists && [ "$(on "$DB" -c "select count(*) from pg_publication where pubname = '$NAME'")" = 1 ] && has_slot; }
# Tables whose rows nobody can tell apart would refuse every update while they are published.
NO_IDENTITY="(c.relreplident = 'n' or c.relreplident = 'd' and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
  or c.relreplident = 'i' and not exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident))"
# Takes the locks of a change to a table for no longer than two seconds at a time: all who use it wait behind it.
patiently() {
  tries=30
  until refusal=$(on "$DB" -c "set lock_timeout = '2s'; $1" 2>&1); do
    tries=$((tries - 1))
    case $refusal in *"lock timeout"*) ;; *) die "$refusal" ;; esac
    [ "$tries" -gt 0 ] || die "$refusal"
    sleep 1
  done
}
make_schema() {
  on "$DB" -c 'set client_min_messages = warning' -c "create schema if not exists $NAME" \
    -c "create table if not exists $NAME.marker (id int primary key, n bigint not null, closed boolean not null, at pg_lsn not null)" \
    -c "create table if not exists $NAME.identity (name text primary key, was \"char\" not null)"
}
prepare() {
  make_schema
  on "$DB" -c "insert into $NAME.marker values (1, 0, false, pg_current_wal_insert_lsn()) on conflict do nothing" \
    -c "grant usage on schema $NAME to \"$PG_LINK_USER\"" -c "grant select on all tables in schema $NAME to \"$PG_LINK_USER\""
  tables=$(on "$DB" -c "select format('%I.%I', n.nspname, c.relname) from $TABLES and $NO_IDENTITY")
  printf '%s\n' "$tables" | while IFS= read -r table; do
    [ -n "$table" ] || continue
    literal=$(printf %s "$table" | sed "s/'/''/g")
    patiently "insert into $NAME.identity select '$literal', relreplident from pg_class where oid = '$literal'::regclass on conflict do nothing; alter table only $table replica identity full"
  done
  publish
}
# Gives up all that this move has made in a database, but for what keeps it closed.
forget() {
  exists || return 0
  drop_subscription
  unpublish
  has_schema || return 0
  tables=$(on "$DB" -c "select name || ' ' || case was when 'd' then 'default' else 'nothing' end from $NAME.identity where to_regclass(name) is not null")
  printf '%s\n' "$tables" | while IFS= read -r table; do
    [ -z "$table" ] || patiently "alter table only ${table% *} replica identity ${table##* }"
  done
  on "$DB" -c 'set client_min_messages = warning' -c "drop schema $NAME cascade"
}

# The file that says who may log in, and this move's part of it.
HBA=
find_hba() {
  [ -z "$HBA" ] || return 0
  { [ "$(state)" = 0 ] && HBA=$(sql 'show hba_file' 2>/dev/null); } || HBA=$(as_owner cat "$NOTE" 2>/dev/null) || return 1
  HBA=$(readlink -f "$HBA")
}
is_written() { find_hba && quickly grep -qx "# $NAME: closed" "$HBA"; }
# The server is to read it again.
rewrite_hba() {
  find_hba && quickly sh -c 'cp -p "$1" "$1.migrate" && { printf %s "$3"; sed "/^# $2: closed\$/,/^# $2: end\$/d" "$1"; } >"$1.migrate" && { sync "$1.migrate" 2>/dev/null || sync; } && mv -- "$1.migrate" "$1"' sh "$HBA" "$NAME" "$1"
}
# What a server says to somebody who is refused in any case.
login() { quickly "$BIN/psql" -XAtqw -h "$SOCKET" -p "$PORT" -U "$NOBODY" -d "$DB" -c 'select 1' 2>&1; }
is_refused() { case $(login) in *"pg_hba.conf rejects connection"*) ;; *) return 1 ;; esac; }
is_let_in() { case $(login) in *"pg_hba.conf rejects connection"* | *"failed: No such file"* | *"Connection refused"* | *"the database system is"*) return 1 ;; esac; }
# Ends all sessions within a minute, and prints how many are left, and how many prepared transactions there are.
end_sessions() {
  theirs="pg_stat_activity where backend_type = 'client backend' and datname in ($(names)) and pid <> pg_backend_pid()"
  on postgres <<EOF
do \$\$ begin
  for n in 1..3000 loop
    perform pg_terminate_backend(pid) from $theirs;
    perform pg_sleep(0.005);
    perform pg_stat_clear_snapshot();
    exit when not exists (select from $theirs);
    perform pg_sleep(0.015);
  end loop;
end \$\$;
select (select count(*) from $theirs) || ' ' || (select count(*) from pg_prepared_xacts where database in ($(names)));
EOF
}
# Those that are there are read-only by default; and the server reads again who may log in.
belt() {
  on postgres >/dev/null <<EOF
select pg_reload_conf();
select format('alter database %I set default_transaction_read_only = on', datname) from pg_database where datname in ($(names)) \gexec
EOF
}
# Those who may log in, but for one, as the file names them.
roles_but() { echo "select coalesce(string_agg('\"' || replace(rolname, '\"', '\"\"') || '\"', ',') || ',', '') from pg_roles where rolcanlogin and rolname <> '$1'"; }
# Takes nobody in any more, now and after every restart.
shut() {
  if ! is_written; then
    FRESH=1
    dbs=$(printf '"%s",' $PG_DATABASES)
    roles=$(sql "$(roles_but "$PG_ROLE") union all $(roles_but "$PG_LINK_USER")")
    block="# $NAME: closed
local ${dbs%,} $(printf '%s\n' "$roles" | sed -n 1p)$NOBODY reject
host ${dbs%,} $(printf '%s\n' "$roles" | sed -n 2p)$NOBODY all reject
# $NAME: end
"
    find_hba && quickly sh -c 'echo "$2" >"$1"' sh "$NOTE" "$HBA"
    rewrite_hba "$block" || die "pg_hba.conf cannot be written"
  fi
  belt || die "the databases do not become read-only by default"
  each until_so is_refused || die "it still lets in whom pg_hba.conf rejects"
  left=$(end_sessions)
  [ "${left% *}" = 0 ] || die "${left% *} sessions do not end"
  [ "${left#* }" = 0 ] || die "it has ${left#* } prepared transactions, whose outcome would be missing: end them"
}
# A row that crosses behind everything else tells the other side that nothing is missing.
MARK="n = n + 1, at = pg_current_wal_insert_lsn()"
mark_closed() { on "$DB" -c "update $NAME.marker set $MARK, closed = true where not closed or ${FRESH:-0} = 1"; }
mark_open() {
  exists || return 0
  on "$DB" <<EOF
select 'update $NAME.marker set $MARK, closed = false where closed' where to_regclass('$NAME.marker') is not null \gexec
alter database "$DB" reset default_transaction_read_only;
EOF
}
open() {
  each mark_open || die "the marker cannot be written"
  if is_written; then rewrite_hba '' && sql 'select pg_reload_conf()' >/dev/null || die "pg_hba.conf cannot be written"; fi
  quickly rm -f -- "$NOTE"
  each until_so is_let_in || die "it still rejects whom pg_hba.conf lets in"
}

# What a database of the source has that does not move, and what stands in the way.
look_at() {
  exists || { no "it has no database $DB" && return 0; }
  count() { on "$DB" -c "select count(*) from $1"; }
  told() { n=$(count "$2") || die "$DB cannot be looked at" && [ "$n" = 0 ] || echo "$1 $DB has $n $3"; }
  told risk pg_largeobject_metadata "large objects, which do not move"
  told risk "pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and c.relpersistence = 'u' and $USERS" "unlogged tables, which arrive empty"
  told risk "pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'm' and $USERS" "materialized views, which arrive empty: refresh them in a hook at \`thaw\`"
  told note "$TABLES and $NO_IDENTITY" "tables without a replica identity: they get \`replica identity full\` while they move"
  told risk "pg_trigger where tgenabled in ('A', 'R')" "triggers that fire on what is replicated, too"
  told risk "pg_extension where extname in ('pg_cron', 'timescaledb')" "extensions that write by themselves: pg_cron, timescaledb"
  told risk "pg_stat_activity where datname = current_database() and usename = '$PG_ROLE' and client_addr is null and backend_type = 'client backend' and pid <> pg_backend_pid()" "sessions of $PG_ROLE by the socket: the fence ends them, and does not keep them out"
  bad=$(on "$DB" -c "select string_agg(distinct format('%I.%I', n.nspname, c.relname), ', ') from pg_attribute a, $TABLES and $NO_IDENTITY and a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and format_type(a.atttypid, null) ~ '^(json|xml|point|line|lseg|box|path|polygon|circle)(\[\])?$'")
  [ -z "$bad" ] || no "$DB has tables without a primary key whose rows cannot be told apart, for the types of their columns: $bad"
  [ "$(count "pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = current_database()")" = 0 ] || no "$DB follows another server"
  is_not_shut_out
  [ "$(sql "select count(*) from pg_prepared_xacts where database = '$DB'")" = 0 ] || no "$DB has prepared transactions: their outcome would be missing"
  [ "$(sql "select count(*) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase where d.datname = '$DB' and s.setconfig::text ~ 'default_transaction_read_only=(on|true)'")" = 0 ] || has_schema || no "$DB is read-only by default"
  echo "note changes to the tables of $DB are not carried while it moves"
  sql "select distinct 'needs-role ' || r.rolname from pg_shdepend s join pg_roles r on r.oid = s.refobjid and s.refclassid = 'pg_authid'::regclass join pg_database d on d.datname = '$DB'
    where (s.dbid = d.oid or s.dbid = 0 and s.classid = 'pg_database'::regclass and s.objid = d.oid) and r.rolname !~ '^pg_'"
}
look_from_afar() {
  answer=$(there "$DB" -c 'select 1' 2>&1) || { no "the source does not let it into $DB: $answer" && return 0; }
  unread=$(there "$DB" -c "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'S') and $USERS
    and not (has_schema_privilege(n.oid, 'usage') and case c.relkind when 'S' then has_sequence_privilege(c.oid, 'select') else has_table_privilege(c.oid, 'select') end)")
  [ "$unread" = 0 ] || no "$PG_LINK_USER may not read $unread tables and sequences of $DB: \`grant pg_read_all_data to $PG_LINK_USER\` on the source"
  hidden=$(there "$DB" -c "select count(*) from pg_class where relrowsecurity and not (select rolsuper or rolbypassrls from pg_roles where rolname = current_user)")
  [ "$hidden" = 0 ] || no "$PG_LINK_USER does not see all rows of $hidden tables of $DB: \`alter role $PG_LINK_USER bypassrls\` on the source"
  ! exists || has_schema || no "it has a database $DB already"
  is_not_shut_out
}
is_not_shut_out() { ! is_refused || is_written || no "pg_hba.conf rejects logins to $DB already: remove the lines of an earlier move"; }
# A refused login is told from others by its words.
speaks() {
  case $(sql 'show lc_messages') in '' | C | C.* | POSIX | en*) ;; *) no "lc_messages is $(sql 'show lc_messages'): set it to C, which needs a reload" ;; esac
  [ "$(sql "select current_setting('server_version_num')::int / 10000")" -ge 13 ] || no "it is older than version 13"
  find_hba && as_owner test -w "$HBA" && as_owner test -w "$(dirname "$HBA")" || no "$OWNER may not write beside $(sql 'show hba_file')"
  [ "$(sql 'show wal_level')" = logical ] || [ "$1" = reads ] || no "wal_level is $(sql 'show wal_level'): set it to logical, which needs a restart"
}

# Rows of a database, in one line for all tables.
print_rows() {
  all=$(on "$DB" <<EOF
select format('select %L, count(*), coalesce(sum(hashtextextended(migrate_row::text, 0)), 0) from only %I.%I migrate_row', n.nspname || '.' || c.relname, n.nspname, c.relname)
from $TABLES order by (n.nspname || '.' || c.relname) collate "C" \gexec
EOF
  ) || die "the rows of $DB cannot be read"
  echo "$DB $(printf '%s\n' "$all" | awk -F'|' 'NF { rows += $2; tables++ } END { printf "%d rows in %d tables", rows, tables }') $(printf '%s\n' "$all" | md5sum | cut -c1-16)"
}
print_shape() { shape=$(on "$DB" -c "$SHAPE") && [ -n "$shape" ] || die "the tables of $DB cannot be read" && echo "$DB $shape"; }
# Whatever the source had until now has arrived.
has_arrived() { [ "$(there "$DB" -c "select confirmed_flush_lsn >= '$1' from pg_replication_slots where slot_name = '$DB_SLOT'")" = t ]; }
# While both sides change: what the source has before and after the target is looked at must be there, and what the target has the source must
# have had at one of these times. What remains of that after three looks nobody is changing.
same_rows() {
  hashes="hashtextextended(migrate_row::text, 0)"
  parts="select $hashes & 1023, count(*), sum($hashes) from only $1 migrate_row group by 1 order by 1"
  there "$DB" -c "$parts" >"$WORK/its" && on "$DB" -c "$parts" >"$WORK/own" || die "the rows of $1 in $DB cannot be read"
  sort "$WORK/its" >"$WORK/its.s" && sort "$WORK/own" >"$WORK/own.s"
  parts=$(comm -3 "$WORK/its.s" "$WORK/own.s" | tr -d '\t' | cut -d'|' -f1 | sort -u | paste -sd, -)
  [ -n "$parts" ] || return 0
  look="select $hashes from only $1 migrate_row where $hashes & 1023 in ($parts)"
  for round in 1 2 3; do
    there "$DB" -c "$look" >"$WORK/before"
    at=$(there "$DB" -c 'select pg_current_wal_insert_lsn()')
    until_so has_arrived "$at" || die "what $DB had at $at does not arrive"
    on "$DB" -c "$look" >"$WORK/own"
    there "$DB" -c "$look" >"$WORK/after"
    for file in before own after; do sort -o "$WORK/$file" "$WORK/$file"; done
    comm -12 "$WORK/before" "$WORK/after" | comm -23 - "$WORK/own" >"$WORK/missing"
    sort -u "$WORK/before" "$WORK/after" >"$WORK/had"
    sort -u "$WORK/own" | comm -13 "$WORK/had" - >"$WORK/strange"
    sort -u "$WORK/missing" "$WORK/strange" >"$WORK/now"
    [ "$round" = 1 ] || { comm -12 "$WORK/now" "$WORK/suspects" >"$WORK/both" && mv "$WORK/both" "$WORK/now"; }
    mv "$WORK/now" "$WORK/suspects"
    [ -s "$WORK/suspects" ] || return 0
  done
  die "$(grep -c '' "$WORK/suspects") rows of $1 in $DB differ, and nobody is changing them"
}
compare_rows() {
  same_shape
  on "$DB" -c "select format('%I.%I', n.nspname, c.relname) from $TABLES order by 1" >"$WORK/tables"
  while IFS= read -r table <&3; do same_rows "$table"; done 3<"$WORK/tables"
}

SEQUENCES="select format('select format(''select pg_catalog.setval(%%L, %%s, %%L)'', %L, last_value, is_called) from %I.%I', format('%I.%I', n.nspname, c.relname), n.nspname, c.relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'S' and $USERS order by n.nspname collate \"C\", c.relname collate \"C\" \\gexec"
# Nothing comes from there any more: a subscription that is dropped has ended whoever applied what came. Sequences are as they are there, and
# what is written from here on is kept for whoever will follow. All in one session: everybody waits.
stop_following() {
  wanted=$(printf '%s\n' "$SEQUENCES" | there "$DB") || die "the sequences of $DB cannot be read"
  told=$(print_stop "$wanted" | on "$DB") || die "the subscription of $DB does not end, or its sequences cannot be set"
  [ "$(printf '%s\n' "$told" | sed '$d')" = "$wanted" ] || die "the sequences of $DB are not what they are on the source"
  [ -z "$PG_BACK" ] || [ "$(printf '%s\n' "$told" | sed -n '$p')" = 1 ] || no_slot_yet
}
print_stop() {
  cat <<EOF
\o /dev/null
set client_min_messages = warning;
select format(what, '$NAME') from (values (1, 'alter subscription %I disable'), (2, 'alter subscription %I set (slot_name = none)'), (3, 'drop subscription %I')) steps(n, what)
where $OURS is not null order by n \gexec
$(printf '%s\n' "$1" | sed '/./s/$/;/')
$([ -z "$PG_BACK" ] || print_publish)
\o
$SEQUENCES
$GOOD_SLOTS '$DB_SLOT';
EOF
}

copy() {
  if exists; then
    has_schema || die "it has a database $DB of its own"
    remove
  fi
  as_owner "$BIN/pg_dump" -sCw -N "$NAME" --no-publications --no-subscriptions -d "$PG_LINK dbname=$DB" >"$WORK/schema" || die "the schema of $DB cannot be read"
  as_owner "$BIN/psql" -Xqw -v ON_ERROR_STOP=1 -h "$SOCKET" -p "$PORT" -U "$PG_ROLE" -d postgres <"$WORK/schema" >/dev/null || die "the schema of $DB cannot be made here"
  belt
  make_schema
  # What comes with an extension has been filled with it.
  on "$DB" <<EOF
select format('truncate only %I.%I', n.nspname, c.relname) from $TABLES and exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e') \gexec
EOF
  subscribe true
}
subscribe() {
  conninfo=$(printf %s "$PG_LINK dbname=$DB" | sed "s/'/''/g")
  on "$DB" -c "set client_min_messages = warning; create subscription $NAME connection '$conninfo' publication $NAME with (create_slot = false, slot_name = '$DB_SLOT', copy_data = $1, synchronous_commit = 'on')"
}
await_copy() {
  until is_ready; do
    failed=$(on "$DB" -c "select coalesce(sum(sync_error_count + apply_error_count), 0) from pg_stat_subscription_stats where subid = $OURS" 2>/dev/null || echo 0)
    [ "$failed" -lt 10 ] || die "the copy of $DB fails again and again: look at the log of the server"
    sleep 0.5
  done
}
remove() {
  drop_subscription
  no_slot
  sql "drop database \"$DB\" with (force)"
}
uncopy() {
  exists || return 0
  has_schema || die "the database $DB is not what this run has put there"
  is_refused || die "$DB takes writes: it is not what this run has put there"
  remove
}
enable() { has_subscription || die "$DB has no subscription" && on "$DB" -c "alter subscription $NAME enable" && until_so is_linked || die "$DB does not follow the source: look at its log"; }
follow_back() {
  # The slot of the way there would keep WAL for somebody who follows nobody any more.
  no_slot
  has_subscription || subscribe false
  enable
}
lag_of() {
  has_subscription || die "$DB has no subscription"
  left=$(unready)
  [ "$left" = 0 ] || die "$left tables of $DB are not copied, or not subscribed to"
  is_followed || die "$DB does not follow: look at the log of the server"
  same_shape
  bytes=$(there "$DB" -c "select case wal_status when 'lost' then 'lost' else greatest(0, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), confirmed_flush_lsn))::bigint::text end from pg_replication_slots where slot_name = '$DB_SLOT'")
  case $bytes in '') die "the slot $DB_SLOT is gone: seed it again" ;; lost) die "the other side has thrown away WAL that $DB needs: seed it again" ;; esac
  [ "$bytes" -le "$LAG" ] || LAG=$bytes
}
# Rows that were written, as far as the server counts them at once: nobody writes them behind a fence.
WRITTEN="select case when current_setting('server_version_num')::int >= 150000 then coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) else 0 end
  from pg_stat_all_tables where schemaname <> '$NAME' and schemaname !~ '^pg_' and schemaname <> 'information_schema'"
at_of() {
  case $FROZEN in
  yes) at=$(on "$DB" -c "select n || '/' || at || '/' || ($WRITTEN) from $NAME.marker where closed") ;;
  *) at=$(on "$DB" -c 'select pg_current_wal_insert_lsn()') ;;
  esac
  [ -n "$at" ] || die "$DB is closed, and has no marker that says so"
  words="$words $DB=$at"
}
wanted_of() { for word in $MIGRATE_POSITION; do case $word in "$DB="*) echo "${word#*=}" ;; esac; done; }
reached_of() {
  wanted=$(wanted_of)
  [ -n "$wanted" ] || die "the position says nothing of $DB"
  case $MIGRATE_POSITION in
  closed*)
    told=$(on "$DB" -c "select n || '/' || at from $NAME.marker" -c "select count(*) from $OURS ours" -c "$UNREADY" -c "$SHAPE") || die "$DB cannot be looked at"
    { read -r has && read -r DB_FOLLOWS && read -r left && read -r DB_SHAPE; } <<EOF || die "$DB does not tell how far it is"
$told
EOF
    [ "$has" = "${wanted%/*}" ] || die "$DB has the marker $has, and not ${wanted%/*}"
    # One that has never followed the other has nothing to wait for.
    yes "$DB_FOLLOWS" || return 0
    [ "$left" = 0 ] || die "$left tables of $DB are not copied, or not subscribed to"
    same_as "$DB_SHAPE"
    ;;
  *) has_arrived "$wanted" || die "$DB has not arrived at $wanted" ;;
  esac
}
writer_of() {
  said=$(login) || :
  case $said in
  *"pg_hba.conf rejects connection"*) is_written || die "$DB rejects logins, and would not after a restart" ;;
  *"failed: No such file"* | *"Connection refused"*)
    [ "$(state)" = 3 ] && is_written || die "it does not run, and would take writes when it is started" ;;
  *"the database system is"*) die "$said" ;;
  *) WRITES=yes ;;
  esac
}

WORK=
work() { WORK=$(mktemp -d) && chmod 755 "$WORK" && trap 'rm -rf -- "$WORK"' EXIT; }

case $1 in
check-from)
  check_source "datname in ($(names))"
  speaks gives
  has_free max_wal_senders $(($(echo $PG_DATABASES | wc -w) + 2)) pg_stat_replication
  has_free max_replication_slots $(($(echo $PG_DATABASES | wc -w) + 2)) pg_replication_slots
  each look_at
  sql "select 'role ' || rolname from pg_roles where rolcanlogin and rolname !~ '^pg_'"
  sql "select 'risk the database ' || datname || ' is not named, and does not move' from pg_database where datallowconn and not datistemplate and datname not in ('postgres', $(names))"
  exit $REFUSED
  ;;
check-to)
  [ "$(state)" = 0 ] || die "refused it does not run: a cluster of its own is needed there"
  [ "$(sql 'select pg_is_in_recovery()')" = f ] || no "it is a replica itself"
  [ "$(sql "select rolsuper from pg_roles where rolname = current_user")" = t ] || no "$PG_ROLE is no superuser"
  speaks "$([ -n "$PG_BACK" ] && echo gives || echo reads)"
  dbs=$(echo $PG_DATABASES | wc -w)
  [ "$(sql "select current_setting('max_logical_replication_workers')::int")" -gt "$dbs" ] || no "max_logical_replication_workers must be more than $dbs"
  has_free max_replication_slots $((dbs + 1)) pg_replication_slots
  if system=$(there "${PG_DATABASES%% *} replication=database" -c IDENTIFY_SYSTEM 2>&1); then echo "system ${system%%|*}"
  else no "the source does not let it replicate: $system"
  fi
  each look_from_afar
  sql "select 'role ' || rolname from pg_roles where rolname !~ '^pg_'"
  tell_target "$DATA"
  exit $REFUSED
  ;;
prepare) each prepare ;;
prepared) each is_published ;;
# Also what is left in the end.
forget) each forget ;;
seed)
  work
  shut
  each copy
  each await_copy
  ;;
unseed)
  each uncopy
  open
  ;;
link) each enable ;;
linked) each is_linked ;;
lag) LAG=0 && each lag_of && echo "$LAG" ;;
fence)
  shut
  each mark_closed
  ;;
unfence) open ;;
writer)
  WRITES=no
  each writer_of
  echo "$WRITES"
  ;;
position)
  FROZEN=no words=open
  ! is_written || { FROZEN=yes words=closed; }
  each at_of
  echo "$words"
  ;;
reached) each reached_of ;;
digest)
  case $MIGRATE_POSITION in
  closed*) each print_rows ;;
  *)
    work
    [ "$MIGRATE_SIDE" = from ] || each compare_rows
    each print_shape
    ;;
  esac
  ;;
promote)
  each stop_following
  open
  ;;
published) each is_published ;;
unpublished) die "what it has written is not kept for a follower: it cannot be followed" ;;
unpublish) each unpublish ;;
follow) each follow_back ;;
unfollow) each drop_subscription ;;
*) die "unknown verb $1" ;;
esac
