#!/bin/sh
# A table in SQLite and its replica: `sqlite.sh VERB`, the same on both hosts. See docs/replica.md.
#
# Triggers write every change of `entries` into `migrate_changes`, and let nobody write while `migrate_role` says so: in the file itself,
# whatever starts the program again. The replica runs these changes, and its own triggers write the same ones with the same numbers: the
# last number is how far it is. The database is app.db in the directory of its host.
. "$(dirname "$0")/ship.sh"
source_db=$MIGRATE_FROM_data/app.db
sql() { sqlite3 -bail -cmd '.timeout 5000' "$here/app.db" "$1"; }
ask_source() { at_source "sqlite3 -bail -cmd '.timeout 5000' '$source_db' \"$1\""; }
last() { sql 'select coalesce(max(seq), 0) from migrate_changes'; }

prepare() {
  sql "
    begin immediate;
    create table if not exists migrate_role(writes integer not null);
    insert into migrate_role select 1 where not exists (select 1 from migrate_role);
    create table if not exists migrate_changes(seq integer primary key autoincrement, sql text not null);
    create trigger if not exists migrate_fence_insert before insert on entries
      when (select writes from migrate_role) = 0 begin select raise(abort, 'not the writer'); end;
    create trigger if not exists migrate_fence_update before update on entries
      when (select writes from migrate_role) = 0 begin select raise(abort, 'not the writer'); end;
    create trigger if not exists migrate_fence_delete before delete on entries
      when (select writes from migrate_role) = 0 begin select raise(abort, 'not the writer'); end;
    create trigger if not exists migrate_log_insert after insert on entries begin
      insert into migrate_changes(sql) values (printf('insert into entries(id, word) values (%d, %Q)', new.id, new.word)); end;
    create trigger if not exists migrate_log_update after update on entries begin
      insert into migrate_changes(sql)
      values (printf('update entries set id = %d, word = %Q where id = %d', new.id, new.word, old.id)); end;
    create trigger if not exists migrate_log_delete after delete on entries begin
      insert into migrate_changes(sql) values (printf('delete from entries where id = %d', old.id)); end;
    commit;"
}

forget_changes() {
  for change in insert update delete; do sql "drop trigger if exists migrate_log_$change"; done
  sql 'drop table if exists migrate_changes'
  rm -f "$here/changes"
}

# The old one keeps its fence, so that nobody writes to it by mistake.
forget_all() {
  forget_changes
  for change in insert update delete; do sql "drop trigger if exists migrate_fence_$change"; done
  sql 'drop table if exists migrate_role'
}

# All changes that are not here yet, in one transaction with the right to write.
ship() {
  after=$(last) && ask_source "select sql || ';' from migrate_changes where seq > $after order by seq" >"$here/changes" || return
  [ -s "$here/changes" ] || return 0
  {
    echo 'begin immediate; update migrate_role set writes = 1;'
    cat "$here/changes"
    echo 'update migrate_role set writes = 0; commit;'
  } | sqlite3 -bail -cmd '.timeout 5000' "$here/app.db"
}

case $1 in
prepare) prepare ;;
unprepare) forget_all ;;
seed)
  mkdir -p "$here"
  # Nobody may write to the copy, from its first moment on.
  at_source "rm -f '$source_db.seed'"
  ask_source "vacuum into '$source_db.seed'"
  at_source "cat '$source_db.seed' && rm '$source_db.seed'" >"$here/seed.db"
  sqlite3 -bail "$here/seed.db" 'update migrate_role set writes = 0'
  mv "$here/seed.db" "$here/app.db"
  ;;
unseed) rm -rf "$here" ;;
lag) ask_source "select coalesce(sum(length(sql)), 0) from migrate_changes where seq > $(last)" ;;
digest) sql 'select id, word from entries order by id' | sha256sum ;;
position) last ;;
reached) [ "$(last)" -ge "$MIGRATE_POSITION" ] || { echo "has $(last)" >&2; exit 1; } ;;
fence) sql 'update migrate_role set writes = 0' ;;
unfence) sql 'update migrate_role set writes = 1' ;;
writer) sql "select case writes when 1 then 'yes' when 0 then 'no' end from migrate_role" ;;
promote)
  end_link
  sql 'update migrate_role set writes = 1'
  ;;
release-source) forget_changes ;;
release-target) forget_all ;;
*) on_link "$1" ;;
esac
