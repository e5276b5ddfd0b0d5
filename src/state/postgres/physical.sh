# One cluster of PostgreSQL on this side of its move. Run with /bin/sh; the values come from the environment.
set -eu
cd /
case $MIGRATE_SIDE in
from) DATA=$PG_FROM_DATA BIN=$PG_FROM_BIN PORT=$PG_FROM_PORT SOCKET=$PG_FROM_SOCKET OWNER=$PG_FROM_USER START=$PG_FROM_START STOP=$PG_FROM_STOP OPTIONS=$PG_FROM_OPTIONS ;;
*) DATA=$PG_TO_DATA BIN=$PG_TO_BIN PORT=$PG_TO_PORT SOCKET=$PG_TO_SOCKET OWNER=$PG_TO_USER START=$PG_TO_START STOP=$PG_TO_STOP OPTIONS=$PG_TO_OPTIONS ;;
esac
SLOT=migrate_$(printf %s "${MIGRATE_RUN-}" | tr A-Z a-z | tr -c a-z0-9_ _ | cut -c1-40)_$PG_JOB
SEED=$DATA.migrate-seed

die() { echo "$*" >&2; exit 1; }
as_owner() { if [ "$(id -un)" = "$OWNER" ]; then "$@"; else runuser -u "$OWNER" -- "$@"; fi; }
sql() { as_owner "$BIN/psql" -XAtq -v ON_ERROR_STOP=1 -h "$SOCKET" -p "$PORT" -U "$PG_ROLE" -d postgres -c "$1"; }
control() { as_owner env LC_ALL=C "$BIN/pg_controldata" "$DATA" | sed -n "s/^$1: *//p"; }

# The servers' programs, where they are not named: those of the cluster's version.
if [ -z "$BIN" ]; then
  version=$(as_owner cat "$DATA/PG_VERSION" 2>/dev/null || as_owner cat "$SEED/PG_VERSION" 2>/dev/null || :)
  for dir in /usr/lib/postgresql/${version:-*}/bin; do
    [ -z "$BIN" ] || die "there are several versions in /usr/lib/postgresql: say \`bin\`"
    BIN=$dir
  done
fi
[ -x "$BIN/pg_ctl" ] || die "there is no $BIN/pg_ctl: say \`bin\`"

# 0: it runs, 3: it does not, 4: there is no cluster.
state() { code=0; as_owner "$BIN/pg_ctl" status -D "$DATA" >/dev/null 2>&1 || code=$?; echo $code; }
is_replica() { as_owner test -e "$DATA/standby.signal"; }
start() {
  if [ -n "$START" ]; then sh -c "$START"
  else as_owner "$BIN/pg_ctl" start -D "$DATA" -w -t 60 -l "$DATA/server.log" -o "-p $PORT -k $SOCKET $OPTIONS" </dev/null >/dev/null
  fi
}
stop() {
  [ "$(state)" = 0 ] || return 0
  if [ -n "$STOP" ]; then sh -c "$STOP"
  else as_owner "$BIN/pg_ctl" stop -D "$DATA" -m fast -w -t 60 >/dev/null
  fi
  [ "$(state)" = 3 ] || die "it does not stop"
}
# Asks until it is so, up to a minute.
until_so() {
  n=300
  while ! "$@"; do
    n=$((n - 1))
    [ "$n" -gt 0 ] || return 1
    sleep 0.2
  done
}
answers() { sql 'select 1' >/dev/null 2>&1; }
streams() { [ "$(sql "select status from pg_stat_wal_receiver where slot_name = '$SLOT'" 2>/dev/null)" = streaming ]; }
drop_slot() {
  sql "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '$SLOT' and active" >/dev/null
  sql "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '$SLOT' and not active" >/dev/null
  [ "$(sql "select count(*) from pg_replication_slots where slot_name = '$SLOT'")" = 0 ]
}

