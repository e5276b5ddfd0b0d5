# What log.sh and sqlite.sh have in common: a loop on the one that takes calls `ship`, as long as there is a link.
#
# Variables of the inventory: `data` is the directory of a host, `reach` the words before a command that is to run on it.
set -eu

case $MIGRATE_SIDE in from) here=$MIGRATE_FROM_data ;; *) here=$MIGRATE_TO_data ;; esac
at_source() { $MIGRATE_FROM_reach "$1" </dev/null; }

# The loop ends when `link` is gone; its lock says that it has.
end_link() {
  [ -d "$here" ] || return 0
  rm -f "$here/link"
  flock "$here/ship.lock" true
  rm -f "$here/ship.lock"
}

# The verbs about it; the way back has the same ones, with the roles swapped.
on_link() {
  case $1 in
  link)
    : >"$here/link"
    setsid sh "$0" loop </dev/null >/dev/null 2>&1 &
    ;;
  loop)
    exec 8>"$here/ship.lock"
    flock -n 8 || exit 0
    while [ -e "$here/link" ]; do
      ship || :
      sleep 0.1
    done
    ;;
  linked) [ -e "$here/link" ] && ! flock -n "$here/ship.lock" true ;;
  unlink) end_link ;;
  *) echo "unknown verb $1" >&2; exit 2 ;;
  esac
}
