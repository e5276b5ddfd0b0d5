# Both servers. Run with /bin/sh.
set -eu
of() { eval "echo \"\$$1_$2\""; }
sql() { side=$1 && shift && mariadb --no-defaults -u root -NBr -S "$(of "$side" SOCKET)" -e "$*"; }
now() { date +%s%N; }
follow() {
  sql "$1" "change master to master_host = '$(of "$2" IP)', master_port = $(of "$2" PORT), master_user = 'replicator', master_password = '$LINK_PASSWORD', master_use_gtid = slave_pos; start slave"
}
follows() { sql "$1" 'show slave status' | awk -F'\t' '$11 == "Yes" && $12 == "Yes" { yes = 1 } END { exit !yes }'; }
until_so() { until "$@"; do sleep 0.02; done; }
# From the first to the second.
switch() {
  began=$(now)
  sql "$1" 'set lock_wait_timeout = 1; set global read_only = 1'
  sql "$1" "select concat('kill ', id, ';') from information_schema.processlist where user = 'app'" | mariadb --no-defaults -u root -S "$(of "$1" SOCKET)" -f 2>/dev/null || :
  x=$(sql "$1" 'select @@gtid_binlog_pos')
  [ "$(sql "$2" "select master_gtid_wait('$x', 5)")" = 0 ]
  [ "$(sql "$1" 'select @@gtid_binlog_pos')" = "$x" ]
  sql "$2" 'stop slave; reset slave all; set global read_only = 0'
  echo "closed $((($(now) - began) / 1000000))"
}

case $1 in
there)
  sql NEW 'set global read_only = 1'
  { echo 'set sql_log_bin = 0;' && mariadb-dump --no-defaults -u root -S "$OLD_SOCKET" --single-transaction --master-data=1 --gtid --databases app; } |
    mariadb --no-defaults -u root -S "$NEW_SOCKET"
  follow NEW OLD
  until_so follows NEW
  switch OLD NEW
  sql OLD "set global gtid_slave_pos = '$x'"
  follow OLD NEW
  until_so follows OLD
  ;;
back)
  switch NEW OLD
  sql NEW 'set sql_log_bin = 0; drop database app; reset master; set global gtid_slave_pos = ""; set global read_only = 0'
  ;;
esac
