# The roles of the other side, and what is published and followed, have these names.
hba() { as_owner sh -c "$1" sh "$(of "$2" DATA)/pg_hba.conf" && sql "$2" 'select pg_reload_conf()' >/dev/null; }
is_refused() { ! "$BIN/psql" -XAtqw -h "$(of "$1" SOCKET)" -p "$(of "$1" PORT)" -U app -d "$DATABASE" -c 'select 1' >/dev/null 2>&1; }
is_let_in() { ! is_refused "$1"; }
close() {
  hba 'printf "local app app reject\nhost app app all reject\n" | cat - "$1" >"$1.new" && mv "$1.new" "$1"' "$1"
  until_so is_refused "$1"
  sql "$1" "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'" >/dev/null
}
open() {
  hba 'grep -v reject "$1" >"$1.new" && mv "$1.new" "$1"' "$1"
  until_so is_let_in "$1"
}
is_copied() { [ "$(sql NEW "select count(*) filter (where srsubstate = 'r') = count(*) and count(*) > 0 from pg_subscription_rel")" = t ]; }
has_marker() { [ "$(sql "$1" "select max(n) from marker")" = "$2" ]; }
identities() { sql "$1" 'alter table pgbench_history replica identity full; alter table bulk replica identity full'; }
sequences() {
  sql "$1" "select format('select setval(%L, %s, %L)', format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value), last_value is not null) from pg_sequences" |
    "$BIN/psql" -XAtqw -h "$(of "$2" SOCKET)" -p "$(of "$2" PORT)" -U postgres -d "$DATABASE" >/dev/null
}
# From the first, whose subscription of that name on the second follows it, to the second.
switch() {
  began=$(now)
  console 'PAUSE app'
  close "$1"
  n=$(sql "$1" 'insert into marker select max(n) + 1 from marker returning n')
  until_so has_marker "$2" "$n"
  sequences "$1" "$2"
  sql "$2" "alter subscription $3 disable"
  if [ "$3" = hand ]; then
    sql "$2" 'create publication back for all tables'
    sql "$2" "select pg_create_logical_replication_slot('back', 'pgoutput')" >/dev/null
  fi
  open "$2"
  point "$2"
}
drop_subscription() {
  sql "$1" "alter subscription $2 disable"
  sql "$1" "alter subscription $2 set (slot_name = none)"
  sql "$1" "drop subscription $2"
}
no_slot() { sql "$1" "select pg_drop_replication_slot('$2')" >/dev/null 2>&1; }

case $1 in
there)
  identities OLD
  sql OLD 'create table marker(n bigint primary key); insert into marker values (0)'
  sql OLD 'create publication hand for all tables'
  "$BIN/pg_dump" -sC --no-publications --no-subscriptions -h "$OLD_SOCKET" -p "$OLD_PORT" -U postgres "$DATABASE" |
    "$BIN/psql" -Xqw -h "$NEW_SOCKET" -p "$NEW_PORT" -U postgres -d postgres >/dev/null
  sql NEW "create subscription hand connection '$(link_to OLD NEW) dbname=$DATABASE' publication hand with (synchronous_commit = 'on')" 2>/dev/null
  until_so is_copied
  # Closed, so that nobody writes there before its time.
  close NEW
  switch OLD NEW hand
  drop_subscription NEW hand
  until_so no_slot OLD hand
  sql OLD "create subscription back connection '$(link_to NEW OLD) dbname=$DATABASE' publication back with (create_slot = false, slot_name = 'back', copy_data = false, synchronous_commit = 'on')"
  ;;
back)
  switch NEW OLD back
  drop_subscription OLD back
  until_so no_slot NEW back
  open NEW
  DATABASE=postgres && sql NEW 'drop database app with (force)' && DATABASE=app
  sql OLD 'drop publication hand'
  sql OLD 'drop table marker'
  sql OLD 'alter table pgbench_history replica identity default; alter table bulk replica identity default'
  ;;
esac
