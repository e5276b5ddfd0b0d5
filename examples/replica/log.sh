#!/bin/sh
# An append-only log with one writer, and its replica: `log.sh VERB`, the same on both hosts. See docs/replica.md.
#
# Each host has a directory with `entries`, and with `role`, which says `writer` or `reader`. Whoever appends does so under a lock on
# `lock`, and only while the role is `writer`.
. "$(dirname "$0")/ship.sh"

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

case $1 in
seed)
  mkdir -p "$here"
  become reader
  : >"$here/entries"
  ship
  ;;
unseed) rm -rf "$here" ;;
lag) echo $(($(at_source "stat -c %s '$MIGRATE_FROM_data/entries'") - $(size))) ;;
digest) head -c "$MIGRATE_POSITION" "$here/entries" | sha256sum ;;
position) size ;;
reached) [ "$(size)" -ge "$MIGRATE_POSITION" ] || { echo "has $(size) bytes" >&2; exit 1; } ;;
fence) become reader ;;
unfence) become writer ;;
writer) case $(cat "$here/role") in writer) echo yes ;; reader) echo no ;; esac ;;
promote)
  end_link
  become writer
  ;;
release) rm -f "$here/role.new" ;;
*) on_link "$1" ;;
esac
