# One server of MariaDB on this side of its move. Run with /bin/sh; the values come from the environment.
set -eu
case $MIGRATE_SIDE in
from)
  CONFIG=$MYSQL_FROM_CONFIG SOCKET=$MYSQL_FROM_SOCKET NAME=$MYSQL_FROM_USER PASSWORD=${MYSQL_FROM_PASSWORD-} PEER=$MYSQL_TO_ADDRESS PEER_PORT=$MYSQL_TO_PORT
  ;;
*)
  CONFIG=$MYSQL_TO_CONFIG SOCKET=$MYSQL_TO_SOCKET NAME=$MYSQL_TO_USER PASSWORD=${MYSQL_TO_PASSWORD-} PEER=$MYSQL_FROM_ADDRESS PEER_PORT=$MYSQL_FROM_PORT
  ;;
esac
# What keeps a closed server closed when it is started again, and what says that this run has filled it.
CLOSED=$CONFIG/zz-migrate-$MYSQL_JOB.cnf
SEEDED=$CONFIG/zz-migrate-$MYSQL_JOB.seeded
OWN="'mysql', 'information_schema', 'performance_schema', 'sys'"

die() { echo "$*" >&2; exit 1; }
# Passwords go by the environment of the client, or by its standard input; never as its arguments.
client() { MYSQL_PWD=$PASSWORD mariadb -S "$SOCKET" -u "$NAME" -NBr "$@"; }
peer() { MYSQL_PWD=$MYSQL_LINK_PASSWORD mariadb -h "$PEER" -P "$PEER_PORT" -u "$MYSQL_LINK_USER" $MYSQL_LINK_OPTIONS -NBr -e "$1"; }
ask() { answer=$(client -e "select $1" 2>&1) || die "select $1: $answer"; printf '%s\n' "$answer"; }
do_it() { answer=$(client -e "$1" 2>&1) || die "$1: $answer"; }
# Its init system may just have started it again: an answer is waited for, for less long than a command may take.
until_it_answers() {
  tries=40
  until answer=$(client -e 'select 1' 2>&1); do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "it does not answer: $answer"
    sleep 1
  done
}
quoted() { printf %s "$1" | sed "s/[\\\\']/\\\\&/g"; }
databases() { ask "schema_name from information_schema.schemata where schema_name not in ($OWN)"; }
drop_all() { for name in $(databases); do do_it "set sql_log_bin = 0; drop database \`$name\`"; done; }
slave() { MYSQL_PWD=$PASSWORD mariadb -S "$SOCKET" -u "$NAME" -e 'show slave status\G' 2>/dev/null | sed -n "s/^ *$1: *//p"; }
write_closed() {
  printf '[mariadbd]\nread_only = 1\nevent_scheduler = OFF\n' >"$CLOSED.new"
  sync "$CLOSED.new" 2>/dev/null || sync
  mv -- "$CLOSED.new" "$CLOSED"
}
end_others() {
  for id in $(ask "id from information_schema.processlist where id <> connection_id() and user not in ('system user', 'event_scheduler') and command not in ('Binlog Dump', 'Daemon')"); do
    client -e "kill $id" >/dev/null 2>&1 || :
  done
}
# Takes no writes any more, now and after every restart. It waits for open writes and locks: those who hold them are ended.
shut() {
  write_closed
  until_it_answers
  [ "$(ask @@event_scheduler)" != ON ] || do_it 'set global event_scheduler = off'
  tries=30
  until client -e 'set lock_wait_timeout = 1; set global read_only = 1' >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "it does not become read_only"
    end_others
  done
  end_others
}
unshut() {
  until_it_answers
  do_it 'set global read_only = 0'
  rm -f -- "$CLOSED"
}
# The password is no argument of anything.
follow() {
  ssl=$([ -z "$MYSQL_LINK_OPTIONS" ] && echo 0 || echo 1)
  printf "change master to master_host='%s', master_port=%s, master_user='%s', master_password='%s', master_ssl=%s, master_use_gtid=slave_pos, master_connect_retry=1; start slave;" \
    "$PEER" "$PEER_PORT" "$MYSQL_LINK_USER" "$(quoted "$MYSQL_LINK_PASSWORD")" "$ssl" | client || die "it does not take whom it is to follow"
}
forget_source() { do_it 'stop slave; reset slave all'; }
is_linked() { [ "$(slave Slave_IO_Running)" = Yes ] && [ "$(slave Slave_SQL_Running)" = Yes ] && [ "$(slave Master_Host):$(slave Master_Port)" = "$PEER:$PEER_PORT" ]; }
until_linked() {
  tries=300
  until is_linked; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "the link does not come up: $(slave Last_IO_Error) $(slave Last_SQL_Error)"
    sleep 0.2
  done
}

