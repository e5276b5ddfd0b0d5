#!/bin/sh
# An append-only log with one writer, and its replica: `log.sh VERB`, the same on both hosts. See docs/replica.md.
#
# Each host has a directory with `entries`, and with `role`, which says `writer` or `reader`. Whoever appends does so under a lock on
# `lock`, and only while the role is `writer`. Variables of the inventory: `data` is that directory, `reach` the words before a command
# that is to run on the host.
set -eu

case $MIGRATE_SIDE in from) here=$MIGRATE_FROM_data ;; *) here=$MIGRATE_TO_data ;; esac
at_source() { $MIGRATE_FROM_reach "$1" </dev/null; }
size() { stat -c %s "$here/entries"; }

# What is in the file is whole, or is not there yet.
become() {
  (
    flock 9
    echo "$1" >"$here/role.new"
    mv "$here/role.new" "$here/role"
  ) 9>>"$here/lock"
}

# A part that was cut off goes on where it ended.
ship() { at_source "tail -c +$(($(size) + 1)) '$MIGRATE_FROM_data/entries'" >>"$here/entries"; }

# The loop ends when `link` is gone; its lock says that it has.
unlink_() {
  rm -f "$here/link"
  flock "$here/ship.lock" true
}

case $1 in
seed)
  mkdir -p "$here"
  become reader
  : >"$here/entries"
  ship
  ;;
unseed) rm -rf "$here" ;;
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
unlink) [ ! -d "$here" ] || unlink_ ;;
lag) echo $(($(at_source "stat -c %s '$MIGRATE_FROM_data/entries'") - $(size))) ;;
digest) head -c "$MIGRATE_POSITION" "$here/entries" | sha256sum ;;
position) size ;;
reached) [ "$(size)" -ge "$MIGRATE_POSITION" ] || { echo "has $(size) bytes" >&2; exit 1; } ;;
fence) become reader ;;
unfence) become writer ;;
writer) case $(cat "$here/role") in writer) echo yes ;; reader) echo no ;; esac ;;
promote)
  unlink_
  become writer
  ;;
release) rm -f "$here/ship.lock" ;;
*) echo "unknown verb $1" >&2; exit 2 ;;
esac
