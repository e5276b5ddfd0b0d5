# One database of one PgBouncer, on its host. Run with /bin/sh; the values come from the environment.
set -euf
cd /
# A line may hold a password.
umask 077
CONFIG=$(readlink -f "$PGB_CONFIG") || CONFIG=$PGB_CONFIG
# The line of the database as it was before the move, and who may end a pause.
WAS=$CONFIG.migrate-$(printf %s "${MIGRATE_RUN-}" | tr -c A-Za-z0-9_.- _)-$PGB_JOB
TURN=$WAS.turn

# Debian's psql looks for the right version in Perl: a tenth of a second each time, for which everybody waits.
PSQL=psql
set +f
for found in /usr/lib/postgresql/*/bin/psql; do [ ! -x "$found" ] || PSQL=$found; done
set -f

die() { echo "$*" >&2; exit 1; }
as_user() { if [ "$(id -un)" = "$PGB_USER" ]; then "$@"; else runuser -u "$PGB_USER" -- "$@"; fi; }
# Without a session of its own, which takes several times as long.
if [ "$(id -u)" = 0 ] && GROUP=$(id -gn "$PGB_USER") && setpriv --reuid="$PGB_USER" --regid="$GROUP" --init-groups true 2>/dev/null; then
  as_user() { setpriv --reuid="$PGB_USER" --regid="$GROUP" --init-groups "$@"; }
fi
# Statements to the console, for so many seconds at most: who does not wait any more has gone, and his PAUSE with him. It goes on after one
# that is refused.
console() {
  limit=$1
  shift
  for said; do
    shift
    set -- "$@" -c "$said"
  done
  as_user timeout "$limit" "$PSQL" -XAqw -h "$PGB_SOCKET" -p "$PGB_PORT" -U "$PGB_ADMIN" -d pgbouncer "$@" </dev/null
}
# What SHOW DATABASES says of the database in these columns.
columns() {
  awk -F'|' -v db="$PGB_DATABASE" -v want="$*" '
    $1 == "name" { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $at["name"] == db { n = split(want, words, " "); for (i = 1; i <= n; i++) printf "%s%s", $at[words[i]], i < n ? ":" : "\n" }'
}
# The line of the database; with an argument, the file with that in its place.
line() {
  LINE=${1-} awk -v db="$PGB_DATABASE" -v put="$#" '
    /^[ \t]*\[/ { inside = /^[ \t]*\[databases\]/ }
    { own = $0; sub(/^[ \t]*/, "", own); sub(/[ \t]*=.*/, "", own); is = inside && own == db }
    put && is { print ENVIRON["LINE"]; next }
    put || is { print }' "$CONFIG"
}
# Puts a line in the place of the databases, and lets the pooler read it.
point() {
  if [ "$(line)" != "$1" ]; then
    cp -p "$CONFIG" "$CONFIG.migrate-new"
    line "$1" >"$CONFIG.migrate-new"
    [ "$(grep -c '' "$CONFIG.migrate-new")" = "$(grep -c '' "$CONFIG")" ] || die "$CONFIG would not be the same with another line for $PGB_DATABASE"
    sync "$CONFIG.migrate-new"
    mv -f "$CONFIG.migrate-new" "$CONFIG"
  fi
  read_again "$1"
}
# The value of a word of a line; nothing where it does not have it.
word() {
  for said in ${2#*=}; do
    case $said in "$1="*) echo "${said#*=}" && return ;; esac
  done
}
# Lets the pooler read where it goes to, and asks it.
read_again() {
  wanted=$(word host "$1"):$(word port "$1 port=5432")
  n=50
  until at=$(console 10 RELOAD 'SHOW DATABASES' | columns host port) && [ "$at" = "$wanted" ]; do
    n=$((n - 1))
    [ "$n" -gt 0 ] || die "the pooler goes to $at for $PGB_DATABASE, and not to $wanted, after it has read $CONFIG again"
    sleep 0.1
  done
}
# It is refused where nobody has paused: that is what is wanted.
open() {
  case $(console 10 "RESUME $PGB_DATABASE" 'SHOW DATABASES' 2>/dev/null | columns paused) in
  0) ;;
  1) die "$PGB_DATABASE is still paused" ;;
  *) die "the console of PgBouncer does not say whether $PGB_DATABASE is paused" ;;
  esac
}
# Resumes when nobody has done so for too long, whatever has become of who paused.
guard() {
  turn=$(date +%s%N).$$
  printf '%s\n' "$turn" >"$TURN"
  MIGRATE_TURN=$turn setsid sh -c 'set -- guarded; eval "$MIGRATE_PGBOUNCER"' >/dev/null 2>&1 </dev/null &
}

