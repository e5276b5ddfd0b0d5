# One server of Redis or Valkey on this side of its move. Run with /bin/sh; the values come from the environment.
set -eu
case $MIGRATE_SIDE in
from)
  HOST=$REDIS_FROM_HOST PORT=$REDIS_FROM_PORT CONFIG=$REDIS_FROM_CONFIG CLI=$REDIS_FROM_CLI NAME=$REDIS_FROM_USER PASSWORD=${REDIS_FROM_PASSWORD-}
  PEER=$REDIS_TO_ADDRESS PEER_PORT=$REDIS_TO_PORT PEER_NAME=$REDIS_TO_USER PEER_PASSWORD=${REDIS_TO_PASSWORD-}
  ;;
*)
  HOST=$REDIS_TO_HOST PORT=$REDIS_TO_PORT CONFIG=$REDIS_TO_CONFIG CLI=$REDIS_TO_CLI NAME=$REDIS_TO_USER PASSWORD=${REDIS_TO_PASSWORD-}
  PEER=$REDIS_FROM_ADDRESS PEER_PORT=$REDIS_FROM_PORT PEER_NAME=$REDIS_FROM_USER PEER_PASSWORD=${REDIS_FROM_PASSWORD-}
  ;;
esac
# What this move must know of before it: gone when it is over.
NOTES=$CONFIG.migrate-$REDIS_JOB
# A closed server follows this address, at which nobody is: it takes no writes, keeps what it has, and goes on giving it to its own replicas.
NOBODY='127.0.0.1 1'

die() { echo "$*" >&2; exit 1; }
if [ -z "$CLI" ]; then
  for CLI in redis-cli valkey-cli; do ! command -v "$CLI" >/dev/null || break; done
fi

# Passwords go by the environment of the client, or by its standard input; never as its arguments.
at() (
  host=$1 port=$2 name=$3 password=$4
  shift 4
  unset REDISCLI_AUTH
  [ -z "$password" ] || export REDISCLI_AUTH="$password"
  exec $CLI -h "$host" -p "$port" ${name:+--user "$name"} "$@"
)
ask() { at "$HOST" "$PORT" "$NAME" "$PASSWORD" "$@"; }
ask_peer() { at "$PEER" "$PEER_PORT" "$PEER_NAME" "$PEER_PASSWORD" "$@"; }
# The client ends well whatever the server answers.
must() { answer=$(ask "$@" 2>&1) && [ "$answer" = OK ] || die "$1 ${2-}: $answer"; }
info() {
  INFO=$(ask INFO 2>&1 | tr -d '\r')
  [ -n "$(field role)" ] || die "it does not say how it is: $INFO"
}
field() { printf '%s\n' "$INFO" | sed -n "s/^$1://p"; }
setting() {
  answer=$(ask CONFIG GET "$1" 2>&1)
  [ "$(printf '%s\n' "$answer" | sed -n 1p)" = "$1" ] || die "CONFIG GET $1: $answer"
  printf '%s\n' "$answer" | sed -n 2p
}
role() { ask ROLE 2>&1 | sed -n 1p; }
follows() { ask ROLE 2>&1 | sed -n '2,3p' | paste -sd ' ' -; }
# What it would follow when it is started again.
kept() { sed -n 's/^[[:space:]]*\(replicaof\|slaveof\)[[:space:]][[:space:]]*//Ip' "$CONFIG"; }
# Changes whom it follows, now and for every restart, in one transaction.
become() {
  answers=$(printf 'MULTI\nREPLICAOF %s\nCONFIG REWRITE\nEXEC\n' "$1" | ask 2>&1) || die "it does not answer: $answers"
  case $1 in
  'NO ONE') [ "$(role)" = master ] && [ -z "$(kept)" ] ;;
  *) [ "$(role)" = slave ] && [ "$(follows)" = "$1" ] && [ "$(kept)" = "$1" ] ;;
  esac || die "it does not become what it was told, or does not keep it in $CONFIG: $(printf %s "$answers" | tr '\n' ' ')"
}
is_empty() { ! ask INFO keyspace | grep -q '^db'; }
noted() { grep -qs "^$1" "$NOTES"; }
note() { echo "$1" >>"$NOTES"; }
# Lets it follow the other side, whose password it needs to know for that.
follow() {
  if [ -n "$PEER_PASSWORD" ]; then
    answer=$(printf %s "$PEER_PASSWORD" | ask -x CONFIG SET masterauth 2>&1)
    [ "$answer" = OK ] || die "CONFIG SET masterauth: $answer"
  fi
  [ -z "$PEER_NAME" ] || must CONFIG SET masteruser "$PEER_NAME"
  become "$PEER $PEER_PORT"
}
is_linked() {
  info
  [ "$(field role)" = slave ] && [ "$(field master_link_status)" = up ] && [ "$(field master_host) $(field master_port)" = "$PEER $PEER_PORT" ] &&
    [ "$(kept)" = "$PEER $PEER_PORT" ]
}
# What it was asked for and could not do, since it is known to this move: then it lacks what its source has.
has_refused() {
  now=$(field unexpected_error_replies) then=$(sed -n 's/^errors //p' "$NOTES" 2>/dev/null)
  [ "${now:-0}" -gt "${then:-0}" ]
}
# Puts back what was changed of its settings, and what is kept of them.
forget() {
  [ -e "$NOTES" ] || exit 0
  noted 'auth yes' || must CONFIG SET masterauth ''
  must CONFIG SET masteruser "$(sed -n 's/^user //p' "$NOTES")"
  must CONFIG REWRITE
  rm -f -- "$NOTES"
}
number() { echo "$1" | awk -F. '{ print $1 * 1000 + $2 }'; }

