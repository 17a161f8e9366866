# What every bats file loads: the programs, an environment of its own for each test, and the
# processes that a test starts, which end with it.
#
# Nothing here sleeps for readiness: a process says that it is ready by a line on a pipe, or await
# polls for the thing itself under a deadline. A missing tool fails the test that needs it.

# shellcheck shell=bash
# The variables that tests read, the ones that bats sets, and the arguments that tests give.
# shellcheck disable=SC2034,SC2154,SC2119,SC2120

bats_require_minimum_version 1.5.0

bin=$(cd "${COUNTERD_BIN_DIR:-$BATS_TEST_DIRNAME/../build/bin}" && pwd)
counterd=$bin/counterd
counterctl=$bin/counterctl

setup_file() {
  # Once per file: where python3 is a wrapper that looks for the real one, as version managers
  # install it, each start would take several times as long.
  PYTHON_PROGRAM=$(python3 -c 'import sys; print(sys.executable)')
  export PYTHON_PROGRAM
}

setup() {
  local name
  for name in $(compgen -e | grep -E '^(COUNTERD|COUNTERCTL)_|^(STATE|RUNTIME|CREDENTIALS)_DIRECTORY$|^(LISTEN|NOTIFY)_'); do
    unset "$name"
  done
  # What would have curl ask a proxy for the daemon, and nproc(1) say another number.
  unset TZ http_proxy all_proxy ALL_PROXY OMP_NUM_THREADS OMP_THREAD_LIMIT
  dir=$BATS_TEST_TMPDIR
  export HOME=$dir/home XDG_STATE_HOME=$dir/state XDG_RUNTIME_DIR=$dir/run LC_ALL=C.UTF-8
  mkdir -m 0700 "$HOME" "$XDG_STATE_HOME" "$XDG_RUNTIME_DIR"
  cd "$dir" || return
  python=$PYTHON_PROGRAM
  database=$XDG_STATE_HOME/counterd/counters.db
  launcher=()  # words that come before counterd in start_daemon
  listening=(--listen 127.0.0.1:0)  # where start_daemon lets it listen, if the test does not say
  place=()     # options of ctl
  pids=()      # what teardown ends
  pipes=0
}

teardown() {
  local pid
  for pid in "${pids[@]}" $(processes_of_test); do
    end_process "$pid"
  done
}

# --- what a test says ---

fail() {
  printf '%s\n' "$@" >&2
  return 1
}

# Everything about the last run.
show_run() {
  printf 'status: %s\nstdout: %s\nstderr: %s\n' "$status" "$output" "${stderr-}" >&2
}

assert_status() {
  [[ $status == "$1" ]] || { show_run; fail "expected status $1"; }
}

assert_output() {
  [[ $output == "$1" ]] || { show_run; fail "expected stdout: $1"; }
}

assert_output_has() {
  [[ $output == *"$1"* ]] || { show_run; fail "expected in stdout: $1"; }
}

assert_stderr_has() {
  [[ $stderr == *"$1"* ]] || { show_run; fail "expected in stderr: $1"; }
}

refute_stderr_has() {
  [[ $stderr != *"$1"* ]] || { show_run; fail "not expected in stderr: $1"; }
}

