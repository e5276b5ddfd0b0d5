# Both clusters and the pooler. Run with /bin/sh.
set -eu
as_owner() { if [ "$(id -un)" = "$OWNER" ]; then "$@"; else runuser -u "$OWNER" -- "$@"; fi; }
of() { eval "echo \"\$$1_$2\""; }
sql() { side=$1 && shift && "$BIN/psql" -XAtqw -v ON_ERROR_STOP=1 -h "$(of "$side" SOCKET)" -p "$(of "$side" PORT)" -U postgres -d "$DATABASE" -c "$*"; }
console() { "$BIN/psql" -XAtqw -h "$NEW_SOCKET" -p "$POOLER" -U pgbouncer -d pgbouncer -c "$*"; }
link_to() { echo "host=$(of "$1" IP) port=$(of "$1" PORT) user=replicator passfile=$(of "$2" SOCKET)/passfile application_name=hand"; }
now() { date +%s%N; }
until_so() { until "$@"; do sleep 0.02; done; }
point() {
  sed -i "s/^app = host=[^ ]* port=[^ ]*/app = host=$(of "$1" IP) port=$(of "$1" PORT)/" "$NEW_SOCKET/pooler.ini"
  console RELOAD
  console 'RESUME app'
  echo "closed $((($(now) - began) / 1000000))"
}