# What speaks against it on either side.
check() {
  REFUSED=0
  no() { echo "refused $*"; REFUSED=1; }
  command -v "${CLI%% *}" >/dev/null || die "refused there is no ${CLI%% *}: say \`cli\`"
  answer=$(ask PING 2>&1) || die "refused it does not answer: $answer"
  [ "$answer" = PONG ] || die "refused it does not answer: $answer"
  info
  VERSION=$(field redis_version) VALKEY=$(field valkey_version)
  [ "$(number "$VERSION")" -ge "$(number 6.2)" ] || no "it is version $VERSION, and 6.2 is needed"
  [ "$(field redis_mode)" != cluster ] && [ "$(field cluster_enabled)" != 1 ] || no "it runs as a part of a cluster, which moves its slots by itself"
  [ "$(setting replica-read-only)" = yes ] || no "replica-read-only is off: nothing would keep it from taking writes"
  if ask CLIENT LIST | grep -q 'name=sentinel-'; then no "a Sentinel watches it, and would make another server the master"; fi
  file=$(field config_file)
  if [ -z "$file" ]; then no "it was started without a configuration file, so that a restart would forget whom it follows"
  elif [ "$(readlink -f "$file")" != "$(readlink -f "$CONFIG")" ]; then no "its configuration is $file: say \`config\`"
  elif [ ! -r "$CONFIG" ] || [ ! -w "$(dirname "$CONFIG")" ]; then no "$(id -un) may not read $CONFIG and write beside it"
  fi
  ! tr '\0' '\n' <"/proc/$(field process_id)/cmdline" 2>/dev/null | grep -qix -e '--replicaof' -e '--slaveof' || no "its command line says whom it follows, and would say so again after a restart"
  [ -n "$(setting save)" ] || [ "$(setting appendonly)" = yes ] || echo "risk it keeps nothing on its disk: when it is started again it is empty"
  echo "server $(field run_id)"
}

case $1 in
check-from)
  check
  [ "$(field role)" = master ] || no "it follows another server"
  replicas=$(field connected_slaves)
  noted errors || [ "$replicas" = 0 ] || echo "risk it has $replicas replicas of others, which do not move with it"
  [ "$(setting repl-backlog-size)" -gt 1048576 ] || echo "note its repl-backlog-size is $(setting repl-backlog-size): a link that is cut for longer than it takes to write that copies all again"
  [ "$(setting replica-serve-stale-data)" = yes ] || echo "note replica-serve-stale-data is off: while it is closed it answers no reads either"
  exit $REFUSED
  ;;
check-to)
  check
  # What this run has put there is no stranger.
  if ! noted errors; then
    [ "$(field role)" = master ] || no "it follows another server already"
    is_empty || no "it is not empty: the copy would take the place of what it has"
    [ "$(field connected_slaves)" = 0 ] || no "it has replicas of its own"
  fi
  auth=$(setting masterauth)
  [ -z "$auth" ] || [ "$auth" = "$PEER_PASSWORD" ] || no "it has a masterauth that is not the password of the source"
  most=$(field maxmemory) room=$(awk '/^MemAvailable:/ { printf "%.0f\n", $2 * 1024 }' /proc/meminfo 2>/dev/null || :)
  databases=$(setting databases)
  users=$(ask ACL USERS) modules=$(ask MODULE LIST | awk 'p == "name" { print } { p = $0 }')
  INFO=$(ask_peer INFO 2>&1 | tr -d '\r') || :
  [ -n "$(field role)" ] || { no "it does not get through to the source at $PEER port $PEER_PORT: $INFO" && exit 1; }
  echo "source $(field run_id)"
  there=$(field redis_version) valkey=$(field valkey_version)
  # All versions of Valkey say that they are one of Redis, and which one they are besides.
  [ -z "$valkey" ] || [ -z "$VALKEY" ] || { there=$valkey && VERSION=$VALKEY; }
  [ "$(number "$there")" -le "$(number "$VERSION")" ] || no "it is version $VERSION and the source is $there: an older one cannot read what a newer one has written"
  used=$(field used_memory)
  [ "$most" = 0 ] || [ "$most" -ge "$used" ] || no "its maxmemory is $most bytes and the source uses $used: it would throw data away"
  [ -z "$room" ] || [ "$room" -ge "$used" ] || no "it has $room bytes of memory left and the source uses $used"
  last=$(printf '%s\n' "$INFO" | sed -n 's/^db\([0-9]*\):.*/\1/p' | sort -n | tail -1)
  [ "${last:-0}" -lt "$databases" ] || no "it has $databases databases, and the source uses number $last"
  for module in $(ask_peer MODULE LIST | awk 'p == "name" { print } { p = $0 }'); do
    printf '%s\n' "$modules" | grep -qx -e "$module" || no "it lacks the module $module of the source"
  done
  for user in $(ask_peer ACL USERS); do
    printf '%s\n' "$users" | grep -qx -e "$user" || echo "risk it lacks the user $user of the source: users do not move with the data"
  done
  exit $REFUSED
  ;;
