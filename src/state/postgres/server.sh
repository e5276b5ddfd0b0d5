# One cluster of PostgreSQL on this side of its move, whichever way it goes. Run with /bin/sh; the values come from the environment.
set -eu
cd /
case $MIGRATE_SIDE in
from) DATA=$PG_FROM_DATA BIN=$PG_FROM_BIN PORT=$PG_FROM_PORT SOCKET=$PG_FROM_SOCKET OWNER=$PG_FROM_USER START=$PG_FROM_START STOP=$PG_FROM_STOP OPTIONS=$PG_FROM_OPTIONS ;;
*) DATA=$PG_TO_DATA BIN=$PG_TO_BIN PORT=$PG_TO_PORT SOCKET=$PG_TO_SOCKET OWNER=$PG_TO_USER START=$PG_TO_START STOP=$PG_TO_STOP OPTIONS=$PG_TO_OPTIONS ;;
esac
SLOT=migrate_$(printf %s "${MIGRATE_RUN-}" | tr A-Z a-z | tr -c a-z0-9_ _ | cut -c1-40)_$PG_JOB
SEED=$DATA.migrate-seed

die() { echo "$*" >&2; exit 1; }
ME=$(id -un)
as_owner() { if [ "$ME" = "$OWNER" ]; then "$@"; else runuser -u "$OWNER" -- "$@"; fi; }
# The same without a session of its own, which takes several times as long: for what starts nothing that stays.
quickly() { as_owner "$@"; }
if [ "$ME" = root ] && GROUP=$(id -gn "$OWNER") && setpriv --reuid="$OWNER" --regid="$GROUP" --init-groups true 2>/dev/null; then
  quickly() { setpriv --reuid="$OWNER" --regid="$GROUP" --init-groups "$@"; }
fi
sql() { quickly "$BIN/psql" -XAtq -v ON_ERROR_STOP=1 -h "$SOCKET" -p "$PORT" -U "$PG_ROLE" -d postgres -c "$1"; }

# The servers' programs, where they are not named: those of the cluster's version.
if [ -z "$BIN" ]; then
  version=$(quickly cat "$DATA/PG_VERSION" 2>/dev/null || quickly cat "$SEED/PG_VERSION" 2>/dev/null || :)
  for dir in /usr/lib/postgresql/${version:-*}/bin; do
    [ -z "$BIN" ] || die "there are several versions in /usr/lib/postgresql: say \`bin\`"
    BIN=$dir
  done
fi
[ -x "$BIN/pg_ctl" ] || die "there is no $BIN/pg_ctl: say \`bin\`"

# 0: it runs, 3: it does not, 4: there is no cluster. As pg_ctl tells it, which is asked where this login cannot look for itself.
state() {
  code=0
  if [ -r "$DATA/PG_VERSION" ]; then
    pid=$({ read -r pid && echo "${pid#-}"; } 2>/dev/null <"$DATA/postmaster.pid") || pid=
    case $pid in
    '') [ -e "$DATA/postmaster.pid" ] || code=3 ;;
    *[!0-9]*) pid= ;;
    *) kill -0 "$pid" 2>/dev/null || code=3 ;;
    esac
    if [ -n "$pid" ] || [ "$code" = 3 ]; then echo $code && return; fi
  fi
  quickly "$BIN/pg_ctl" status -D "$DATA" >/dev/null 2>&1 || code=$?
  echo $code
}
# Asks until it is so, up to a minute: often while somebody may wait for it, and seldom afterwards.
until_so() {
  n=325
  while ! "$@"; do
    n=$((n - 1))
    [ "$n" -gt 0 ] || return 1
    if [ "$n" -lt 300 ]; then sleep 0.2; else sleep 0.02 2>/dev/null || sleep 1; fi
  done
}
answers() { sql 'select 1' >/dev/null 2>&1; }

REFUSED=0
no() { echo "refused $*"; REFUSED=1; }
# Whether so many of what is limited are free: setting, number, the view of those that are taken.
has_free() {
  free=$(sql "select current_setting('$1')::int - count(*) from $3")
  [ "$free" -ge "$2" ] || no "$free of $1 are free, and $2 are needed"
}
# What speaks against a source, and what the other side is to be compared with. Its argument says which databases move.
check_source() {
  [ "$(state)" = 0 ] || die "refused it does not run"
  [ "$(sql 'select pg_is_in_recovery()')" = f ] || no "it is a replica itself"
  [ "$(sql "select rolsuper from pg_roles where rolname = current_user")" = t ] || no "$PG_ROLE is no superuser"
  for keeper in patroni repmgrd pg_autoctl; do
    if ps -eo comm,args | grep -v grep | grep -q "$keeper"; then no "$keeper is in charge here: it would start or promote servers on its own"; fi
  done
  others=$(sql "select count(*) from pg_replication_slots where slot_name !~ '^migrate_'")
  [ "$others" = 0 ] || echo "risk it has $others slots of others, whose readers do not move with it"
  long=$(sql "select count(*) from pg_stat_activity where backend_type = 'client backend' and now() - xact_start > interval '1 minute'")
  [ "$long" = 0 ] || echo "risk $long transactions are open for more than a minute: the fence ends them"
  [ "$(sql 'show max_slot_wal_keep_size')" != -1 ] || echo "note max_slot_wal_keep_size is not set: a target that falls behind keeps WAL on the source without a limit"
  [ "$(sql 'show data_checksums')" = on ] || echo "note it has no data checksums: damage on its disk is carried along"
  echo "version $(sql "select current_setting('server_version_num')::int / 10000")"
  echo "arch $(uname -m)"
  echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null || echo unknown)"
  echo "collations $(sql "select count(*) from pg_database where datallowconn and datlocprovider = 'c' and datcollate not in ('C', 'POSIX')" 2>/dev/null ||
    sql "select count(*) from pg_database where datallowconn and datcollate not in ('C', 'POSIX')")"
  echo "bytes $(sql "select coalesce(sum(pg_database_size(oid)), 0)::bigint from pg_database where $1")"
  echo "system $(sql 'select system_identifier from pg_control_system()')"
  for db in $(sql "select datname from pg_database where datallowconn and not datistemplate and $1"); do
    as_owner "$BIN/psql" -XAtq -h "$SOCKET" -p "$PORT" -U "$PG_ROLE" -d "$db" -c "select 'extension ' || extname from pg_extension"
  done | sort -u
}
# What a target is compared by, and what is free where its data will be.
tell_target() {
  echo "version $("$BIN/postgres" --version | sed 's/^[^0-9]*//; s/[^0-9].*//')"
  echo "arch $(uname -m)"
  echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null || echo unknown)"
  free=$(df -Pk "$1" | { read -r _ && read -r _ _ _ free _ && echo "$free"; }) || free=
  case $free in '' | *[!0-9]*) ;; *) echo "free $((free * 1024))" ;; esac
  home=$(dirname "$(dirname "$(readlink -f "$BIN/postgres")")")
  for file in "/usr/share/${home#/usr/lib/}"/extension/*.control "$home"/share/extension/*.control "$home"/share/postgresql/extension/*.control; do
    [ ! -e "$file" ] || { name=${file##*/} && echo "extension ${name%.control}"; }
  done
}
