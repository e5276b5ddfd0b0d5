# A cluster that moves to its standby. Follows server.sh.
# One or two lines of it, in the order in which they are told there.
control() { quickly env LC_ALL=C "$BIN/pg_controldata" "$DATA" | sed -n -e "s/^$1: *//p" -e "s/^${2-$1}: *//p"; }
# Where this login may not look, its owner does.
is_replica() { [ -e "$DATA/standby.signal" ] || quickly test -e "$DATA/standby.signal"; }
start() {
  if [ -n "$START" ]; then sh -c "$START"
  else as_owner "$BIN/pg_ctl" start -D "$DATA" -w -t 60 -l "$DATA/server.log" -o "-p $PORT -k $SOCKET $OPTIONS" </dev/null >/dev/null
  fi
}
stop() {
  [ "$(state)" = 0 ] || return 0
  if [ -n "$STOP" ]; then sh -c "$STOP"
  else quickly "$BIN/pg_ctl" stop -D "$DATA" -m fast -W >/dev/null
  fi
  # pg_ctl itself looks ten times a second.
  n=6000
  until [ "$(state)" = 3 ]; do
    n=$((n - 1))
    [ "$n" -gt 0 ] || die "it does not stop"
    sleep 0.01 2>/dev/null || sleep 1
  done
}
# A place in the WAL as a number.
place() { echo $((0x${1%/*} * 4294967296 + 0x${1#*/})); }
streams() { [ "$(sql "select status from pg_stat_wal_receiver where slot_name = '$SLOT'" 2>/dev/null)" = streaming ]; }
drop_slot() {
  sql "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '$SLOT' and active" >/dev/null
  sql "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '$SLOT' and not active" >/dev/null
  [ "$(sql "select count(*) from pg_replication_slots where slot_name = '$SLOT'")" = 0 ]
}

case $1 in
check-from)
  check_source true
  case $(sql 'show wal_level') in replica | logical) ;; *) no "wal_level is $(sql 'show wal_level'): set it to replica, which needs a restart" ;; esac
  has_free max_wal_senders 2 pg_stat_replication
  has_free max_replication_slots 1 pg_replication_slots
  [ "$(sql 'select count(*) from pg_tablespace')" = 2 ] || no "it has tablespaces of its own, which this does not carry"
  prepared=$(sql 'select count(*) from pg_prepared_xacts')
  [ "$prepared" = 0 ] || echo "risk it has $prepared prepared transactions, which move with it and stay open"
  exit $REFUSED
  ;;
check-to)
  # What this run has seeded is no stranger.
  if as_owner test -e "$DATA/PG_VERSION" && ! as_owner test -e "$DATA/migrate.seed"; then no "there is a cluster in $DATA already: stop it and move it away"; fi
  if as_owner test -d "$DATA" && ! as_owner test -e "$DATA/PG_VERSION" && [ -n "$(as_owner ls -A "$DATA")" ]; then no "$DATA is not empty"; fi
  above=$(dirname "$DATA")
  as_owner test -w "$above" || no "$OWNER cannot write in $above"
  if system=$(as_owner "$BIN/psql" -XAtq "$PG_LINK dbname=postgres replication=true" -c IDENTIFY_SYSTEM 2>&1); then echo "system ${system%%|*}"
  else no "the source does not let it replicate: $system"
  fi
  tell_target "$above"
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
follow)
  # The old one, closed and cleanly stopped, goes on where the new one took over.
  is_replica || die "$DATA has no standby.signal: it would write on its own"
  [ "$(state)" = 0 ] || start
  until_so answers || die "it does not answer"
  # Its own slot would keep WAL for a standby that follows nobody any more.
  until_so drop_slot || die "the slot $SLOT is in use"
  sql "alter system set primary_conninfo = '$PG_LINK'"
  sql "alter system set primary_slot_name = '$SLOT'"
  if [ "$(sql "select current_setting('server_version_num')::int / 10000")" -ge 13 ]; then sql 'select pg_reload_conf()' >/dev/null
  else stop && start
  fi
  until_so streams || die "it does not stream from the target: look at its log"
  ;;
unfollow)
  is_replica || [ "$(state)" = 0 ] || die "it does not run"
  [ "$(state)" = 0 ] || start
  until_so answers || die "it does not answer"
  sql 'alter system reset primary_conninfo'
  sql 'alter system reset primary_slot_name'
  sql 'select pg_reload_conf()' >/dev/null
  ! is_replica || stop
  ;;
unslot)
  # Closed, it goes with its slots: this run removes it.
  if [ "$(state)" = 3 ] && is_replica; then exit 0; fi
  until_so drop_slot || die "the slot $SLOT is in use"
  ;;
lag)
  sql "select case when s.wal_status = 'lost' then 'lost' when r.pid is null then 'none' else greatest(0, pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn))::bigint::text end
    from pg_replication_slots s left join pg_stat_replication r on r.pid = s.active_pid and r.state = 'streaming' where s.slot_name = '$SLOT'" |
    { read -r lag || :; case ${lag:-none} in lost) die "the source has thrown away WAL that the target needs: seed it again" ;; none) die "it does not stream" ;; *) echo "$lag" ;; esac; }
  ;;
checkpoint) sql checkpoint ;;
fence)
  quickly sh -c ': >"$1/standby.signal" && { sync "$1/standby.signal" "$1" 2>/dev/null || sync; }' sh "$DATA"
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
  control 'Database cluster state' 'Latest checkpoint location' | {
    read -r was || was=
    case $was in
    'shut down' | 'shut down in recovery' | 'in archive recovery') read -r at && echo "$at" ;;
    *) die "it was not shut down cleanly: $was" ;;
    esac
  }
  ;;
reached)
  if [ "$(state)" = 3 ] && is_replica; then
    # It has never followed the other one, which has nothing that it lacks.
    at=$(control 'Latest checkpoint location')
    [ "$(place "$at")" -ge "$(place "$MIGRATE_POSITION")" ] || die "it is at $at"
    exit 0
  fi
  at=$(sql "select pg_last_wal_replay_lsn() > '$MIGRATE_POSITION'::pg_lsn, pg_last_wal_replay_lsn()")
  case $at in 't|'*) ;; *) die "it is at ${at#*|}" ;; esac
  ;;
promote)
  [ "$(state)" = 0 ] || ! is_replica || { start && until_so answers; } || die "it does not answer"
  # pg_promote itself looks ten times a second. In one session, each statement for itself.
  said=$(quickly "$BIN/psql" -XAtq -v ON_ERROR_STOP=1 -h "$SOCKET" -p "$PORT" -U "$PG_ROLE" -d postgres \
    -c 'select pg_promote(false) where pg_is_in_recovery()' \
    -c 'do $$ begin for n in 1..12000 loop exit when not pg_is_in_recovery(); perform pg_sleep(0.005); end loop; end $$' \
    -c "select 'recovery: ' || pg_is_in_recovery()")
  case $said in *'recovery: false') ;; *) die "it was asked to, and is not promoted after a minute" ;; esac
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