assert_stderr_lines() {
  [[ ${#stderr_lines[@]} == "$1" ]] || { show_run; fail "expected lines on stderr: $1"; }
}

assert_equal() {
  [[ $1 == "$2" ]] || fail "expected: $2" "got:      $1"
}

# Both streams of the last run are empty.
assert_silence() {
  [[ -z $output && -z $stderr ]] || { show_run; fail "expected nothing on stdout and stderr"; }
}

# The command failed for a reason that it gave on stderr, and printed nothing else.
assert_refused() {
  assert_status "$1"
  assert_output ""
  [[ -n $stderr ]] || { show_run; fail "expected a message on stderr"; }
}

assert_succeeds() {
  "$@" || fail "failed: $*"
}

assert_fails() {
  if "$@"; then fail "expected to fail: $*"; fi
}

# Runs a command, whatever its outcome, and sets what bats' `run --separate-stderr` sets, which
# takes several times as long as most of our commands.
try() {
  status=0
  output=$("$@" 2>"$dir/stderr") || status=$?
  stderr=$(<"$dir/stderr")
  mapfile -t stderr_lines <"$dir/stderr"
}

# await SECONDS COMMAND...: waits until the command succeeds.
await() {
  local limit=$1 begin=$SECONDS
  shift
  until "$@"; do
    ((SECONDS - begin <= limit)) || { fail "not within $limit s: $*"; return 1; }
    sleep 0.02
  done
}

milliseconds() {
  local now=${EPOCHREALTIME/[.,]/}
  echo $((now / 1000))
}

# assert_within MILLISECONDS COMMAND...: a `try` that takes no longer than that.
assert_within() {
  local limit=$1 begin
  shift
  begin=$(milliseconds)
  try timeout 20 "$@"
  local lasted=$(($(milliseconds) - begin))
  ((lasted <= limit)) || { show_run; fail "lasted $lasted ms, more than $limit: $*"; }
}

# --- processes ---

has_ended() {
  [[ ! -e /proc/$1 ]] || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}

all_ended() {
  local pid
  for pid in "$@"; do has_ended "$pid" || return 1; done
}

end_process() {
  kill -TERM "$1" 2>/dev/null || true
  kill -CONT "$1" 2>/dev/null || true
  await 15 has_ended "$1" 2>/dev/null || kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# The processes that this test has started, found by the environment that only they have.
processes_of_test() {
  local file
  for file in $(grep -lzsFx "XDG_STATE_HOME=$XDG_STATE_HOME" /proc/[0-9]*/environ || true); do
    file=${file#/proc/}
    has_ended "${file%/environ}" || echo "${file%/environ}"
  done
}

words_of() {
  tr '\0' ' ' <"/proc/$1/cmdline"
}

# This test's processes that are supervisors of daemons, one pid per line; not a worker in its first
# moment, which has the words of its supervisor until it has some of its own.
supervisors() {
  local pid words parent
  for pid in $(processes_of_test); do
    words=$(words_of "$pid" 2>/dev/null) || continue
    [[ ${words%% *} == */counterd && $words != *" worker "* ]] || continue
    parent=$(ps -o ppid= -p "$pid") || continue
    [[ $(words_of "${parent// /}" 2>/dev/null) == "$words" ]] || echo "$pid"
  done
}

children_of() {
  ps -o pid= --ppid "$1" | tr -d ' '
}

# Waits for a child of this shell; its exit status is $ended_with.
wait_for_end_of() {
  await "${2:-15}" has_ended "$1"
  ended_with=0
  wait "$1" || ended_with=$?
}

# A fresh pipe; its path is $pipe.
make_pipe() {
  pipes=$((pipes + 1))
  pipe=$dir/pipe.$pipes
  mkfifo "$pipe"
}

# start_daemon [FLAG...]: starts counterd, on a free port of its own unless told where, and waits
# until it serves. Sets $daemon_pid, $daemon_log and $url.
start_daemon() {
  launch_daemon "$@"
  local line=
  IFS= read -r -t 20 line <"$pipe" || { cat "$daemon_log" >&2; fail "counterd is not ready: $*"; }
  url=${line#ready }
}

# The same without waiting; the line "ready URL" arrives on $pipe.
launch_daemon() {
  local flags=("$@")
  if [[ " $* " != *" --listen"* ]]; then flags+=("${listening[@]}"); fi
  make_pipe
  daemon_log=$dir/daemon.$pipes.log
  "${launcher[@]}" "$counterd" "${flags[@]}" --ready-fd 9 \
    9>"$pipe" 3>&- 4>&- >"$daemon_log" 2>&1 </dev/null &
  daemon_pid=$!
  pids+=("$daemon_pid")
}

# Ends the last daemon cleanly.
stop_daemon() {
  kill -TERM "$daemon_pid"
  wait_for_end_of "$daemon_pid"
  assert_equal "$ended_with" 0
}

# Makes $database, whose default counter is 1. All of it is in the file: what is overwritten there
# is not also in the log.
make_database() {
  mkdir -p "${database%/*}"
  "$counterctl" --store "sqlite:$database" increment
  sqlite3 "$database" 'PRAGMA wal_checkpoint(TRUNCATE)'
}

# start_redis [ARGUMENT...]: a redis-server on the Unix socket $redis_socket.
start_redis() {
  redis_socket=$dir/redis.sock
  mkdir -p "$dir/redis"
  redis-server --port 0 --unixsocket "$redis_socket" --dir "$dir/redis" --appendonly yes \
    --appendfsync always --save '' "$@" >"$dir/redis.log" 2>&1 3>&- 4>&- &
  redis_pid=$!
  pids+=("$redis_pid")
  await 20 redis_answers
}

redis_answers() {
  [[ $(redis-cli -s "$redis_socket" ping 2>/dev/null) == PONG ||
    $(redis-cli -s "$redis_socket" ping 2>&1) == *NOAUTH* ]]
}

# use_own_network LINE...: the next daemons run in a network of their own; the lines are their
# /etc/hosts.
use_own_network() {
  printf '%s\n' "$@" >"$dir/hosts"
  # shellcheck disable=SC2016
  launcher=(unshare --net --mount bash -c 'ip link set lo up && mount --bind "$1" /etc/hosts &&
    shift && exec "$@"' bash "$dir/hosts")
  "${launcher[@]}" true || skip "only root can make networks and mounts of its own"
}

# refuse_call NAME FIRST ERROR: a command after the words in `refusing` is refused the system call
# whose first argument is FIRST.
refuse_call() {
  refusing=("$python" -c '
import ctypes, errno, os, struct, sys
name, first, error = sys.argv[1], int(sys.argv[2]), getattr(errno, sys.argv[3])
number = {"x86_64 socket": 41, "aarch64 socket": 198, "x86_64 close_range": 436,
          "aarch64 close_range": 436}[os.uname().machine + " " + name]
lines = ((0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, first),
         (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7fff0000))
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Program(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
program = Program(len(lines), ctypes.addressof(text))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(program)) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execvp(sys.argv[4], sys.argv[4:])' "$@")
  "${refusing[@]}" true || skip "this system makes no filters of system calls, or others"
}

# start_python CODE [ARGUMENT...]: runs it in the background; the first line that it prints is
# $said, nothing reads the rest. Sets $python_pid.
start_python() {
  make_pipe
  "$python" -u -c "$@" >"$pipe" 3>&- 4>&- &
  python_pid=$!
  pids+=("$python_pid")
  said=
  IFS= read -r -t 20 said <"$pipe" || fail "python has said nothing"
}

# Passes connections on to a port. Of all answers, counted from 0, those from the number that it is
# told, and as many as it is told, are cut off.
answer_cutter='
import itertools, socket, sys, threading
port, first, cuts = (int(word) for word in sys.argv[1:])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
numbers = itertools.count()
def receive(connection):
    message = b""
    while b"\r\n\r\n" not in message:
        part = connection.recv(65536)
        if not part:
            return b""
        message += part
    head = message.split(b"\r\n\r\n", 1)[0]
    length = (head.lower().split(b"content-length:") + [b"0"])[1].split(b"\r\n")[0]
    size = len(head) + 4 + int(length)
    while len(message) < size:
        message += connection.recv(65536)
    return message
def serve(client):
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        while request := receive(client):
            server.sendall(request)
            answer = receive(server)
            if first <= next(numbers) < first + cuts:
                return
            client.sendall(answer)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()'

# A port that nothing listens on, below those that the system gives to clients.
free_port() {
  "$python" -c '
import random, socket
while True:
    port = random.randrange(11000, 30000)
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break'
}

# --- clients ---

# counterctl with the options in the array `place`.
ctl() {
  "$counterctl" "${place[@]}" "$@"
}

# for_places "NAME..." FUNCTION: runs it in each place, on empty counters: http and unix are those of
# a daemon, on SQLite and on Redis; sqlite and redis those of a store without one.
for_places() {
  local name
  for name in $1; do
    echo "place: $name"
    "open_$name"
    "$2"
  done
}

open_http() {
  start_daemon --store "sqlite:$dir/http.db"
  place=(--server "$url")
}

open_unix() {
  start_redis
  start_daemon --listen "unix:$dir/daemon.sock" --store "redis+unix://$redis_socket" \
    --redis-prefix of-a-daemon:
  place=(--server "unix:$dir/daemon.sock")
}

open_sqlite() {
  place=(--store "sqlite:$dir/direct.db")
}

open_redis() {
  [[ -S $dir/redis.sock ]] || start_redis
  place=(--store "redis+unix://$redis_socket")
}

# http METHOD TARGET [CURL OPTION...]: prints the status of the reply; its body is in $dir/body.
http() {
  curl -sS --max-time 10 -o "$dir/body" -w '%{http_code}' -X "$1" "$url$2" "${@:3}"
}

answers() {
  curl -sf --max-time 5 -o /dev/null "$url/readyz"
}

# The pids of the workers that serve, sorted.
ready_workers() {
  "$counterctl" --server "$url" workers 2>/dev/null | awk -F '\t' '$2 == "ready" {print $1}' | sort -n
}

has_ready_workers() {
  [[ $(ready_workers | wc -l) == "$1" ]]
}

# Whether `worker` no longer serves and there are `count` that do.
is_replaced() {
  local worker=$1 count=$2 now
  now=$(ready_workers)
  [[ $(wc -l <<<"$now") == "$count" && -n $now ]] && ! grep -qx "$worker" <<<"$now"
}

# The counter that a failure in the middle may have moved: not below what was acknowledged, not
# above what was tried.
assert_between() {
  (($1 >= $2 && $1 <= $3)) || fail "$1 is not within $2 and $3"
}
