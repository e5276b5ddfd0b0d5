start() { as_owner "$BIN/pg_ctl" start -w -D "$(of "$1" DATA)" -l "$(of "$1" SOCKET)/log" -o "-p $(of "$1" PORT) -k $(of "$1" SOCKET) -c listen_addresses=$(of "$1" IP)" </dev/null >/dev/null 2>&1; }
streams() { [ "$(sql "$1" "select count(*) from pg_stat_replication where state = 'streaming' and pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) < 1048576")" = 1 ]; }
has_replayed() { [ "$(sql "$1" "select pg_last_wal_replay_lsn() > '$2'")" = t ]; }
# From the first to the second.
switch() {
  sql "$1" checkpoint
  began=$(now)
  console 'PAUSE app'
  as_owner touch "$(of "$1" DATA)/standby.signal"
  as_owner "$BIN/pg_ctl" stop -w -m fast -D "$(of "$1" DATA)" >/dev/null
  last=$(as_owner env LC_ALL=C "$BIN/pg_controldata" "$(of "$1" DATA)" | sed -n 's/^Latest checkpoint location: *//p')
  until_so has_replayed "$2" "$last"
  sql "$2" 'select pg_promote(true, 60)' >/dev/null
  [ "$(sql "$2" 'select pg_is_in_recovery()')" = f ]
  point "$2"
}

case $1 in
there)
  sql OLD "select pg_create_physical_replication_slot('hand', true)" >/dev/null
  as_owner "$BIN/pg_basebackup" -d "$(link_to OLD NEW)" -D "$NEW_DATA" -X stream -S hand -c fast -R
  as_owner "$BIN/pg_verifybackup" "$NEW_DATA" >/dev/null
  start NEW
  until_so streams OLD
  sql NEW "select pg_create_physical_replication_slot('back', true)" >/dev/null
  switch OLD NEW
  printf "primary_conninfo = '%s'\nprimary_slot_name = 'back'\n" "$(link_to NEW OLD)" | as_owner tee -a "$OLD_DATA/postgresql.auto.conf" >/dev/null
  start OLD
  sql OLD "select pg_drop_replication_slot('hand')" >/dev/null
  until_so streams NEW
  ;;
back)
  switch NEW OLD
  as_owner rm -r "$NEW_DATA"
  sql OLD 'alter system reset primary_conninfo'
  sql OLD 'alter system reset primary_slot_name'
  sql OLD 'select pg_reload_conf()' >/dev/null
  ;;
esac
