# Both servers. Run with /bin/sh.
set -eu
of() { eval "echo \"\$$1_$2\""; }
ask() { side=$1 && shift && redis-cli -h "$(of "$side" IP)" -p "$(of "$side" PORT)" "$@"; }
now() { date +%s%N; }
until_so() { until "$@"; do sleep 0.02; done; }
is_up() { ask "$1" info replication | grep -q '^master_link_status:up'; }
is_master() { [ "$(ask "$1" role | head -n 1)" = master ]; }
# From the first to the second.
switch() {
  began=$(now)
  ask "$1" failover to "$(of "$2" IP)" "$(of "$2" PORT)" timeout 5000 >/dev/null
  until_so is_master "$2"
  echo "closed $((($(now) - began) / 1000000))"
  until_so is_up "$1"
  for side in "$1" "$2"; do ask "$side" config rewrite >/dev/null; done
}

case $1 in
there)
  for side in OLD NEW; do ask "$side" config set replica-announce-ip "$(of "$side" IP)" >/dev/null; done
  ask NEW replicaof "$OLD_IP" "$OLD_PORT" >/dev/null
  until_so is_up NEW
  switch OLD NEW
  ;;
back)
  switch NEW OLD
  ask NEW replicaof no one >/dev/null
  ask NEW flushall >/dev/null
  for side in OLD NEW; do
    ask "$side" config set replica-announce-ip '' >/dev/null
    ask "$side" config rewrite >/dev/null
  done
  ;;
esac
