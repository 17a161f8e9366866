#!/usr/bin/env bats
# What `counterctl spawn` promises to the script that calls it.

# shellcheck disable=SC2030,SC2031,SC2154,SC2034

load environment

# spawn_daemon [ARGUMENT...]: as a script does it. Sets $url and $daemon_pid; what it says to
# people is in $dir/said.
spawn_daemon() {
  local begin
  begin=$(milliseconds)
  url=$(timeout 20 "$counterctl" spawn "$@" 2>"$dir/said" 3>&- 4>&-)
  (($(milliseconds) - begin < 5000)) || fail "spawn has lasted more than 5 s"
  daemon_pid=$(grep -oE 'pid [0-9]+' "$dir/said" | head -n 1 | cut -d ' ' -f 2)
  assert_succeeds kill -0 "$daemon_pid"
}

url_of_json() {
  "$python" -c 'import json, sys; print(json.load(sys.stdin)["url"])'
}

# What the process has open; the files by their paths.
open_files() {
  find "/proc/$1/fd" -type l -printf '%l\n' | sort
}

# The same without what is its own: both ends of a pipe to itself, for one.
foreign_files() {
  open_files "$1" | uniq -c | awk '!($1 == 2 && $2 ~ /^pipe:/) {print $2}' | grep -vE \
    -e '^(socket|anon_inode):' -e '^/memfd:counterd' -e '^/dev/null$' \
    -e "^$XDG_STATE_HOME/counterd/" -e '/counterd$'
}

@test "x=\$(counterctl spawn) returns at once and x is the URL of a daemon that serves" {
  export COUNTERCTL_SERVER
  COUNTERCTL_SERVER=http://127.0.0.1:$(free_port)
  spawn_daemon
  assert_equal "$url" "$COUNTERCTL_SERVER"
  assert_equal "$("$counterctl" increment)" 1
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  assert_equal "$(supervisors)" "$daemon_pid"
  [[ -s $database ]]
}