case $1 in
check)
  command -v "$PSQL" >/dev/null || die "refused there is no psql, which the pooler is asked with"
  if [ "$(id -un)" != root ] && [ "$(id -un)" != "$PGB_USER" ]; then die "refused the login is neither root nor $PGB_USER"; fi
  console 10 'SHOW VERSION' >/dev/null || die "refused the console of PgBouncer does not let $PGB_ADMIN in at $PGB_SOCKET, port $PGB_PORT"
  told=$(console 10 'SHOW DATABASES' | columns host port pool_mode paused)
  case $told in '' | :*) die "refused PgBouncer has no database $PGB_DATABASE, or none with a host" ;; esac
  [ "$(line | grep -c '')" = 1 ] || die "refused there is not one line for $PGB_DATABASE under [databases] in $CONFIG"
  case $(line) in *"'"*) die "refused the line for $PGB_DATABASE in $CONFIG has quotes" ;; esac
  if ! [ -w "$CONFIG" ] || ! [ -w "$(dirname "$CONFIG")" ]; then die "refused $CONFIG cannot be changed"; fi
  case $told in *:1) echo "refused $PGB_DATABASE is paused already" ;; esac
  settings=$(console 10 'SHOW CONFIG')
  mode=$(printf '%s\n' "$settings" | awk -F'|' '$1 == "pool_mode" { print $2 }')
  case $told/$mode in *:session:*/* | *::?/session) echo "refused its pool_mode is session: PAUSE would wait until all clients have left" ;; esac
  # In seconds; 0 is for ever.
  patience=$(printf '%s\n' "$settings" | awk -F'|' '$1 == "query_wait_timeout" && $2 + 0 > 0 { print $2 }')
  case ${patience:-0} in *[!0-9]* | 0) ;; *)
    [ "$patience" -gt "${PGB_AFTER%.*}" ] || echo "risk its query_wait_timeout is $patience s: clients that wait for longer are ended, and a pause may last for ${PGB_AFTER%.*} s"
    ;;
  esac
  ;;
pause)
  [ -e "$WAS" ] || { line >"$WAS.new" && sync "$WAS.new" && mv "$WAS.new" "$WAS"; }
  guard
  n=0
  until [ "$(console "$PGB_WITHIN" "PAUSE $PGB_DATABASE" 'SHOW DATABASES' 2>/dev/null | columns paused)" = 1 ]; do
    # Nobody may wait for it meanwhile.
    open
    n=$((n + 1))
    [ "$n" -lt 5 ] || die "transactions of $PGB_DATABASE are open for longer than $PGB_WITHIN seconds, and PAUSE was given up $n times; everybody goes on"
    sleep 1
  done
  echo "$PGB_DATABASE is paused"
  ;;
guarded)
  sleep "$PGB_AFTER"
  until [ "$(cat "$TURN" 2>/dev/null)" != "$MIGRATE_TURN" ]; do
    if (open); then rm -f "$TURN"; exit 0; fi
    sleep 1
  done
  ;;
there)
  was=$(cat "$WAS")
  rest=$(printf '%s' "${was#*=}" | sed 's/\(^\|[ 	]\)\(host\|port\)=[^ 	]*//g')
  new="$PGB_DATABASE = host=$PGB_HOST port=$PGB_TARGET_PORT$rest"
  point "$new"
  open
  rm -f "$TURN"
  echo "$PGB_DATABASE goes to ${at-where it went}"
  ;;
back)
  if [ -e "$WAS" ]; then
    was=$(cat "$WAS")
    point "$was"
  fi
  open
  rm -f "$TURN" "$WAS"
  echo "$PGB_DATABASE goes to ${at-where it went}"
  ;;
forget) rm -f "$TURN" "$WAS" ;;
*) die "there is no $1" ;;
esac