case $1 in
check-from)
  # What speaks against it, and what the other side is to be compared with.
  [ "$(state)" = 0 ] || die "refused it does not run"
  no() { echo "refused $*"; REFUSED=1; }
  REFUSED=0
  [ "$(sql 'select pg_is_in_recovery()')" = f ] || no "it is a replica itself"
  [ "$(sql "select rolsuper from pg_roles where rolname = current_user")" = t ] || no "$PG_ROLE is no superuser"
  case $(sql 'show wal_level') in replica | logical) ;; *) no "wal_level is $(sql 'show wal_level'): set it to replica, which needs a restart" ;; esac
  senders=$(sql "select current_setting('max_wal_senders')::int - count(*) from pg_stat_replication")
  [ "$senders" -ge 2 ] || no "$senders of max_wal_senders are free, and 2 are needed"
  slots=$(sql "select current_setting('max_replication_slots')::int - count(*) from pg_replication_slots")
  [ "$slots" -ge 1 ] || no "no slot of max_replication_slots is free"
  [ "$(sql 'select count(*) from pg_tablespace')" = 2 ] || no "it has tablespaces of its own, which this does not carry"
  for keeper in patroni repmgrd pg_autoctl; do
    if ps -eo comm,args | grep -v grep | grep -q "$keeper"; then no "$keeper is in charge here: it would start or promote servers on its own"; fi
  done
  others=$(sql "select count(*) from pg_replication_slots where slot_name !~ '^migrate_'")
  [ "$others" = 0 ] || echo "risk it has $others slots of others, whose readers do not move with it"
  prepared=$(sql 'select count(*) from pg_prepared_xacts')
  [ "$prepared" = 0 ] || echo "risk it has $prepared prepared transactions, which move with it and stay open"
  long=$(sql "select count(*) from pg_stat_activity where backend_type = 'client backend' and now() - xact_start > interval '1 minute'")
  [ "$long" = 0 ] || echo "risk $long transactions are open for more than a minute: the fence ends them"
  [ "$(sql 'show max_slot_wal_keep_size')" != -1 ] || echo "note max_slot_wal_keep_size is not set: a target that falls behind keeps WAL on the source without a limit"
  [ "$(sql 'show data_checksums')" = on ] || echo "note it has no data checksums: damage on its disk is carried along"
  echo "version $(sql "select current_setting('server_version_num')::int / 10000")"
  echo "arch $(uname -m)"
  echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null || echo unknown)"
  echo "collations $(sql "select count(*) from pg_database where datallowconn and datlocprovider = 'c' and datcollate not in ('C', 'POSIX')" 2>/dev/null ||
    sql "select count(*) from pg_database where datallowconn and datcollate not in ('C', 'POSIX')")"
  echo "bytes $(sql 'select coalesce(sum(pg_database_size(oid)), 0)::bigint from pg_database')"
  echo "system $(sql 'select system_identifier from pg_control_system()')"
  for db in $(sql 'select datname from pg_database where datallowconn and not datistemplate'); do
    as_owner "$BIN/psql" -XAtq -h "$SOCKET" -p "$PORT" -U "$PG_ROLE" -d "$db" -c "select 'extension ' || extname from pg_extension"
  done | sort -u
  exit $REFUSED
  ;;
check-to)
  REFUSED=0
  no() { echo "refused $*"; REFUSED=1; }
  # What this run has seeded is no stranger.
  if as_owner test -e "$DATA/PG_VERSION" && ! as_owner test -e "$DATA/migrate.seed"; then no "there is a cluster in $DATA already: stop it and move it away"; fi
  if as_owner test -d "$DATA" && ! as_owner test -e "$DATA/PG_VERSION" && [ -n "$(as_owner ls -A "$DATA")" ]; then no "$DATA is not empty"; fi
  above=$(dirname "$DATA")
  as_owner test -w "$above" || no "$OWNER cannot write in $above"
  if system=$(as_owner "$BIN/psql" -XAtq "$PG_LINK dbname=postgres replication=true" -c IDENTIFY_SYSTEM 2>&1); then echo "system ${system%%|*}"
  else no "the source does not let it replicate: $system"
  fi
  echo "version $("$BIN/postgres" --version | sed 's/^[^0-9]*//; s/[^0-9].*//')"
  echo "arch $(uname -m)"
  echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null || echo unknown)"
  free=$(df -Pk "$above" | { read -r _ && read -r _ _ _ free _ && echo "$free"; }) || free=
  case $free in '' | *[!0-9]*) ;; *) echo "free $((free * 1024))" ;; esac
  home=$(dirname "$(dirname "$(readlink -f "$BIN/postgres")")")
  for file in "/usr/share/${home#/usr/lib/}"/extension/*.control "$home"/share/extension/*.control "$home"/share/postgresql/extension/*.control; do
    [ ! -e "$file" ] || { name=${file##*/} && echo "extension ${name%.control}"; }
  done
  exit $REFUSED
  ;;
slot)
  sql "select pg_create_physical_replication_slot('$SLOT', true) where not exists (select from pg_replication_slots where slot_name = '$SLOT')" >/dev/null
  ;;
