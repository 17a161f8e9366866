#!/usr/bin/env bats
# What counterd promises to those who run it: settings, addresses, workers, signals, systemd.

# shellcheck disable=SC2030,SC2031,SC2154,SC2034

load environment

# --- programs that tests run beside the daemon ---

# Sends increments of the counter `load`, each on a connection of its own, from four processes,
# until the file STOP exists. Arguments: HOST PORT STOP RESULT. Each process appends a line to
# RESULT: acknowledged, failed, the first failure.
load_generator='
import os, socket, sys
host, port, stop, result = sys.argv[1:]
print("started")
request = (b"POST /v1/counters/load/increment HTTP/1.1\r\nHost: localhost\r\n"
           b"Content-Length: 0\r\nConnection: close\r\n\r\n")
def increment():
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(request)
        reply = b""
        while True:
            portion = connection.recv(4096)
            if not portion:
                break
            reply += portion
    if not reply.startswith(b"HTTP/1.1 200 "):
        raise OSError(repr(reply))
def run():
    done, failed, first = 0, 0, ""
    while not os.path.exists(stop):
        try:
            increment()
            done += 1
        except OSError as error:
            failed += 1
            first = first or str(error)
    with open(result, "a") as file:
        file.write("%d %d %s\n" % (done, failed, first))
for _ in range(4):
    if os.fork() == 0:
        run()
        os._exit(0)
for _ in range(4):
    os.wait()'

# Listens at 127.0.0.1 and lets others share the port, if they may.
foreign_listener='
import socket, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1])
while True:
    time.sleep(60)'

# Leaves a Unix socket that nobody listens on.
leave_stale_socket='
import socket, sys
socket.socket(socket.AF_UNIX).bind(sys.argv[1])'

# Sends the argument to the control socket and prints what comes back.
ask_control_socket='
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(10)
connection.connect(sys.argv[1])
try:
    connection.sendall(sys.argv[2].encode("utf-8", "surrogateescape"))
    print(connection.recv(65536).decode())
except ConnectionError:
    pass'

# Becomes what follows its first argument, with two listening sockets handed over as systemd does:
# TCP, and a Unix socket at the first argument.
hand_over_sockets='
import fcntl, os, socket, sys
tcp = socket.create_server(("127.0.0.1", 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind(sys.argv[1])
unix.listen()
high = [fcntl.fcntl(one, fcntl.F_DUPFD, 20) for one in (tcp, unix)]
for target, source in enumerate(high, 3):
    os.dup2(source, target)
    os.close(source)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="a:b")
os.execvp(sys.argv[2], sys.argv[2:])'

# Holds a port as systemd does, and restarts the daemon on it half a second after it is ready, until there
# is a file.
# Appends a line to another one for each restart. Arguments: STOP RESTARTS DAEMON [OPTION...]
restarter='
import os, signal, socket, sys, time
stop, restarts, *command = sys.argv[1:]
held = socket.create_server(("127.0.0.1", 0), backlog=512)
def start():
    reader, writer = os.pipe()
    daemon = os.fork()
    if daemon == 0:
        os.dup2(held.fileno(), 3)
        os.set_inheritable(3, True)  # also if it was 3 before
        os.set_inheritable(writer, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        os.execv(command[0], command + ["--ready-fd", str(writer)])
    os.close(writer)
    with open(reader) as ready:
        ready.readline()
    return daemon
daemon = start()
print(held.getsockname()[1])
while not os.path.exists(stop):
    time.sleep(0.5)
    os.kill(daemon, signal.SIGTERM)
    assert os.waitpid(daemon, 0)[1] == 0
    daemon = start()
    with open(restarts, "a") as file:
        file.write("restarted\n")'

# Stands for systemd at NOTIFY_SOCKET: appends each message to a file, as one line; at READY=1,
# whether the daemon at a Unix socket answers at that moment. Arguments: SOCKET FILE DAEMON; a socket
# that begins with @ has no path, but an abstract name.
notify_receiver='
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1].replace("@", "\0", 1))
print("bound")
def readiness():
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(sys.argv[3])
            client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return client.recv(64).split(b"\r")[0].decode()
    except OSError as error:
        return str(error)
while True:
    message = receiver.recv(65536).decode()
    with open(sys.argv[2], "a") as file:
        file.write(message.replace("\n", " | ") + "\n")
        if "READY=1" in message.split("\n"):
            file.write("at READY=1: " + readiness() + "\n")'