prepare)
  info
  if ! noted errors; then
    auth=$([ -z "$(setting masterauth)" ] && echo no || echo yes)
    printf 'auth %s\nuser %s\nerrors %s\n' "$auth" "$(setting masteruser)" "$(field unexpected_error_replies)" >"$NOTES.new"
    mv -- "$NOTES.new" "$NOTES"
  fi
  # What cannot be kept is better found now than in the freeze.
  must CONFIG REWRITE
  ;;
prepared) noted errors ;;
forget) forget ;;
seed)
  if [ "$(role)" = master ]; then
    is_empty || die "it is not empty"
    note seeded
  fi
  noted seeded || die "it was not empty when this run came to it"
  follow
  silent=0
  while ! is_linked; do
    [ "$(field role)" = slave ] || die "it does not follow any more"
    if [ "$(field master_sync_in_progress)" = 0 ]; then silent=$((silent + 1)); else silent=0; fi
    [ "$silent" -lt 600 ] || die "it has not begun to copy for two minutes: look at its log"
    sleep 0.2
  done
  ;;
unseed)
  noted seeded || exit 0
  if [ "$(role)" = slave ]; then
    case $(follows) in "$PEER $PEER_PORT" | "$NOBODY") ;; *) die "it follows $(follows), which this run has not told it" ;; esac
    note emptied
    become 'NO ONE'
  fi
  # One that takes writes without being emptied is no replica any more.
  noted emptied || is_empty || die "it takes writes: it is not what this run has put there"
  must FLUSHALL
  sed -i '/^seeded$/d; /^emptied$/d' "$NOTES"
  ;;
link)
  is_linked || follow
  tries=300
  until is_linked; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "the link does not come up: look at its log"
    sleep 0.2
  done
  ;;
linked) is_linked ;;
unlink)
  # One that has taken over by now follows nobody.
  [ "$(role)" != slave ] || [ "$(follows)" != "$PEER $PEER_PORT" ] || become "$NOBODY"
  ;;
lag)
  info
  end=$(field master_repl_offset)
  printf '%s\n' "$INFO" | awk -F'[:,=]' -v port="$PEER_PORT" -v end="$end" '
    /^slave[0-9]+:/ { for (n = 2; n < NF; n += 2) got[$n] = $(n + 1)
      if (got["port"] == port && got["state"] == "online") { lacks = end - got["offset"]; if (!found || lacks > most) most = lacks; found = 1 } }
    END { if (!found) exit 1; printf "%.0f\n", (most > 0 ? most : 0) }' || die "nobody follows it from port $PEER_PORT"
  ;;
digest) ask INFO keyspace | tr -d '\r' | sed -n 's/^\(db[0-9]*:keys=[0-9]*,expires=[0-9]*\).*/\1/p' ;;
fence) become "$NOBODY" ;;
unfence) become 'NO ONE' ;;
writer)
  case $(role) in
  master) echo yes ;;
  slave)
    [ "$(setting replica-read-only)" = yes ] || { echo yes && exit 0; }
    [ -n "$(kept)" ] || die "it follows, and would take writes when it is started again: $CONFIG does not say so"
    echo no
    ;;
  *refused) if [ -n "$(kept)" ]; then echo no; else die "it does not run, and would take writes when it is started"; fi ;;
  *) die "it does not answer: $(role)" ;;
  esac
  ;;
position)
  info
  echo "$(field master_replid):$(field master_repl_offset)"
  ;;
reached)
  info
  ! has_refused || die "it has refused $(field unexpected_error_replies) commands of its source: look at its log"
  [ "$(field master_replid)" = "${MIGRATE_POSITION%:*}" ] && [ "$(field master_repl_offset)" -ge "${MIGRATE_POSITION#*:}" ] ||
    die "it is at $(field master_replid):$(field master_repl_offset)"
  ;;
promote) become 'NO ONE' ;;
release) forget ;;
*) die "unknown verb $1" ;;
esac