has-slot) [ "$(sql "select count(*) from pg_replication_slots where slot_name = '$SLOT'")" = 1 ] ;;
drop-slot) until_so drop_slot || die "the slot $SLOT is in use" ;;
seed)
  # A part of an earlier attempt has a name of its own, and nobody starts it.
  as_owner rm -rf -- "$SEED"
  as_owner "$BIN/pg_basebackup" -d "$PG_LINK" -D "$SEED" -X stream -S "$SLOT" -c fast -R $PG_RATE
  as_owner "$BIN/pg_verifybackup" "$SEED" >/dev/null
  as_owner test -e "$SEED/standby.signal" || die "the copy has no standby.signal"
  as_owner sh -c 'echo "$2" >"$1/migrate.seed" && { [ ! -d "$3" ] || rmdir -- "$3"; } && mv -- "$1" "$3"' sh "$SEED" "$SLOT" "$DATA"
  ;;
unseed)
  as_owner rm -rf -- "$SEED"
  as_owner test -e "$DATA/PG_VERSION" || exit 0
  [ "$(as_owner cat "$DATA/migrate.seed" 2>/dev/null)" = "$SLOT" ] || die "$DATA is not what this run has put there"
  is_replica || die "$DATA is no replica any more"
  stop
  as_owner rm -rf -- "$DATA"
  ;;
link)
  is_replica || die "$DATA has no standby.signal: it would write on its own"
  [ "$(state)" = 0 ] || start
  until_so streams || die "it does not stream from the source: look at its log"
  ;;
linked) streams ;;
unlink)
  as_owner test -e "$DATA/PG_VERSION" || exit 0
  is_replica || die "$DATA is no replica any more"
  stop
  ;;
lag)
  sql "select case when s.wal_status = 'lost' then 'lost' when r.pid is null then 'none' else greatest(0, pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn))::bigint::text end
    from pg_replication_slots s left join pg_stat_replication r on r.pid = s.active_pid and r.state = 'streaming' where s.slot_name = '$SLOT'" |
    { read -r lag || :; case ${lag:-none} in lost) die "the source has thrown away WAL that the target needs: seed it again" ;; none) die "it does not stream" ;; *) echo "$lag" ;; esac; }
  ;;
checkpoint) sql checkpoint ;;
fence)
  as_owner sh -c ': >"$1/standby.signal" && { sync "$1/standby.signal" "$1" 2>/dev/null || sync; }' sh "$DATA"
  stop
  ;;
unfence)
  # One that was never restarted takes writes all the time.
  if [ "$(state)" = 0 ] && until_so answers && [ "$(sql 'select pg_is_in_recovery()')" = f ]; then
    as_owner rm -f -- "$DATA/standby.signal"
    exit 0
  fi
  stop
  as_owner rm -f -- "$DATA/standby.signal"
  start
  until_so answers || die "it does not answer"
  ;;
writer)
  case $(state) in
  0) case $(sql 'select pg_is_in_recovery()') in f) echo yes ;; t) echo no ;; esac ;;
  3) if is_replica; then echo no; else die "it does not run, and would take writes when it is started"; fi ;;
  *) die "there is no cluster in $DATA" ;;
  esac
  ;;
position)
  is_replica || die "$DATA has no standby.signal"
  case $(control 'Database cluster state') in
  'shut down' | 'shut down in recovery' | 'in archive recovery') ;;
  *) die "it was not shut down cleanly: $(control 'Database cluster state')" ;;
  esac
  control 'Latest checkpoint location'
  ;;
reached)
  at=$(sql 'select pg_last_wal_replay_lsn()')
  [ "$(sql "select '$at'::pg_lsn > '$MIGRATE_POSITION'::pg_lsn")" = t ] || die "it is at $at"
  ;;
promote)
  [ "$(sql 'select pg_is_in_recovery()')" = t ] || exit 0
  [ "$(sql 'select pg_promote(true, 60)')" = t ] || die "it was asked to, and is not promoted after a minute"
  ;;
release-from)
  # Its slot would keep WAL as long as it is there, also on a reader. It is left stopped, and a reader whenever it is started.
  is_replica || die "$DATA has no standby.signal"
  was=$(state)
  [ "$was" = 0 ] || start
  until_so answers || die "it does not answer"
  until_so drop_slot || die "the slot $SLOT is in use"
  [ "$was" = 0 ] || stop
  ;;
release-to)
  sql "alter system reset primary_conninfo"
  sql "alter system reset primary_slot_name"
  sql 'select pg_reload_conf()' >/dev/null
  as_owner rm -f -- "$DATA/migrate.seed"
  ;;
*) die "unknown verb $1" ;;
esac