start_load() {
  local address=${url#http://}
  start_python "$load_generator" "${address%:*}" "${address##*:}" "$dir/stop" "$dir/result"
  # Not before it is under way.
  await 10 has_load
}

has_load() {
  local value
  value=$("$counterctl" --server "$url" report load 2>/dev/null) && ((value > 100))
}

# Sets $acknowledged and $failed.
stop_load() {
  touch "$dir/stop"
  wait_for_end_of "$python_pid" 30
  assert_equal "$(wc -l <"$dir/result")" 4
  cat "$dir/result"
  acknowledged=$(awk '{sum += $1} END {print sum}' "$dir/result")
  failed=$(awk '{sum += $2} END {print sum}' "$dir/result")
}

value_of() {
  "$counterctl" --server "$url" report "$1"
}

# Nothing accepts connections at $url any more.
is_refused() {
  ! curl -s --max-time 2 -o /dev/null "$url/livez"
}

# Holds the store's turn, so that changes wait; let_go lets them happen.
hold_store() {
  exec {held}<>"$database"
  flock "$held"
}

let_go() {
  flock -u "$held"
  exec {held}>&-
}

# Sends an increment that will wait for the held store; its status comes into $dir/late.
send_late_increment() {
  local descriptor=$held
  curl -sv --max-time 20 -X POST -o /dev/null -w '%{http_code}' "$url/increment" \
    >"$dir/late" 2>"$dir/late.trace" {descriptor}>&- 3>&- 4>&- &
  late_pid=$!
  pids+=("$late_pid")
  await 10 grep -qs '^> POST' "$dir/late.trace"
}

control_socket() {
  echo "$XDG_RUNTIME_DIR/counterd/${url#http://}.control"
}

# --- settings ---

@test "--help and --version exit 0 and go to stdout" {
  try "$counterd" --help
  assert_status 0
  assert_output_has --listen
  assert_equal "$stderr" ""
  try "$counterd" --version
  assert_status 0
  [[ $output =~ ^counterd\ [0-9]+\.[0-9]+ ]]
  # shellcheck disable=SC2016
  try bash -c '"$1" --help >/dev/full' bash "$counterd"
  assert_refused 74
}

@test "a usage error exits 64 and is named" {
  try "$counterd" --frobnicate
  assert_refused 64
  assert_stderr_has --frobnicate
  assert_stderr_lines 1
  try "$counterd" surplus
  assert_refused 64
  assert_stderr_has surplus
  try "$counterd" --workers
  assert_refused 64
  assert_stderr_has --workers
  try "$counterd" --workers 1 --workers 2
  assert_refused 64
  assert_stderr_has --workers
  # The words of a worker, by whom nothing has been prepared for one.
  try "$counterd" worker 1 2 3>&- 4>&-
  assert_refused 64
  assert_stderr_lines 1
  assert_stderr_has worker
  try "$counterd" worker 1 2 3<"$BATS_TEST_FILENAME"
  assert_refused 64
  assert_stderr_lines 1
}

@test "--ready-fd with a descriptor that is not open is refused with 78 and named" {
  local number
  for number in 3 4 5 6 7 77; do
    # Bats has some of them open.
    try timeout 20 "$counterd" --listen 127.0.0.1:0 --ready-fd "$number" 3>&- 4>&- 5>&- 6>&- 7>&-
    assert_refused 78
    assert_stderr_lines 1
    assert_stderr_has "descriptor $number"
  done
  for number in 0 1 2 -1 x; do
    try timeout 20 "$counterd" --listen 127.0.0.1:0 "--ready-fd=$number"
    assert_refused 64
    assert_stderr_has --ready-fd
  done
  assert_equal "$(processes_of_test)" ""
}

# Every setting but --ready-fd, a good value other than its default, and bad ones.
settings_table='
workers|3|0 257 -1 x 03 1.5
listen|127.0.0.1:0|127.0.0.1 :80 127.0.0.1:65536 127.0.0.1:x ::1:80 unix: a/b:1 unix:/a\tb
store|sqlite:x.db|sqlite: bogus:x x.db redis:// redis://h:0 redis+unix://x sqlite:/a\tb
sync|normal|maybe FULL 1
redis-prefix|mine:|a\tb é
redis-password-file|/dev/null|/a\tb
require-durable|true|maybe 2
store-timeout|900ms|0s 16m 5 x -1s 1.5s
key-lifetime|2h|0s 366d 5 x -1s 1.5h
max-keys|1000|-1 1000000001 x 1e3
drain-timeout|2m|0s 5 x -1s
max-connections|10|0 -1 x 1000001
allow-host|example.org|a:1 a/b *.b .b a\tb
allow-get-writes|true|maybe 2'

# is_flag NAME: set by its presence on the command line.
is_flag() {
  [[ $1 == require-durable || $1 == allow-get-writes ]]
}

variable_of() {
  local name=COUNTERD_${1^^}
  echo "${name//-/_}"
}

# check_config STATUS NAME [VALUE] for each of the three sources.
check_flag() {
  if is_flag "$2"; then
    try "$counterd" --check-config "--$2"
  else
    try "$counterd" --check-config "--$2" "$3"
  fi
  assert_check "$1" "--$2"
}

check_environment() {
  try env "$(variable_of "$2")=$3" "$counterd" --check-config
  assert_check "$1" "$(variable_of "$2")"
}

check_file() {
  printf '%s = "%s"\n' "$2" "$3" >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_check "$1" "$2"
}

assert_check() {
  assert_status "$1"
  ((status == 0)) || { assert_output ""; assert_stderr_lines 1; assert_stderr_has "$2"; }
}

@test "--ready-fd gets its line and is closed" {
  launch_daemon --workers 1
  try timeout 10 cat "$pipe"
  assert_status 0
  [[ $output =~ ^ready\ http://127.0.0.1:[0-9]+$ ]] || fail "the line is $output"
  make_pipe
  COUNTERD_READY_FD=9 "$counterd" --listen "unix:$dir/daemon.sock" 9>"$pipe" 3>&- 4>&- \
    >"$dir/daemon.log" 2>&1 </dev/null &
  pids+=("$!")
  try timeout 10 cat "$pipe"
  assert_output "ready unix:$dir/daemon.sock"
}

@test "--check-config takes every setting by flag, by environment and by file, and changes nothing" {
  local name good bad default by_flag
  try "$counterd" --check-config
  assert_status 0
  default=$output
  assert_equal "$stderr" ""
  assert_equal "$(find "$XDG_STATE_HOME" "$XDG_RUNTIME_DIR" "$HOME" -mindepth 1)" ""
  while IFS='|' read -r name good bad; do
    echo "$name = $good"
    check_flag 0 "$name" "$good"
    by_flag=$output
    [[ $by_flag != "$default" ]] || fail "it is not taken"
    check_environment 0 "$name" "$good"
    assert_output "$by_flag"
    check_file 0 "$name" "$good"
    assert_output "$by_flag"
  done <<<"${settings_table#$'\n'}"
  [[ ! -e $dir/x.db ]]
}

@test "a setting may have the most that the manual says" {
  local name most words=() i
  while IFS='|' read -r name most; do
    echo "$name"
    check_flag 0 "$name" "$most"
  done <<END
workers|256
redis-prefix|$(printf '~%.0s' {1..128})
store-timeout|15m
key-lifetime|365d
drain-timeout|365d
max-keys|1000000000
max-connections|1000000
END
  check_flag 64 redis-prefix "$(printf '~%.0s' {1..129})"
  for i in {1..16}; do words+=(--listen "127.0.0.1:$i"); done
  try "$counterd" --check-config "${words[@]}"
  assert_status 0
  try "$counterd" --check-config "${words[@]}" --listen 127.0.0.1:17
  assert_refused 64
  assert_stderr_has 'more than 16 addresses'
}

@test "a setting without a value is turned on and off by four words each" {
  local value word words
  while read -r value words; do
    for word in $words; do
      check_environment 0 require-durable "$word"
      assert_output_has "require-durable = \"$value\""
      check_file 0 allow-get-writes "$word"
      assert_output_has "allow-get-writes = \"$value\""
    done
  done <<'END'
true true 1 yes on
false false 0 no off
END
}

@test "a copy that comes while its key is known is not counted, although it must wait for longer" {
  start_daemon --store-timeout 2s --key-lifetime 1s
  assert_equal "$("$counterctl" --server "$url" increment --key k)" 1
  hold_store
  (sleep 1.5 && let_go) &
  assert_equal "$("$counterctl" --server "$url" increment --key k)" 1
  wait "$!"
}

@test "a flag with nothing after its = does not take the next one for its value, nor is it turned on" {
  try "$counterd" --redis-prefix= --require-durable --check-config
  assert_status 0
  assert_output_has 'redis-prefix = ""'
  assert_output_has 'require-durable = "true"'
  try "$counterd" --allow-get-writes= --check-config
  assert_refused 64
  assert_stderr_has '--allow-get-writes takes no value'
  try "$counterd" --check-config --require-durable=false
  assert_refused 64
  assert_stderr_has 'require-durable was given a disallowed flag override (see counterd --help)'
}

@test "a word that counterd does not know is named, the first one, and without a password" {
  try "$counterd" --prot 5000 --check-config
  assert_refused 64
  assert_stderr_has "unknown option '--prot' (see counterd --help)"
  try "$counterd" start
  assert_refused 64
  assert_stderr_has "unexpected argument 'start' (see counterd --help)"
  try "$counterd" --redis-password=secret
  assert_refused 64
  assert_stderr_has "unknown option '--redis-password' (see"
  try "$counterd" --check-config --
  assert_status 0
}

@test "--check-config prints the settings in effect, as a file that says the same" {
  local name good bad
  cd "$dir"
  while IFS='|' read -r name good bad; do printf '%s = "%s"\n' "$name" "$good"; done \
    <<<"${settings_table#$'\n'}" >settings
  try "$counterd" --check-config --config settings
  assert_status 0
  assert_output_has "store = \"sqlite:$dir/x.db\""
  echo "$output" >in-effect
  diff <(cut -d ' ' -f 1 settings | sort) <(cut -d ' ' -f 1 in-effect | sort)
  try "$counterd" --check-config --config in-effect
  assert_output "$(cat in-effect)"
  try "$counterd" --check-config
  assert_output_has "store = \"sqlite:$XDG_STATE_HOME/counterd/counters.db\""
  assert_output_has 'listen = "127.0.0.1:4747"'
}

@test "relative paths are those of the folder in which the daemon was started" {
  local worker
  mkdir "$dir/here"
  cd "$dir/here"
  start_daemon --workers 1 --listen unix:own.sock --store sqlite:own.db
  assert_equal "$(readlink "/proc/$daemon_pid/cwd")" /
  cd "$dir"
  assert_equal "$url" "unix:$dir/here/own.sock"
  worker=$(ready_workers)
  kill -KILL "$worker"
  await 10 is_replaced "$worker" 1
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  [[ -s $dir/here/own.db ]]
  stop_daemon
  [[ ! -e $dir/here/own.sock ]]
}

@test "a bad value is refused in one line that names its source: 64 for a flag, else 78" {
  local name good bad value
  while IFS='|' read -r name good bad; do
    for value in $bad; do
      value=$(printf '%b' "$value")
      echo "$name = '$value'"
      is_flag "$name" || check_flag 64 "$name" "$value"
      check_environment 78 "$name" "$value"
      check_file 78 "$name" "$value"
    done
  done <<<"${settings_table#$'\n'}"
}

@test "workers are as many as the processors on Redis, half of them and at most 2 on SQLite" {
  local all expected
  all=$(nproc)
  try "$counterd" --check-config --store redis://localhost
  assert_output_has "workers = $all"
  expected=$((all < 4 ? 1 : 2))
  try "$counterd" --check-config
  assert_output_has "workers = $expected"
  try taskset --cpu-list "$(taskset --cpu-list --pid $$ | grep -o '[0-9]*$')" \
    "$counterd" --check-config --store redis://localhost
  assert_output_has "workers = 1"
}

@test "an empty value is refused, by whichever source" {
  local name
  for name in workers listen store sync store-timeout key-lifetime max-keys drain-timeout \
    max-connections allow-host; do
    echo "$name"
    check_flag 64 "$name" ""
    check_environment 78 "$name" ""
    check_file 78 "$name" ""
  done
  # As a flag it may be empty.
  check_environment 78 redis-prefix ""
  assert_stderr_has 'COUNTERD_REDIS_PREFIX is empty; give it a value, or unset it'
}

@test "a configuration file that is missing, broken or has an unknown setting is refused and named" {
  local long=$dir/folder-with-a-long-name/and-another-one-in-it/settings-that-are-not-there
  try "$counterd" --check-config --config "$long"
  assert_refused 78
  assert_stderr_has "$long: No such file or directory"
  printf '# one\nfrobnicate = 1\n' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_refused 78
  assert_stderr_has "$dir/settings: line 2: unknown setting 'frobnicate'"
  printf '[section]\nworkers = 1\n' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_refused 78
  assert_stderr_has section
  echo 'workers' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_refused 78
  assert_stderr_has workers
  printf 'workers = 1\nworkers = 2\n' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_refused 78
  assert_stderr_has workers
  echo 'workers = 2 # many' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_refused 78
  assert_stderr_has 'line 1'
  echo 'ready-fd = 3' >"$dir/settings"  # of one start, not of all
  try "$counterd" --check-config --config "$dir/settings"
  assert_refused 78
  assert_stderr_has "unknown setting 'ready-fd'"
  printf '%65536s#\n' '' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_refused 78
  assert_stderr_has 'longer than 64 KiB'
  printf '# a comment\n\nworkers = 2\n' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_status 0
}

@test "the values of a configuration file are as they stand there, wherever their lines are" {
  printf '%s\n' 'listen = [::1]:4747, unix:/a;b' 'redis-prefix = a#;b' \
    'store = "sqlite:/srv/data;2026/a, b.db"' 'listen = localhost:1' >"$dir/settings"
  try "$counterd" --check-config --config "$dir/settings"
  assert_status 0
  assert_equal "$(head -n 6 <<<"$output" | tail -n 5)" 'listen = "[::1]:4747"
listen = "unix:/a;b"
listen = "localhost:1"
store = "sqlite:/srv/data;2026/a, b.db"
sync = "full"'
  assert_output_has 'redis-prefix = "a#;b"'
  try "$counterd" --check-config --redis-prefix '[a]'
  assert_output_has 'redis-prefix = "[a]"'
}

@test "a flag says yes, and a value that would say no is refused" {
  local flag
  for flag in require-durable allow-get-writes; do
    try env "$(variable_of "$flag")=true" "$counterd" --check-config "--$flag=false"
    assert_refused 64
    assert_stderr_has "$flag"
  done
}

@test "a folder in place of the configuration file is refused, not taken for an empty one" {
  mkdir "$dir/folder"
  try "$counterd" --check-config --config "$dir/folder"
  assert_refused 78
  assert_stderr_has "$dir/folder"
}

@test "an empty path of a file is refused, not taken for none" {
  export COUNTERD_CONFIG=$dir/no-such-file
  try "$counterd" --check-config --config ''
  assert_refused 64
  refute_stderr_has no-such-file
  export COUNTERD_CONFIG=
  try "$counterd" --check-config --redis-password-file ''
  assert_refused 64
  assert_stderr_has --redis-password-file
  try env COUNTERD_REDIS_PASSWORD_FILE= "$counterd" --check-config
  assert_refused 78
  assert_stderr_has COUNTERD_REDIS_PASSWORD_FILE
}

@test "relative paths in a folder that is gone are refused with 78" {
  local words
  mkdir "$dir/gone"
  for words in "--store sqlite:a.db" "--store redis://localhost --redis-password-file f"; do
    # shellcheck disable=SC2016,SC2086
    try bash -c 'cd "$1" && rmdir "$1"; shift; "$@"' bash "$dir/gone" "$counterd" --check-config $words
    assert_refused 78
    assert_stderr_has 'folder is gone'
    mkdir "$dir/gone"
  done
}

@test "a home for the state that is no absolute path is ignored" {
  XDG_STATE_HOME=state try "$counterd" --check-config
  assert_status 0
  assert_output_has "store = \"sqlite:$HOME/.local/state/counterd/counters.db\""
}

@test "flag beats environment beats file" {
  printf 'workers = 1\nsync = "full"\nstore = "sqlite:%s"\nlisten = "unix:%s"\n' \
    "$dir/file.db" "$dir/file.sock" >"$dir/settings"
  export COUNTERD_CONFIG=$dir/settings
  start_daemon --listen "unix:$dir/flag.sock"
  assert_equal "$url" "unix:$dir/flag.sock"
  has_ready_workers 1
  [[ -s $dir/file.db && ! -e $dir/file.sock ]]
  stop_daemon
  listening=()
  launcher=(env COUNTERD_WORKERS=2 COUNTERD_SYNC=normal "COUNTERD_STORE=sqlite:$dir/variable.db")
  start_daemon
  assert_equal "$url" "unix:$dir/file.sock"
  has_ready_workers 2
  [[ -s $dir/variable.db ]]
  [[ $("$counterctl" --server "$url" status) == *"may lose"* ]]
  stop_daemon
  launcher+=("COUNTERD_LISTEN=unix:$dir/a.sock,unix:$dir/b.sock")
  start_daemon --workers 3 --sync full --store "sqlite:$dir/flag.db"
  assert_equal "$url" "unix:$dir/a.sock"
  assert_equal "$("$counterctl" --server "unix:$dir/b.sock" increment)" 1
  has_ready_workers 3
  [[ -s $dir/flag.db ]]
  [[ $("$counterctl" --server "$url" status) == *"synchronous=FULL"* ]]
}

# Whether the setting works, by a request that it decides on.
assert_other_host_and_get_allowed() {
  assert_equal "$(http GET /report -H 'Host: example.org')" 200
  assert_equal "$(http GET /report -H 'Host: example.net')" 403
  assert_equal "$(http GET /increment)" 200
  stop_daemon
}

@test "switches and lists work by flag, by environment and by file" {
  start_daemon --allow-get-writes --allow-host other.example --allow-host Example.org
  assert_other_host_and_get_allowed
  launcher=(env COUNTERD_ALLOW_GET_WRITES=yes "COUNTERD_ALLOW_HOST=other.example,example.org")
  start_daemon
  assert_other_host_and_get_allowed
  launcher=()
  printf 'allow-get-writes = true\nallow-host = other.example, "example.org"\n' >"$dir/settings"
  start_daemon --config "$dir/settings"
  assert_other_host_and_get_allowed
}

@test "GET changes nothing unless --allow-get-writes is given" {
  start_daemon
  assert_equal "$(http GET /increment)" 405
  assert_equal "$(http GET /reset)" 405
  assert_equal "$(value_of count 2>/dev/null || echo missing)" missing
  stop_daemon
  start_daemon --allow-get-writes
  assert_equal "$(http GET /increment)" 200
  assert_equal "$(http GET '/increment?by=4')" 200
  assert_equal "$(value_of count)" 5
  assert_equal "$(http GET /v1/counters/count/increment)" 405
  assert_equal "$(http GET /reset)" 200
  assert_equal "$(value_of count)" 0
}

# --- the store ---

assert_config_error() {
  try timeout 20 "$counterd" --listen 127.0.0.1:0 "$@"
  assert_refused 78
  assert_stderr_lines 1
}

@test "an unusable store ends the daemon with 78 and one line, however many workers" {
  local workers
  mkdir "$dir/folder"
  head -c 20000 /dev/urandom >"$dir/noise.db"
  cp "$dir/noise.db" "$dir/noise"
  sqlite3 "$dir/theirs.db" 'CREATE TABLE mine (x); INSERT INTO mine VALUES (1)'
  chmod 0600 "$dir/noise.db" "$dir/theirs.db"
  for workers in 1 4; do
    assert_config_error --workers "$workers" --store "sqlite:$dir/folder"
    assert_stderr_has "$dir/folder"
    assert_config_error --workers "$workers" --store "sqlite:$dir/noise.db"
    assert_stderr_has "$dir/noise.db"
    assert_config_error --workers "$workers" --store "sqlite:$dir/theirs.db"
    assert_stderr_has "$dir/theirs.db"
    assert_config_error --workers "$workers" --store "sqlite:$dir/none/x.db"
    assert_stderr_has "$dir/none"
  done
  assert_succeeds cmp "$dir/noise" "$dir/noise.db"
  assert_equal "$(sqlite3 "$dir/theirs.db" 'SELECT * FROM mine')" 1
  [[ ! -e $dir/none ]]
}

@test "a password in the store's URL is refused and not repeated" {
  local source
  for source in redis://me:sesame@127.0.0.1:9 redis://:sesame@localhost "redis+unix://u:sesame@$dir/s" \
    rediss://me:sesame@localhost postgres://me:sesame@localhost; do
    echo "$source"
    check_flag 64 store "$source"
    refute_stderr_has sesame
    check_environment 78 store "$source"
    refute_stderr_has sesame
    check_file 78 store "$source"
    refute_stderr_has sesame
  done
}

@test "--redis-password-file opens a Redis that asks for a password" {
  start_redis --requirepass 'sesame open'
  printf 'sesame open\n' >"$dir/password"
  start_daemon --store "redis+unix://$redis_socket" --redis-password-file "$dir/password" \
    --redis-prefix mine:
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_equal "$(REDISCLI_AUTH='sesame open' redis-cli -s "$redis_socket" --raw keys '*' |
    grep -vc '^mine:')" 0
  assert_fails grep -rq sesame "$daemon_log"
  assert_fails grep -q sesame <(cat /proc/"$daemon_pid"/cmdline)
  assert_equal "$(curl -s "$url/v1/status" | grep -c sesame)" 0
}

# It takes the data of its last snapshot.
restart_redis() {
  kill -KILL "$redis_pid"
  start_redis --appendonly no
}

@test "the log says that a Redis has lost what it had acknowledged, and only then" {
  start_redis --appendonly no
  start_daemon --workers 1 --store "redis+unix://$redis_socket"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  redis-cli -s "$redis_socket" save
  restart_redis
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  assert_fails grep -q 'no longer knows' "$daemon_log"
  assert_equal "$("$counterctl" --server "$url" increment)" 3
  restart_redis
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  assert_equal "$(grep -c 'no longer knows all that it has acknowledged' "$daemon_log")" 1
}

@test "a change that reaches Redis later than it should, as after a suspension, is no loss" {
  start_redis
  start_daemon --workers 1 --store "redis+unix://$redis_socket"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  # Half an hour that the worker knows nothing of has gone by.
  redis-cli -s "$redis_socket" pexpire \
    "$(redis-cli -s "$redis_socket" keys 'counterd:s:*')" 1800000
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  assert_equal "$("$counterctl" --server "$url" increment)" 3
  assert_fails grep -q 'no longer knows' "$daemon_log"
}

@test "the log says what a Redis has lost also where the next change reaches it later than it should" {
  start_redis
  start_daemon --workers 1 --store "redis+unix://$redis_socket"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  # An older answer, and half an hour that the worker knows nothing of.
  redis-cli -s "$redis_socket" set "$(redis-cli -s "$redis_socket" keys 'counterd:s:*')" $'0\n' px 1800000
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  assert_equal "$(grep -c 'no longer knows all that it has acknowledged' "$daemon_log")" 1
}

@test "the log says that a Redis was emptied" {
  start_redis
  start_daemon --workers 1 --store "redis+unix://$redis_socket"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  redis-cli -s "$redis_socket" flushall
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_equal "$(grep -c 'no longer knows all that it has acknowledged' "$daemon_log")" 1
}

@test "all workers have the time zone that the daemon was started with" {
  launcher=(env TZ=:Asia/Tokyo)
  start_daemon --workers 2
  assert_succeeds has_ready_workers 2
  local worker
  for worker in $(ready_workers); do
    assert_equal "$(tr '\0' '\n' <"/proc/$worker/environ" | grep ^TZ=)" TZ=Asia/Tokyo
  done
  assert_equal "$(http POST /increment -d per=day)" 200
}

@test "a password as a systemd credential is found" {
  start_redis --requirepass sesame
  mkdir "$dir/credentials"
  echo sesame >"$dir/credentials/redis-password"
  export CREDENTIALS_DIRECTORY=$dir/credentials
  start_daemon --store "redis+unix://$redis_socket"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  stop_daemon
  # A file that is named goes before it; and credentials may be of something else.
  mv "$dir/credentials/redis-password" "$dir/password"
  echo other >"$dir/credentials/redis-password"
  start_daemon --store "redis+unix://$redis_socket" --redis-password-file "$dir/password"
  stop_daemon
  mv "$dir/credentials/redis-password" "$dir/credentials/of-something-else"
  redis-cli --no-auth-warning -a sesame -s "$redis_socket" config set requirepass ''
  start_daemon --store "redis+unix://$redis_socket"
}

@test "a systemd credential that may not be read is refused" {
  local mode user=()
  ((EUID != 0)) || user=("$python" -c "$as_user" 65534)
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}" "$dir"
  mkdir -m 0777 "$dir/theirs"
  export CREDENTIALS_DIRECTORY=$dir/credentials RUNTIME_DIRECTORY=$dir/theirs
  install -D -m 0200 /dev/null "$CREDENTIALS_DIRECTORY/redis-password"
  for mode in 0755 0000; do
    chmod "$mode" "$CREDENTIALS_DIRECTORY"
    try timeout 20 "${user[@]}" "$counterd" --listen 127.0.0.1:0 --store redis://127.0.0.1:1
    assert_refused 78
    assert_stderr_has "cannot read a password from '$CREDENTIALS_DIRECTORY/redis-password': Permission denied"
  done
  chmod 0700 "$CREDENTIALS_DIRECTORY"
}

@test "--require-durable refuses a store that could lose an acknowledged change" {
  assert_config_error --require-durable --sync normal
  start_redis --appendonly no
  assert_config_error --require-durable --store "redis+unix://$redis_socket"
  # Where the tests have a disk.
  [[ $(stat -f -c %T "$dir") == tmpfs ]] || { start_daemon --require-durable && stop_daemon; }
}

# Sets $launcher to what makes $dir/disk a tmpfs of 1 MB, for counterd alone.
launch_with_disk_in_memory() {
  local user=()
  [ "$EUID" -eq 0 ] || user=(--map-root-user)
  mkdir "$dir/disk"
  # shellcheck disable=SC2016
  launcher=(unshare "${user[@]}" --mount bash -c 'mount -t tmpfs -o size=1m,mode=0700 none "$1" &&
    shift && exec "$@"' bash "$dir/disk")
}

@test "a database in memory is told as such, and --require-durable refuses it" {
  launch_with_disk_in_memory
  start_daemon --workers 1 --store "sqlite:$dir/disk/counters.db"
  try "$counterctl" --server "$url" status
  assert_output_has tmpfs
  stop_daemon
  try "${launcher[@]}" "$counterd" --listen 127.0.0.1:0 --store "sqlite:$dir/disk/counters.db" \
    --require-durable
  assert_refused 78
  assert_stderr_has tmpfs
}

@test "a database that is mounted without its folder is refused" {
  local user=()
  [ "$EUID" -eq 0 ] || user=(--map-root-user)
  unshare "${user[@]}" --mount true || skip "this user can make no mounts of its own"
  make_database
  mkdir "$dir/layer"
  : >"$dir/layer/counters.db"
  # shellcheck disable=SC2016
  launcher=(unshare "${user[@]}" --mount bash -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    bash "$database" "$dir/layer/counters.db")
  try "${launcher[@]}" "$counterctl" --store "sqlite:$dir/layer/counters.db" increment
  assert_refused 78
  assert_stderr_has 'mount the folder'
  assert_equal "$("$counterctl" --store "sqlite:$database" report)" 1
}

# fill FILE: until there is no room.
fill() {
  head -c 2M /dev/zero >"$1"
}

@test "on a full disk changes are refused, reports go on, and room is all that it needs" {
  local disk=$dir/disk inside
  launch_with_disk_in_memory
  start_daemon --workers 1 --store "sqlite:$disk/counters.db"
  inside=/proc/$daemon_pid/root$disk
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_fails fill "$inside/filler"
  # The last block of the log may have room for a few.
  local value=1
  while [ "$(http POST /increment)" = 200 ]; do ((value++ < 9)); done
  assert_equal "$(http POST /increment)" 507
  try "$counterctl" --server "$url" --timeout 2s increment # an attempt may take a third of it
  assert_refused 69
  assert_stderr_has 'make room'
  assert_stderr_has 'nothing was applied'
  assert_equal "$("$counterctl" --server "$url" report)" "$value"
  assert_equal "$(http GET /readyz)" 200
  try "$counterctl" --server "$url" status
  assert_status 0
  assert_output_has $'latest change\tfailed: no room'
  assert_equal "$("$counterctl" --server "$url" --json status | grep -c '"change_failure":"no room')" 1
  assert_equal "$(http POST /increment)" 507
  assert_equal "$(grep -c 'no room' "$daemon_log")" 1
  rm "$inside/filler"
  assert_equal "$("$counterctl" --server "$url" increment)" $((value + 1))
  assert_fails grep -q failed <("$counterctl" --server "$url" status)
}

# Changes are refused, and nothing makes a database.
assert_lost() {
  assert_equal "$(http POST /increment)" 503
  assert_equal "$(ls "$XDG_STATE_HOME/counterd")" ""
}

@test "a database that is deleted is not made anew, by no worker" {
  local worker logged
  start_daemon --workers 2
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  rm "$database"*
  assert_lost
  assert_lost
  logged=$(wc -l <"$daemon_log")
  worker=$(ready_workers | head -n 1)
  kill -KILL "$worker"
  # Its death, and then that of the one that takes its place or what that one misses.
  await 10 log_has_lines $((logged + 2))
  assert_equal "$(ls "$XDG_STATE_HOME/counterd")" ""
}

log_has_lines() {
  (($(wc -l <"$daemon_log") >= $1))
}

@test "a daemon without a stderr does not take the database for its log" {
  local port
  make_database
  port=$(free_port)
  "$counterd" --listen "127.0.0.1:$port" </dev/null >/dev/null 2>&- 3>&- 4>&- &
  daemon_pid=$!
  pids+=("$daemon_pid")
  url=http://127.0.0.1:$port
  await 20 answers
  assert_equal "$(http POST /increment)" 200
  stop_daemon
  assert_equal "$("$counterctl" --store "sqlite:$database" report)" 2
}

# --- addresses ---

@test "a taken port is a clear error with 78: another daemon's" {
  local other
  start_daemon --workers 2
  other=${url#http://}
  try timeout 20 "$counterd" --listen "$other" --store "sqlite:$dir/other.db"
  assert_refused 78
  assert_stderr_lines 1
  assert_stderr_has "$other"
  assert_stderr_has taken
  try timeout 20 "$counterd" --listen "unix:$dir/first.sock" --listen "$other"
  assert_refused 78
  [[ ! -e $dir/first.sock ]]
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_equal "$("$counterctl" --server "$url" workers | wc -l)" 2
}

@test "a taken port is a clear error with 78: another program's, even one that shares it" {
  start_python "$foreign_listener"
  try timeout 20 "$counterd" --listen "127.0.0.1:$said"
  assert_refused 78
  assert_stderr_lines 1
  assert_stderr_has "127.0.0.1:$said"
  assert_stderr_has taken
}

@test "an address that is not there yet is an error that may pass by itself: 74" {
  try timeout 10 "$counterd" --listen 192.0.2.1:0
  assert_refused 74
  assert_stderr_has 'cannot listen on 192.0.2.1:0: Cannot assign requested address'
}

@test "what is no socket is not taken for one that somebody uses" {
  echo x >"$dir/file"
  try timeout 10 "$counterd" --listen "unix:$dir/file"
  assert_refused 78
  assert_stderr_has 'there is something else than a socket'
  assert_equal "$(cat "$dir/file")" x
}

@test "a password file that cannot be read is refused with the reason" {
  assert_config_error --store redis://127.0.0.1:9 --redis-password-file "$dir/none"
  assert_stderr_has "$dir/none': No such file or directory"
  echo >"$dir/empty"
  assert_config_error --store redis://127.0.0.1:9 --redis-password-file "$dir/empty"
  assert_stderr_has 'its first line is empty'
}

@test "a home that does not exist is not made for the database" {
  unset XDG_STATE_HOME
  HOME=$dir/nonexistent try timeout 10 "$counterd"
  assert_refused 78
  assert_stderr_has "HOME, which is $dir/nonexistent, is no directory"
  [[ ! -e $dir/nonexistent ]]
}

@test "a taken Unix socket is a clear error with 78, and its daemon goes on" {
  start_daemon --listen "unix:$dir/daemon.sock"
  try timeout 20 "$counterd" --listen "unix:$dir/daemon.sock" --store "sqlite:$dir/other.db"
  assert_refused 78
  assert_stderr_lines 1
  assert_stderr_has taken
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

@test "a Unix socket that nobody listens on is replaced" {
  "$python" -c "$leave_stale_socket" "$dir/daemon.sock"
  [[ -S $dir/daemon.sock ]]
  start_daemon --listen "unix:$dir/daemon.sock"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  kill -KILL "$daemon_pid"
  await 10 workers_have_ended
  [[ -S $dir/daemon.sock ]]
  start_daemon --listen "unix:$dir/daemon.sock"
  assert_equal "$("$counterctl" --server "$url" increment)" 2
}

# Listens, and has more connections in its queue than that has room for.
busy_listener='
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(0)
waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
for one in waiting:
    one.setblocking(False)
    one.connect_ex(sys.argv[1])
print("full")
time.sleep(60)'

@test "a Unix socket whose listener has no room for more is not taken for a stale one" {
  start_python "$busy_listener" "$dir/daemon.sock"
  try timeout 20 "$counterd" --listen "unix:$dir/daemon.sock"
  assert_refused 78
  assert_stderr_has taken
  [[ -S $dir/daemon.sock ]]
}

workers_have_ended() {
  [[ -z $(processes_of_test) ]]
}

@test "what is no socket is not removed from a socket's path" {
  echo precious >"$dir/daemon.sock"
  try timeout 20 "$counterd" --listen "unix:$dir/daemon.sock"
  assert_refused 78
  assert_stderr_lines 1
  assert_stderr_has "$dir/daemon.sock"
  assert_equal "$(cat "$dir/daemon.sock")" precious
  ln -s "$dir/elsewhere" "$dir/link.sock"
  try timeout 20 "$counterd" --listen "unix:$dir/link.sock"
  assert_refused 78
  [[ -L $dir/link.sock && ! -e $dir/elsewhere ]]
}

@test "the Unix sockets are removed at the end, but not one that another has put there" {
  start_daemon --listen "unix:$dir/daemon.sock"
  [[ -S $dir/daemon.sock ]]
  assert_equal "$(stat -c %a "$dir/daemon.sock")" 660
  stop_daemon
  [[ ! -e $dir/daemon.sock ]]
  assert_equal "$(ls "$XDG_RUNTIME_DIR/counterd")" ""
  start_daemon --listen "unix:$dir/daemon.sock"
  rm "$dir/daemon.sock"
  "$python" -c "$leave_stale_socket" "$dir/daemon.sock"
  stop_daemon
  [[ -S $dir/daemon.sock ]]
}

@test "an IPv6 address serves" {
  "$python" -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
    skip "this machine has no IPv6"
  start_daemon --workers 2 --listen '[::1]:0'
  [[ $url =~ ^http://\[::1\]:[1-9][0-9]*$ ]] || fail "the URL is $url"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_equal "$(http POST /increment)" 200
  has_ready_workers 2
}

@test "all addresses of both kinds are served by one port" {
  local port host
  "$python" -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
    skip "this machine has no IPv6"
  port=$(free_port)
  start_daemon --listen "0.0.0.0:$port" --listen "[::]:$port"
  for host in 127.0.0.1 '[::1]'; do
    assert_succeeds "$counterctl" --server "http://$host:$port" -q increment
  done
}

@test "an IPv6 address of one link serves by several workers, and is found" {
  local address='[fe80::1%lo]:4747' alone=(unshare --map-root-user --net)
  ((EUID != 0)) || alone=(unshare --net)
  "${alone[@]}" true || skip "no network of its own can be made"
  # There the loopback can have such an address.
  # shellcheck disable=SC2016
  run timeout 60 "${alone[@]}" bash -c '
    ip link set lo up && ip address add fe80::1/64 dev lo || exit
    "$1" --listen "$3" --workers 2 --ready-fd 9 9> >(grep -m 1 ready) >"$4" 2>&1 &
    wait_for() { until "$@"; do sleep 0.02; done; }
    wait_for grep -qs "version .* serves" "$4"
    "$2" --server "$3" increment
    "$2" --server "$3" scale 3
    curl -gsS "http://[fe80::1%25lo]:4747/report" | grep -c "\"count\":1"
    "$2" --server "$3" stop' bash "$counterd" "$counterctl" "$address" "$dir/linked.log" 3>&- 4>&-
  assert_status 0
  assert_equal "$(sort <<<"$output")" "1
1
3
ready http://$address"
}

@test "requests may come by the name that the daemon was told to listen by" {
  start_daemon --listen 127.1:0  # of which the address is 127.0.0.1
  [[ $url == http://127.0.0.1:* ]] || fail "the URL is $url"
  assert_equal "$(http GET /report -H 'Host: 127.1')" 200
  assert_equal "$(http GET /report -H 'Host: 127.2')" 403
  stop_daemon
  start_daemon
  try "$counterctl" --server "http://127.1:${url##*:}" increment
  assert_refused 77
  assert_stderr_has --allow-host
}

@test "a name serves by the addresses that this machine has" {
  # Without IPv6 localhost is two addresses all the same.
  use_own_network '127.0.0.1 localhost' '::1 localhost'
  # shellcheck disable=SC2016
  launcher+=(bash -c 'ip -6 address flush dev lo && exec "$@"' bash)
  start_daemon --listen "localhost:4747"
  assert_equal "$url" http://127.0.0.1:4747
  stop_daemon
  try "${launcher[@]}" "$counterd" --listen '[::1]:4747'
  assert_refused 74
  assert_stderr_has '[::1]:4747'
}

@test "the addresses of a name have one port, also where the system chooses it" {
  local addresses
  use_own_network '127.0.0.1 both' '127.0.0.2 both'
  start_daemon --listen both:0
  addresses=$(sed -nE 's/.*version .* serves (.*) from .*/\1/p' "$daemon_log" | tr -d ' ' | tr ',' '\n')
  assert_equal "$(wc -l <<<"$addresses")" 2
  assert_equal "$(grep -oE '[0-9]+$' <<<"$addresses" | sort -u)" "${url##*:}"
}

@test "an address that is not there yet may come, also beside one of a kind that there is not: 74" {
  local route
  refuse_call socket 10 EAFNOSUPPORT  # AF_INET6
  use_own_network '192.0.2.1 away' '2001:db8::1 away'
  for route in false true; do  # which of them comes first depends on it
    # shellcheck disable=SC2016
    try timeout 20 "${launcher[@]}" bash -c '! "$1" || ip route add 192.0.2.1 dev lo; shift; exec "$@"' \
      bash "$route" "${refusing[@]}" "$counterd" --listen away:4747
    assert_refused 74
    assert_stderr_has 'Cannot assign requested address'
  done
}

@test "several addresses all answer, by every worker" {
  local address addresses
  start_daemon --workers 3 --listen 127.0.0.1:0 --listen 127.0.0.2:0 --listen "unix:$dir/daemon.sock"
  addresses=$(grep -o 'serves .* from' "$daemon_log" | sed 's/^serves //; s/ from$//; s/,//g')
  assert_equal "$(wc -w <<<"$addresses")" 3
  for address in $addresses; do
    "$counterctl" --server "$address" -q increment
    "$counterctl" --server "$address" -q increment
    assert_equal "$("$counterctl" --server "$address" workers | wc -l)" 3
  done
  assert_equal "$(value_of count)" 6
}

# --- workers ---

@test "a worker says who it is, and how many connections it has and requests it has had" {
  local held
  start_daemon --workers 1
  http POST /increment >"$dir/status"
  http GET /nothing >"$dir/status"
  exec {held}<>"/dev/tcp/127.0.0.1/${url##*:}"
  assert_equal "$(http GET /v1/status)" 200
  exec {held}>&-
  assert_succeeds grep -qE "\"worker\":\{\"pid\":$(ready_workers),\"slot\":0,\"started_at\":\"20[0-9-]+T\
[0-9:.]+Z\",\"connections\":2,\"requests\":3\}" "$dir/body"
}

@test "at the limit of connections each address where others wait is asked again" {
  start_daemon --workers 1 --max-connections 1 --listen 127.0.0.1:0 --listen "unix:$dir/daemon.sock"
  assert_equal "$("$python" -c '
import select, socket, sys
ask = b"POST /increment HTTP/1.1\r\nHost: localhost\r\n\r\n"
def connect():
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    client.sendall(ask)
    return client
first = connect()
first.recv(999)
others = [connect(), socket.socket(socket.AF_UNIX)]
others[1].connect(sys.argv[2])
others[1].sendall(ask)
print(len(select.select(others, [], [], 0.2)[0]))  # both wait
first.close()
served = select.select(others, [], [], 5)[0]
print(len(served))
served[0].close()
others.remove(served[0])
print(len(select.select(others, [], [], 5)[0]))' "${url##*:}" "$dir/daemon.sock" | xargs)" "0 1 1"
}

@test "workers show what they are in the process list, and are small while idle" {
  local pid count=0
  start_daemon --workers 4
  for pid in $(children_of "$daemon_pid"); do
    count=$((count + 1))
    [[ $(words_of "$pid") == "counterd worker "* ]] || fail "its words are $(words_of "$pid")"
    assert_equal "$(cat "/proc/$pid/comm")" counterd
    # A sanitizer's own memory stands beside the program's and says nothing about it.
    grep -qE 'lib[at]san' "/proc/$pid/maps" ||
      assert_between "$(awk '/^VmRSS:/ {print $2}' "/proc/$pid/status")" 1000 16384
  done
  assert_equal "$count" 4
  assert_equal "$(ready_workers)" "$(children_of "$daemon_pid" | sort -n)"
}

@test "a worker that is killed is replaced, and counting goes on" {
  local worker i acknowledged=0
  start_daemon --workers 2
  for i in {1..5}; do
    worker=$(ready_workers | head -n 1)
    kill -KILL "$worker"
    await 10 is_replaced "$worker" 2
    "$counterctl" --server "$url" -q increment
    acknowledged=$((acknowledged + 1))
  done
  assert_equal "$(value_of count)" "$acknowledged"
  assert_equal "$(supervisors)" "$daemon_pid"
}

@test "workers that are killed all at once are all replaced" {
  local old
  start_daemon --workers 3
  old=$(ready_workers)
  kill -STOP "$daemon_pid"  # hears of all of them together
  xargs kill -KILL <<<"$old"
  kill -CONT "$daemon_pid"
  await 10 has_ready_workers 3
  assert_equal "$(ready_workers | grep -cxF "$old")" 0
}

@test "a worker that cannot start gets no connections while another serves, and is tried again" {
  local worker begin i
  start_daemon --workers 2 --store "sqlite:$dir/c.db"
  "$counterctl" --server "$url" -q increment
  chmod 0644 "$dir/c.db"
  worker=$(ready_workers | head -n 1)
  begin=$(milliseconds)
  kill -KILL "$worker"
  await 10 grep -q 'worker [01] ended with status 78 while it started: .*c.db.*; next try in' "$daemon_log"
  for i in {1..20}; do "$counterctl" --server "$url" --timeout 1s -q increment; done
  await 10 grep -q 'next try in 800 ms' "$daemon_log"
  assert_between $(($(milliseconds) - begin)) 700 20000
  "$counterctl" --server "$url" workers | grep -q $'^0\twaiting\t20'
  chmod 0600 "$dir/c.db"
  await 15 is_replaced "$worker" 2
  assert_equal "$(value_of count)" 21
  # Both get connections again.
  for i in {1..40}; do curl -s "$url/v1/status" | grep -o '"slot":[0-9]*'; done | sort -u >"$dir/slots"
  assert_equal "$(wc -l <"$dir/slots")" 2
  stop_daemon
}

@test "scale ends where another one has set another number" {
  local first status=0
  start_daemon --workers 1 --store "sqlite:$dir/c.db"
  chmod 0644 "$dir/c.db"  # so that no other worker can start
  "$counterctl" --server "$url" --timeout 60s scale 2 2>"$dir/stderr" &
  first=$!
  await 10 grep -q 'ended with status 78 while it started' "$daemon_log"
  "$counterctl" --server "$url" -q scale 1
  await 10 has_ended "$first"
  wait "$first" || status=$?
  assert_equal "$status" 69
  assert_succeeds grep -q 'is to have 1 worker by now' "$dir/stderr"
}

@test "where no worker serves, one that cannot start is tried again every second, and logged once" {
  local limit worker
  start_daemon --workers 1
  worker=$(ready_workers)
  limit=$(prlimit --pid "$daemon_pid" --nofile --noheadings --output SOFT)
  prlimit --pid "$daemon_pid" --nofile=10:
  kill -KILL "$worker"
  await 10 grep -q 'next try in 800 ms' "$daemon_log"
  await 10 grep -q 'Too many open files.*; next try in 1000 ms' "$daemon_log"
  sleep 3
  assert_equal "$(grep -c 'next try in 1000 ms' "$daemon_log")" 1
  prlimit --pid "$daemon_pid" --nofile="$limit:"
  await 3 "$counterctl" --server "$url" --timeout 500ms -q increment
  stop_daemon
}

@test "scale removes no worker that serves before one of those that stay does" {
  start_daemon --workers 2 --store "sqlite:$dir/c.db"
  chmod 0644 "$dir/c.db"
  kill -KILL "$("$counterctl" --server "$url" workers | head -n 1 | cut -f 1)"
  await 10 grep -q 'ended with status 78 while it started' "$daemon_log"
  try "$counterctl" --server "$url" --timeout 500ms scale 1
  assert_refused 75
  assert_stderr_has 'does not have 1 worker ready yet'
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  chmod 0600 "$dir/c.db"
  await 15 has_ready_workers 1
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  stop_daemon
}

@test "the log says that a database is new, and only then" {
  start_daemon --workers 2 --store "sqlite:$dir/new.db"
  assert_equal "$(grep -c "$dir/new.db is new and has no counters" "$daemon_log")" 1
  stop_daemon
  start_daemon --store "sqlite:$dir/new.db"
  assert_fails grep -q 'is new' "$daemon_log"
  stop_daemon
}

# Makes changes while another program reads the database.
grow_log() {
  "$python" -c '
import sqlite3, subprocess, sys
reader = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM counters").fetchone()
subprocess.run(sys.argv[2:], input="".join(f"increment c{i * 7919 % 1000003}\n" for i in range(90000)), text=True,
               stdout=subprocess.DEVNULL, check=True)' \
    "$database" "$counterctl" --server "$url" batch
}

@test "the log says, now and then, that a reader lets the log of the database grow" {
  start_daemon --workers 1
  grow_log
  assert_equal "$(grep -c 'has grown to [0-9]* MiB: another program has been reading' "$daemon_log")" 1
}

@test "a daemon that ends says that its log was cut short, if no change has found it before" {
  start_daemon --workers 1
  "$counterctl" --server "$url" -q increment
  : >"$database-wal"
  stop_daemon
  assert_succeeds grep -q 'may have lost a part of what was acknowledged' "$daemon_log"
}

@test "a worker that scale removes serves on until the last handshakes are over" {
  local worker
  start_daemon --workers 2
  worker=$("$counterctl" --server "$url" workers | tail -n 1 | cut -f 1)
  try "$counterctl" --server "$url" --timeout 500ms scale 1
  assert_refused 75
  assert_fails has_ended "$worker"
  await 10 has_ended "$worker"
  stop_daemon
}

@test "a daemon ends with 78 when none of its workers can start any more" {
  start_daemon --workers 2 --store "sqlite:$dir/c.db"
  chmod 0644 "$dir/c.db"
  ready_workers | xargs kill -KILL
  wait_for_end_of "$daemon_pid"
  assert_equal "$ended_with" 78
  assert_succeeds grep -q 'ended with 78: only a change of settings or files helps' "$daemon_log"
}

# hold_leaving_worker: the only worker, $worker, is told to end; a request on $slow keeps it.
# Whether the daemon has so many workers, without asking it, which would wake it.
has_children() {
  [[ $(children_of "$daemon_pid" | wc -l) == "$1" ]]
}

hold_leaving_worker() {
  worker=$(ready_workers)
  exec {slow}<>"/dev/tcp/127.0.0.1/${url##*:}"
  printf 'POST /increment HTTP/1.1\r\nHost: localhost\r\n' >&"$slow"
  "$counterctl" --server "$url" -q increment
  kill -TERM "$worker"
  await 10 has_children 2
  await 10 is_replaced "$worker" 1
}

@test "a worker that is told to end is replaced at once, however long a client keeps it" {
  local worker slow
  start_daemon --workers 1 --drain-timeout 60s
  hold_leaving_worker
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  assert_equal "$("$counterctl" --server "$url" scale 1)" 1
  assert_equal "$("$counterctl" --server "$url" workers | cut -f 2 | sort | tr '\n' ' ')" "leaving ready "
  printf 'Content-Length: 0\r\n\r\n' >&"$slow"
  await 10 grep -q '"value":3' <&"$slow"
  exec {slow}>&-
  await 10 has_ended "$worker"
  assert_equal "$("$counterctl" --server "$url" workers | wc -l)" 1
  stop_daemon
}

@test "the daemon ends after a worker that was told to end, or with it at a second SIGTERM" {
  local worker slow begin
  start_daemon --workers 1 --drain-timeout 60s
  hold_leaving_worker
  kill -TERM "$daemon_pid"
  sleep 1.5
  assert_fails has_ended "$daemon_pid"
  printf 'Content-Length: 0\r\n\r\n' >&"$slow"
  await 10 grep -q '"value":2' <&"$slow"
  exec {slow}>&-
  wait_for_end_of "$daemon_pid"
  assert_equal "$ended_with" 0

  start_daemon --workers 1 --drain-timeout 60s
  hold_leaving_worker
  kill -STOP "$worker"
  kill -TERM "$daemon_pid"
  sleep 0.5
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid" 5
  exec {slow}>&-
  assert_succeeds has_ended "$worker"
}

@test "a worker that was told to end by somebody else and does not is killed" {
  local worker slow
  start_daemon --workers 1 --drain-timeout 1s
  hold_leaving_worker
  kill -STOP "$worker"
  await 6 has_ended "$worker"
  exec {slow}>&-
}

@test "a worker that shall end and does not is killed" {
  local worker
  start_daemon --workers 2 --drain-timeout 500ms
  worker=$("$counterctl" --server "$url" workers | tail -n 1 | cut -f 1)
  kill -STOP "$worker"
  "$counterctl" --server "$url" --timeout 15s -q scale 1
  assert_succeeds has_ended "$worker"
  "$counterctl" --server "$url" -q scale 2
}

@test "a worker that is told to end while it starts is replaced, and never ready" {
  local worker port
  port=$(free_port)
  url=http://127.0.0.1:$port
  launch_daemon --workers 1 --drain-timeout 60s --listen "127.0.0.1:$port" \
    --store "redis+unix://$dir/redis.sock"
  exec {ready}<>"$pipe"
  await 10 grep -qs "$dir/redis.sock" "$daemon_log"
  worker=$("$counterctl" --server "$url" workers | cut -f 1)
  exec {slow}<>"/dev/tcp/127.0.0.1/$port"
  printf 'POST /increment HTTP/1.1\r\n' >&"$slow"
  sleep 0.2
  kill -TERM "$worker"
  await 5 is_replaced_early "$worker"
  start_redis
  read -r -t 20 -u "$ready" url
  url=${url#ready }
  assert_equal "$(ready_workers | grep -cwv "$worker")" 1
  assert_succeeds "$counterctl" --server "$url" -q increment
  exec {ready}>&- {slow}>&-
}

is_replaced_early() {
  "$counterctl" --server "$url" workers | grep -q starting &&
    ! "$counterctl" --server "$url" workers | grep "starting" | grep -qw "$1"
}

@test "a caller that ignores the end of its children gets a daemon that sees it" {
  local worker
  launcher=(env --ignore-signal=CHLD)
  start_daemon --workers 1
  worker=$(ready_workers)
  kill -KILL "$worker"
  await 10 is_replaced "$worker" 1
  stop_daemon
  try env --ignore-signal=CHLD "$counterctl" --timeout 20s spawn -- --listen 127.0.0.1:0 \
    --store "sqlite:$dir/none/x.db"
  assert_refused 78
}

@test "killed supervisor: its workers end, the port is free, nothing acknowledged is missing" {
  local workers address
  start_daemon --workers 2
  address=${url#http://}
  workers=$(ready_workers)
  start_load
  kill -KILL "$daemon_pid"
  # shellcheck disable=SC2086
  await 10 all_ended $workers
  touch "$dir/stop"
  start_daemon --listen "$address"
  assert_equal "$url" "http://$address"
  stop_load
  assert_between "$(value_of load)" "$acknowledged" $((acknowledged + failed))
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

@test "killed supervisor: a daemon that starts before its workers have ended has the address" {
  local address worker
  for address in 127.0.0.1:0 "unix:$dir/daemon.sock"; do
    start_daemon --workers 1 --listen "$address"
    "$counterctl" --server "$url" -q increment
    worker=$(ready_workers)
    kill -STOP "$worker"
    kill -KILL "$daemon_pid"
    { sleep 0.3; kill -CONT "$worker"; } 3>&- 4>&- &
    start_daemon --listen "${url#http://}"
    "$counterctl" --server "$url" -q increment
    stop_daemon
  done
  assert_equal "$("$counterctl" --store "sqlite:$database" report)" 4
}

@test "killed supervisor: what its workers have in flight is answered" {
  start_daemon --workers 1
  hold_store
  send_late_increment
  kill -KILL "$daemon_pid"
  await 5 is_refused
  let_go
  wait "$late_pid"
  assert_equal "$(cat "$dir/late")" 200
}

@test "killed supervisor: a worker that waits for its store ends too" {
  make_database
  hold_store
  launch_without_pipe --workers 1 --store-timeout 1m "${listening[@]}"
  await 10 has_child "$daemon_pid"
  sleep 0.2  # to wait
  kill -KILL "$daemon_pid"
  await 2 workers_have_ended
  let_go
}

launch_without_pipe() {
  "$counterd" "$@" >"$dir/daemon.log" 2>&1 3>&- 4>&- &
  daemon_pid=$!
  pids+=("$daemon_pid")
}

has_child() {
  [[ -n $(children_of "$1") ]]
}

@test "killed supervisor: a worker whose store hangs ends too" {
  local worker
  start_redis
  start_daemon --workers 1 --store "redis+unix://$redis_socket" --store-timeout 1m \
    --drain-timeout 100ms
  worker=$(ready_workers)
  kill -STOP "$redis_pid"
  curl -s --max-time 20 -X POST -o "$dir/body" "$url/increment" &
  sleep 0.2  # to wait for the store
  kill -KILL "$daemon_pid"
  await 20 has_ended "$worker"
  kill -CONT "$redis_pid"
}

@test "scale changes the number of workers" {
  local kept
  start_daemon --workers 1
  kept=$(ready_workers)
  assert_equal "$("$counterctl" --server "$url" scale 4)" 4
  has_ready_workers 4
  assert_equal "$("$counterctl" --server "$url" scale 1)" 1
  assert_equal "$(ready_workers)" "$kept"
  assert_equal "$(children_of "$daemon_pid")" "$kept"
  # As of one that was meant to stay.
  assert_fails grep -qE ' ended with | was told to end' "$daemon_log"
}

@test "scale up sends nobody to a worker that is not ready yet" {
  start_daemon --workers 1
  hold_store  # keeps the others from becoming ready
  "$counterctl" --server "$url" --timeout 20s -q scale 4 &
  await 5 grep -q '4 workers are wanted' "$daemon_log"
  for _ in {1..20}; do
    assert_equal "$(curl -s --max-time 2 -o "$dir/body" -w '%{http_code}' "$url/report")" 200
  done
  let_go
  assert_succeeds wait $!
}

@test "scale down ends a worker that was starting when it was asked for" {
  start_daemon --workers 1
  exec {lock}<"$database"
  flock "$lock"  # keeps a worker from becoming ready
  "$counterctl" --server "$url" -q scale 2 2>/dev/null &
  await 5 grep -q '2 workers are wanted' "$daemon_log"
  "$counterctl" --server "$url" --timeout 20s -q scale 1 &
  await 5 grep -q '1 workers are wanted' "$daemon_log"
  flock -u "$lock"
  assert_succeeds wait $!
  assert_equal "$("$counterctl" --server "$url" workers | wc -l)" 1
}

@test "scale down ends a worker whose store is away" {
  start_redis
  start_daemon --workers 1 --store "redis+unix://$redis_socket"
  kill -TERM "$redis_pid"
  await 10 has_ended "$redis_pid"
  try "$counterctl" --server "$url" --timeout 500ms scale 2
  assert_refused 75
  try "$counterctl" --server "$url" --timeout 15s scale 1
  assert_status 0
  assert_equal "$("$counterctl" --server "$url" workers | wc -l)" 1
}

@test "scale down keeps the sockets of a worker for a second, for handshakes that have begun" {
  local begin
  start_daemon --workers 2
  assert_equal "$(ss -Hltn "sport = :${url##*:}" | wc -l)" 2
  begin=$(milliseconds)
  "$counterctl" --server "$url" -q scale 1
  assert_between "$(($(milliseconds) - begin))" 1000 20000
  assert_equal "$(ss -Hltn "sport = :${url##*:}" | wc -l)" 1
}

# Asks once on each of a number of connections, and prints how many were answered; the first line is
# for when all have asked.
many_clients='
import socket, sys
request = b"POST /v1/counters/a/increment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
clients = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) for _ in range(40)]
for client in clients:
    client.sendall(request)
print("asked", flush=True)
def is_answered(client):
    try:
        return client.recv(4096).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
answered = sum([is_answered(client) for client in clients])
with open(sys.argv[2], "w") as file:
    file.write(str(answered))'

# The worker that scale removes dies once the command given succeeds; who waits for it is answered.
kill_worker_to_go_when() {
  local worker
  worker=$("$counterctl" --server "$url" workers | sed -n '2s/\t.*//p')  # the one that is to go
  kill -STOP "$worker"
  start_python "$many_clients" "${url##*:}" "$dir/answered"
  "$counterctl" --server "$url" -q scale 1 &
  await 5 "$@"
  kill -KILL "$worker"
  await 20 test -s "$dir/answered"
  assert_equal "$(cat "$dir/answered")" 40
  assert_succeeds wait $!
}

@test "scale down answers those who wait for a worker that dies instead of ending" {
  start_daemon --workers 2
  kill_worker_to_go_when grep -q '1 workers are wanted' "$daemon_log"
}

is_draining() {
  [[ $("$counterctl" --server "$url" workers) == *draining* ]]
}

@test "scale down answers those who wait for a worker that dies when it has been told to end" {
  start_daemon --workers 2
  kill_worker_to_go_when is_draining
}

@test "a worker that scale removes gets no more connections" {
  local worker count
  start_daemon --workers 2
  worker=$("$counterctl" --server "$url" workers | sed -n '2s/\t.*//p')
  kill -STOP "$worker"
  "$counterctl" --server "$url" -q scale 1 &
  await 5 grep -q '1 workers are wanted' "$daemon_log"
  for count in {1..10}; do
    assert_succeeds "$counterctl" --server "$url" --timeout 2s -q increment
  done
  kill -CONT "$worker"
  assert_succeeds wait $!
}

@test "scale under load fails no request" {
  local number
  start_daemon --workers 4
  start_load
  for number in 1 4 1 4 2 3; do
    assert_equal "$("$counterctl" --server "$url" scale "$number")" "$number"
  done
  stop_load
  assert_equal "$failed" 0
  assert_equal "$(value_of load)" "$acknowledged"
  has_ready_workers 3
}

@test "scale under load fails no request of curl" {
  local number i children=()
  start_daemon --workers 4
  for i in 1 2; do
    while [[ ! -e $dir/stop ]]; do
      curl -sS --max-time 10 -X POST -o /dev/null -w '%{http_code}\n' "$url/increment" || echo failed
    done >>"$dir/statuses" 2>&1 3>&- 4>&- &
    children+=($!)
  done
  await 10 test -s "$dir/statuses"
  for number in 1 4 1 4; do "$counterctl" --server "$url" -q scale "$number"; done
  touch "$dir/stop"
  for i in "${children[@]}"; do wait "$i"; done
  assert_equal "$(sort -u "$dir/statuses")" 200
  assert_equal "$(value_of count)" "$(wc -l <"$dir/statuses")"
}

@test "the example of curl in the manual counts once, also where its answer is lost" {
  local example
  start_daemon --workers 1
  start_python "$answer_cutter" "${url##*:}" 0 1
  example=$(sed -e 's/\\-/-/g' -e 's/\\(rs/\\/g' -e "s|http://127.0.0.1:4747|http://127.0.0.1:$said|" \
    "$BATS_TEST_DIRNAME/../man/counterd.8" | sed -n '/^key=/,/visits/p')
  try timeout 20 bash -c "$example"
  assert_status 0
  assert_output_has '"value":1,'
  assert_equal "$(value_of visits)" 1
}

@test "the example of Python in the manual counts once, also where its answer is lost" {
  local example
  start_daemon --workers 1
  start_python "$answer_cutter" "${url##*:}" 0 2
  example=$(sed -e 's/\\-/-/g' -e "s|http://127.0.0.1:4747|http://127.0.0.1:$said|" \
    "$BATS_TEST_DIRNAME/../man/counterd.8" | sed -n '/^import http/,/time.sleep/p')
  try timeout 20 "$python" -c "$example
print(increment('visits'))"
  assert_status 0
  assert_output 1
  assert_equal "$(value_of visits)" 1
}

# hasten_time FACTOR: for the daemons that are started from now on, time passes that much faster. What
# needs one of their timers is tried with a second daemon, too: libfaketime 0.9.10 never lets a timer
# expire that Asio sets for at once (timerfd_settime(2), at 1 ns), which is so once in some hundred runs.
hasten_time() {
  launcher=(env "LD_PRELOAD=$(faketime now printenv LD_PRELOAD)" "FAKETIME=+0 x$1"
    "ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0")
}

ends_idle_connection() {
  start_daemon --workers 1
  "$python" -c '
import socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
asked = time.monotonic()  # not when the answer is read, which may be later than it was sent
client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
assert client.recv(4096)
assert client.recv(4096) == b""
idle = 50 * (time.monotonic() - asked)
assert 120 < idle, idle' "${url##*:}"
}

@test "a connection that asks nothing for 130 seconds is ended" {
  hasten_time 50
  ends_idle_connection || ends_idle_connection
}

cuts_off_slow_reader() {
  start_daemon --workers 1 --store-timeout 15m
  "$python" -c '
import json, socket, sys, time
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
client.settimeout(10)
client.connect(("127.0.0.1", int(sys.argv[1])))
# Some 500 KB, of which the sockets hold about half.
refused = [{"op": "increment", "name": "x" * 124 + str(i), "by": 2**63 - 1, "max": -2**63,
            "per": "month", "timezone": "America/Argentina/Buenos_Aires"} for i in range(1000)]
body = json.dumps({"operations": refused}).encode()
client.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % len(body) + body)
reply = client.recv(4096)
while b"\r\n\r\n" not in reply:
    reply += client.recv(4096)
began = time.monotonic()
while time.monotonic() - began < 3:
    time.sleep(0.04)
    reply += client.recv(4096)
while part := client.recv(65536):
    reply += part
head, body = reply.split(b"\r\n\r\n", 1)
length = int(head.split(b"Content-Length: ")[1].split()[0])
assert len(body) < length, (len(body), length)' "${url##*:}"
}

@test "a reply that its client has not taken within 10 seconds is cut off, even if it takes some of it" {
  hasten_time 10
  cuts_off_slow_reader || cuts_off_slow_reader
}

@test "each reply has the date of its own second" {
  hasten_time 50
  start_daemon --workers 1
  assert_succeeds "$python" -c '
import http.client, sys, time
from email.utils import parsedate_to_datetime
client = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
def date():
    client.request("HEAD", "/livez")
    reply = client.getresponse()
    reply.read()
    return parsedate_to_datetime(reply.headers["Date"]).timestamp()
first = date()
assert -2 < first - time.time() < 5000, first  # the daemon has been starting, too
time.sleep(0.1)
assert 4 <= date() - first < 5000, first' "${url##*:}"
}

@test "scale that the system has no room for is refused, and changes nothing" {
  launcher=(prlimit --nofile=100:100)
  start_daemon --workers 2
  try "$counterctl" --server "$url" scale 200
  assert_refused 74 # it may pass
  assert_stderr_has "Too many open files"
  has_ready_workers 2
  assert_equal "$("$counterctl" --server "$url" workers | wc -l)" 2
  assert_equal "$("$counterctl" --server "$url" scale 3)" 3
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

@test "a daemon whose workers the system has no room for is ready with those that it has" {
  # shellcheck disable=SC2016
  launcher=(bash -c 'ulimit -n 40; exec "$@"' bash)
  start_daemon --workers 60
  has_ready_workers 1
  grep -q 'no sockets for 60 workers' "$daemon_log"
}

@test "a daemon takes the descriptors that it may have" {
  launcher=(prlimit --nofile=64:256)
  start_daemon --workers 40
  has_ready_workers 40
}

@test "a worker that there are no descriptors for does not take another file for its socket" {
  local port pid
  port=$(free_port)
  try bash -c 'ulimit -n 64; exec "$@"' bash "$counterctl" --server "http://127.0.0.1:$port" \
    --timeout 2s spawn --workers 29 3>&- 4>&-
  echo "$stderr"
  url=http://127.0.0.1:$port
  "$counterctl" --server "$url" workers >"$dir/workers"
  cat "$dir/workers"
  assert_succeeds grep -q ready "$dir/workers"
  while read -r pid; do
    assert_succeeds grep -q '^socket:' <<<"$(readlink "/proc/$pid/fd/5")"
  done < <(awk '/ready/ { print $1 }' "$dir/workers")
  "$counterctl" --server "$url" stop
}

@test "scale refuses numbers that make no sense" {
  local number
  start_daemon --workers 2
  for number in 0 257 -1 x 02 ''; do
    echo "number: '$number'"
    try "$counterctl" --server "$url" scale -- "$number"
    assert_refused 65
  done
  has_ready_workers 2
}

@test "the control socket refuses nonsense and is its owner's alone" {
  local line socket
  start_daemon --workers 2
  socket=$(control_socket)
  [[ -S $socket ]]
  assert_equal "$(stat -c %a "$XDG_RUNTIME_DIR/counterd")" 700
  for line in nonsense '{}' '[]' '""' null '{"command":"dance"}' '{"command":7}' '{"command":"scale"}' \
    '{"command":"scale","workers":0}' '{"command":"scale","workers":257}' \
    '{"command":"scale","workers":-1}' '{"command":"scale","workers":1.5}' \
    '{"command":"scale","workers":99999999999999999999}' '{"command":"scale","workers":"many"}' \
    '{"command":"workers","surplus":1}' '{"command":"workers"' '{"command":{"command":"stop"}}' \
    $'\xff\x01' ''; do
    echo "line: $line"
    try "$python" -c "$ask_control_socket" "$socket" "$line"$'\n'
    assert_status 0
    [[ $output == '{"error":{'*'"message":"'* ]] || { show_run; fail "expected an error"; }
  done
  # Too long: the connection is closed, whatever would have followed.
  try "$python" -c "$ask_control_socket" "$socket" "$(printf '%05000d' 0)"
  assert_status 0
  assert_output ""
  has_ready_workers 2
  assert_equal "$(supervisors)" "$daemon_pid"
}

# Connects so many times to the control socket, says TEXT each time, and no more.
occupy_control_socket() { # COUNT TEXT
  start_python '
import socket, sys, time
kept = []
for _ in range(int(sys.argv[2])):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    connection.sendall(sys.argv[3].encode())
    kept.append(connection)
print("connected")
time.sleep(60)' "$(control_socket)" "$@"
}

@test "an idle or half-sent question keeps nobody from the control socket" {
  start_daemon --workers 1
  occupy_control_socket 8 '{"command"'
  assert_within 1500 "$counterctl" --server "$url" workers
  assert_status 0
}

@test "a supervisor without descriptors for those who ask it waits, and does not spin" {
  local before
  launcher=(prlimit --nofile=22:22)
  start_daemon --workers 1
  occupy_control_socket 14 ''
  await 5 test -e "/proc/$daemon_pid/fd/21"
  before=$(ticks_of "$daemon_pid")
  sleep 1
  assert_between $(($(ticks_of "$daemon_pid") - before)) 0 20
}

# Stands for a daemon of another user: a control socket at the first argument, of the user whose id
# is the second, that any user may connect to and that answers every question.
foreign_control_socket='
import json, os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
os.umask(0)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens")
while True:
    connection = listener.accept()[0]
    try:
        connection.recv(4096)
        connection.sendall(json.dumps({"pid": os.getpid(), "ready": True, "stopping": False, "settings": [],
            "wanted": 1, "workers": []}).encode() + b"\n")
    except ConnectionError:
        pass
    connection.close()'

# Becomes its other arguments as the user whose id is the first. What that user may not reach by its
# path, it gets as the current folder and an open file.
as_user='
import os, sys
program = os.open(sys.argv[2], os.O_RDONLY)
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
os.execve(program, sys.argv[2:], os.environ)'

@test "a folder whose path is too long for a control socket is refused and named" {
  RUNTIME_DIRECTORY=$dir/$(printf 'x%.0s' {1..107})
  mkdir "$RUNTIME_DIRECTORY"
  export RUNTIME_DIRECTORY
  try timeout 20 "$counterd" --listen 127.0.0.1:0
  assert_refused 78
  assert_stderr_has "the control socket's path is too long: $RUNTIME_DIRECTORY/"
}

@test "another user's control socket is not believed" {
  local command
  ((EUID == 0)) || skip "only root can become other users"
  mkdir -m 0777 "$dir/sockets"
  cd "$dir/sockets"
  start_python "$foreign_control_socket" 127.0.0.1:4747.control 65533
  for command in workers "scale 1" stop; do
    # shellcheck disable=SC2086
    RUNTIME_DIRECTORY=. try "$python" -c "$as_user" 65532 "$counterctl" $command
    assert_refused 77
    assert_stderr_has 127.0.0.1:4747.control
  done
  # As itself, and as root, that user can ask.
  RUNTIME_DIRECTORY=. try "$python" -c "$as_user" 65533 "$counterctl" workers
  assert_status 0
  RUNTIME_DIRECTORY=. try "$counterctl" workers
  assert_status 0
}

@test "root may ask any user's daemon" {
  local server=unix:$dir/theirs/daemon.sock
  ((EUID == 0)) || skip "only root can become other users"
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}" "$dir"
  mkdir -m 0777 "$dir/theirs"
  export RUNTIME_DIRECTORY=$dir/theirs
  launcher=("$python" -c "$as_user" 65532)
  launch_daemon --listen "$server" --store "sqlite:$dir/theirs/c.db" --workers 1
  exec {ready}<>"$pipe"
  IFS= read -r -t 20 line <&"$ready"
  assert_equal "$(stat -c %u "$dir/theirs/c.db")" 65532
  try "$counterctl" --server "$server" stop
  assert_status 0
}

@test "a daemon that may have no more processes says which limit that is" {
  ((EUID == 0)) || skip "only root can become other users"
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}" "$dir"
  mkdir -m 0777 "$dir/theirs"
  export RUNTIME_DIRECTORY=$dir/theirs
  launcher=(prlimit --nproc=1:1 "$python" -c "$as_user" 65531)
  launch_daemon --store "sqlite:$dir/theirs/c.db" --workers 1
  exec {ready}<>"$pipe"
  await 10 grep -qs 'cannot start a worker: .*ulimit -u; TasksMax=' "$daemon_log"
}

@test "a folder for control sockets that others may write to is refused" {
  local mode
  for mode in 0770 0702; do
    mkdir -p "$XDG_RUNTIME_DIR/counterd"
    chmod "$mode" "$XDG_RUNTIME_DIR/counterd"
    try timeout 20 "$counterd" --listen 127.0.0.1:0
    assert_refused 78
    assert_stderr_has "$XDG_RUNTIME_DIR/counterd must belong to this user alone"
  done
}

@test "another user's folder that leads to this user's own control socket is not believed" {
  ((EUID == 0)) || skip "only root can become other users"
  mkdir -m 0777 "$dir/sockets"
  ln -s sockets "$dir/other"
  chown -h 65532 "$dir/other"
  cd "$dir/sockets"
  start_python "$foreign_control_socket" 127.0.0.1:4747.control 65533
  cd "$dir"
  RUNTIME_DIRECTORY=other try "$python" -c "$as_user" 65533 "$counterctl" stop
  assert_refused 69
  RUNTIME_DIRECTORY=sockets try "$python" -c "$as_user" 65533 "$counterctl" workers
  assert_status 0
}

@test "an address of another machine names no daemon of this one" {
  local command port
  start_daemon --workers 1
  port=${url##*:}
  for command in workers "scale 2" stop; do
    # shellcheck disable=SC2086
    try "$counterctl" --server "http://192.0.2.1:$port" $command
    assert_refused 69
    # shellcheck disable=SC2086
    try "$counterctl" --server "http://[2001:db8::1]:$port" $command
    assert_refused 69
    # Of this machine, but not served.
    # shellcheck disable=SC2086
    try "$counterctl" --server "http://127.0.0.2:$port" $command
    assert_refused 69
  done
  has_ready_workers 1
  assert_equal "$(supervisors)" "$daemon_pid"
  stop_daemon
  start_daemon --workers 1 --listen 0.0.0.0:0  # which is all addresses of this machine alone
  try "$counterctl" --server "http://192.0.2.1:${url##*:}" stop
  assert_refused 69
}

@test "a daemon is found by whatever address of this machine reaches it" {
  local host port
  start_daemon --listen 0.0.0.0:0 --workers 1
  port=${url##*:}
  for host in 127.0.0.1 127.0.0.2 localhost 0.0.0.0; do
    try "$counterctl" --server "http://$host:$port" workers
    assert_status 0
  done
  stop_daemon
  start_daemon --listen localhost:0 --workers 1
  port=${url##*:}
  for host in localhost "${url#http://}"; do
    try "$counterctl" --server "http://${host%:"$port"}:$port" workers
    assert_status 0
  done
}

@test "a daemon that has one socket for both kinds of addresses is found by each" {
  local host
  "$python" -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' ||
    skip "this machine has no IPv6"
  launcher=("$python" -c '
import os, socket, sys
listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execvp(sys.argv[1], sys.argv[1:])')
  start_daemon --workers 1
  for host in 127.0.0.1 '[::1]'; do
    try "$counterctl" --server "http://$host:${url##*:}" workers
    assert_status 0
  done
}

@test "in the journal, what somebody should look into is a warning" {
  mkfifo "$dir/journal"
  cat "$dir/journal" >"$dir/lines" 3>&- 4>&- &
  # shellcheck disable=SC2016 # for that shell
  launcher=(bash -c 'exec "$@" 2>"$0"' "$dir/journal")
  JOURNAL_STREAM=$(stat -c %d:%i "$dir/journal") start_daemon
  kill -KILL "$(ready_workers | head -n 1)"
  # The journal adds the program and its process to each line by itself.
  await 10 grep -q '^<4>worker 0 (pid [0-9]*) was killed by signal 9' "$dir/lines"
  grep -q '^<6>version .* serves ' "$dir/lines"
}

@test "a log that nobody reads any more ends no daemon" {
  local log=$dir/log.pipe
  mkfifo "$log"
  make_pipe
  "$counterd" --listen 127.0.0.1:0 --workers 1 --ready-fd 9 2>"$log" 9>"$pipe" >/dev/null \
    3>&- 4>&- </dev/null &
  daemon_pid=$!
  pids+=("$daemon_pid")
  exec {reader}<"$log"
  IFS= read -r -t 20 url <"$pipe"
  url=${url#ready }
  exec {reader}<&-
  # Each writes a line, and the daemon the next one after it has been answered.
  kill -HUP "$daemon_pid"
  kill -KILL "$(ready_workers)"
  await 10 has_ready_workers 1
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  stop_daemon
}

@test "a log that nobody empties holds up nothing" {
  local worker i
  make_pipe
  exec {full}<>"$pipe"
  mkfifo "$dir/ready"
  "$counterd" --listen 127.0.0.1:0 --workers 1 --ready-fd 9 9<>"$dir/ready" 2>"$pipe" \
    >/dev/null </dev/null 3>&- 4>&- {full}>&- &
  daemon_pid=$!
  pids+=("$daemon_pid")
  exec {ready}<>"$dir/ready"
  read -r -t 20 -u "$ready" url
  exec {ready}>&-
  url=${url#ready }
  dd if=/dev/zero of="$pipe" bs=4096 count=64 oflag=nonblock status=none || true
  worker=$(ready_workers)
  kill -KILL "$worker"
  await 10 is_replaced "$worker" 1
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  stop_daemon
  exec {full}>&-
}

@test "a terminal on which nobody reads holds up nothing" {
  local worker i
  start_python '
import os, time
terminal, end = os.openpty()
print(os.ttyname(end))
time.sleep(300)'
  # shellcheck disable=SC2016 # for that shell
  launcher=(bash -c 'exec "$@" 2>"$0"' "$said")
  start_daemon --workers 1
  for i in {1..400}; do  # more lines than a terminal keeps
    kill -HUP "$daemon_pid"
    sleep 0.004
  done
  worker=$(ready_workers)
  kill -KILL "$worker"
  await 10 is_replaced "$worker" 1
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  stop_daemon
}

@test "replaced workers come from the binary that was started, whatever becomes of the file" {
  local worker
  mkdir "$dir/bin"
  cp "$counterd" "$dir/bin/counterd"
  counterd=$dir/bin/counterd
  start_daemon --workers 1
  mv "$dir/bin/counterd" "$dir/bin/old"
  printf '#!/bin/sh\nexit 78\n' >"$dir/bin/counterd"
  chmod +x "$dir/bin/counterd"
  worker=$(ready_workers)
  kill -KILL "$worker"
  await 10 is_replaced "$worker" 1
  rm "$dir/bin/old" "$dir/bin/counterd"
  worker=$(ready_workers)
  kill -KILL "$worker"
  await 10 is_replaced "$worker" 1
  "$counterctl" --server "$url" -q scale 2
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

@test "reading goes on while a change waits for the turn" {
  local begin
  start_daemon --workers 1
  hold_store
  send_late_increment
  begin=$(milliseconds)
  try curl -s --max-time 5 "$url/livez"
  assert_status 0
  assert_equal "$(curl -s --max-time 5 -o /dev/null -w '%{http_code}' "$url/readyz")" 200
  assert_equal "$("$counterctl" --server "$url" list)" ""
  assert_equal "$("$counterctl" --server "$url" report)" 0
  (($(milliseconds) - begin < 3000)) || fail "it has lasted too long"
  let_go
  wait "$late_pid"
  assert_equal "$(cat "$dir/late")" 200
}

@test "the control socket answers nobody but its user and root" {
  ((EUID == 0)) || skip "only root can become other users"
  start_daemon --workers 1
  cd "$XDG_RUNTIME_DIR/counterd"
  chmod 0777 "${url#http://}.control"
  chmod 0711 .
  try "$python" -c '
import os, socket, sys
os.setgroups([]); os.setgid(65532); os.setuid(65532)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
print(connection.makefile().read())' "${url#http://}.control"
  assert_status 0
  assert_output_has "belongs to another user"
}

@test "a daemon that ends is not scaled, and who has stopped it waits for more than five seconds" {
  local held stopper
  start_daemon --workers 1 --drain-timeout 60s
  exec {held}<>"/dev/tcp/127.0.0.1/${url##*:}"
  printf 'POST /incr' >&"$held"
  "$counterctl" --server "$url" -q increment
  "$counterctl" --server "$url" --timeout 60s -q stop 3>&- 4>&- {held}>&- &
  stopper=$!
  await 5 grep -q 'counterctl stop' "$daemon_log"
  try "$counterctl" --server "$url" --timeout 2s scale 3
  assert_refused 69
  assert_stderr_has 'is ending'
  start_python '
import socket, sys
silent = socket.socket(socket.AF_UNIX)
silent.connect(sys.argv[1])
print("connected")
with open(sys.argv[2], "w") as file:
    print("closed" if silent.recv(1) == b"" else "answered", file=file)' "$(control_socket)" "$dir/silent"
  sleep 6  # more than others who ask are waited for
  assert_equal "$(<"$dir/silent")" closed
  "$counterctl" --server "$url" workers  # wakes the supervisor
  sleep 0.5
  assert_fails has_ended "$stopper"
  exec {held}>&-
  assert_succeeds wait "$stopper"
}

@test "a supervisor that is stopped keeps nobody beyond --timeout, however many ask" {
  local i
  start_daemon --workers 1
  kill -STOP "$daemon_pid"
  # Questions that nobody waits for any more fill the queue of its control socket.
  for i in {1..24}; do
    try timeout 5 "$counterctl" --server "$url" --timeout 50ms workers
    assert_refused 69
    assert_stderr_has 'did not answer on its control socket'
  done
  kill -CONT "$daemon_pid"
  await 10 has_ready_workers 1
}

# The processor time of a process so far, in ticks of 10 ms.
ticks_of() {
  awk '{ print $14 + $15 }' "/proc/$1/stat"
}

@test "a supervisor that waits for a worker to end waits without using the processor" {
  local before
  start_daemon --workers 3 --drain-timeout 60s
  kill -STOP "$("$counterctl" --server "$url" workers | tail -n 1 | cut -f 1)"
  try "$counterctl" --server "$url" --timeout 2s scale 1
  assert_refused 75
  assert_equal "$("$counterctl" --server "$url" workers | grep -c draining)" 1
  before=$(ticks_of "$daemon_pid")
  sleep 1
  assert_between $(($(ticks_of "$daemon_pid") - before)) 0 20
  kill -CONT "$("$counterctl" --server "$url" workers | tail -n 1 | cut -f 1)"
  await 10 has_ready_workers 1
}

@test "a daemon that waits for the last of its workers to end waits without using the processor" {
  local before
  start_daemon --workers 2
  kill -STOP "$(ready_workers | tail -n 1)"
  kill -TERM "$daemon_pid"
  await 5 has_children 1
  before=$(ticks_of "$daemon_pid")
  sleep 1
  assert_between $(($(ticks_of "$daemon_pid") - before)) 0 5
  children_of "$daemon_pid" | xargs kill -CONT
  wait_for_end_of "$daemon_pid"
  assert_equal "$ended_with" 0
}

@test "a supervisor that does not answer may yet do what it was told" {
  start_daemon --workers 1
  kill -STOP "$daemon_pid"
  try "$counterctl" --server "$url" --timeout 300ms workers
  assert_refused 69
  try "$counterctl" --server "$url" --timeout 300ms scale 2
  assert_refused 75
  kill -CONT "$daemon_pid"
  await 10 has_ready_workers 2
}

@test "a worker that still waits for its store when the daemon ends is not said to be replaced" {
  launch_daemon --workers 1 --listen "unix:$dir/daemon.sock" --store "redis+unix://$dir/redis.sock"
  exec {ready}<>"$pipe"
  await 10 grep -qs "$dir/redis.sock" "$daemon_log"
  stop_daemon
  assert_fails grep -qE 'replaced|next try' "$daemon_log"
  exec {ready}>&-
}

# --- the end ---

assert_ends_in_order() {
  local signal=$1
  start_daemon
  hold_store
  send_late_increment
  kill "-$signal" "$daemon_pid"
  await 5 is_refused
  assert_succeeds kill -0 "$daemon_pid"
  let_go
  wait_for_end_of "$daemon_pid"
  assert_equal "$ended_with" 0
  wait "$late_pid"
  assert_equal "$(cat "$dir/late")" 200
  assert_equal "$("$counterctl" --store "sqlite:$database" report)" 1
  assert_equal "$(processes_of_test)" ""
}

@test "SIGTERM ends with 0 and answers what is in flight" {
  assert_ends_in_order TERM
}

@test "SIGINT ends with 0 and answers what is in flight" {
  assert_ends_in_order INT
}

@test "a client that connects and asks nothing holds up the end for a second, not longer" {
  local silent begin
  start_daemon --workers 1
  exec {silent}<>"/dev/tcp/127.0.0.1/${url##*:}"
  assert_equal "$("$counterctl" --server "$url" increment)" 1  # the other one is accepted, too
  begin=$(milliseconds)
  stop_daemon
  exec {silent}>&-
  assert_between $(($(milliseconds) - begin)) 0 5000  # and not the 10 s of --drain-timeout
  assert_fails grep -q 'cut off' "$daemon_log"
}

@test "a request whose body is still on its way at SIGTERM is answered" {
  start_daemon --workers 1
  start_python '
import os, signal, socket, sys, time
host, port, daemon, result = sys.argv[1:]
client = socket.create_connection((host, int(port)), 10)
client.sendall(b"POST /increment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
               b"Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n")
assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
client.sendall(b"by")
print("half")
os.kill(int(daemon), signal.SIGTERM)
while True:
    try:
        socket.create_connection((host, int(port)), 1).close()
    except ConnectionRefusedError:
        break
    time.sleep(0.02)
client.sendall(b"=7")
with open(result, "wb") as file:
    file.write(client.recv(4096).split(b"\r\n")[0])
' 127.0.0.1 "${url##*:}" "$daemon_pid" "$dir/reply"
  wait_for_end_of "$daemon_pid"
  assert_equal "$ended_with" 0
  wait "$python_pid"
  assert_equal "$(cat "$dir/reply")" "HTTP/1.1 200 OK"
  assert_equal "$("$counterctl" --store "sqlite:$database" report)" 7
}

@test "SIGTERM ends with 0 also where the worker has just refused its settings" {
  local worker ready
  launch_daemon --workers 1 --require-durable --store "redis+unix://$dir/redis.sock"
  exec {ready}<>"$pipe"
  await 10 grep -qs "$dir/redis.sock" "$daemon_log"
  worker=$(children_of "$daemon_pid")
  kill -STOP "$daemon_pid"
  start_redis --appendonly no
  await 10 has_ended "$worker"
  kill -TERM "$daemon_pid"
  kill -CONT "$daemon_pid"
  wait_for_end_of "$daemon_pid"
  assert_equal "$ended_with" 0
  exec {ready}>&-
}

@test "a second SIGTERM ends at once" {
  local begin
  start_daemon --drain-timeout 1m --store-timeout 1m
  hold_store
  send_late_increment
  kill -TERM "$daemon_pid"
  kill -INT "$daemon_pid"  # as timeout(1) sends its signal twice: no second one
  await 5 is_refused
  sleep 0.3
  assert_succeeds kill -0 "$daemon_pid"
  begin=$(milliseconds)
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid" 5
  (($(milliseconds) - begin < 2000)) || fail "it has lasted too long"
  let_go
  await 5 has_ended "$late_pid"
  assert_equal "$(processes_of_test)" ""
}

@test "a first SIGTERM after counterctl stop lets the workers finish" {
  start_daemon --drain-timeout 1m --store-timeout 1m
  hold_store
  send_late_increment
  try "$counterctl" --server "$url" --timeout 300ms stop
  assert_refused 75
  kill -TERM "$daemon_pid"
  await 5 grep -q 'got SIGTERM' "$daemon_log"
  let_go
  wait_for_end_of "$daemon_pid"
  wait "$late_pid"
  assert_equal "$(cat "$dir/late")" 200
}

# The daemon has opened a folder to lock it, beside the descriptor that it has from this test, and
# so takes signals.
opens_sockets() {
  [[ $(readlink "/proc/$daemon_pid/fd"/* | grep -cx "$1") == 2 ]]
}

@test "SIGTERM ends a daemon that is still opening its sockets, SIGHUP does not" {
  local name listen=() folder
  for name in 1 2 3 4; do
    mkdir "$dir/$name"
    exec {folder}<"$dir/$name"
    flock "$folder"  # each keeps it waiting for a second
    listen+=(--listen "unix:$dir/$name/daemon.sock")
  done
  launch_without_pipe "${listen[@]}"
  await 10 opens_sockets "$dir/1"
  kill -HUP "$daemon_pid"
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid" 1
  assert_equal "$ended_with" 0
}

@test "a worker that does not end with the daemon is killed" {
  start_daemon --workers 1 --drain-timeout 100ms
  kill -STOP "$(ready_workers)"
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid" 8
  assert_succeeds grep -q 'has not ended in time: killed' "$daemon_log"
}

@test "--drain-timeout bounds the end" {
  local begin
  start_daemon --drain-timeout 300ms --store-timeout 1m
  hold_store
  send_late_increment
  begin=$(milliseconds)
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid" 10
  (($(milliseconds) - begin < 3000)) || fail "it has lasted too long"
  assert_equal "$ended_with" 0
  assert_fails grep -q 'has not ended in time' "$daemon_log"  # the worker has ended by itself
  let_go
  assert_equal "$("$counterctl" --store "sqlite:$database" report)" 0
}

@test "SIGHUP is survived, by the daemon and its workers" {
  local workers
  start_daemon --workers 2
  workers=$(ready_workers)
  # shellcheck disable=SC2086
  kill -HUP "$daemon_pid" $workers
  await 5 grep -q SIGHUP "$daemon_log"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_equal "$(ready_workers)" "$workers"
  assert_succeeds kill -0 "$daemon_pid"
}

@test "SIGINT to the workers, as from a terminal, ends none" {
  local workers
  start_daemon --workers 2
  workers=$(ready_workers)
  # shellcheck disable=SC2086
  kill -INT $workers
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_equal "$(ready_workers)" "$workers"
}

@test "counterctl stop waits for the end, and the address is free at once" {
  local stopper
  start_daemon
  hold_store
  send_late_increment
  "$counterctl" --server "$url" stop 3>&- 4>&- {held}>&- &
  stopper=$!
  await 5 is_refused
  assert_fails has_ended "$stopper"
  let_go
  wait "$stopper"
  start_daemon --listen "${url#http://}"
  wait "$late_pid"
  assert_equal "$(cat "$dir/late")" 200
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  try "$counterctl" --server "$url" stop
  assert_status 0
  assert_silence
  await 2 has_ended "$daemon_pid"
}

@test "counterctl stop does not say that a daemon has ended that has only closed the connection" {
  mkdir -m 0700 "$XDG_RUNTIME_DIR/counterd"
  url=http://127.0.0.1:$(free_port)
  # As a daemon does that has waited for the question of a paused command for too long.
  start_python '
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens")
while True:
    listener.accept()[0].close()' "$(control_socket)"
  try "$counterctl" --server "$url" stop
  assert_refused 75
  assert_stderr_has 'without an answer'
}

@test "counterctl stop does not say that a daemon has ended whose workers go on" {
  local stopper
  start_daemon --workers 1
  hold_store
  send_late_increment
  "$counterctl" --server "$url" stop 2>"$dir/said" 3>&- 4>&- {held}>&- &
  stopper=$!
  await 5 is_draining  # so the command has its answer
  kill -KILL "$daemon_pid"
  wait_for_end_of "$stopper"
  assert_equal "$ended_with" 75
  assert_succeeds grep -q 'was killed before its workers had ended' "$dir/said"
  let_go
  wait "$late_pid"
  assert_equal "$(cat "$dir/late")" 200
}

@test "a daemon that drains leaves its successor's control socket alone" {
  local first first_pid
  start_daemon --listen "127.0.0.1:$(free_port)" --workers 1
  first=$url first_pid=$daemon_pid
  hold_store
  send_late_increment
  kill -TERM "$first_pid"
  await 5 is_refused
  start_daemon --listen "${first#http://}" --workers 1 --store "sqlite:$dir/other.db"
  assert_succeeds kill -0 "$first_pid"
  let_go
  wait_for_end_of "$first_pid"
  assert_equal "$ended_with" 0
  has_ready_workers 1
  stop_daemon
  assert_equal "$(ls "$XDG_RUNTIME_DIR/counterd")" ""
}

@test "a daemon that ends does not remove its control socket while another one may replace it" {
  local folder begin
  start_daemon
  exec {folder}<"$XDG_RUNTIME_DIR/counterd"
  flock "$folder"
  begin=$(milliseconds)
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid"
  # It waits for the lock, but only for a second.
  assert_between "$(($(milliseconds) - begin))" 1000 20000
  assert_fails test -e "$(control_socket)"
  exec {folder}<&-
}

# --- systemd ---

@test "sockets that systemd hands over are served, shared, and left to it" {
  local pid
  listening=()
  launcher=("$python" -c "$hand_over_sockets" "$dir/systemd.sock")
  start_daemon --workers 3
  [[ $url =~ ^http://127\.0\.0\.1:[1-9][0-9]*$ ]] || fail "the URL is $url"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  assert_equal "$("$counterctl" --server "unix:$dir/systemd.sock" increment)" 2
  has_ready_workers 3
  for pid in $(children_of "$daemon_pid"); do
    assert_equal "$(tr '\0' '\n' <"/proc/$pid/environ" | grep -c '^LISTEN_')" 0
  done
  "$counterctl" --server "$url" -q scale 1
  assert_equal "$("$counterctl" --server "$url" increment)" 3
  stop_daemon
  [[ -S $dir/systemd.sock ]]
}

@test "a restart under load fails no request where systemd holds the address" {
  start_python "$restarter" "$dir/enough" "$dir/restarts" "$counterd" --workers 2
  local restarter_pid=$python_pid
  url=http://127.0.0.1:$said
  start_load
  await 20 has_been_restarted 4
  stop_load
  assert_equal "$failed" 0
  assert_equal "$(value_of load)" "$acknowledged"
  touch "$dir/enough"
  wait_for_end_of "$restarter_pid" 10
}

has_been_restarted() {
  (($(wc -l <"$dir/restarts") >= $1))
}

@test "a socket that is handed over is not the descriptor for readiness" {
  # shellcheck disable=SC2034
  try timeout 20 "$python" -c "$hand_over_sockets" "$dir/systemd.sock" "$counterd" --ready-fd 3
  assert_refused 78
  assert_stderr_has 'descriptor 3 is a socket'
}

# check_refused_socket CODE TEXT: counterd does not take the socket that CODE, of Python, names `given`
# from systemd, and says so.
check_refused_socket() {
  try timeout 20 "$python" -c "import os, socket, sys
$1
os.dup2(given.fileno(), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[1], [sys.argv[1]])" "$counterd"
  assert_refused 78
  assert_stderr_has "$2"
}

@test "a socket that does not listen, or for packets, or without a path, is refused" {
  check_refused_socket 'listener = socket.create_server(("127.0.0.1", 0))
given = socket.create_connection(listener.getsockname())' 'no listening stream socket'
  check_refused_socket 'given = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
given.bind("packets.sock")
given.listen()' 'no listening stream socket'
  check_refused_socket 'given = socket.socket(socket.AF_UNIX)
given.bind("\0" + os.getcwd())
given.listen()' 'without a path'
}

@test "a daemon that a socket starts answers the connection that started it" {
  systemd-socket-activate -l "$dir/activated.sock" -E XDG_STATE_HOME -E XDG_RUNTIME_DIR \
    "$counterd" >"$dir/activated.log" 2>&1 3>&- 4>&- &
  pids+=($!)
  await 10 test -S "$dir/activated.sock"
  assert_equal "$("$counterctl" --server "unix:$dir/activated.sock" increment)" 1
}

@test "sockets that are handed to another process are not taken" {
  launcher=(env LISTEN_PID=1 LISTEN_FDS=1)
  start_daemon
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

has_worker() {
  [[ -n $(children_of "$daemon_pid") ]]
}

# has_told TIMES TEXT: systemd was told it so often.
has_told() {
  (($(grep -c "$2" "$dir/messages") >= $1))
}

start_receiver() {
  start_python "$notify_receiver" "$dir/notify" "$dir/messages" "$dir/daemon.sock"
  export NOTIFY_SOCKET=$dir/notify
}

@test "systemd hears READY=1 when the daemon serves, its status, and STOPPING=1" {
  start_receiver
  start_daemon --listen "unix:$dir/daemon.sock" --workers 2
  await 5 grep -qs '^at READY=1' "$dir/messages"
  assert_equal "$(grep '^at READY=1' "$dir/messages")" "at READY=1: HTTP/1.1 200 OK"
  assert_equal "$(grep -c READY=1 "$dir/messages")" 2
  assert_succeeds grep -q 'STATUS=2 of 2 workers' "$dir/messages"
  assert_fails grep -q STOPPING=1 "$dir/messages"
  "$counterctl" --server "$url" -q scale 3
  await 5 has_told 1 'STATUS=3 of 3 workers'
  ready_workers | head -n 1 | xargs kill -KILL
  await 10 has_told 2 'STATUS=3 of 3 workers'  # which it is not told twice in a row
  stop_daemon
  await 5 grep -q STOPPING=1 "$dir/messages"
  # As long as --drain-timeout, 10 s, and a little: systemd waits for TimeoutStopSec= otherwise.
  assert_succeeds grep -q EXTEND_TIMEOUT_USEC=14000000 "$dir/messages"
  assert_fails grep -q 'READY=1' <(sed '1,/STOPPING=1/d' "$dir/messages")
}

@test "systemd hears READY=1 not before the store answers" {
  local line
  start_receiver
  launch_daemon --listen "unix:$dir/daemon.sock" --store "redis+unix://$dir/redis.sock" --workers 1
  # A pipe lets nobody open it to write before there is a reader.
  exec {ready}<>"$pipe"
  await 10 grep -qs "$dir/redis.sock" "$daemon_log"
  assert_fails grep -qs READY=1 "$dir/messages"
  start_redis
  IFS= read -r -t 20 line <&"$ready"
  assert_equal "$line" "ready unix:$dir/daemon.sock"
  await 5 grep -qs '^at READY=1' "$dir/messages"
  assert_equal "$(grep '^at READY=1' "$dir/messages")" "at READY=1: HTTP/1.1 200 OK"
}

@test "systemd hears READY=1 also by a socket that has no path" {
  start_python "$notify_receiver" "@$dir/notify" "$dir/messages" "$dir/daemon.sock"
  export NOTIFY_SOCKET=@$dir/notify
  start_daemon --listen "unix:$dir/daemon.sock" --workers 1
  await 5 grep -qs '^READY=1' "$dir/messages"
}

@test "systemd hears READY=1 also where others' messages fill its queue" {
  start_python '
import socket, sys, time
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
other.setblocking(False)
try:
    while True:
        other.sendto(b"BARRIER=1", sys.argv[1])
except BlockingIOError:
    print("full")
time.sleep(4.5)
while True:
    message = receiver.recv(65536).decode()
    with open(sys.argv[2], "a") as file:
        file.write(message + "\n")' "$dir/notify" "$dir/messages"
  export NOTIFY_SOCKET=$dir/notify
  start_daemon --workers 1
  await 15 grep -qs READY=1 "$dir/messages"
}

@test "a daemon that has no descriptors when it becomes ready says so later, and knows a lost database" {
  local line limit lock worker store=$dir/c.db
  start_receiver
  "$counterctl" --store "sqlite:$store" -q increment --by 41
  exec {lock}<"$store"
  flock "$lock"  # keeps the worker from becoming ready
  launch_daemon --listen "unix:$dir/daemon.sock" --store "sqlite:$store" --workers 1
  exec {ready}<>"$pipe"
  await 10 has_worker
  limit=$(prlimit --pid "$daemon_pid" --nofile --noheadings --output SOFT)
  prlimit --pid "$daemon_pid" --nofile=3:  # as many as it polls
  flock -u "$lock"
  IFS= read -r -t 20 line <&"$ready"
  assert_equal "$line" "ready unix:$dir/daemon.sock"
  assert_fails grep -qs READY=1 "$dir/messages"
  prlimit --pid "$daemon_pid" --nofile="$limit:"
  await 5 grep -qs '^at READY=1' "$dir/messages"
  assert_equal "$("$counterctl" --server "unix:$dir/daemon.sock" increment)" 42
  mkdir "$dir/lost"
  mv "$store" "$store-wal" "$store-shm" "$dir/lost"
  kill -KILL "$(children_of "$daemon_pid")"
  await 10 has_ended "$daemon_pid"
  [[ ! -e $store ]]
}

@test "systemd's watchdog hears of the daemon twice as often as it asks" {
  start_receiver
  export WATCHDOG_USEC=200000
  start_daemon --listen "unix:$dir/daemon.sock" --workers 1
  sleep 1
  assert_between "$(grep -c WATCHDOG=1 "$dir/messages")" 6 30
  stop_daemon
  : >"$dir/messages"
  WATCHDOG_PID=1 start_daemon --listen "unix:$dir/daemon.sock" --workers 1
  sleep 0.3
  assert_fails grep -q WATCHDOG=1 "$dir/messages"
}

@test "the folders that systemd gives are used" {
  mkdir "$dir/given-state" "$dir/given-run"
  # The first of several.
  export STATE_DIRECTORY=$dir/given-state:$dir/other RUNTIME_DIRECTORY=$dir/given-run:$dir/other
  start_daemon --workers 2
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  [[ -s $dir/given-state/counters.db && -S $dir/given-run/${url#http://}.control ]]
  has_ready_workers 2
}

# The script of the manual that copies the database, for those of this test.
backup_script() {
  sed -n '/^#!\/bin\/sh/,/^\.EE/p' "$BATS_TEST_DIRNAME/../man/counterd.8" |
    sed -e '/^\.EE/d' -e "s/\\\\(aq/'/g" -e 's/\\-/-/g' \
      -e "s|/srv/backup|$dir/backup|" -e "s|/var/lib/counterd/counters.db|$database|"
}

@test "the script of the manual copies a database each night, and leaves nothing of one that failed" {
  backup_script >"$dir/backup.sh"
  mkdir "$dir/backup"
  try sh "$dir/backup.sh"  # there is no database
  [[ $status != 0 ]]
  assert_equal "$(ls "$dir/backup")" ""
  start_daemon
  assert_equal "$(http POST /increment)" 200
  echo "of a night that was cut short" >"$dir/backup/new.db"
  # Midnight may come at any time here.
  mkdir "$dir/bin"
  printf '#!/bin/sh\necho 2026-01-31\n' >"$dir/bin/date"
  chmod +x "$dir/bin/date"
  local PATH=$dir/bin:$PATH
  for _ in 1 2; do assert_succeeds sh "$dir/backup.sh"; done
  assert_equal "$(ls "$dir/backup")" counters-2026-01-31.db
  assert_equal "$(stat -c %a "$dir/backup"/*)" 600
  # The disk has no room for all of it.
  # shellcheck disable=SC2016
  try bash -c 'ulimit -f 1; exec sh "$1"' bash "$dir/backup.sh"
  [[ $status != 0 ]]
  assert_equal "$(ls "$dir/backup")" counters-2026-01-31.db
  assert_equal "$("$counterctl" --store "sqlite:$(echo "$dir/backup"/*)" report)" 1
}

@test "the database of a daemon that was stopped is one file" {
  start_daemon --workers 2
  assert_equal "$("$counterctl" --server "$url" increment --by 41)" 41
  stop_daemon
  mkdir "$dir/copy"
  cp "$database" "$dir/copy/counters.db"
  assert_equal "$("$counterctl" --store "sqlite:$dir/copy/counters.db" increment)" 42
}

@test "so it is where clients that do not end have been cut off" {
  local held
  start_daemon --workers 2 --drain-timeout 500ms
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  exec {held}<>"/dev/tcp/127.0.0.1/${url##*:}"
  printf 'POST /incr' >&"$held"
  stop_daemon
  exec {held}>&-
  assert_succeeds grep -q 'cut off 1 connections' "$daemon_log"
  mkdir "$dir/copy"
  cp "$database" "$dir/copy/counters.db"
  assert_equal "$("$counterctl" --store "sqlite:$dir/copy/counters.db" increment)" 2
}

@test "a daemon in another network does not take the control socket of one that serves" {
  unshare --net true || skip "only root can make a network of its own"
  local port
  start_daemon --workers 1
  port=${url##*:}
  # shellcheck disable=SC2016
  try timeout 20 unshare --net bash -c 'ip link set lo up && exec "$@"' bash "$counterd" \
    --listen "127.0.0.1:$port" --store "sqlite:$dir/other.db"
  assert_refused 78
  assert_stderr_has 'another network'
  kill -STOP "$daemon_pid"
  # shellcheck disable=SC2016
  try timeout 20 unshare --net bash -c 'ip link set lo up && exec "$@"' bash "$counterd" \
    --listen "127.0.0.1:$port" --store "sqlite:$dir/other.db"
  kill -CONT "$daemon_pid"
  assert_refused 74
  assert_stderr_has 'does not answer'
  assert_equal "$("$counterctl" --server "$url" workers | wc -l)" 1
}

@test "a directory for sockets that is another user's, as su leaves it, is left alone" {
  ((EUID == 0)) || skip "only root can give a folder away"
  chown 65534 "$XDG_RUNTIME_DIR"
  # shellcheck disable=SC2016
  launcher=(unshare --mount bash -c 'mount -t tmpfs none /run && exec "$@"' bash)
  start_daemon --workers 1
  [[ -S /proc/$daemon_pid/root/run/counterd-0/${url#http://}.control ]]
  [[ ! -e $XDG_RUNTIME_DIR/counterd ]]
}

@test "a database that is gone, and its log is not, is not begun anew" {
  assert_equal "$("$counterctl" --store "sqlite:$dir/counts.db" increment)" 1
  mv "$dir/counts.db" "$dir/away"
  try "$counterctl" --store "sqlite:$dir/counts.db" increment
  assert_refused 78
  assert_stderr_has 'put that very database back'
  try "$counterd" --listen "unix:$dir/daemon.sock" --store "sqlite:$dir/counts.db"
  assert_refused 78
  mv "$dir/away" "$dir/counts.db"
  assert_equal "$("$counterctl" --store "sqlite:$dir/counts.db" increment)" 2
}

@test "a file that may not grow is an error to get over or to tell, and no end of the program" {
  local store=sqlite:$dir/counts.db
  # The log is emptied, and the change made again.
  try bash -c 'ulimit -f 40; for ((i = 0; i < 100; ++i)); do "$@" || exit; done' bash \
    "$counterctl" --store "$store" increment
  assert_status 0
  assert_equal "$("$counterctl" --store "$store" report)" 100
  try bash -c 'ulimit -f 1; "$@"' bash "$counterctl" --store "$store" --timeout 500ms increment
  [[ $status == 69 || $status == 75 ]] || fail "status $status: $stderr"
  [[ $("$counterctl" --store "$store" report) == 10[01] ]]
}

@test "the log says who ended the daemon, and how it ended" {
  start_daemon --workers 1
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid"
  assert_succeeds grep -q 'got SIGTERM: the daemon ends' "$daemon_log"
  assert_succeeds grep -q 'the daemon ended with status 0' "$daemon_log"
  start_daemon --workers 1
  "$counterctl" --server "$url" -q scale 2
  "$counterctl" --server "$url" -q stop
  wait_for_end_of "$daemon_pid"
  assert_succeeds grep -q 'counterctl scale: 2 workers are wanted' "$daemon_log"
  assert_succeeds grep -q 'counterctl stop: the daemon ends' "$daemon_log"
}

@test "the log says that connections are fewer than asked for, and when all are taken" {
  local connection connections=() count
  launcher=(bash -c 'ulimit -n 72 && exec "$@"' bash)
  start_daemon --workers 1
  assert_succeeds grep -q 'limit of open files, 72, leaves room for 8 of 16000 connections' "$daemon_log"
  for count in {1..9}; do
    exec {connection}<>"/dev/tcp/127.0.0.1/${url##*:}"
    connections+=("$connection")
  done
  await 10 grep -q 'serves as many connections as it can, 8;' "$daemon_log"
  for connection in "${connections[@]}"; do exec {connection}>&-; done
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

@test "scale whose daemon ends meanwhile says that it has ended" {
  local scale status=0
  start_daemon --workers 1
  rm "$database"  # so that no other worker can start
  "$counterctl" --server "$url" --timeout 20s scale 2 2>"$dir/stderr" &
  scale=$!
  await 10 grep -q 'ended with status 78 while it started' "$daemon_log"
  kill -TERM "$daemon_pid"
  wait "$scale" || status=$?
  assert_equal "$status" 69
  assert_succeeds grep -q 'the daemon has ended' "$dir/stderr"
}

@test "a log that is removed under a daemon makes no number come twice, and is saved at its end" {
  local worker attempt
  start_daemon --workers 2
  assert_equal "$("$counterctl" --server "$url" next inv)" 1
  assert_equal "$("$counterctl" --server "$url" next inv)" 2
  rm "$database-wal" "$database-shm"
  worker=$(ready_workers | head -n 1)
  kill -KILL "$worker"
  for attempt in 1 2 3 4 5 6; do
    try "$counterctl" --server "$url" --timeout 300ms next inv
    ((status == 69 || status == 75)) || { show_run; fail "attempt $attempt"; }
  done
  stop_daemon
  start_daemon --workers 2
  assert_equal "$("$counterctl" --server "$url" next inv)" 3
}

@test "a name that is given an address on two lines serves" {
  use_own_network '127.0.0.1 twice' '127.0.0.1 twice'
  start_daemon --listen "twice:4747"
  assert_equal "$url" http://127.0.0.1:4747
}

@test "root finds the daemon of the service" {
  # shellcheck disable=SC2016
  launcher=(unshare --mount bash -c 'mount -t tmpfs tmpfs /run && mkdir /run/counterd &&
    exec env RUNTIME_DIRECTORY=/run/counterd "$@"' bash)
  "${launcher[@]}" true || skip "only root can make mounts of its own"
  start_daemon --workers 1
  try nsenter --target "$daemon_pid" --mount --root "$counterctl" --server "$url" workers
  assert_status 0
  assert_output_has ready
}

@test "systemd's watchdog hears of the daemon in time where its queue was full" {
  start_python '
import socket, sys, time
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
other.setblocking(False)
def fill():
    try:
        while True:
            other.sendto(b"BARRIER=1", sys.argv[1])
    except BlockingIOError:
        pass
def next_watchdog():
    while b"WATCHDOG=1" not in receiver.recv(65536):
        pass
    return time.monotonic()
print("receives")
first = next_watchdog()
fill()
time.sleep(first + 2.3 - time.monotonic())  # the next one was due after 2 seconds
late = next_watchdog() - first
with open(sys.argv[2], "w") as file:
    file.write("%d\n" % (late * 1000))' "$dir/notify" "$dir/late"
  export NOTIFY_SOCKET=$dir/notify WATCHDOG_USEC=4000000
  start_daemon --workers 1
  await 15 test -s "$dir/late"
  assert_between "$(<"$dir/late")" 2000 3500
}

@test "no more wait for the end of a daemon than there is room for" {
  start_daemon --workers 1 --drain-timeout 30s
  kill -STOP "$(children_of "$daemon_pid")"
  try timeout 40 "$python" -c '
import select, socket, sys
clients = []
while len(clients) < 300:
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[1])
    client.sendall(b"{\"command\":\"stop\"}\n")
    if not select.select([client], [], [], 10 if len(clients) < 256 else 1)[0]:
        break
    clients.append(client)
print(len(clients))' "$(control_socket)"
  assert_output 256
}