check() {
  REFUSED=0
  no() { echo "refused $*"; REFUSED=1; }
  command -v mariadb >/dev/null || die "refused there is no client \`mariadb\`"
  answer=$(client -e 'select 1' 2>&1) || die "refused it does not answer: $answer"
  version=$(ask '@@version')
  case $version in *MariaDB*) ;; *) no "it is $version, and no MariaDB" ;; esac
  [ "$(ask @@log_bin)" = 1 ] || no "log_bin is off: nothing can follow it"
  [ "$(ask @@log_slave_updates)" = 1 ] || no "log_slave_updates is off: what it gets is in no log of its own"
  [ "$(ask @@binlog_format)" != STATEMENT ] || no "binlog_format is STATEMENT: what depends on time or place would differ"
  [ "$(ask "coalesce(max(variable_value), 'OFF') from information_schema.global_variables where variable_name = 'wsrep_on'")" = OFF ] || no "it is part of a Galera cluster"
  [ "$(ask "count(*) from information_schema.user_privileges where grantee = concat('\\'', replace(current_user(), '@', '\\'@\\''), '\\'') and privilege_type in ('SUPER', 'READ_ONLY ADMIN')")" != 0 ] || no "$NAME may not change read_only, and could not write behind it"
  [ -d "$CONFIG" ] && [ -w "$CONFIG" ] || no "$(id -un) may not write in $CONFIG"
  others=$(ask "count(distinct grantee) from information_schema.user_privileges where privilege_type in ('SUPER', 'READ_ONLY ADMIN') and grantee not like '\\'root\\'@%' and grantee not like '\\'mariadb.sys\\'@%' and grantee not like '\\'mysql\\'@%'")
  [ "$others" = 0 ] || echo "risk $others users but root may write to it though it is read_only: end them first"
  id=$(ask @@server_id)
  echo "server $id"
}

case $1 in
check-from)
  check
  [ -z "$(slave Master_Host)" ] || no "it follows another server"
  [ "$(ask @@read_only)" = 0 ] || [ -e "$CLOSED" ] || no "it is read_only"
  tables=$(ask "count(*) from information_schema.tables where table_schema not in ($OWN) and table_type = 'BASE TABLE' and engine <> 'InnoDB'")
  [ "$tables" = 0 ] || no "$tables tables are not of InnoDB: a copy of them is not of one moment"
  long=$(ask "count(*) from information_schema.innodb_trx where trx_started < now() - interval 1 minute")
  [ "$long" = 0 ] || echo "risk $long transactions are open for more than a minute: the fence ends them"
  [ -z "$(client -e 'xa recover')" ] || no "it has prepared XA transactions, which do not move"
  [ "$(ask @@event_scheduler)" != ON ] || echo "note it runs events: turn event_scheduler on at the target once that serves"
  exit $REFUSED
  ;;