@test "spawn on a Unix socket prints its address" {
  url=$(timeout 20 "$counterctl" --server "unix:$dir/daemon.sock" spawn 2>"$dir/said")
  assert_equal "$url" "unix:$dir/daemon.sock"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

@test "spawn --json is valid for every path, and an empty number of workers is none" {
  local path="$dir/q\"u.sock"
  for _ in 1 2; do
    try timeout 20 "$counterctl" --json spawn -- --listen "unix:$path" 3>&- 4>&-
    assert_equal "$(url_of_json <<<"$output")" "unix:$path"
  done
  try "$counterctl" spawn --workers ""
  assert_refused 65
}

@test "spawn --json names the process, and the log that it has begun or the workers that there are" {
  local port start
  port=$(free_port)
  start="{\"url\":\"http://127.0.0.1:$port\",\"pid\":"
  try timeout 20 "$counterctl" --json spawn --workers 1 -- --listen "127.0.0.1:$port" 3>&- 4>&-
  start+=$(supervisors),
  assert_output "$start\"log\":\"$XDG_STATE_HOME/counterd/127.0.0.1:$port.log\"}"
  try timeout 20 "$counterctl" --json spawn -- --listen "127.0.0.1:$port"
  assert_output "$start\"workers\":2}"
}

@test "spawn starts the counterd in PATH where none is beside counterctl" {
  mkdir "$dir/alone" "$dir/bin"
  cp "$counterctl" "$dir/alone"
  ln -s "$counterd" "$dir/bin"
  PATH=$dir/bin:$PATH try timeout 20 "$dir/alone/counterctl" --server "unix:$dir/daemon.sock" spawn 3>&- 4>&-
  assert_output "unix:$dir/daemon.sock"
  assert_equal "$("$counterctl" --server "$output" increment)" 1
}

@test "spawn on port 0 prints the real one" {
  spawn_daemon -- --listen 127.0.0.1:0
  [[ $url =~ ^http://127\.0\.0\.1:[1-9][0-9]*$ ]] || fail "the URL is $url"
  assert_equal "$(http POST /increment)" 200
  spawn_daemon -- --listen=127.0.0.1:0 "--store=sqlite:$dir/other.db"
  assert_equal "$("$counterctl" --server "$url" report)" 0
  assert_equal "$(supervisors | wc -l)" 2
}

@test "a caller without standard streams gets a daemon that serves" {
  local closed
  make_database
  for closed in '<&- 2>&-' '<&- >&- 2>&-'; do
    echo "$closed"
    COUNTERCTL_SERVER=http://127.0.0.1:$(free_port)
    export COUNTERCTL_SERVER
    try bash -c "timeout 20 \"\$@\" $closed 3>&- 4>&-" bash "$counterctl" spawn
    if [[ $closed == *' >&-'* ]]; then assert_status 74; else assert_output "$COUNTERCTL_SERVER"; fi
    "$counterctl" increment
    "$counterctl" stop
  done
  assert_equal "$("$counterctl" --store "sqlite:$database" report)" 3
}

@test "the daemon keeps no descriptor of the caller's: a lock that the script releases is free" {
  exec 9>"$dir/lock" 8<"$BATS_TEST_FILENAME"
  flock -n 9
  url=$(timeout 20 "$counterctl" spawn --workers 2 -- --listen 127.0.0.1:0 2>/dev/null)
  exec 9>&- 8>&-
  assert_succeeds flock -n "$dir/lock" true
}

@test "the daemon keeps no descriptor of the caller's where the system has no close_range(2)" {
  refuse_call close_range 4 ENOSYS
  exec 9>"$dir/lock"
  flock -n 9
  url=$(timeout 20 "${refusing[@]}" "$counterctl" spawn -- --listen 127.0.0.1:0 2>/dev/null)
  exec 9>&-
  assert_succeeds flock -n "$dir/lock" true
}

@test "the daemon and its workers have nothing open but their own" {
  local pid count=0
  exec 9>"$dir/lock" 8<"$BATS_TEST_FILENAME" 7> >(cat >/dev/null)
  url=$(timeout 20 "$counterctl" spawn --workers 2 -- --listen 127.0.0.1:0 2>/dev/null)
  exec 9>&- 8>&- 7>&-
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  for pid in $(processes_of_test); do
    [[ $(words_of "$pid") == *counterd* ]] || continue
    count=$((count + 1))
    assert_equal "$(foreign_files "$pid")" ""
  done
  assert_equal "$count" 3
}

@test "the daemon has a session of its own and no terminal" {
  local pid
  spawn_daemon --workers 2 -- --listen 127.0.0.1:0
  assert_equal "$(ps -o sid= -p "$daemon_pid" | tr -d ' ')" "$daemon_pid"
  assert_equal "$(ps -o tty= -p "$daemon_pid" | tr -d ' ')" '?'
  for pid in $(children_of "$daemon_pid"); do
    assert_equal "$(ps -o sid= -p "$pid" | tr -d ' ')" "$daemon_pid"
  done
}

@test "the daemon outlives the session that spawned it" {
  "$python" -c '
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
try:
    while os.read(terminal, 4096):
        pass
except OSError:
    pass
os.waitpid(pid, 0)
os.close(terminal)' "$counterctl" --server "unix:$dir/daemon.sock" spawn
  assert_equal "$("$counterctl" --server "unix:$dir/daemon.sock" increment)" 1
}

@test "spawn again with the same settings sees to more workers and starts no second daemon" {
  local first port
  port=$(free_port)
  spawn_daemon --workers 1 -- --listen "127.0.0.1:$port" --sync normal
  first=$daemon_pid
  ready_workers >"$dir/workers"
  spawn_daemon --workers 2 -- --listen "127.0.0.1:$port" --sync normal
  assert_equal "$url" "http://127.0.0.1:$port"
  assert_equal "$daemon_pid" "$first"
  has_ready_workers 3
  assert_equal "$(comm -12 <(sort "$dir/workers") <(ready_workers | sort))" "$(cat "$dir/workers")"
  spawn_daemon --workers 1 -- --listen "127.0.0.1:$port" --sync normal
  has_ready_workers 4
  assert_equal "$(supervisors)" "$first"
}

@test "what the loader says when counterd starts is taken for no setting" {
  export COUNTERCTL_SERVER LD_PRELOAD=$dir/nothing.so
  COUNTERCTL_SERVER=http://127.0.0.1:$(free_port)
  try timeout 20 "$counterctl" spawn 3>&- 4>&-
  assert_status 0
  try timeout 20 "$counterctl" spawn --unless-running
  assert_status 0
  unset LD_PRELOAD
  try "$counterctl" spawn --unless-running
  assert_status 0
  assert_stderr_has 'serves already'
  "$counterctl" stop
}

@test "spawn with other settings refuses with 78 and changes nothing" {
  local port
  port=$(free_port)
  spawn_daemon --workers 1 -- --listen "127.0.0.1:$port"
  try timeout 20 "$counterctl" spawn -- --listen "127.0.0.1:$port" --sync normal
  assert_refused 78
  assert_stderr_has "(counterctl stop --server http://127.0.0.1:$port)" # not another one
  try timeout 20 "$counterctl" --server "$url" spawn -- "--store=sqlite:$dir/other.db"
  assert_refused 78
  assert_equal "$(supervisors)" "$daemon_pid"
  has_ready_workers 1
  [[ ! -e $dir/other.db ]]
}

@test "two spawns at once start one daemon" {
  local port first second
  port=$(free_port)
  timeout 20 "$counterctl" spawn --workers 1 -- --listen "127.0.0.1:$port" >"$dir/first" 2>&1 &
  first=$!
  timeout 20 "$counterctl" spawn --workers 1 -- --listen "127.0.0.1:$port" >"$dir/second" 2>&1 &
  second=$!
  wait "$first"
  wait "$second"
  url=http://127.0.0.1:$port
  assert_equal "$(head -n 1 "$dir/first")" "$url"
  assert_equal "$(head -n 1 "$dir/second")" "$url"
  assert_equal "$(supervisors | wc -l)" 1
  has_ready_workers 2
}

@test "what systemd wants to hear of the caller's unit, the daemon does not say" {
  NOTIFY_SOCKET=$dir/notify WATCHDOG_USEC=1000000 WATCHDOG_PID=$$ LISTEN_FDS=1 LISTEN_PID=$$ \
    LISTEN_FDNAMES=http spawn_daemon -- --listen 127.0.0.1:0
  assert_fails grep -qaE 'NOTIFY_SOCKET|WATCHDOG|LISTEN_' "/proc/$daemon_pid/environ"
}

@test "a flag without its value is refused as counterd refuses it, and nothing is started" {
  local flag
  for flag in --redis-prefix --config --allow-host; do
    try timeout 20 "$counterctl" --server "http://127.0.0.1:$(free_port)" spawn -- "$flag"
    assert_refused 64
    assert_stderr_has "$flag"
  done
  assert_equal "$(supervisors)" ""
}

@test "spawn without a counterd says where it was looked for" {
  cp "$counterctl" "$dir/alone"
  try timeout 20 env PATH="$dir" "$dir/alone" spawn
  assert_refused 78
  assert_stderr_has 'cannot run counterd: No such file or directory; it is looked for beside'
}

@test "a daemon that fails is told with its exit status and what its log says" {
  try timeout 20 "$counterctl" spawn -- --listen 127.0.0.1:0 --store "sqlite:$dir/no/such/folder.db"
  assert_refused 78
  assert_stderr_has "$dir/no/such"
  start_daemon
  try timeout 20 "$counterctl" spawn -- --listen "unix:$dir/daemon.sock" --listen "${url#http://}"
  assert_refused 78
  assert_stderr_has "the address is taken; if counterctl status --server $url shows a counterd, it serves already"
  try timeout 20 "$counterctl" spawn -- --listen "unix:$dir/daemon.sock" --listen "0.0.0.0:${url##*:}"
  assert_refused 78
  assert_stderr_has "counterctl status --server $url shows"
  try timeout 20 "$counterctl" spawn -- --listen 127.0.0.1:0 --frobnicate
  assert_refused 64
  assert_stderr_has --frobnicate
  # No address of this machine yet (RFC 5737): what may pass by itself.
  try timeout 20 "$counterctl" spawn -- --listen 192.0.2.1:4747
  assert_refused 74
  assert_stderr_has 'cannot listen on 192.0.2.1:4747'
  assert_equal "$(supervisors)" "$daemon_pid"
}

@test "--timeout is the longest wait, whatever there is to wait for" {
  mkdir -p "$XDG_STATE_HOME/counterd"
  exec {lock}>"$XDG_STATE_HOME/counterd/spawn.lock"
  flock "$lock"
  (sleep 1; flock -u "$lock") 3>&- 4>&- &
  # The lock for 1 s, and then a store that never answers.
  assert_within 2000 "$counterctl" --timeout 1500ms spawn -- --listen "unix:$dir/daemon.sock" \
    --store "redis+unix://$dir/nothing.sock"
  assert_refused 75
  exec {lock}>&-
}

@test "a failure shows what this daemon said, not an earlier one's" {
  try timeout 20 "$counterctl" spawn -- --listen 127.0.0.1:0 --store "sqlite:$dir/earlier/x.db"
  assert_refused 78
  try timeout 20 "$counterctl" spawn -- --listen 127.0.0.1:0 --store "sqlite:$dir/later/x.db"
  assert_refused 78
  assert_stderr_has "$dir/later"
  refute_stderr_has "$dir/earlier"
}

@test "the log file is named on stderr, for its owner alone, and -q is silent" {
  local log
  spawn_daemon -- --listen 127.0.0.1:0
  log=$(grep -oE '/[^ ]+\.log' "$dir/said")
  assert_succeeds grep -q "serves $url" "$log"
  assert_equal "$(stat -c %a "$log")" 600
  assert_succeeds grep -qFx "$log" <(open_files "$daemon_pid")
  try timeout 20 "$counterctl" -q spawn -- --listen "unix:$dir/quiet.sock"
  assert_status 0
  assert_silence
  assert_equal "$("$counterctl" --server "unix:$dir/quiet.sock" report)" 0
}

@test "relative paths after -- are the caller's, for workers that come later too" {
  local worker
  mkdir "$dir/here"
  cd "$dir/here"
  spawn_daemon --workers 1 -- --listen unix:own.sock --store sqlite:own.db
  cd "$dir"
  assert_equal "$url" "unix:$dir/here/own.sock"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  [[ -s $dir/here/own.db ]]
  worker=$(ready_workers)
  kill -KILL "$worker"
  await 10 is_replaced "$worker" 1
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  assert_equal "$("$counterctl" --store "sqlite:$dir/here/own.db" report)" 2
}

@test "spawn sees what the environment and files say, relative paths as the caller's" {
  local first
  mkdir "$dir/here"
  cd "$dir/here"
  COUNTERD_LISTEN=unix:own.sock COUNTERD_STORE=sqlite:own.db spawn_daemon --workers 1
  first=$daemon_pid
  assert_equal "$url" "unix:$dir/here/own.sock"
  assert_equal "$(readlink "/proc/$first/cwd")" /
  assert_equal "$("$counterctl" --server "$url" increment)" 1
  [[ -s $dir/here/own.db ]]
  assert_succeeds grep -q "here-own.sock.log" "$dir/said"
  # The same daemon, by whatever way its settings come.
  COUNTERD_LISTEN=unix:own.sock COUNTERD_STORE=sqlite:own.db spawn_daemon --workers 1
  assert_equal "$daemon_pid" "$first"
  cd "$dir"
  printf 'listen = unix:here/own.sock\nsync = full\n' >settings
  spawn_daemon --workers 1 -- --config settings --store=sqlite:here/own.db
  assert_equal "$daemon_pid" "$first"
  has_ready_workers 3
  printf 'listen = unix:here/own.sock\n' >settings
  COUNTERD_CONFIG=settings try timeout 20 "$counterctl" spawn
  assert_refused 78
  assert_stderr_has "$url"
  assert_equal "$(supervisors)" "$first"
}

@test "the address of a file that the flags name goes before that of --server" {
  printf 'listen = unix:own.sock\n' >settings
  spawn_daemon --server "http://127.0.0.1:$(free_port)" -- --config settings
  assert_equal "$url" "unix:$dir/own.sock"
}

@test "a log that is made empty under the daemon, as logrotate does, begins anew" {
  local log
  spawn_daemon --workers 1 -- --listen 127.0.0.1:0
  log=$(grep -oE '[^ ]+\.log' "$dir/said")
  : >"$log"
  ready_workers | xargs kill -KILL
  await 10 grep -qa 'was killed' "$log"
  assert_equal "$(tr -dc '\0' <"$log" | wc -c)" 0
}

@test "a socket that is not for this user is told with 77" {
  ((EUID == 0)) || skip "only root can become other users"
  spawn_daemon -- --listen "unix:$dir/daemon.sock"
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}" "$dir"
  try setpriv --reuid=65532 --regid=65532 --clear-groups "$counterctl" --server "$url" increment
  assert_refused 77
}

@test "--workers after -- is refused: spawn has its own" {
  local flag
  for flag in "--workers 2" --workers=2; do
    # shellcheck disable=SC2086
    try timeout 20 "$counterctl" spawn -- --listen 127.0.0.1:0 $flag
    assert_refused 64
    assert_stderr_has "spawn --workers"
  done
  assert_equal "$(supervisors)" ""
}

@test "spawn says where a number of workers and flags of counterd stand" {
  try timeout 20 "$counterctl" spawn 2
  assert_refused 64
  assert_stderr_has "unexpected argument '2'; a number of workers is given as: --workers N"
  try timeout 20 "$counterctl" spawn --listen 127.0.0.1:0
  assert_refused 64
  assert_stderr_has "unknown option '--listen'; it takes its own options, then -- and flags of counterd"
  assert_equal "$(supervisors)" ""
}

@test "spawn with flags that start no daemon starts none" {
  local flag
  for flag in --help --version --check-config --check-config=true; do
    try timeout 20 "$counterctl" spawn -- "$flag"
    assert_refused 64
    assert_stderr_has 'counterd starts no daemon'
  done
  mkfifo "$dir/settings"
  assert_within 2000 "$counterctl" --timeout 500ms spawn -- --config "$dir/settings"
  assert_refused 69
  assert_equal "$(processes_of_test)" ""
}

@test "spawn refuses bad numbers of workers and starts nothing" {
  local number
  for number in 0 257 x -1 ''; do
    echo "number: '$number'"
    try timeout 20 "$counterctl" spawn "--workers=$number" -- --listen 127.0.0.1:0
    [[ $status == 64 || $status == 65 ]] || { show_run; fail "the status is $status"; }
    assert_equal "$output" ""
  done
  assert_equal "$(supervisors)" ""
}

@test "a stopped daemon can be spawned again and has its count" {
  local first port
  port=$(free_port)
  spawn_daemon -- --listen "127.0.0.1:$port"
  first=$daemon_pid
  "$counterctl" --server "$url" -q increment
  "$counterctl" --server "$url" stop
  spawn_daemon -- --listen "127.0.0.1:$port"
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  [[ $daemon_pid != "$first" ]]
}

@test "spawn --unless-running, of which many begin at once, starts one daemon and leaves it" {
  export COUNTERCTL_SERVER
  COUNTERCTL_SERVER=http://127.0.0.1:$(free_port)
  local jobs=() job
  for job in 1 2 3 4 5 6; do
    timeout 20 "$counterctl" spawn --unless-running >"$dir/url$job" 2>"$dir/said$job" 3>&- 4>&- &
    jobs+=("$!")
  done
  for job in "${jobs[@]}"; do assert_succeeds wait "$job"; done
  assert_equal "$(cat "$dir"/url? | sort -u)" "$COUNTERCTL_SERVER"
  assert_equal "$(cat "$dir"/said? | grep -c 'is ready')" 1
  assert_equal "$("$counterctl" --json workers | grep -c '"ready"')" 1
  try "$counterctl" spawn --unless-running -- --store "sqlite:$dir/other.db"
  assert_refused 78
  assert_stderr_has 'a daemon with other settings serves'
  assert_stderr_has "here store = \"sqlite:$dir/other.db\""
}

@test "spawn --unless-running of several users at once starts one daemon" {
  export COUNTERCTL_SERVER
  COUNTERCTL_SERVER=http://127.0.0.1:$(free_port)
  local jobs=() job
  for job in 1 2 3 4 5 6; do
    mkdir "$dir/state$job"  # with a lock of its own, as another user has
    STATE_DIRECTORY=$dir/state$job timeout 20 "$counterctl" --timeout 15s spawn --unless-running \
      >"$dir/url$job" 2>"$dir/said$job" 3>&- 4>&- &
    jobs+=("$!")
  done
  for job in "${jobs[@]}"; do assert_succeeds wait "$job"; done
  assert_equal "$(cat "$dir"/url? | sort -u)" "$COUNTERCTL_SERVER"
  assert_equal "$(cat "$dir"/said? | grep -c 'is ready')" 1
  assert_equal "$(supervisors | wc -l)" 1
}

# spawn_beaten FLAG...: by another user's spawn, which starts its daemon just before this one does.
spawn_beaten() {
  mkdir "$dir/bin" "$dir/mine" "$dir/theirs"
  cp "$counterctl" "$dir/bin/counterctl"
  cat >"$dir/bin/counterd" <<END
#!/bin/sh
if [ "\$1" != --check-config ]; then
  STATE_DIRECTORY=$dir/theirs "$counterctl" --timeout 2s spawn --unless-running -- $* >/dev/null 2>&1 3>&- 4>&-
fi
exec "$counterd" "\$@"
END
  chmod +x "$dir/bin/counterd"
  STATE_DIRECTORY=$dir/mine try timeout 20 "$dir/bin/counterctl" --timeout 8s spawn --unless-running -- "$@"
}

@test "spawn --unless-running makes do with a daemon that another user has just started" {
  spawn_beaten --listen "unix:$dir/daemon.sock" --store "sqlite:$dir/a.db"
  assert_status 0
  assert_output "unix:$dir/daemon.sock"
  assert_stderr_has 'serves already'
  assert_equal "$(supervisors | wc -l)" 1
}

@test "spawn --unless-running says that a daemon that another user has just started is not ready" {
  spawn_beaten --listen "unix:$dir/daemon.sock" --store "redis+unix://$dir/nothing.sock"
  assert_refused 75
  assert_stderr_has 'is not ready yet'
  assert_equal "$(supervisors | wc -l)" 1
}

@test "spawn writes nothing into another user's folder for the state, as su leaves it" {
  ((EUID == 0)) || skip "only root can become other users"
  mkdir -p "$dir/theirs/counterd"
  ln -s "$dir/trap" "$dir/theirs/counterd/spawn.lock"
  chown 65532 "$dir/theirs/counterd"
  XDG_STATE_HOME=$dir/theirs try "$counterctl" --server "http://127.0.0.1:$(free_port)" spawn -- --store "sqlite:$dir/c.db"
  assert_refused 78
  assert_stderr_has "$dir/theirs/counterd belongs to another user"
  [[ ! -e $dir/trap ]]
  # Nor by that user's link to a folder of root's.
  mkdir -p "$dir/roots/counterd" "$dir/linked"
  ln -s "$dir/roots/counterd" "$dir/linked/counterd"
  chown -h 65532 "$dir/linked/counterd"
  XDG_STATE_HOME=$dir/linked try "$counterctl" --server "http://127.0.0.1:$(free_port)" spawn -- --store "sqlite:$dir/c.db"
  assert_refused 78
  assert_stderr_has "$dir/linked/counterd belongs to another user"
  assert_equal "$(ls -A "$dir/roots/counterd")" ''
}

@test "spawn by root makes a folder of its own for the state in another user's home, as in a container" {
  ((EUID == 0)) || skip "only root can become other users"
  mkdir "$dir/house"
  chown 65532 "$dir/house"
  export COUNTERCTL_SERVER
  COUNTERCTL_SERVER=http://127.0.0.1:$(free_port)
  HOME=$dir/house assert_succeeds env -u XDG_STATE_HOME "$counterctl" spawn 3>&- 4>&-
  assert_succeeds "$counterctl" stop
  assert_equal "$(stat -c '%u %a' "$dir/house/.local/state/counterd")" '0 700'
}

@test "spawn --unless-running waits for a daemon that is not ready yet" {
  export COUNTERCTL_SERVER
  COUNTERCTL_SERVER=http://127.0.0.1:$(free_port)
  local store="redis+unix://$dir/redis.sock"
  try "$counterctl" --timeout 500ms spawn -- --store "$store" 3>&- 4>&-
  assert_refused 75
  assert_stderr_has 'was started and is not ready yet'
  try "$counterctl" --timeout 500ms spawn --unless-running -- --store "$store"
  assert_refused 75
  assert_stderr_has 'is not ready yet'
  start_redis
  try "$counterctl" --timeout 20s spawn --unless-running -- --store "$store"
  assert_status 0
  "$counterctl" stop
}

@test "commands for a daemon whose control socket is not found say that it is there" {
  start_daemon
  rm -r "$XDG_RUNTIME_DIR/counterd"
  try "$counterctl" --server "$url" workers
  assert_refused 77
  assert_stderr_has "a counterd answers at $url, but its control socket is not where"
}

@test "spawn --unless-running leaves a daemon whose control socket is gone" {
  start_daemon
  rm -r "$XDG_RUNTIME_DIR/counterd"
  try "$counterctl" --server "$url" spawn --unless-running
  assert_status 0
  assert_output "$url"
  assert_stderr_has 'serves already'
  try "$counterctl" --server "$url" --json spawn --unless-running
  assert_output "{\"url\":\"$url\"}"
  try "$counterctl" --server "$url" spawn
  assert_refused 78
  # Which settings it has is not known.
  try "$counterctl" --server "$url" spawn --unless-running -- --store "sqlite:$dir/other.db"
  assert_refused 78
}

@test "spawn --unless-running takes no worker whose supervisor was killed for a daemon" {
  local worker
  start_daemon --workers 1
  worker=$(ready_workers)
  kill -STOP "$worker"
  kill -KILL "$daemon_pid"
  { sleep 0.3; kill -CONT "$worker"; } 3>&- 4>&- &
  try "$counterctl" --server "$url" spawn --unless-running
  assert_status 0
  await 5 has_ended "$worker"
  assert_equal "$("$counterctl" --server "$url" increment)" 1
}

@test "spawn --unless-running by root leaves another user's daemon, such as the service" {
  ((EUID == 0)) || skip "only root can become other users"
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}" "$dir"
  mkdir "$dir/service"
  chown 65532 "$dir/service"
  export RUNTIME_DIRECTORY=$dir/service
  launcher=(setpriv --reuid=65532 --regid=65532 --clear-groups env STATE_DIRECTORY="$dir/service")
  start_daemon
  try "$counterctl" --server "$url" spawn --unless-running
  assert_status 0
  assert_output "$url"
  assert_stderr_has 'serves already'
  try "$counterctl" --server "$url" spawn
  assert_refused 78
  try "$counterctl" --server "$url" spawn --unless-running -- --store "sqlite:$dir/other.db"
  assert_refused 78
}

@test "spawn --unless-running leaves a daemon of any settings, unless some are asked for" {
  start_daemon --listen "127.0.0.1:$(free_port)" --drain-timeout 9s
  try "$counterctl" --server "$url" spawn --unless-running
  assert_status 0
  assert_output "$url"
  assert_stderr_has "serves already, pid $daemon_pid, and has 1 worker now"
  COUNTERD_DRAIN_TIMEOUT=9s try "$counterctl" --server "$url" spawn --unless-running
  assert_status 0
  # As in a container of a cluster that has a service of this name.
  COUNTERD_SERVICE_HOST=10.0.0.1 COUNTERD_SERVICE_PORT=4747 COUNTERD_PORT=tcp://10.0.0.1:4747 \
    COUNTERD_PORT_4747_TCP_PROTO=tcp try "$counterctl" --server "$url" spawn --unless-running
  assert_status 0
  COUNTERD_DRAIN_TIMEOUT=8s try "$counterctl" --server "$url" spawn --unless-running
  assert_refused 78
  try "$counterctl" --server "$url" spawn --unless-running -- --drain-timeout 8s
  assert_refused 78
  try "$counterctl" --server "$url" spawn
  assert_refused 78
}

@test "spawn --unless-running leaves no daemon that has, or may have, other settings" {
  start_daemon
  COUNTERD_WORKERS=none try "$counterctl" --server "$url" spawn --unless-running
  assert_refused 78
  COUNTERD_STORE=sqlite:$dir/other.db try "$counterctl" --server "$url" spawn --unless-running
  assert_refused 78
  try env -u XDG_STATE_HOME HOME=/nonexistent "$counterctl" --server "$url" spawn --unless-running
  assert_refused 78
  assert_stderr_has 'no place for the state'
}

@test "spawn that gives up shows the log, whose lines have their time" {
  try timeout 20 "$counterctl" --timeout 1s spawn -- --listen "unix:$dir/daemon.sock" \
    --store "redis+unix://$dir/nothing.sock"
  assert_refused 75
  assert_stderr_has 'is not ready yet; its log'
  assert_stderr_has "$dir/nothing.sock"
  assert_succeeds grep -qE '^20[0-9-]+T[0-9:.]+Z counterd\[[0-9]+\]: ' <<<"$stderr"
}

@test "spawn --unless-running starts a daemon where another one is ending" {
  local held
  start_daemon --drain-timeout 2s
  exec {held}<>"/dev/tcp/127.0.0.1/${url##*:}"
  printf 'POST /incr' >&"$held"
  "$counterctl" --server "$url" increment
  kill -TERM "$daemon_pid"
  await 5 is_stopping
  try "$counterctl" --server "$url" --timeout 10s spawn --unless-running -- --drain-timeout 2s
  exec {held}>&-
  assert_status 0
  assert_equal "$("$counterctl" --server "$url" increment)" 2
  "$counterctl" --server "$url" stop
}

is_stopping() {
  "$counterctl" --server "$url" workers | grep -q draining
}

@test "all who stop one daemon at once are told when it has ended" {
  local pids_of_stops=() pid stopped=0 held
  start_daemon --drain-timeout 60s
  exec {held}<>"/dev/tcp/127.0.0.1/${url##*:}"
  printf 'POST /incr' >&"$held"
  "$counterctl" --server "$url" increment
  for _ in {1..24}; do
    "$counterctl" --server "$url" stop &
    pids_of_stops+=("$!")
  done
  await 25 were_told 24
  exec {held}>&-
  for pid in "${pids_of_stops[@]}"; do
    if wait "$pid"; then stopped=$((stopped + 1)); fi
  done
  assert_equal "$stopped" 24
}

were_told() {
  [[ $(grep -c 'counterctl stop: the daemon ends' "$daemon_log") -eq $1 ]]
}

@test "spawn makes the folders above that of the state for their owner alone" {
  local home=$dir/fresh
  mkdir "$home"
  # shellcheck disable=SC2016
  try bash -c 'umask 000; unset XDG_STATE_HOME; HOME=$1 "$2" spawn -- --listen 127.0.0.1:0' bash \
    "$home" "$counterctl"
  assert_status 0
  "$counterctl" --server "$output" stop  # which teardown does not find, without XDG_STATE_HOME
  assert_equal "$(find "$home" -mindepth 1 -type d -perm /077)" ""
}

@test "spawn says what to set where the home is not for this user to write to" {
  ((EUID == 0)) || skip "only root can become other users"
  local as_other=(setpriv --reuid=65532 --regid=65532 --clear-groups env -u XDG_STATE_HOME)
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}" "$dir"
  mkdir -p "$dir/house/.local" "$dir/room/.local/state/counterd"
  try "${as_other[@]}" HOME="$dir/house" "$counterctl" spawn -- --listen 127.0.0.1:0
  assert_refused 78
  assert_stderr_has "cannot make the directory $dir/house/.local/state/counterd"
  assert_stderr_has 'set STATE_DIRECTORY or XDG_STATE_HOME'
  chown 65532 "$dir/room/.local/state/counterd"
  chmod 0500 "$dir/room/.local/state/counterd"
  try "${as_other[@]}" HOME="$dir/room" "$counterctl" spawn -- --listen 127.0.0.1:0
  assert_refused 78
  assert_stderr_has 'spawn.lock'
  assert_stderr_has 'set STATE_DIRECTORY or XDG_STATE_HOME'
}

@test "spawn follows no link in the place of its lock" {
  mkdir -p "$XDG_STATE_HOME/counterd"
  ln -s "$dir/elsewhere" "$XDG_STATE_HOME/counterd/spawn.lock"
  try "$counterctl" spawn -- --listen 127.0.0.1:0
  assert_refused 78
  assert_stderr_has 'spawn.lock'
  [[ ! -e $dir/elsewhere ]]
}