check-to)
  check
  if ! [ -e "$SEEDED" ]; then
    [ -z "$(slave Master_Host)" ] || no "it follows another server already"
    [ -z "$(databases)" ] || no "it has databases of its own: $(databases | tr '\n' ' ')"
    [ "$(ask @@read_only)" = 0 ] || no "it is read_only"
  fi
  [ "$(ask @@event_scheduler)" != ON ] || no "event_scheduler is on: events that come with the copy would write to it"
  answer=$(peer 'select @@server_id' 2>&1) || { no "it does not get through to the source at $PEER port $PEER_PORT: $answer" && exit 1; }
  echo "source $answer"
  [ "$answer" != "$(ask @@server_id)" ] || no "both have the server_id $answer"
  major() { echo "$1" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/' | awk -F. '{ print $1 * 1000 + $2 }'; }
  there=$(peer 'select @@version')
  [ "$(major "$there")" -le "$(major "$version")" ] || no "it is $version and the source is $there: an older one cannot follow a newer one"
  [ "$(peer 'select @@lower_case_table_names')" = "$(ask @@lower_case_table_names)" ] || no "lower_case_table_names differs from the source's"
  for user in $(peer "select concat(user, '@', host) from mysql.user where user not in ('', 'root', 'mysql', 'mariadb.sys')" 2>/dev/null); do
    [ "$(ask "count(*) from mysql.user where concat(user, '@', host) = '$user'")" != 0 ] || echo "risk it lacks the user $user of the source: users do not move with the data"
  done
  exit $REFUSED
  ;;
seed)
  [ -e "$SEEDED" ] || [ -z "$(databases)" ] || die "it has databases of its own"
  : >"$SEEDED"
  shut
  # What an earlier attempt has left is no part of a copy.
  forget_source
  drop_all
  do_it 'reset master'
  names=$(peer "select schema_name from information_schema.schemata where schema_name not in ($OWN)") || die "the source does not say what it has"
  if [ -n "$names" ]; then
    # A dump that is cut off ends with what is no statement.
    { MYSQL_PWD=$MYSQL_LINK_PASSWORD mariadb-dump -h "$PEER" -P "$PEER_PORT" -u "$MYSQL_LINK_USER" $MYSQL_LINK_OPTIONS --single-transaction --quick --routines --triggers --events --hex-blob \
      --gtid --master-data=1 --databases $names || echo 'the dump has failed;'; } | client --init-command='set sql_log_bin = 0' || die "the copy has failed"
  else
    at=$(peer 'select @@gtid_binlog_pos') || die "the source does not say where it is"
    do_it "set global gtid_slave_pos = '$at'"
  fi
  follow
  until_linked
  ;;
unseed)
  [ -e "$SEEDED" ] || exit 0
  [ "$(ask @@read_only)" = 1 ] || [ -z "$(databases)" ] || die "it takes writes: it is not what this run has put there"
  forget_source
  drop_all
  do_it "reset master; set global gtid_slave_pos = ''"
  unshut
  rm -f -- "$SEEDED"
  ;;
link) is_linked || do_it 'start slave' && until_linked ;;
linked) is_linked ;;
follow)
  [ -e "$CLOSED" ] || die "it is not closed"
  is_linked || { forget_source && do_it 'set global gtid_slave_pos = @@global.gtid_binlog_pos' && follow; }
  until_linked
  ;;
unfollow) [ -z "$(slave Master_Host)" ] || forget_source ;;
lag)
  is_linked || die "it does not follow: $(slave Last_IO_Error) $(slave Last_SQL_Error)"
  end=$(peer 'show master status') || die "the source does not answer: $end"
  printf '%s\n' "$end" | awk -v file="$(slave Relay_Master_Log_File)" -v at="$(slave Exec_Master_Log_Pos)" '{ if ($1 == file) printf "%.0f\n", ($2 > at ? $2 - at : 0); else printf "%.0f\n", $2 + 1073741824 }'
  ;;
fence) shut ;;
unfence) unshut ;;
writer)
  if answer=$(client -e 'select @@global.read_only' 2>&1); then
    case $answer in
    0) echo yes ;;
    1) [ -e "$CLOSED" ] || die "it is read_only, and would take writes when it is started again" && echo no ;;
    *) die "read_only is $answer" ;;
    esac
  else
    case $answer in *"Can't connect"*) [ -e "$CLOSED" ] || die "it does not run, and would take writes when it is started" && echo no ;; *) die "$answer" ;; esac
  fi
  ;;
# A server that does not answer has no position: an empty one is that of a server that has never been written to. Its init system may
# just have started it again.
position)
  tries=20
  until at=$(client -e 'select @@gtid_binlog_pos' 2>&1); do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "it does not say where it is: $at"
    sleep 1
  done
  echo "gtid:$at"
  ;;
reached)
  wanted=${MIGRATE_POSITION#gtid:}
  has=$(ask @@gtid_binlog_pos)
  if [ "$has" != "$wanted" ]; then
    [ "$(ask "master_gtid_wait('$wanted', 0)")" = 0 ] || die "it is at $(ask @@gtid_slave_pos) $(slave Last_SQL_Error)"
    has=$(ask @@gtid_binlog_pos)
  fi
  # What it has written itself nobody else has.
  [ "$has" = "$wanted" ] || die "it has $has, and not $wanted: somebody has written to it"
  ;;
promote)
  forget_source
  unshut
  ;;
release-from) [ -z "$(slave Master_Host)" ] || forget_source ;;
release-to) rm -f -- "$CLOSED" "$SEEDED" ;;
*) die "unknown verb $1" ;;
esac
