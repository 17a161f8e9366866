#!/usr/bin/env bats
# What counterctl promises to a shell: the output, the exit status, the environment; the same
# wherever the counters are.

# shellcheck disable=SC2030,SC2031,SC2154,SC2034

load environment

# Accepts connections and never answers.
silent_server='
import socket
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1])
kept = []
while True:
    kept.append(listener.accept())'

# Answers one byte at a time and never ends.
trickling_server='
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
def trickle(connection):
    try:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)
    except OSError:
        pass
while True:
    threading.Thread(target=trickle, args=(listener.accept()[0],), daemon=True).start()'

# Some other HTTP server.
other_server='
import http.server
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *unused):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Quiet)
print(server.server_port)
server.serve_forever()'

# Answers each connection once, with the next of its arguments, "STATUS BODY", the last one for ever;
# with nothing to an empty one. What it was asked last is in the file "asked".
answering_server='
import itertools, socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1])
for answer in itertools.chain(sys.argv[1:], itertools.repeat(sys.argv[-1])):
    with listener.accept()[0] as client:
        open("asked", "wb").write(client.recv(65536))
        if answer:
            status, body = answer.split(" ", 1)
            head = "HTTP/1.1 %s X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            client.sendall((head % (status, len(body)) + body).encode())'

# Compares files of JSON lines; "TIME" stands for any moment.
same_json='
import json, re, sys
moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
def values(line):
    return {name: "TIME" if moment.fullmatch(str(value)) else value
            for name, value in json.loads(line).items()}
got, want = ([values(line) for line in open(name)] for name in sys.argv[1:])
sys.exit(0 if got == want else "got %r, wanted %r" % (got, want))'

# Runs the function on empty counters of every kind of place, by `ctl`.
for_each_place() {
  for_places "http unix sqlite redis" "$1"
}

# The same for one server and one store, where more would tell no more.
for_both_ways() {
  for_places "http sqlite" "$1"
}

assert_prints() {
  local wanted=$1
  shift
  try ctl "$@"
  assert_status 0
  assert_output "$wanted"
  assert_equal "$stderr" ""
}

expect_json() {
  echo "$1" >>"$dir/wanted"
  ctl --json "${@:2}" >>"$dir/got"
}

commands=(increment next report reset delete batch list status bench spawn workers scale stop)

# --- the commands, wherever the counters are ---

check_increment() {
  assert_prints 1 increment jobs
  assert_prints 2 increment jobs
  assert_prints 42 increment jobs --by 40
  assert_prints -8 increment jobs --by -50
  assert_prints -8 increment jobs --by 0
  assert_prints -9 increment jobs --by=-1
  assert_prints 1 increment "$(printf '%0128d' 7)"
  assert_prints 1 increment a.b_c:d-E9
  ctl increment bytes >"$dir/bytes"
  assert_equal "$(od -An -c "$dir/bytes" | tr -d ' ')" '1\n'
}

@test "increment prints the new value, alone on its line" {
  for_each_place check_increment
}

check_bounds() {
  assert_prints 1 increment q --max 2
  assert_prints 2 increment q --max 2
  try ctl increment q --max 2
  assert_refused 1
  assert_stderr_has 'counter q is 2; adding 1 would make it 3, above the maximum 2'
  assert_prints 2 report q
  assert_prints 1 increment q --by -1 --min 0
  assert_prints 0 increment q --by -1 --min 0 --max 2
  try ctl increment q --by -1 --min 0
  assert_refused 1
  assert_stderr_has 'make it -1, below the minimum 0'
  try ctl increment new --by 3 --max 2
  assert_refused 1
  try ctl report new
  assert_refused 2
  assert_prints 5 increment q --by 7 --max 5 --clamp
  assert_prints 5 increment q --by 7 --max 5 --clamp
  assert_prints 0 increment q --by -7 --min 0 --max 9 --clamp
  ctl -q reset top --to 9223372036854775807
  try ctl increment top --by 9223372036854775807 --max 9223372036854775807
  assert_refused 1
  assert_stderr_has 'would make it 18446744073709551614'
  assert_prints 9223372036854775807 increment top --max 9223372036854775807 --clamp
}

@test "increment within bounds is refused with 1 beyond them, or clamped, and changes nothing else" {
  for_each_place check_bounds
}

check_bounds_as_json() {
  assert_prints '{"name":"q","value":3,"applied":3,"remaining":2}' --json increment q --by 3 --max 5
  assert_prints '{"name":"q","value":2,"applied":-1,"remaining":2}' \
    --json increment q --by -1 --min 0 --max 5
  assert_prints '{"name":"q","value":5,"applied":3,"remaining":0}' \
    --json increment q --by 4 --max 5 --clamp
  assert_prints '{"name":"q","value":5,"applied":0,"remaining":0}' \
    --json increment q --by 4 --max 5 --clamp
  try ctl --json increment q --by -6 --min 0
  assert_status 1
  assert_output '{"name":"q","value":5,"applied":0,"remaining":5}'
  try ctl --json increment q --key c --by 2 --max 6 --clamp
  assert_output '{"name":"q","value":6,"applied":1,"remaining":0}'
  try ctl --json increment q --key c --by 2 --max 6 --clamp
  assert_output '{"name":"q","value":6,"applied":1,"remaining":0}'
}

check_ttl() {
  assert_prints 1 increment a --ttl 1500ms
  assert_prints 2 increment a --ttl 1h
  assert_prints 1 increment slides --ttl 1h --ttl-mode renew
  assert_prints 1 increment q --max 1 --ttl 1500ms --ttl-mode create
  try ctl increment q --max 1 --ttl 1500ms
  assert_refused 1
  await 10 is_missing a
  await 10 is_missing q
  assert_prints $'slides\t1' list
  assert_prints 1 increment q --max 1 --ttl 1h
  assert_prints 1 increment a
  batch_prints=$(printf 'increment b --ttl 300ms\n{"op":"increment","name":"b","ttl":"1h"}\n' | ctl batch)
  assert_equal "$batch_prints" $'b\t1\nb\t2'
  await 10 is_missing b
}

is_missing() {
  status=0
  ctl -q report "$1" 2>/dev/null || status=$?
  [[ $status == 2 ]]
}

@test "a counter with a time to live ends, is missing then, and begins anew" {
  for_each_place check_ttl
}

check_bad_ttl() {
  local bad
  for bad in 0s 0 -1s 5 1.5h 1w 366d 1000000000000d ''; do
    try ctl increment t --ttl "$bad"
    assert_refused 65
    assert_stderr_has ttl
  done
  for bad in always '' Create; do
    try ctl increment t --ttl 1h --ttl-mode "$bad"
    assert_refused 64
    assert_stderr_has ttl-mode
  done
  try ctl increment t --ttl-mode renew
  assert_refused 64
  try ctl report t
  assert_refused 2
}

@test "a time to live that cannot be is refused and changes nothing" {
  for_both_ways check_bad_ttl
}

check_windows() {
  assert_prints 1 increment a --per year --timezone Etc/GMT+5
  assert_prints 3 increment a --per year --timezone Etc/GMT+5 --by 2 --max 3
  local end
  end="\"resets_at\":\"$(($(TZ=Etc/GMT+5 date +%Y) + 1))-01-01T05:00:00.000Z\""
  try ctl --json increment a --per year --timezone Etc/GMT+5 --max 3
  assert_status 1
  assert_output "{\"name\":\"a\",\"value\":3,\"applied\":0,\"remaining\":0,$end}"
  assert_stderr_has 'above the maximum 3; it begins anew at '
  try ctl --json increment a --per year --timezone Etc/GMT+5
  assert_output "{\"name\":\"a\",\"value\":4,\"applied\":1,$end}"
  try ctl --json report a
  [[ $output == '{"name":"a","value":4,"created_at":'*",${end/resets/expires}}" ]] || fail "$output"
  try ctl increment a --per month
  assert_refused 65
  assert_stderr_has 'counts per year in Etc/GMT+5, not per month'
  try ctl batch --atomic <<<'increment a --per month'
  assert_refused 65
  assert_stderr_has 'counts per year in Etc/GMT+5, not per month'
  try ctl batch --atomic <<<'increment a --ttl 1h --ttl-mode renew'
  assert_refused 65
  assert_stderr_has 'counts per year in Etc/GMT+5, which a renewed time to live would move'
  try ctl -q batch <<<'increment a --per year --timezone Etc/GMT+5 --max 4'
  assert_refused 1
  assert_stderr_has 'begins anew at'
  assert_prints 4 report a
}

@test "a counter with a window says when it begins anew, and refuses another window" {
  for_each_place check_windows
}

check_bad_windows() {
  local bad
  for bad in '' Day days decade '1 day'; do
    try ctl increment t --per "$bad"
    assert_refused 64
    assert_stderr_has --per
  done
  for bad in '' 'a b' 'Europe/Berlin&by=9' ../../etc/passwd "$(printf '%065d' 0)"; do
    try ctl increment t --per day --timezone "$bad"
    assert_refused 64
    assert_stderr_has --timezone
  done
  for bad in Mars/Olympus europe/berlin /etc/localtime Europe; do
    try ctl increment t --per day --timezone "$bad"
    assert_refused 65
    assert_stderr_has 'is unknown'
  done
  try ctl increment t --timezone UTC
  assert_refused 64
  try ctl increment t --per day --ttl 1h
  assert_refused 64
  try ctl increment t --per day --ttl-mode renew
  assert_refused 64
  try ctl increment t --per
  assert_refused 64
  assert_prints '' list
}

@test "a window that cannot be is refused and changes nothing" {
  for_both_ways check_bad_windows
}

check_check() {
  assert_prints 0 increment q --max 1 --check
  assert_prints 1 increment q --max 1
  try ctl increment q --max 1 --check
  assert_refused 1
  try ctl --json increment q --max 5 --check
  assert_output '{"name":"q","value":1,"applied":0,"remaining":4}'
  try ctl increment q --check --key k
  assert_refused 64
  try ctl batch --atomic <<'END'
increment other
increment q --max 1 --check
END
  assert_refused 1
  assert_prints $'q\t1' list
}

@test "--check asks whether an increment would be allowed, and counts nothing" {
  for_each_place check_check
}

@test "--json tells how much was applied and how much remains, of a refusal too" {
  for_each_place check_bounds_as_json
}

check_bad_bounds() {
  try ctl increment q --min 6 --max 5
  assert_refused 64
  assert_stderr_has 'the minimum 6 is above the maximum 5'
  try ctl increment q --clamp
  assert_refused 64
  assert_stderr_has clamp
  local flag
  for flag in --min --max; do
    try ctl increment q "$flag" 1.5
    assert_refused 65
    assert_stderr_has "$flag"
    try ctl increment q "$flag" ''
    assert_refused 65
    try ctl increment q "$flag" 9223372036854775808
    assert_refused 65
    try ctl increment q "$flag"
    assert_refused 64
  done
  assert_prints '' list
}

@test "bounds that contradict each other or are no numbers are refused and change nothing" {
  for_both_ways check_bad_bounds
}

check_next() {
  assert_prints 1 next ticket
  assert_prints 2 next ticket
  assert_prints $'3\t12' next ticket --count 10
  assert_prints $'13\t13' next ticket --count 1
  assert_prints 13 report ticket
  assert_prints 14 next ticket --start 1000
  assert_prints 1000 next invoice --start 1000
  assert_prints $'1001\t1010' next invoice --start 1000 --count 10
  assert_prints '{"name":"invoice","first":1011,"last":1012}' --json next invoice --count 2
  assert_prints -5 next low --start -5
  assert_prints -4 next low
  assert_prints $'-9223372036854775807\t-1' next wide --start -9223372036854775807 \
    --count 9223372036854775807
  assert_prints 9 next keyed --start 9 --key k
  assert_prints 9 next keyed --start 9 --key k
  assert_prints 9223372036854775807 next last --start 9223372036854775807
  try ctl next last
  assert_refused 1
}

@test "next reserves numbers that follow each other, each once" {
  for_each_place check_next
}

check_bad_next() {
  local bad
  for bad in 0 -1 1.5 '' 9223372036854775808; do
    try ctl next n --count "$bad"
    assert_refused 65
    assert_stderr_has count
  done
  for bad in x '' -9223372036854775808; do
    try ctl next n --start "$bad"
    assert_refused 65
    assert_stderr_has start
  done
  assert_prints '' list
}

@test "next refuses a number of numbers and a start that cannot be, and reserves nothing" {
  for_both_ways check_bad_next
}

check_report() {
  ctl -q increment a --by 5
  ctl -q increment b --by -6
  assert_prints 5 report a
  assert_prints $'a\t5\nb\t-6' report a b
  assert_prints $'b\t-6\na\t5\nb\t-6' report b a b
  try ctl report missing
  assert_refused 2
  assert_stderr_has missing
  try ctl report a missing b
  assert_status 2
  assert_output $'a\t5\nb\t-6'
  assert_stderr_has missing
  try ctl report gone a lost
  assert_status 2
  assert_output $'a\t5'
  assert_stderr_has gone
  assert_stderr_has lost
}

@test "report prints one value bare, several with their names, and says which are missing" {
  for_each_place check_report
}

check_report_default() {
  assert_prints 0 report nothing --default 0
  ctl -q reset there --to 7
  assert_prints 7 report there --default 0
  assert_prints $'nothing\t-5\nthere\t7\nnone\t-5' report nothing there none --default -5
  assert_prints 3 report --default 3
  assert_prints '{"name":"nothing","value":0,"created_at":null,"updated_at":null,"expires_at":null}' \
    --json report nothing --default 0
  assert_prints $'there\t7' list
  try ctl report nothing --default 1.5
  assert_refused 65
  assert_stderr_has '--default'
  try "$counterctl" --server http://127.0.0.1:1 report nothing --default 0
  assert_refused 69
}

@test "report --default prints that for what is missing, and creates nothing" {
  for_each_place check_report_default
}

check_many_names() {
  local names
  mapfile -t names < <(seq -f 'n%.0f' 1001)
  try ctl report --default 7 "${names[@]::1000}"
  assert_status 0
  diff <(seq -f $'n%.0f\t7' 1000) <(echo "$output")
  try ctl report --default 7 "${names[@]}"
  assert_refused 64
  assert_stderr_has 'more than 1000 names'
}

@test "report takes 1,000 names, and refuses more" {
  for_both_ways check_many_names
}

check_default() {
  assert_prints 0 report
  try ctl report count
  assert_refused 2
  assert_prints 1 increment
  assert_prints 11 increment --by 10
  assert_prints 11 report
  assert_prints 11 report count
  assert_prints 11 reset
  assert_prints 0 report
  assert_prints 0 reset --to 3
  assert_prints $'count\t3' list
}

@test "a command without a name works on the counter count, which reads as 0 while missing" {
  for_each_place check_default
}

check_reset() {
  assert_prints 0 reset fresh
  assert_prints 0 report fresh
  assert_prints 0 reset other --to 7
  assert_prints 7 reset other --to -3
  assert_prints -3 report other
  assert_prints -3 reset other
  assert_prints 0 report other
}

@test "reset prints the value before, 0 for a missing counter, and makes it" {
  for_each_place check_reset
}

check_delete() {
  ctl -q increment a --by 9
  assert_prints 9 delete a
  try ctl report a
  assert_refused 2
  try ctl delete a
  assert_refused 2
  assert_stderr_has a
  assert_prints 1 increment a
}

@test "delete prints the value before and says what is missing" {
  for_each_place check_delete
}

check_list() {
  local name
  assert_prints "" list
  for name in b B a10 a2 a: a.x a 9; do ctl -q reset "$name" --to 1; done
  assert_prints $'9\t1\nB\t1\na\t1\na.x\t1\na10\t1\na2\t1\na:\t1\nb\t1' list
  assert_prints $'a\t1\na.x\t1\na10\t1\na2\t1\na:\t1' list --prefix a
  assert_prints $'a10\t1' list --prefix=a1
  assert_prints "" list --prefix zzz
}

@test "list prints all counters sorted by their bytes, or those with a prefix" {
  for_each_place check_list
}

assert_lists_many() {
  place=("$@")
  ctl list >"$dir/listed"
  diff <(printf 'c%04d\t1\n' {1..2100}) "$dir/listed"
  ctl list --prefix c2 >"$dir/listed"
  diff <(printf 'c%04d\t1\n' {2000..2100}) "$dir/listed"
  assert_equal "$(ctl --json list | wc -l)" 2100
  local limit
  for limit in 1 99 100 101 2099 2100; do
    ctl list --limit "$limit" >"$dir/listed"
    diff <(printf 'c%04d\t1\n' $(seq "$limit")) "$dir/listed"
  done
}

@test "list prints more counters than one page holds, each once" {
  start_redis
  start_daemon --listen "unix:$dir/daemon.sock" --store "redis+unix://$redis_socket"
  curl -sf --unix-socket "$dir/daemon.sock" -X POST -o /dev/null \
    'http://localhost/v1/counters/c[0001-2100]/increment'
  start_daemon --sync normal
  curl -sf -X POST -o /dev/null "$url/v1/counters/c[0001-2100]/increment"
  assert_lists_many --server "$url"
  assert_lists_many --server "unix:$dir/daemon.sock"
  assert_lists_many --store "sqlite:$database"
  assert_lists_many --store "redis+unix://$redis_socket"
}

check_list_limit() {
  local name
  assert_prints "" list --limit 1
  for name in b a2 a a1 c; do ctl -q reset "$name" --to 1; done
  assert_prints $'a\t1' list --limit 1
  assert_prints $'a\t1\na1\t1\na2\t1' list --limit 3 --sort name
  assert_prints $'a\t1\na1\t1\na2\t1\nb\t1\nc\t1' list --limit 9223372036854775807
  assert_prints $'b\t1' list --limit 2 --prefix b
  assert_prints '{"name":"a","value":1}' --json list --limit 1
  try ctl -q list --limit 1
  assert_status 0
  assert_silence
}

@test "list --limit prints so many of the first" {
  for_each_place check_list_limit
}

check_list_by_value() {
  assert_prints "" list --sort value --limit 5
  ctl -q reset low --to -9223372036854775808
  ctl -q reset high --to 9223372036854775807
  ctl -q reset b --to 7
  ctl -q reset a --to 7
  ctl -q reset a.x --to 7
  ctl -q reset nine --to -9
  ctl -q reset ten --to 10
  assert_prints $'high\t9223372036854775807' list --sort value --limit 1
  assert_prints $'high\t9223372036854775807\nten\t10\na\t7\na.x\t7' list --sort value --limit 4
  assert_prints $'a\t7\na.x\t7' list --sort value --limit 9 --prefix a
  assert_prints $'{"name":"high","value":9223372036854775807}\n{"name":"ten","value":10}' \
    --json list --sort value --limit 2
  ctl list --sort value --limit 100000 >"$dir/listed"
  diff <(ctl list | sort -t "$(printf '\t')" -k2,2nr) "$dir/listed"
  try ctl -q list --sort value --limit 1
  assert_status 0
  assert_silence
}

@test "list --sort value prints the largest values first, equal ones by name" {
  for_each_place check_list_by_value
}

@test "list --sort value finds the largest values on whichever page they are" {
  start_daemon --sync normal
  curl -sf -X POST -o /dev/null "$url/v1/counters/c[0001-2100]/increment"
  place=(--server "$url")
  ctl -q reset c0001 --to 30
  ctl -q reset c1000 --to 10
  ctl -q reset c2100 --to 20
  assert_prints $'c0001\t30\nc2100\t20\nc1000\t10\nc0002\t1' list --sort value --limit 4
  ctl list --sort value --limit 2000 >"$dir/listed"
  diff <(ctl list | sort -t "$(printf '\t')" -k2,2nr | head -n 2000) "$dir/listed"
}

@test "list refuses an order and a number of rows that cannot be" {
  local limit sort
  place=(--store "sqlite:$dir/direct.db")
  ctl -q increment a
  for limit in 0 -1 010 1e3 '' ' 5' 9223372036854775808; do
    echo "limit: '$limit'"
    for sort in name value; do
      try ctl list --sort "$sort" --limit "$limit"
      assert_refused 65
      assert_stderr_lines 1
      assert_stderr_has --limit
    done
  done
  for sort in other Name '' 'name '; do
    try ctl list --sort "$sort" --limit 1
    assert_refused 64
    assert_stderr_has "--sort is name or value, not '$sort'"
  done
  try ctl list --limit
  assert_refused 64
  try ctl list --sort
  assert_refused 64
}

# All rows of the answer would have to be held.
@test "list --sort value needs a limit, and says how else to sort" {
  local limit
  place=(--store "sqlite:$dir/direct.db")
  ctl -q increment a
  for limit in "" "--limit 100001"; do
    # shellcheck disable=SC2086
    try ctl list --sort value $limit
    assert_refused 64
    assert_stderr_has '--limit, of at most 100000'
    assert_stderr_has "counterctl list | sort -t \"\$(printf '\\t')\" -k2,2nr"
  done
  assert_prints $'a\t1' list --sort value --limit 100000
}

# Serves a list of a1 to a9, b10 to b99, c100 and so on, which are sorted: what page() makes of a
# number, after which it begins, and of the limit.
page_server='
import http.server, json, sys, time, urllib.parse
def serve(page):
    class Pages(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            after = int(query.get("after", ["a0"])[0][1:])
            numbers, more = page(after, int(query["limit"][0]))
            rows = [{"name": "%c%d" % (96 + len(str(i)), i), "value": i} for i in numbers]
            next = rows[-1]["name"] if more else None
            body = json.dumps({"counters": rows, "next": next}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *unused):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    print(server.server_port)
    server.serve_forever()
'

# A list without an end; each limit that is asked for is noted in a file.
endless_pages=$page_server'
def page(after, limit):
    with open(sys.argv[1], "a") as log:
        print(limit, file=log)
    return range(after + 1, after + 1 + limit), True
serve(page)'

@test "list asks for no more rows than it prints, in small pages" {
  start_python "$endless_pages" "$dir/asked"
  place=(--server "http://127.0.0.1:$said")
  assert_equal "$(timeout 20 "$counterctl" "${place[@]}" list --limit 230 | wc -l)" 230
  assert_equal "$(paste -sd ' ' "$dir/asked")" '100 100 30'
  assert_equal "$(timeout 20 "$counterctl" "${place[@]}" list --limit 100 | wc -l)" 100
  assert_equal "$(paste -sd ' ' "$dir/asked")" '100 100 30 100'
}

@test "a list ends when its output cannot be written" {
  local form
  start_python "$endless_pages" "$dir/asked"
  place=(--server "http://127.0.0.1:$said")
  for form in "" --json; do
    # shellcheck disable=SC2016,SC2086
    try timeout 20 bash -c '"$@" >/dev/full' bash "$counterctl" "${place[@]}" $form list
    assert_refused 74
    assert_stderr_lines 1
    # shellcheck disable=SC2016,SC2086
    try timeout 20 bash -c '"$@" | head -n 1 >/dev/null; exit "${PIPESTATUS[0]}"' \
      bash "$counterctl" "${place[@]}" $form list
    assert_refused 74
  done
}

# on_terminal COMMAND...: runs it on a terminal of its own and prints what that shows.
on_terminal() {
  SHELL=/bin/sh script -qec "$(printf '%q ' "$@")" /dev/null </dev/null | tr -d '\r'
}

check_table() {
  assert_equal "$(on_terminal "$counterctl" "${place[@]}" list)" 'NAME  VALUE'
  ctl -q reset a --to 5
  assert_equal "$(on_terminal "$counterctl" "${place[@]}" list)" $'NAME  VALUE\na         5'
  ctl -q reset a.long:name --to -1234567
  ctl -q reset b --to 90
  assert_equal "$(on_terminal "$counterctl" "${place[@]}" list)" \
    $'NAME            VALUE\na                   5\na.long:name  -1234567\nb                  90'
  assert_equal "$(on_terminal "$counterctl" "${place[@]}" list --sort value --limit 2)" \
    $'NAME  VALUE\nb        90\na         5'
  assert_equal "$(on_terminal "$counterctl" "${place[@]}" --json list --limit 1)" \
    '{"name":"a","value":5}'
  assert_equal "$(on_terminal "$counterctl" "${place[@]}" -q list)" ''
  assert_prints $'a\t5\na.long:name\t-1234567\nb\t90' list
}

@test "list prints a table on a terminal, and tabs elsewhere" {
  for_both_ways check_table
}

@test "the table of a long list has one header, and columns that widen from page to page" {
  start_python "$endless_pages" "$dir/asked"
  on_terminal "$counterctl" --server "http://127.0.0.1:$said" list --limit 1001 >"$dir/table"
  diff <(echo 'NAME  VALUE'
    seq 900 | awk '{ printf "%c%-3d  %5d\n", 96 + length($1), $1, $1 }'
    seq 901 1001 | awk '{ printf "%c%-4d  %5d\n", 96 + length($1), $1, $1 }') "$dir/table"
}

check_json() {
  rm -f "$dir/wanted" "$dir/got"
  expect_json '{"name":"a","value":9007199254740993,"applied":9007199254740993}' \
    increment a --by 9007199254740993
  local moments='"created_at":"TIME","updated_at":"TIME","expires_at":null'
  expect_json "{\"name\":\"a\",\"value\":9007199254740993,$moments}" report a
  expect_json "{\"name\":\"count\",\"value\":0,${moments//\"TIME\"/null}}" report
  ctl -q increment c --ttl 1h
  expect_json '{"name":"c","value":1,"created_at":"TIME","updated_at":"TIME","expires_at":"TIME"}' \
    report c
  ctl -q delete c
  expect_json '{"name":"b","value":-9223372036854775808,"previous":null}' \
    reset b --to -9223372036854775808
  expect_json '{"name":"b","value":4,"previous":-9223372036854775808}' reset b --to 4
  expect_json "{\"name\":\"b\",\"value\":4,$moments}
{\"name\":\"a\",\"value\":9007199254740993,$moments}" report b a
  expect_json $'{"name":"a","value":9007199254740993}\n{"name":"b","value":4}' list
  expect_json '{"name":"b","previous":4}' delete b
  "$python" -c "$same_json" "$dir/got" "$dir/wanted"
  ctl --json status >"$dir/status"
  "$python" -c '
import json, sys
status = json.load(sys.stdin)
for name in ("engine", "location", "durability"):
    assert status["store"][name], status
assert status["version"], status' <"$dir/status"
}

@test "--json prints one valid object a line, with every digit" {
  for_each_place check_json
}

@test "--json is valid for the commands of a host's daemon" {
  start_daemon --workers 2
  place=(--server "$url")
  ctl --json workers >"$dir/workers"
  "$python" -c '
import json, sys
workers = [json.loads(line) for line in sys.stdin]
assert len(workers) == 2, workers
assert {worker["slot"] for worker in workers} == {0, 1}, workers
assert all(worker["state"] == "ready" and worker["pid"] > 1 for worker in workers), workers
assert all(worker["since"].startswith("20") and worker["since"].endswith("Z") for worker in workers), workers' \
    <"$dir/workers"
  assert_prints '{"workers":1}' --json scale 1
  try ctl workers
  [[ $output =~ ^[0-9]+[[:blank:]]ready[[:blank:]]20[0-9-]+T[0-9:.]+Z$ ]] || fail "$output"
}

check_status() {
  try ctl status
  assert_status 0
  assert_output_has durability
  case ${place[1]} in
    *redis* | unix:*) assert_output_has redis ;;
    *) assert_output_has sqlite ;;
  esac
}

@test "status names the store and how durable it is" {
  for_each_place check_status
}

check_lost_output() {
  ctl -q increment a
  local status=0
  ctl report a missing >/dev/full 2>"$dir/stderr" || status=$?
  assert_equal "$status" 74
  assert_succeeds grep -q 'counter missing does not exist' "$dir/stderr"
  assert_succeeds grep -q 'cannot write to standard output' "$dir/stderr"
  status=0
  ctl next numbers --count 3 >/dev/full 2>"$dir/stderr" || status=$?
  assert_equal "$status" 74
  assert_succeeds grep -q 'the numbers from 1 to 3 are reserved' "$dir/stderr"
  assert_prints 4 next numbers
  status=0
  ctl increment a >/dev/full 2>"$dir/stderr" || status=$?
  assert_equal "$status" 74
  assert_succeeds grep -q 'the change was made, and its answer is 2' "$dir/stderr"
  status=0
  ctl increment a --check >/dev/full 2>"$dir/stderr" || status=$?
  assert_equal "$status" 74
  assert_fails grep -q 'the change was made' "$dir/stderr"
}

@test "an answer that cannot be written is status 74, and what was reserved is told" {
  for_both_ways check_lost_output
}

@test "a server that the environment names wrongly is named by its variable" {
  COUNTERCTL_SERVER=foo try "$counterctl" report
  assert_refused 64
  assert_stderr_has "COUNTERCTL_SERVER: address 'foo'"
}

@test "a Unix socket of somebody else is refused with 77, and not tried again" {
  local begin
  ((EUID == 0)) || skip "only root can become other users"
  start_daemon --listen "unix:$dir/daemon.sock"
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}"  # so that it is the socket that is denied
  chmod 0600 "$dir/daemon.sock"
  chmod 0711 "$dir"
  begin=$(milliseconds)
  try setpriv --reuid 65534 --regid 65534 --clear-groups \
    "$counterctl" --server "unix:$dir/daemon.sock" increment
  assert_refused 77
  assert_stderr_has 'Permission denied'
  (($(milliseconds) - begin < 3000)) || fail "it has lasted too long"
}

# With a log that is new, and that only its maker may use.
is_refused_for_now() {
  rm "$1-wal"
  install -m 0600 "$dir/wal" "$1-wal"
  try setpriv --reuid 60002 --regid 60002 --groups 60000 \
    "$counterctl" --store "sqlite:$1" --timeout 50ms increment
  ((status == 69))
}

@test "a database of a group whose log is not is refused with what to do" {
  ((EUID == 0)) || skip "only root can become other users"
  local share=$dir/share
  chmod o+x "$BATS_RUN_TMPDIR" "${dir%/*}" "$dir"
  mkdir -m 0770 "$share"
  chgrp 60000 "$share"
  setpriv --reuid 60001 --regid 60001 --groups 60000 \
    "$counterctl" --store "sqlite:$share/counts.db" increment
  chgrp 60000 "$share/counts.db"
  try setpriv --reuid 60002 --regid 60002 --groups 60000 \
    "$counterctl" --store "sqlite:$share/counts.db" increment
  assert_refused 78
  assert_stderr_has 'counts.db-wal'
  assert_stderr_has 'chmod g+s'
  # It may have been made only just now, and gets its mode yet: that is no reason to end for good.
  cp "$share/counts.db-wal" "$dir/wal"
  if (($(stat -c %W "$dir/wal") > 0)); then await 20 is_refused_for_now "$share/counts.db"; fi
  chown 60001 "$share/counts.db-wal"
  # One that can only be read takes no changes.
  chgrp 60000 "$share"/counts.db-{wal,shm}
  chmod 0640 "$share/counts.db-wal"
  try setpriv --reuid 60002 --regid 60002 --groups 60000 \
    "$counterctl" --store "sqlite:$share/counts.db" increment
  assert_refused 78
  chmod 0660 "$share/counts.db-wal"
  try setpriv --reuid 60002 --regid 60002 --groups 60000 \
    "$counterctl" --store "sqlite:$share/counts.db" increment
  assert_output 2
}

# Keeps the database open, and the locks of its readers, as one that is stopped while the log restarts.
keep_reader_locks='
import fcntl, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT * FROM sqlite_schema").fetchall()
memory = open(sys.argv[1] + "-shm", "r+b")
fcntl.lockf(memory, fcntl.LOCK_EX | fcntl.LOCK_NB, 4, 124)
print("kept")
time.sleep(60)'

@test "another program that keeps the locks of readers keeps nobody beyond --timeout" {
  local begin command
  "$counterctl" --store "sqlite:$dir/c.db" -q increment
  start_python "$keep_reader_locks" "$dir/c.db"
  for command in increment report; do
    begin=$(milliseconds)
    try "$counterctl" --store "sqlite:$dir/c.db" --timeout 500ms "$command"
    assert_refused 69
    assert_stderr_has 'another program keeps its locks'
    (($(milliseconds) - begin < 3000)) || fail "it has lasted too long"
  done
  end_process "$python_pid"
  assert_equal "$("$counterctl" --store "sqlite:$dir/c.db" increment)" 2
}

@test "what is beside a database and no file is refused, and nobody waits for it" {
  local part
  for part in wal shm; do
    mkfifo "$dir/$part.db-$part"
    try timeout 10 "$counterctl" --store "sqlite:$dir/$part.db" increment
    assert_refused 78
    assert_stderr_has "$part.db-$part"
    assert_stderr_has "must be a regular file"
  done
}

@test "a Redis server whose answer does not end is given up, without taking it all into memory" {
  start_python '
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens")
while True:
    connection = listener.accept()[0]
    try:
        connection.recv(4096)
        connection.sendall(b"\x24500000000\r\n")  # a dollar
        while True:
            connection.sendall(b"x" * 65536)
    except ConnectionError:
        connection.close()' "$dir/endless.sock"
  try timeout 60 "$counterctl" --store "redis+unix://$dir/endless.sock" --timeout 50s report
  assert_refused 69
  assert_stderr_has 'longer than any that makes sense'
}

@test "an answer that is nested deeply is no answer of a counterd" {
  start_python 'import sys
sys.argv[1:] = ["200 {\"version\":\"1\",\"store\":{\"x\":" +
                "[" * 500000 + "]" * 500000 + "}}"]'"$answering_server"
  try timeout 20 "$counterctl" --server "http://127.0.0.1:$said" status
  assert_refused 69
  assert_stderr_has 'does not answer like counterd'
}

# hostile_redis ANSWER: a server that gives ANSWER, an expression of Python, to a script, and what
# is expected to everything else; prints its socket.
hostile_redis() {
  start_python '
import socket, sys
def bulk(text):
    return b"\x24%d\r\n%s\r\n" % (len(text), text)
answer = eval(sys.argv[2])
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print(sys.argv[1])
while True:
    connection = listener.accept()[0]
    try:
        while requests := connection.recv(1 << 20):
            for request in requests.split(b"\r\n*"):
                if b"EVALSHA" in request:
                    connection.sendall(answer)
                elif b"CONFIG" in request:
                    connection.sendall(b"*2\r\n" + 2 * bulk(b"no"))
                else:
                    connection.sendall(b"+OK\r\n")
    except ConnectionError:
        pass' "$dir/hostile.sock" "$1"
}

@test "what a Redis server says is not repeated at any length" {
  hostile_redis 'b"-ERR " + b"x" * 1000000 + b"\r\n"'
  try timeout 20 "$counterctl" --store "redis+unix://$said" report a
  assert_refused 69
  assert_stderr_has 'ERR xxx'
  [ "${#stderr}" -lt 1000 ]
}

@test "a Redis server that announces more than makes sense is not believed" {
  local answer
  for answer in 'b"*2147483647\r\n"' '1000 * b"*2001\r\n"'; do
    rm -f "$dir/hostile.sock"
    hostile_redis "$answer"
    assert_within 4000 "$counterctl" --store "redis+unix://$said" list
    assert_refused 69
  done
}

@test "a list of a Redis server whose names do not ascend ends" {
  hostile_redis 'b"*3\r\n" + 2 * bulk(b"a") + bulk(b"1")'
  try timeout 20 "$counterctl" --store "redis+unix://$said" list
  assert_status 69
  assert_stderr_has 'cannot be understood'
}

@test "status says who answers also while the store is away, and what is wrong with it" {
  open_redis
  start_daemon --store "redis+unix://$redis_socket"
  end_process "$redis_pid"
  try "$counterctl" --server "$url" status
  assert_status 69
  assert_output_has "served by	$url (version "
  assert_stderr_has "$redis_socket"
  try "$counterctl" --server "$url" --json status
  assert_status 69
  assert_output_has "{\"place\":\"$url\",\"version\":"
  assert_output_has ',"store":null}'
}

check_quiet() {
  local arguments
  for arguments in "increment a" "report a" "report" "reset a" "list" "status" "delete a"; do
    # shellcheck disable=SC2086
    try ctl -q $arguments
    assert_status 0
    assert_silence
    # shellcheck disable=SC2086
    ctl -q increment a
  done
  try ctl --quiet report missing
  assert_refused 2
}

@test "-q prints nothing but errors" {
  for_both_ways check_quiet
}

check_range() {
  assert_prints 9223372036854775807 increment top --by 9223372036854775807
  try ctl increment top
  assert_refused 1
  assert_stderr_has 9223372036854775807
  assert_prints 9223372036854775807 report top
  assert_prints -1 increment top --by -9223372036854775808
  assert_prints -9223372036854775808 increment bottom --by -9223372036854775808
  try ctl increment bottom --by -1
  assert_refused 1
  assert_prints -9223372036854775808 report bottom
  assert_prints -9223372036854775808 reset bottom --to 9223372036854775807
  assert_prints 9223372036854775807 delete bottom
  assert_prints 0 reset middle --to 9007199254740993
  assert_prints 9007199254740994 increment middle
  assert_prints -9007199254740993 increment middle --by -18014398509481987
}

@test "the whole 64-bit range is exact, and overflow exits 1 and leaves the value" {
  for_each_place check_range
}

check_bad_numbers() {
  local number
  ctl -q reset a --to 5
  for number in 010 00 -0 -01 1e3 1.0 0x10 +5 5x ' 5' '5 ' - -- 1_000 1,000 inf ٥ \
    9223372036854775808 -9223372036854775809 99999999999999999999; do
    echo "number: '$number'"
    try ctl increment a "--by=$number"
    assert_refused 65
    try ctl reset a "--to=$number"
    assert_refused 65
  done
  for number in 010 +5 ' 5' 9223372036854775808; do
    try ctl increment a --by "$number"
    assert_refused 65
    try ctl reset new --to "$number"
    assert_refused 65
  done
  assert_prints $'a\t5' list
}

@test "a malformed number exits 65 and changes nothing" {
  for_places http check_bad_numbers
}

@test "an empty number is a malformed one, however it is given" {
  place=(--store "sqlite:$dir/empty.db")
  ctl -q reset a --to 5
  try ctl increment a --by ''
  assert_refused 65
  try ctl reset a --to ''
  assert_refused 65
  try ctl increment a --by=
  assert_refused 65
  try ctl reset a --to=
  assert_refused 65
  assert_prints 5 report a
}

check_bad_names() {
  local name command
  for name in "$(printf '%0129d' 7)" ../x a/b a%2Fb é $'a\nb' $'a\nb\n' 'a b' .a :a _a '*' 'a?by=9' \
    'a#' $'\xff' $'a\x1b[31m'; do
    for command in increment report reset delete; do
      echo "$command '$name'"
      try ctl "$command" "$name"
      assert_refused 65
      assert_stderr_lines 1
    done
    try ctl report a "$name"
    assert_refused 65
  done
  try ctl list --prefix a/b
  assert_refused 65
  assert_prints "" list
}

@test "a malformed name exits 65 and changes nothing" {
  for_places http check_bad_names
}

# As of a variable that a script has forgotten to set.
@test "an empty name is a malformed one, not the default counter" {
  local command
  place=(--store "sqlite:$dir/empty.db")
  ctl -q reset --to 5
  for command in increment report reset delete; do
    echo "$command"
    try ctl "$command" ""
    assert_refused 65
  done
  try ctl report count ""
  assert_refused 65
  assert_prints $'count\t5' list
}

check_names_of_commands() {
  local name
  for name in "${commands[@]}"; do
    echo "name: $name"
    assert_prints 1 increment "$name"
    assert_prints 1 reset "$name" --to 4
  done
  assert_prints $'list\t4\nstop\t4\nreport\t4' report list stop report
  assert_prints 4 delete delete
}

@test "counters may be named like commands" {
  for_both_ways check_names_of_commands
}

check_places_of_options() {
  assert_prints 1 increment a
  try "$counterctl" increment a "${place[@]}"
  assert_status 0
  assert_output 2
  try "$counterctl" increment "${place[@]}" --by 2 a
  assert_status 0
  assert_output 4
  try "$counterctl" --json report a "${place[@]}"
  assert_output_has '{"name":"a","value":4,'
  try "$counterctl" "${place[@]}" report a --json
  assert_output_has '{"name":"a","value":4,'
  try "$counterctl" "${place[@]}" report -q a --timeout 3s
  assert_status 0
  assert_silence
}

@test "options may stand before and after the command" {
  for_both_ways check_places_of_options
}

# --- usage ---

assert_usage_error() {
  try "$counterctl" "$@"
  assert_refused 64
}

@test "a usage error exits 64 and says what is wrong" {
  assert_usage_error
  assert_usage_error frobnicate
  assert_stderr_has frobnicate
  assert_usage_error --server http://127.0.0.1:9 frobnicate a
  assert_stderr_has frobnicate
  assert_usage_error increment --frob
  assert_stderr_has --frob
  assert_usage_error --frob increment
  assert_stderr_has --frob
  assert_usage_error increment a surplus
  assert_stderr_has surplus
  assert_usage_error list surplus
  assert_stderr_has surplus
  assert_usage_error increment a --by
  assert_usage_error delete
  assert_usage_error scale
  assert_usage_error --server http://127.0.0.1:9 --store sqlite:x report
  assert_usage_error --store sqlite:x spawn
}

@test "a store is refused by the commands that are about a daemon" {
  local command
  start_daemon --workers 1
  for command in spawn workers "scale 2" stop; do
    # shellcheck disable=SC2086
    assert_usage_error --store "sqlite:$dir/x.db" $command
    assert_stderr_has --store
  done
  # In the environment it stands for other commands, and hides no server from these.
  export COUNTERCTL_STORE=sqlite:$dir/x.db COUNTERCTL_SERVER=$url
  assert_equal "$("$counterctl" scale 2)" 2
  assert_equal "$("$counterctl" workers | wc -l)" 2
  try "$counterctl" spawn
  assert_status 78
  assert_stderr_has "$url"
  try "$counterctl" stop
  assert_status 0
  await 5 has_ended "$daemon_pid"
}

@test "an option that only a store has a use for is refused without one" {
  local option command
  for option in --require-durable --sync=normal --redis-prefix=x: --redis-password-file=/dev/null; do
    for command in report increment list status spawn stop; do
      echo "$option $command"
      assert_usage_error "$option" "$command"
      assert_stderr_has "${option%=*}"
    done
    COUNTERCTL_STORE=sqlite:$dir/x.db assert_usage_error "$option" --server http://127.0.0.1:9 report
  done
  COUNTERCTL_STORE=sqlite:$dir/x.db try "$counterctl" --require-durable increment
  assert_status 0
  # In the environment they may be set for whenever there is a store.
  COUNTERCTL_SYNC=normal try "$counterctl" --server "unix:$dir/nothing.sock" report
  assert_refused 69
}

@test "a store is used as the options say, and is durable unless they say otherwise" {
  open_sqlite
  try ctl status
  [[ $(stat -f -c %T "$dir") == tmpfs ]] || assert_output_has 'synchronous=FULL'
  try ctl --sync normal status
  [[ $(stat -f -c %T "$dir") == tmpfs ]] || assert_output_has 'power failure may lose'
  try ctl --sync normal --require-durable increment
  assert_refused 78
  start_redis --appendfsync everysec
  place=(--store "redis+unix://$redis_socket")
  try ctl --require-durable increment
  assert_refused 78
  assert_prints 0 report
}

@test "a malformed URL exits 64 and is named" {
  local server store
  mkdir "$dir/empty"
  cd "$dir/empty"
  for server in nonsense ftp://127.0.0.1:9 http:// http://127.0.0.1 http://127.0.0.1:0 \
    http://127.0.0.1:65536 http://127.0.0.1:080 http://127.0.0.1:9/path unix: https://127.0.0.1:9; do
    echo "server: $server"
    assert_usage_error --server "$server" report
    assert_stderr_lines 1
  done
  for store in bogus:x sqlite: x.db redis:// redis://127.0.0.1:x redis+unix://relative; do
    echo "store: $store"
    assert_usage_error --store "$store" report
    assert_stderr_lines 1
  done
  assert_equal "$(ls)" ""
}

@test "a URL of another scheme is refused, and a Unix socket in a folder that is gone" {
  try "$counterctl" --server https://localhost:4747 report
  assert_refused 64
  assert_stderr_has 'only http:// is known'
  mkdir "$dir/gone"
  # shellcheck disable=SC2016
  try bash -c 'cd "$1" && rmdir "$1" && "$2" --server unix:s.sock increment' bash "$dir/gone" "$counterctl"
  assert_refused 64
  assert_stderr_has 'folder is gone'
}

@test "an empty URL is a malformed one, not the default server" {
  assert_usage_error --server "" report
  assert_usage_error --server= report
  assert_stderr_has "--server: "
  assert_usage_error --store "" report
}

@test "a password in a store's URL is refused and not repeated" {
  try "$counterctl" --store redis://me:sesame@127.0.0.1:9 report
  assert_refused 64
  refute_stderr_has sesame
}

@test "--help and --version exit 0, of every command" {
  local command
  try "$counterctl" --version
  assert_status 0
  [[ $output =~ ^counterctl\ [0-9]+\.[0-9]+ ]]
  try "$counterctl" --help
  assert_status 0
  for command in "${commands[@]}"; do
    assert_output_has "$command"
  done
  for command in "${commands[@]}"; do
    try "$counterctl" "$command" --help
    assert_status 0
    assert_output_has "$command"
    assert_equal "$stderr" ""
  done
}

# --- the environment ---

@test "the environment names the server and the store, and a flag beats it" {
  local wrong
  wrong=http://127.0.0.1:$(free_port)
  start_daemon
  ctl -q --server "$url" reset --to 10
  ctl -q --store "sqlite:$dir/own.db" reset --to 20
  assert_equal "$(COUNTERCTL_SERVER=$url "$counterctl" report)" 10
  assert_equal "$(COUNTERCTL_STORE=sqlite:$dir/own.db "$counterctl" report)" 20
  assert_equal "$(COUNTERCTL_SERVER=$wrong "$counterctl" --server "$url" report)" 10
  assert_equal "$(COUNTERCTL_STORE=sqlite:$dir/x.db "$counterctl" --store "sqlite:$dir/own.db" report)" 20
  assert_equal "$(COUNTERCTL_STORE=sqlite:$dir/own.db "$counterctl" --server "$url" report)" 10
  assert_equal "$(COUNTERCTL_SERVER=$url "$counterctl" --store "sqlite:$dir/own.db" report)" 20
  [[ ! -e $dir/x.db ]]
}

@test "of the environment the store goes before the server, and what is empty is not set" {
  start_daemon
  ctl -q --server "$url" reset --to 10
  ctl -q --store "sqlite:$dir/own.db" reset --to 20
  export COUNTERCTL_SERVER=$url COUNTERCTL_STORE=sqlite:$dir/own.db
  assert_equal "$("$counterctl" report)" 20
  export COUNTERCTL_STORE='' COUNTERCTL_TIMEOUT='' COUNTERCTL_SYNC='' COUNTERCTL_REDIS_PREFIX='' \
    COUNTERCTL_REDIS_PASSWORD_FILE=''
  assert_equal "$("$counterctl" report)" 10
}

@test "the environment names the timeout and the Redis settings" {
  start_python "$silent_server"
  export COUNTERCTL_TIMEOUT=300ms
  assert_within 1500 "$counterctl" --server "http://127.0.0.1:$said" report
  assert_refused 69
  unset COUNTERCTL_TIMEOUT
  start_redis --requirepass sesame
  echo sesame >"$dir/password"
  export COUNTERCTL_STORE=redis+unix://$redis_socket COUNTERCTL_REDIS_PREFIX=mine:
  try "$counterctl" increment
  [[ $status == 69 || $status == 78 ]] || fail "the status is $status"
  assert_stderr_has --redis-password-file
  export COUNTERCTL_REDIS_PASSWORD_FILE=$dir/password
  try "$counterctl" increment
  assert_status 0
  assert_output 1
  try "$counterctl" --redis-prefix other: report
  assert_output 0
  try "$counterctl" report
  assert_output 1
}

# --- counted once ---

counts_once_by_key() {
  assert_equal "$(ctl increment --key run-1 --by 5)" 5
  assert_equal "$(ctl increment --by 10)" 15
  assert_equal "$(ctl increment --key run-1 --by 5)" 5
  assert_equal "$(ctl increment --key '"run-1"' --by 5)" 5
  assert_equal "$(ctl reset --key run-2 --to 3)" 15
  assert_equal "$(ctl reset --key run-2 --to 3)" 15
  assert_equal "$(ctl increment)" 4
  assert_equal "$(ctl delete count --key 'with "quotes" and \ in it')" 4
  assert_equal "$(ctl delete count --key 'with "quotes" and \ in it')" 4
  try ctl increment --key run-1 --by 6
  assert_refused 65
  assert_stderr_has "under this"
  assert_equal "$(ctl report)" 0
}

@test "the same change under the same key is counted once" {
  for_each_place counts_once_by_key
}

@test "a key is known for longer than a day, by as much as its change may be held up" {
  start_redis
  ctl --store "redis+unix://$redis_socket" --timeout 5s increment --key k
  (($(redis-cli -s "$redis_socket" PTTL counterd:k:count/k) > 86400000)) || fail "not even a day"
}

@test "a key that is malformed is a usage error" {
  place=(--store "sqlite:$dir/keys.db")
  local key
  for key in "" '""' '"open' $'a\nb' $'caf\xc3\xa9' "$(printf 'k%.0s' {1..256})"; do
    try ctl increment --key "$key"
    assert_refused 64
    assert_stderr_has --key
  done
  assert_equal "$(ctl report)" 0
}

@test "a change whose answer was lost is asked for again and counted once" {
  start_daemon
  start_python "$answer_cutter" "${url##*:}" 0 3
  try "$counterctl" --server "http://127.0.0.1:$said" increment
  assert_status 0
  assert_output 1
  assert_equal "$(ctl --server "$url" report)" 1
}

@test "when the time is up and nobody knows, the key to ask again with is told" {
  start_daemon
  start_python "$answer_cutter" "${url##*:}" 0 1000
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms increment
  assert_refused 75
  local by=${stderr#*ask again by }
  assert_between "$(($(date --date "${by%%,*}" +%s) - $(date +%s)))" 280 300
  local key=${stderr##*--key \'}
  key=${key%%\'*}
  [[ $key =~ ^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$ ]] ||
    fail "no UUID of version 7 in: $stderr"
  assert_equal "$(ctl --server "$url" increment --key "$key")" 1
  assert_equal "$(ctl --server "$url" report)" 1
}

@test "a change is not sent again by who was stopped for longer than its key is known" {
  local child status=0
  start_daemon --key-lifetime 4s --store-timeout 100ms
  # Cuts every reply. On a Unix socket, which takes a request at once, whatever the time.
  start_python '
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(16)
print("listens")
while True:
    with listener.accept()[0] as client, socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as server:
        server.sendall(client.recv(65536))
        server.recv(65536)' "$dir/cutter.sock" "${url##*:}"
  "$counterctl" --server "unix:$dir/cutter.sock" --timeout 3s increment 2>"$dir/stderr" &
  child=$!
  await 10 has_counted count 1
  sleep 1  # by now it waits nearly all the time before it asks again
  kill -STOP "$child"
  sleep 5
  kill -CONT "$child"
  wait "$child" || status=$?
  assert_equal "$status" 75
  assert_equal "$(ctl --server "$url" report)" 1
}

@test "a change is not sent again when the machine was suspended for longer than its key is known" {
  local library
  library=$(faketime now printenv LD_PRELOAD)
  # The clocks as after that: the steady one has stood still. AddressSanitizer wants to be first.
  export ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0
  local clocks=(env "LD_PRELOAD=$library" FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1
    "FAKETIME_TIMESTAMP_FILE=$dir/later")
  echo +0 >"$dir/later"
  launcher=("${clocks[@]}")
  start_daemon --key-lifetime 1m
  # Loses the first answer, and with it the time.
  start_python '
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
for lost in True, False:
    with listener.accept()[0] as client, socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
        server.sendall(client.recv(65536))
        answer = server.recv(65536)
        if lost:
            with open(sys.argv[2] + ".new", "w") as file:
                file.write("+240\n")
            os.rename(sys.argv[2] + ".new", sys.argv[2])
        else:
            client.sendall(answer)' "${url##*:}" "$dir/later"
  try "${clocks[@]}" "$counterctl" --server "http://127.0.0.1:$said" --timeout 20s increment
  assert_refused 75
  assert_stderr_has 'the connection was lost; nobody knows'
  assert_equal "$(ctl --server "$url" report)" 1
}

@test "a refusal after an answer that was lost is unknown, asked for again it is a refusal" {
  start_daemon
  start_python "$answer_cutter" "${url##*:}" 0 1
  try "$counterctl" --server "http://127.0.0.1:$said" increment q --max 0
  assert_refused 75
  assert_stderr_has 'an answer was lost, and then: counter q is 0'
  [[ $stderr =~ --key\ \'([^\']+)\' ]]
  try "$counterctl" --server "http://127.0.0.1:$said" increment q --max 0 --key "${BASH_REMATCH[1]}"
  assert_refused 1
}

@test "under a key that was given, nothing is said of what was sent before" {
  local away=(--server "unix:$dir/nothing.sock" --timeout 50ms) command
  for command in increment next reset 'delete a' batch; do
    echo "$command"
    # shellcheck disable=SC2086
    try "$counterctl" "${away[@]}" $command <<<'increment'
    assert_refused 69
    [[ $stderr == *'; nothing was applied' ]]
    # shellcheck disable=SC2086
    try "$counterctl" "${away[@]}" $command --key sent-before <<<'increment'
    assert_refused 69
    [[ $stderr == *'; nothing was applied now, but what was sent before under this key may be: keep the key when you try again' ]]
  done
}

@test "whatever refuses a change after an answer that was lost, it is unknown" {
  local refusal
  for refusal in 400/bad-request 403/forbidden 408/request-timeout 409/beyond-bound 500/configuration; do
    echo "$refusal"
    start_python "$answering_server" "" "${refusal%/*} {\"type\":\"urn:counterd:error:${refusal#*/}\"}"
    try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms increment
    assert_refused 75
    assert_stderr_has --key
  done
  start_python "$answering_server" "" '422 {"type":"urn:counterd:error:key-reused"}'
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms increment
  assert_refused 65
}

@test "a request that took the server too long is asked for again" {
  start_python "$answering_server" '408 {"type":"urn:counterd:error:request-timeout"}' \
    '200 {"name":"count","value":7,"applied":1}'
  try "$counterctl" --server "http://127.0.0.1:$said" increment
  assert_status 0
  assert_output 7
}

@test "after the 408 of a proxy a change is unknown" {
  start_python "$answering_server" '408 too slow'
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms increment
  assert_refused 75
  assert_stderr_has --key
}

@test "a key of our own lives three times as long as --timeout" {
  start_python "$answering_server" '200 {"name":"count","value":7,"applied":1}'
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 20m increment
  assert_status 0
  assert_succeeds grep -qi '^Idempotency-Key-Lifetime: 3600' asked
}

@test "a key of our own in a store is known for longer, by as much as its change may be held up" {
  local known
  open_sqlite
  assert_equal "$(ctl --timeout 400s increment)" 1
  known=$(sqlite3 "$dir/direct.db" 'SELECT expires_at FROM keys')
  assert_between "$((known / 1000 - $(date +%s)))" 2340 2400
}

@test "a key that is given is known for as long as the daemon says" {
  start_python "$answering_server" '200 {"name":"count","value":7,"applied":1}'
  try "$counterctl" --server "http://127.0.0.1:$said" increment --key mine
  assert_status 0
  assert_succeeds grep -q '^Idempotency-Key: "mine"' asked
  assert_fails grep -qi lifetime asked
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms batch --key mine <<<'increment a'
  assert_succeeds grep -q '^Idempotency-Key: "mine#1"' asked
  assert_fails grep -qi lifetime asked
}

@test "a refusal of an operation that was not asked for is not believed" {
  start_python "$answering_server" \
    '409 {"type":"urn:counterd:error:beyond-bound","detail":"so it says","index":5000}'
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms batch --atomic <<<'increment a'
  assert_refused 1
  assert_stderr_has 'so it says'
}

# Answers its first connection only when it is asked there once more.
late_server='
import socket, threading
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
def serve(client, value):
    client.recv(65536)
    if value == 1:
        client.recv(65536)
    body = "{\"name\":\"count\",\"value\":%d,\"applied\":1}" % value
    client.sendall(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)).encode())
for value in (1, 2):
    threading.Thread(target=serve, args=(listener.accept()[0], value)).start()'

@test "an answer that comes late is not taken for that of the next request" {
  start_python "$late_server"
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 3s increment
  assert_status 0
  assert_output 2
}

@test "the key to ask again with is told as a shell takes it, and is the same key" {
  start_daemon
  local key count=0
  for key in "it's" '"\"a\""' 'a"b c\d' -q --by=5 -- ++ -x; do
    start_python "$answer_cutter" "${url##*:}" 0 1000
    try "$counterctl" --server "http://127.0.0.1:$said" --timeout 300ms increment --key="$key"
    assert_refused 75
    count=$((count + 1))
    assert_equal "$(eval "\"$counterctl\" --server $url increment ${stderr##*with: }")" "$count"
  done
}

# Listens on a port of its own, resets the first connection, and ends: who asked has had no answer.
one_reset='
import socket, struct
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
connection = listener.accept()[0]
connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
connection.close()'

@test "a change waits for a daemon that comes back in time" {
  start_python "$one_reset"
  local address=127.0.0.1:$said
  "$counterctl" --server "http://$address" increment >"$dir/late" &
  local child=$!
  wait_for_end_of "$python_pid"
  start_daemon --listen "$address"
  wait "$child"
  assert_equal "$(<"$dir/late")" 1
}

# --- when something fails ---

@test "where nothing answers, changes are tried until --timeout, the rest ends at once, with 69" {
  local address arguments
  for address in "http://127.0.0.1:$(free_port)" "unix:$dir/nothing.sock"; do
    for arguments in report list status workers "scale 2" stop; do
      echo "$address $arguments"
      # shellcheck disable=SC2086
      assert_within 1000 "$counterctl" --server "$address" $arguments
      assert_refused 69
    done
    for arguments in increment reset "delete a"; do
      echo "$address $arguments"
      # shellcheck disable=SC2086
      assert_within 1000 "$counterctl" --server "$address" --timeout 300ms $arguments
      assert_refused 69
      assert_stderr_has "nothing was applied"
    done
  done
  assert_within 1000 "$counterctl" --store "redis+unix://$dir/nothing.sock" --timeout 500ms increment
  assert_refused 69
}

@test "the last attempt at a change is right before --timeout is over" {
  local begin
  for _ in {1..4}; do
    begin=$(milliseconds)
    try "$counterctl" --server "unix:$dir/nothing.sock" --timeout 1s increment
    assert_between $(($(milliseconds) - begin)) 890 20000
    assert_refused 69
  done
}

@test "an attempt that hangs does not keep a change from being tried until --timeout is over" {
  start_python '
import os, socket, sys, time
def listen():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    return listener
first = listen()
print("listens", flush=True)
client = first.accept()[0]
begin = time.monotonic()
time.sleep(1)  # of the 4 that it may take
os.unlink(sys.argv[1])
first.close()
time.sleep(begin + 10.5 - time.monotonic())
second = listen()
while True:
    client = second.accept()[0]
    if client.recv(4096):
        body = b"{\"name\":\"count\",\"value\":7,\"applied\":1}\n"
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)' "$dir/server.sock"
  try "$counterctl" --server "unix:$dir/server.sock" --timeout 12s increment
  assert_status 0
  assert_output 7
}

# Changes may have been made, reports have not.
assert_timeouts_kept() {
  local command
  for command in increment reset "delete a"; do
    # shellcheck disable=SC2086
    assert_within 1200 "$@" $command
    assert_refused 75
  done
  for command in report "report a b c" list status; do
    # shellcheck disable=SC2086
    assert_within 1200 "$@" $command
    assert_refused 69
  done
}

@test "--timeout is kept against a server that never answers" {
  start_python "$silent_server"
  assert_timeouts_kept "$counterctl" --server "http://127.0.0.1:$said" --timeout 200ms
}

is_asked() {
  "$counterctl" --server "$2" --timeout 1ms increment 2>/dev/null || grep -q increment "$1"
}

@test "the shortest and the longest --timeout work" {
  start_daemon
  assert_equal "$("$counterctl" --server "$url" --timeout 365d increment)" 1
  start_python '
import socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1])
while True:
    with listener.accept()[0] as client, open(sys.argv[1], "ab") as log:
        log.write(client.recv(65536))' "$dir/asked"
  # The shortest may be too short for an answer; but it is asked.
  await 20 is_asked "$dir/asked" "http://127.0.0.1:$said"
}

@test "--timeout is kept against a server that answers a byte at a time" {
  start_python "$trickling_server"
  assert_timeouts_kept "$counterctl" --server "http://127.0.0.1:$said" --timeout 200ms
}

@test "--timeout is kept where another process holds the store: nothing is counted, reports go on" {
  start_daemon
  ctl --server "$url" -q increment
  exec {held}<>"$database"
  flock "$held"
  assert_within 1200 "$counterctl" --store "sqlite:$database" --timeout 300ms increment
  assert_refused 69
  assert_equal "$(ctl --server "$url" report)" 1
  flock -u "$held"
  exec {held}>&-
  assert_equal "$(ctl --store "sqlite:$database" increment)" 2
}

# A list of three pages, each of which takes 300 ms.
slow_pages=$page_server'
def page(after, limit):
    time.sleep(0.3)
    return [after + 1], after < 2
serve(page)'

@test "a list may take longer than --timeout as long as its pages come in time" {
  start_python "$slow_pages"
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 600ms list
  assert_status 0
  assert_output $'a1\t1\na2\t2\na3\t3'
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 100ms list
  assert_refused 69
}

@test "a server that is not counterd is told apart, and nothing is reported" {
  start_python "$other_server"
  place=(--server "http://127.0.0.1:$said")
  try ctl report
  assert_refused 69
  assert_stderr_has "$said"
  try ctl report count other
  assert_refused 69
  try ctl list
  assert_refused 69
  try ctl status
  assert_refused 69
}

# What comes after the bar is answered with 200.
strange_answers='
report|{}
report|[]
report|{"name":"other","value":1}
report|{"name":"count","value":"1"}
report|{"name":"count","value":18446744073709551615}
report|{"type":"urn:counterd:error:ok","detail":"fine"}
report a b|{"outcomes":[{"type":"urn:counterd:error:ok"},{"name":"b","value":3}]}
report a b|{"outcomes":[{"name":"b","value":3},{"name":"a","value":3}]}
report a b|{"outcomes":[{"name":"a","value":3}]}
status|{}
status|{"version":"1","store":3}
list|{"counters":null,"next":null}
list|{"counters":[{"name":"a\\u001b[1m","value":1}],"next":null}
list|{"counters":[{"name":"b","value":1},{"name":"a","value":1}],"next":null}
list|{"counters":[{"name":"a"}],"next":null}
list|{"counters":[],"next":null}x
'

@test "an answer that counterd would not give is believed by no command" {
  local arguments answer
  while IFS='|' read -r arguments answer; do
    echo "$arguments $answer"
    start_python "$answering_server" "200 $answer"
    # shellcheck disable=SC2086
    try "$counterctl" --server "http://127.0.0.1:$said" $arguments
    assert_refused 69
    assert_stderr_has 'does not answer like counterd'
    end_process "$python_pid"
  done <<<"$(sed '/^$/d' <<<"$strange_answers")"
  for answer in '200 {"name":"other","value":1,"applied":1}' 'and_no_status {}'; do
    start_python "$answering_server" "$answer"
    try "$counterctl" --server "http://127.0.0.1:$said" --timeout 300ms increment
    assert_refused 75
    end_process "$python_pid"
  done
}

@test "what an answer has beyond what counterd gives is skipped, however large or deep" {
  start_python 'import sys
sys.argv[1:] = ["200 {\"name\":\"count\",\"value\":7,\"more\":" + more + "}" for more in
                ("[" + "{}," * 1000000 + "{}]", "[" * 1000000 + "]" * 1000000)]'"$answering_server"
  for _ in large deep; do
    try timeout 20 "$counterctl" --server "http://127.0.0.1:$said" --timeout 10s report
    assert_status 0
    assert_output 7
  done
}

@test "a list that goes round ends" {
  start_python "$answering_server" '200 {"counters":[{"name":"a","value":1}],"next":"a"}'
  try timeout 20 "$counterctl" --server "http://127.0.0.1:$said" list
  assert_status 69
  assert_output $'a\t1'
  end_process "$python_pid"
  start_python "$answering_server" '200 {"counters":[],"next":"a"}'
  try timeout 20 "$counterctl" --server "http://127.0.0.1:$said" list
  assert_refused 69
}

@test "what a server says cannot write to a terminal as it likes" {
  start_python "$answering_server" \
    '409 {"type":"urn:counterd:error:beyond-bound","detail":"no\u001b]0;x\u0007\ncounterctl: yes"}'
  try "$counterctl" --server "http://127.0.0.1:$said" increment --max 0
  assert_refused 1
  assert_stderr_lines 1
  assert_stderr_has 'no\x1b]0;x\x07\x0acounterctl: yes'
}

@test "a word in brackets is not taken apart, ++ not taken for nothing" {
  local word
  place=(--store "sqlite:$dir/brackets.db")
  ctl increment a
  for word in '[a]' '{}'; do
    try ctl report "$word"
    assert_refused 64
  done
  for word in increment next report reset list 'increment a'; do
    # shellcheck disable=SC2086
    try ctl $word ++
    assert_refused 64
    assert_stderr_has "unexpected argument '++'"
  done
  assert_equal "$(ctl list)" $'a\t1'
  assert_equal "$(ctl increment c --key=++)" 1
  try ctl increment '[a]'
  assert_refused 65
  try ctl increment b --key '[k]'
  assert_output 1
  assert_equal "$(ctl increment b --key '"[k]"')" 1
}

# Counters below web and beside it.
make_web() {
  printf 'increment %s --by 3\n' we web web.a web:b web_c web-d:e webshop web2 x | ctl -q batch
}

check_prefix() {
  make_web
  assert_prints 5 reset --prefix web --to 7 --yes
  assert_prints $'we\t3\nweb\t7\nweb-d:e\t7\nweb.a\t7\nweb2\t3\nweb:b\t7\nweb_c\t7\nwebshop\t3\nx\t3' list
  assert_prints 1 reset --yes --prefix web:
  assert_prints 0 report web:b
  assert_prints '{"prefix":"web","reset":5}' --json reset --prefix web --yes
  assert_prints 1 delete --prefix web. --yes
  assert_prints '{"prefix":"web","delete":4}' --json delete --prefix web --yes
  assert_prints $'we\t3\nweb2\t3\nwebshop\t3\nx\t3' list
  assert_prints 0 delete --prefix web --yes
  assert_prints 0 reset --prefix nothing --yes
  try ctl -q delete --prefix x --yes
  assert_status 0
  assert_silence
  assert_prints $'we\t3\nweb2\t3\nwebshop\t3' list
}

@test "reset and delete --prefix change what is below a name, up to its boundary, and say how many" {
  for_each_place check_prefix
}

check_many_below() {
  seq -f 'increment many:%.0f' 2500 | ctl -q batch
  assert_prints 2500 reset --prefix many --to 4 --yes
  assert_prints $'many:1\t4\nmany:999\t4\nmany:2500\t4' report many:1 many:999 many:2500
  assert_prints 2500 delete --prefix many --yes
  assert_prints '' list
}

@test "more counters than one portion are below a prefix, each is changed once" {
  for_each_place check_many_below
}

@test "a portion below a prefix whose answer was lost is asked for again and changed once" {
  start_daemon
  seq -f 'increment w:%04g' 1500 | "$counterctl" --server "$url" -q batch
  start_python "$answer_cutter" "${url##*:}" 3 1  # a list, a change, a list, a change
  place=(--server "http://127.0.0.1:$said")
  assert_prints 1500 delete --prefix w --yes
}

@test "reset --prefix creates no counter that was deleted after it was found" {
  start_python "$answering_server" '200 {"counters":[{"name":"a","value":1}],"next":null}' \
    '200 {"outcomes":[{"type":"urn:counterd:error:no-such-counter","detail":"it is gone"}]}'
  place=(--server "http://127.0.0.1:$said")
  assert_prints 0 reset --prefix a --yes
  assert_succeeds grep -q '"create":false' asked
}

@test "when nobody knows whether a portion below a prefix was changed, it is said how many that may be" {
  start_python "$page_server"'
def page(after, limit):
    return range(1, 2), False
serve(page)'
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms delete --prefix a1 --yes
  assert_refused 75
  [[ $stderr == *'0 counters were changed, and perhaps up to 1000 that follow; run it again' ]]
  try "$counterctl" --server "http://127.0.0.1:$said" --timeout 500ms reset --prefix a1 --yes
  assert_refused 75
  assert_stderr_has 'up to 1000 that follow; run it again, which changes them all again'
}

@test "where only some of those below a prefix are changed, the status is not that of nothing changed" {
  start_daemon --max-keys 3  # one for each portion
  place=(--server "$url")
  seq -f 'increment many:%.0f' 1500 | ctl -q batch
  try ctl --timeout 300ms reset --prefix many --yes
  assert_refused 74
  assert_stderr_has '; before that, 1000 counters were changed; run it again, which changes them all again'
  try ctl --timeout 300ms reset --prefix many --yes
  assert_refused 69
}

@test "a change by prefix that is not confirmed, or is said wrongly, is refused and changes nothing" {
  open_sqlite
  make_web
  local before command
  before=$(ctl list)
  for command in 'reset --prefix web' 'delete --prefix web' 'delete web --prefix web --yes' \
    'reset web --prefix web --yes' 'reset --prefix web --yes --key k' 'reset web --yes' \
    'delete --yes' 'delete'; do
    echo "$command"
    # shellcheck disable=SC2086
    try ctl $command </dev/null
    assert_refused 64
  done
  try ctl delete --prefix ''  --yes
  assert_refused 65
  assert_stderr_has 'every counter'
  try ctl delete --prefix '../' --yes
  assert_refused 65
  try ctl reset --prefix web --to x --yes
  assert_refused 65
  assert_prints "$before" list
}

# Whether the script with this pid gives its slot back.
gives_back() {
  [[ $(words_of "$(children_of "$1")") == *' --by -1 '* ]]
}

# Whether the script with this pid waits for its work, so that a signal ends both. One that comes
# before bash has made the process for it is taken only after the work.
is_at_work() {
  [[ $(words_of "$(children_of "$1")") == 'sleep 30 ' ]]
}

@test "a script that takes a slot as the manual says gives it back, however many signals come" {
  local script turn
  open_sqlite
  sed -n "/^trap .*HUP INT TERM$/,/^\.EE/p" "$BATS_TEST_DIRNAME/../man/counterctl.1" |
    sed -e '/^\.EE/d' -e "s/\\\\(aq/'/g" -e 's/\\-/-/g' >slots
  echo 'echo taken; sleep 30' >>slots
  make_pipe
  PATH=$bin:$PATH COUNTERCTL_STORE=${place[1]} setsid bash slots >"$pipe" 3>&- 4>&- &
  script=$!
  pids+=("$script")
  IFS= read -r -t 20 said <"$pipe"
  assert_prints 1 report slots
  exec {turn}<"$dir/direct.db"
  flock "$turn"  # so that it is still giving back when the second signal comes
  await 10 is_at_work "$script"
  # A terminal that is closed sends it twice: by its shell, and when that has ended.
  kill -HUP -- "-$script"
  await 10 gives_back "$script"
  kill -HUP -- "-$script"
  sleep 0.1
  exec {turn}<&-
  wait_for_end_of "$script"
  assert_equal "$ended_with" 129
  assert_prints 0 report slots
}

# answer_on_terminal ANSWER OPTION...: what the terminal shows goes to $dir/terminal.
answer_on_terminal() {
  SHELL=/bin/sh script -qec "$(printf '%q ' "$counterctl" "${place[@]}" "${@:2}")" "$dir/terminal" \
    <<<"$1" >/dev/null
}

@test "on a terminal a change by prefix says how many and is asked about" {
  open_sqlite
  make_web
  local answer
  for answer in n '' yess; do
    echo "answer: '$answer'"
    status=0
    answer_on_terminal "$answer" delete --prefix web || status=$?
    assert_status 64
    grep -q 'delete 5 counters, web and all below it? \[y/N\]' "$dir/terminal"
    assert_prints 3 report web
  done
  answer_on_terminal y delete --prefix web
  try ctl report web
  assert_refused 2
  answer_on_terminal yes reset --prefix web2 --to 5
  assert_prints 5 report web2
  answer_on_terminal '' reset --prefix web2 --yes
  assert_fails grep -q '?' "$dir/terminal"
  assert_prints 0 report web2
}

# Runs a command on a terminal and answers its question after more than a second.
late_answer='
import os, pty, sys, time
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
while not shown.endswith(b"[y/N] "):
    shown += os.read(terminal, 1024)
time.sleep(1.2)
os.write(terminal, b"y\n")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))'

@test "a question has as long for its answer as it takes" {
  open_redis
  make_web
  "$python" -c "$late_answer" "$counterctl" "${place[@]}" --timeout 500ms delete --prefix web
  try ctl report web
  assert_refused 2
}

@test "report of several names says once that nothing answers" {
  place=(--server "unix:$dir/nothing.sock")
  try ctl report a b c
  assert_refused 69
  assert_stderr_lines 1
}

check_snapshot() {
  local writer _
  ctl -q reset left --to 1000
  ctl -q reset right --to 0
  while printf 'increment left --by -1 --min 0\nincrement right\n' | ctl -q batch --atomic; do
    :
  done 2>>"$dir/writer.stderr" &
  writer=$!
  for _ in {1..15}; do
    assert_equal "$(ctl report left right | awk '{ sum += $2 } END { print sum }')" 1000
  done
  kill "$writer"
  wait "$writer" || true
  assert_fails test "$(ctl report right)" = 0
}

@test "report of several names is one snapshot" {
  for_each_place check_snapshot
}

@test "a full disk under stdout gives status 74" {
  local arguments
  place=(--store "sqlite:$dir/full.db")
  for arguments in increment report "report count" list reset status "--json report" "delete count" \
    --help --version "increment --help"; do
    echo "$arguments"
    # shellcheck disable=SC2016,SC2086
    try bash -c '"$@" >/dev/full' bash "$counterctl" "${place[@]}" $arguments
    assert_refused 74
    assert_stderr_has 'No space left on device'
  done
  # shellcheck disable=SC2016
  try bash -c '"$@" >/dev/full' bash "$counterctl" "${place[@]}" increment a --by 7
  assert_refused 74
  assert_stderr_has 'the change was made, and its answer is 7'
  # shellcheck disable=SC2016
  try bash -c '"$@" >/dev/full' bash "$counterctl" "${place[@]}" delete --prefix a --yes
  assert_refused 74
  assert_stderr_has '1 counters were changed'
}

@test "what stands where --by or the like is meant is told so, and help is that of the command" {
  local number
  for number in 5 -5; do
    assert_usage_error increment a "$number"
    assert_stderr_has "to add it: --by $number (see counterctl increment --help)"
  done
  assert_usage_error reset a 20
  assert_stderr_has 'to set the counter to it: --to 20 (see counterctl reset --help)'
  assert_usage_error next a 10
  assert_stderr_has 'to reserve so many: --count 10 (see counterctl next --help)'
  assert_usage_error list web
  assert_stderr_has 'for the names that begin with it: --prefix web (see counterctl list --help)'
  assert_usage_error report a b --frobnicate
  assert_stderr_has '(see counterctl report --help)'
  assert_usage_error --by=5 increment a
  assert_stderr_has "unknown option '--by'; it has to stand after increment, before any -- (see"
  assert_usage_error --redis-password=secret increment a
  assert_stderr_has "unknown option '--redis-password' (see"
  assert_usage_error increment a name
  assert_stderr_has "unexpected argument 'name' (see counterctl increment --help)"
}

@test "a command that does not exist is told with the one that is perhaps meant" {
  local word
  for word in incr incrby add increments; do
    assert_usage_error "$word" hits
    assert_stderr_has "unknown command '$word'; did you mean increment? (see counterctl --help)"
  done
  for word in decr decrement; do
    assert_usage_error "$word" hits
    assert_stderr_has 'did you mean increment --by -1?'
  done
  for word in get show read; do
    assert_usage_error "$word" hits
    assert_stderr_has 'did you mean report?'
  done
  for word in st hits ''; do # the beginning of two, and of none
    assert_usage_error "$word" hits
    assert_stderr_has "unknown command '$word' (see counterctl --help)"
  done
}

# completes LINE [WORD...]: these words, sorted, are proposed behind the line, whatever follows there.
completes() {
  COMP_LINE="$1 --json wiki" COMP_POINT=${#1} COMPREPLY=()
  _counterctl || true
  assert_equal "$(printf '%s\n' "${COMPREPLY[@]}" | sort)" "$(printf '%s\n' "${@:2}" | sort)"
}

@test "bash completes commands, options and the names of counters" {
  local PATH=${counterctl%/*}:$PATH COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
  # shellcheck source=cli/counterctl.bash
  . "$BATS_TEST_DIRNAME/../cli/counterctl.bash"
  start_daemon
  export COUNTERCTL_SERVER=$url
  printf 'increment %s\n' web web:de web:en wiki | "$counterctl" -q batch
  completes 'counterctl ' increment next report reset delete batch list status bench spawn workers scale stop
  completes 'counterctl -q re' report reset
  completes 'counterctl report we' web web:de web:en
  completes 'counterctl report web:' de en
  COMP_WORDBREAKS=' ' completes 'counterctl report web:' web:de web:en
  completes 'counterctl report ' web web:de web:en wiki
  completes 'counterctl report status wi' wiki # a counter may be named like a command
  completes 'counterctl delete --prefix=wi' wiki
  local command
  for command in increment next reset; do completes "counterctl $command wi" wiki; done
  export COUNTERCTL_SERVER=http://127.0.0.1:1
  completes 'counterctl report wi'
  completes "counterctl --server $url report wi" wiki
  completes "counterctl --server=$url report wi" wiki
  completes 'counterctl increment web --m' --min --max
  completes 'counterctl increment web --ti' --timeout --timezone
  completes 'counterctl --ti' --timeout
  completes 'counterctl -q' -q
  completes 'counterctl stop '
}

@test "a wrong setting of the environment is named as it is there" {
  COUNTERCTL_TIMEOUT=soon try "$counterctl" report
  assert_refused 65
  assert_stderr_has "COUNTERCTL_TIMEOUT 'soon'"
  COUNTERCTL_SYNC=often assert_usage_error report
  assert_stderr_has "COUNTERCTL_SYNC: 'often' is neither full nor normal"
  COUNTERCTL_REDIS_PREFIX='a b' assert_usage_error report
  assert_stderr_has "COUNTERCTL_REDIS_PREFIX: Redis prefix 'a b' is not"
}

@test "an option that is given twice, or without its value, is named" {
  assert_usage_error increment hits --max 1 --max 2
  assert_stderr_has '--max is given more than once (see counterctl increment --help)'
  assert_usage_error increment hits --max
  assert_stderr_has '--max needs a value'
  assert_usage_error scale
  assert_stderr_has 'the number of workers is missing'
}

@test "the next option is no value of the one before it, as where a variable is not set" {
  local words
  open_sqlite
  for words in 'next --key --json' 'next --key -q' 'increment --key --clamp --max 5' \
    'increment --key --max=5' 'next --key -- builds' 'next --key --' \
    '--redis-prefix --json report' 'spawn --workers --unless-running'; do
    echo "$words"
    # shellcheck disable=SC2086
    try ctl $words
    assert_refused 64
    assert_stderr_has ' needs a value'
  done
  try ctl increment --key --max=5
  assert_stderr_has '--key needs a value; if --max=5 is meant: --key=--max=5 (see counterctl increment --help)'
  assert_prints 1 next --key=--json
  assert_prints 2 next --key -5
}

@test "an empty value after = is empty, and not the next word" {
  open_sqlite
  try ctl next --key= builds
  assert_refused 64
  try ctl increment a --key= --json
  assert_refused 64
  assert_stderr_has '--key: the idempotency key is empty'
  try ctl --redis-prefix= increment a
  assert_output 1
  try ctl list --prefix= --limit 5
  assert_output $'a\t1'
  try ctl increment b --key=YQ==
  assert_output 1
  try ctl increment b --key --YQ=
  assert_output 2
  try ctl increment b --key name=
  assert_output 3
  try ctl increment -- --by=
  assert_refused 65
}

@test "an option without a value is not turned on by an empty one, as of a variable that is not set" {
  open_sqlite
  make_web
  local before words
  before=$(ctl list)
  for words in 'delete --prefix web --yes=' 'reset --yes= --prefix web' 'increment web --check=' \
    '--json= report web' 'report web --quiet='; do
    echo "$words"
    # shellcheck disable=SC2086
    try ctl $words
    assert_refused 64
    assert_stderr_has ' takes no value; leave the = away'
  done
  try ctl batch <<<'increment web --max 3 --clamp='
  assert_refused 65
  assert_prints "$before" list
  try ctl --json=true report web
  assert_output_has '"value":3'
}

@test "what is no answer says why" {
  try "$counterctl" --timeout 300ms --server http://nothing.invalid:4747 report
  assert_refused 69
  assert_stderr_has 'nothing answers at http://nothing.invalid:4747 ('
  assert_equal "$(grep -c spawn <<<"$stderr")" 0 # not on another host
  try "$counterctl" --timeout 300ms --server "unix:$dir/nothing.sock" report
  assert_refused 69
  assert_stderr_has 'No such file or directory'
  assert_stderr_has "started with: counterctl spawn --server unix:$dir/nothing.sock (and its flags after --, if it had any), or, where it is a service: systemctl start counterd"
  start_python '
import signal, socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
signal.pause()'
  try "$counterctl" --timeout 100ms --server "http://127.0.0.1:$said" report
  assert_refused 69
  assert_stderr_has "counterctl workers --server http://127.0.0.1:$said on its host"
}

@test "the commands that messages name can be pasted, whatever is in a path" {
  local folder="$dir/it's \$here" command
  local file="$folder/counts.db" address="unix:$folder/d.sock"
  mkdir "$folder"
  ctl --store "sqlite:$file" increment
  chmod o+r "$file"
  try ctl --store "sqlite:$file" increment
  assert_refused 78
  eval "${stderr##*run: }"
  assert_prints 2 --store "sqlite:$file" increment
  try ctl --timeout 100ms --server "$address" increment
  assert_refused 69
  command=${stderr##*started with: counterctl }
  eval "try ctl ${command%% (and its flags*}"
  assert_output "$address"
  try ctl spawn --server "$address" -- --key-lifetime 1h
  assert_refused 78
  command=${stderr##*(counterctl }
  eval "try ctl ${command%)}"
  assert_status 0
}

@test "a command that a message names reaches the default daemon also where the environment names another" {
  refuse_call socket 2 EAFNOSUPPORT  # AF_INET: whoever has that port here is not asked
  try env "COUNTERCTL_SERVER=unix:$dir/another.sock" \
    "${refusing[@]}" "$counterctl" --server http://127.0.0.1:4747 report
  assert_stderr_has 'counterctl spawn --server http://127.0.0.1:4747 (and'
}

# without STREAMS COMMAND...: a `try` whose standard streams are closed, as "<&- 2>&-" says.
without() {
  local streams=$1
  shift
  try bash -c "\"\$@\" $streams" bash "$@"
}

@test "a standard stream that is closed is nothing to write to, and the database not one of them" {
  local closed
  make_database
  place=(--store "sqlite:$database")
  for closed in '<&-' '>&-' '2>&-' '<&- >&-' '<&- 2>&-' '>&- 2>&-' '<&- >&- 2>&-'; do
    echo "$closed"
    without "$closed" "$counterctl" "${place[@]}" report count nope
    if [[ " $closed" == *' >&-'* ]]; then
      assert_status 74
    else
      assert_status 2
      assert_output $'count\t1'
    fi
    assert_equal "$(ctl report)" 1
  done
}

@test "what is printed without a stdout is not sent to the daemon" {
  start_daemon
  place=(--server "$url")
  printf 'increment a\nincrement b\n' >"$dir/lines"
  without "<$dir/lines >&-" "$counterctl" "${place[@]}" batch --portion 1
  assert_refused 74
  assert_equal "$(ctl list)" $'a\t1'
}

# --- many at once ---

# count_in_parallel SHELLS TIMES OPTION...: each shell writes what it saw to $dir/seen.
count_in_parallel() {
  local shells=$1 times=$2 i children=()
  shift 2
  for ((i = 0; i < shells; ++i)); do
    for ((j = 0; j < times; ++j)); do "$counterctl" "$@" increment all; done >>"$dir/seen" &
    children+=($!)
  done
  for i in "${children[@]}"; do wait "$i"; done
}

@test "20 shells at once: every increment counts once and sees its own value" {
  start_daemon --workers 2
  count_in_parallel 20 10 --server "$url"
  diff <(seq 200) <(sort -n "$dir/seen")
  assert_equal "$("$counterctl" --server "$url" report all)" 200
}

# Of 160 that ask, 100 may.
check_quota() {
  local i children=()
  for i in {1..16}; do
    for _ in {1..10}; do
      status=0
      ctl -q increment quota --max 100 2>>"$dir/quota.stderr" || status=$?
      echo "$status"
    done >"$dir/quota.$i" &
    children+=($!)
  done
  wait "${children[@]}"
  cat "$dir"/quota.[0-9]* | sort | uniq -c | awk '{ print $2, $1 }' >"$dir/quota"
  assert_equal "$(cat "$dir/quota")" $'0 100\n1 60'
  assert_prints 100 report quota
}

@test "16 shells at once: exactly as many as the quota exit 0, all others 1" {
  for_each_place check_quota
}

@test "a store used beside its daemon is exact" {
  start_daemon
  count_in_parallel 2 50 --server "$url" &
  local other=$!
  count_in_parallel 2 50 --store "sqlite:$database"
  wait "$other"
  diff <(seq 200) <(sort -n "$dir/seen")
  assert_equal "$("$counterctl" --server "$url" report all)" 200
  assert_equal "$("$counterctl" --store "sqlite:$database" report all)" 200
}

@test "a Redis used beside its daemon is exact" {
  start_redis
  start_daemon --store "redis+unix://$redis_socket"
  count_in_parallel 2 50 --server "$url" &
  local other=$!
  count_in_parallel 2 50 --store "redis+unix://$redis_socket"
  wait "$other"
  diff <(seq 200) <(sort -n "$dir/seen")
  assert_equal "$("$counterctl" --server "$url" report all)" 200
}

# --- bench ---

@test "bench tells what it measured, and leaves no counter" {
  local name
  start_daemon
  try "$counterctl" --server "$url" bench --duration 300ms --connections 4 --counters 5 --reports 50
  assert_status 0
  for name in requests 'per second' failed p50 p90 p99 p99.9 max; do
    assert_output_has "$name"$'\t'
  done
  assert_output_has $'failed\t0'
  assert_equal "$("$counterctl" --server "$url" list)" ''
  try "$counterctl" --server "$url" --json bench --duration 300ms --keyed
  assert_status 0
  "$python" -c 'import json, sys
result = json.loads(sys.argv[1])
latencies = result["latency_ms"]
assert result["requests"] > 0 and result["failed"] == result["lost"] == 0
assert result["seconds"] == 0.3
assert 0 < latencies["p50"] <= latencies["p99"] <= latencies["p99_9"] <= latencies["max"]' "$output"
  # shellcheck disable=SC2016
  try bash -c '"$@" >/dev/full' bash "$counterctl" --server "$url" bench --duration 100ms
  assert_refused 74
  assert_stderr_has 'No space left on device'
  assert_equal "$("$counterctl" --server "$url" list)" ''
  # Where all answers have come, nothing more is waited for.
  assert_within 4000 "$counterctl" --server "$url" -q bench --duration 100ms
  assert_status 0
  assert_silence
}

has_counted() {
  [[ $("$counterctl" --server "$url" report "$1" 2>/dev/null || echo 0) -ge $2 ]]
}

has_counters() {
  [[ -n $("$counterctl" --server "$url" list) ]]
}

# start_bench OPTION...: sets $bench to the process, which writes to $dir/measured and $dir/error.
start_bench() {
  "$counterctl" --server "$url" bench "$@" >"$dir/measured" 2>"$dir/error" 3>&- 4>&- &
  bench=$!
  pids+=("$bench")
}

@test "bench goes on after a worker was killed, and tells how many answers were lost with it" {
  local bench
  start_daemon --workers 1
  start_bench --json --rate 100 --duration 3s --connections 4
  await 10 has_counted counterctl-bench.0 10
  kill -KILL "$(ready_workers)"
  wait_for_end_of "$bench"
  assert_equal "$ended_with" 69
  grep -q 'requests failed, the first with: ' "$dir/error"
  "$python" -c 'import json, sys
result = json.loads(sys.argv[1])
assert 1 <= result["lost"] <= 4 and result["failed"] == result["lost"], result
assert result["requests"] + result["lost"] == 300 and result["unanswered"] == 0, result' \
    "$(<"$dir/measured")"
  assert_equal "$("$counterctl" --server "$url" list)" ""
}

@test "bench that is interrupted tells what it measured, and leaves no counter" {
  local bench
  start_daemon
  start_bench --duration 60s
  await 10 has_counted counterctl-bench.0 10
  kill -TERM "$bench"
  wait_for_end_of "$bench"
  assert_equal "$ended_with" 143
  grep -qE '^requests\s[1-9]' "$dir/measured"
  assert_equal "$("$counterctl" --server "$url" list)" ""
}

@test "bench that is interrupted while it creates its counters leaves none" {
  local delay bench
  start_daemon
  for delay in 0 0.01 0.02 0.03 0.05 0.08; do
    start_bench --duration 60s --counters 10000
    await 10 has_counters
    sleep "$delay"
    kill -TERM "$bench"
    wait_for_end_of "$bench"
    assert_equal "$ended_with" 143
    assert_equal "$("$counterctl" --server "$url" list --limit 1)" ""
  done
}

@test "bench at a rate that is interrupted after its time asks for no more than was due in it" {
  local worker bench
  start_daemon --workers 1
  worker=$(ready_workers)
  start_bench --rate 50 --duration 1s
  await 10 has_counted counterctl-bench.0 10
  kill -STOP "$worker"
  sleep 2
  kill -TERM "$bench"
  sleep 0.3
  kill -CONT "$worker"
  wait_for_end_of "$bench"
  assert_equal "$ended_with" 143
  grep -qE '^requests\s50$' "$dir/measured" || fail "$(<"$dir/measured")"
}

@test "a second signal ends bench although nothing answers, and it says what is left" {
  local worker bench begin
  start_daemon --workers 1
  worker=$(ready_workers)
  start_bench --timeout 500ms --duration 60s
  await 10 has_counted counterctl-bench.0 10
  kill -STOP "$worker"
  begin=$(milliseconds)
  kill -TERM "$bench"
  kill -INT "$bench" # as timeout(1) sends its signal twice: no second one
  sleep 1
  assert_fails has_ended "$bench"
  kill -TERM "$bench"
  wait_for_end_of "$bench"
  (($(milliseconds) - begin < 4500)) || fail "it took $(($(milliseconds) - begin)) ms"
  kill -CONT "$worker"
  assert_equal "$ended_with" 69
  assert_succeeds grep -q 'no answer' "$dir/error"
  assert_succeeds grep -q 'counterctl-bench.0 and so on may be left' "$dir/error"
}

@test "several benches at once end well" {
  local bench
  start_daemon
  for bench in 1 2 3; do
    "$counterctl" --server "$url" -q bench --duration 300ms --counters 2000 &
    pids+=($!)
  done
  for bench in "${pids[@]: -3}"; do
    assert_succeeds wait "$bench"
  done
  assert_equal "$("$counterctl" --server "$url" list --limit 1)" ""
}

@test "bench works by a Unix socket too" {
  local counted
  start_daemon --workers 2 --listen "unix:$dir/daemon.sock"
  "$counterctl" --server "unix:$dir/daemon.sock" --json bench --duration 3s >"$dir/result" &
  pids+=($!)
  await 5 has_counted counterctl-bench.0 100
  wait "$!"
  counted=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["requests"])' "$dir/result")
  ((counted > 100)) || fail "only $counted requests"
  assert_equal "$("$counterctl" --server "$url" list)" ''
}

@test "bench at a rate asks that often" {
  local asked
  start_daemon
  asked=$("$counterctl" --server "$url" --json bench --duration 1s --rate 500 --connections 8 |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["requests"])')
  assert_equal "$asked" 500
}

@test "bench at a rate shows a stall, and says what had no answer at the end" {
  local worker child
  start_daemon --workers 1
  worker=$(ready_workers)
  "$counterctl" --server "$url" --json bench --duration 5s --rate 40 --connections 4 >"$dir/result" &
  child=$!
  await 5 has_counted counterctl-bench.0 20
  kill -STOP "$worker"
  sleep 1
  kill -CONT "$worker"
  wait "$child"
  "$python" -c 'import json, sys
result = json.load(open(sys.argv[1]))
assert result["requests"] == 200, result
assert result["latency_ms"]["max"] > 900, result
assert result["latency_ms"]["p90"] > 100, result' "$dir/result"

  "$counterctl" --server "$url" --timeout 500ms --json bench --duration 2s --rate 40 \
    >"$dir/result" 2>"$dir/error" &
  child=$!
  await 5 has_counted counterctl-bench.0 10
  kill -STOP "$worker"
  status=0
  wait "$child" || status=$?
  kill -CONT "$worker"
  assert_equal "$status" 69
  assert_succeeds grep -q 'no answer' "$dir/error"
  "$python" -c 'import json, sys
result = json.load(open(sys.argv[1]))
assert 0 < result["unanswered"] <= result["failed"], result' "$dir/result"
}

@test "bench says that requests failed, and with what, and that nothing answers" {
  start_daemon --max-keys 10
  try "$counterctl" --server "$url" bench --duration 200ms --keyed
  assert_status 69
  assert_stderr_has 'requests failed, the first with:'
  assert_stderr_has '503'
  stop_daemon
  try "$counterctl" --server "$url" bench --duration 200ms
  assert_refused 69
  assert_stderr_has 'counterctl spawn'
}

@test "bench refuses bad numbers" {
  local words
  for words in '--connections 0' '--connections 10001' '--counters 0' '--reports 101' '--rate -1' \
    '--duration 0s' '--duration 1'; do
    # shellcheck disable=SC2086
    try "$counterctl" bench $words
    assert_refused 65
  done
  try "$counterctl" --store "sqlite:$dir/c.db" bench
  assert_refused 64
}

@test "what a Redis server says of its settings cannot write to a terminal as it likes" {
  start_python '
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens")
settings = {b"appendonly": b"yes", b"appendfsync": b"\x1b[2J", b"replicaof": b""}
def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)
def read_command(file):
    words = []
    for _ in range(int(file.readline()[1:] or 0)):
        words.append(file.read(int(file.readline()[1:])))
        file.read(2)
    return words
while True:
    connection = listener.accept()[0]
    file = connection.makefile("rb")
    while command := read_command(file):
        if command[0] != b"CONFIG":
            connection.sendall(b"+PONG\r\n")
            continue
        pairs = [text for name in command[2:] for text in (name, settings.get(name, b"no"))]
        connection.sendall(b"*%d\r\n" % len(pairs) + b"".join(map(bulk, pairs)))
    connection.close()' "$dir/redis.sock"
  try "$counterctl" --store "redis+unix://$dir/redis.sock" status
  [[ $output != *$'\e'* ]] || fail "an escape sequence: $output"
  assert_output_has 'x1b[2J'
}

@test "a server's address that does not answer leaves time for another one" {
  use_own_network '127.0.0.2 twice' '127.0.0.3 twice'
  start_daemon --listen 127.0.0.3:4747 --allow-host twice
  launcher=(nsenter --target "$daemon_pid" --mount --net --root)
  try timeout 20 "${launcher[@]}" "$python" -c '
import socket, subprocess, sys
listener = socket.socket()
listener.bind(("127.0.0.2", 4747))
listener.listen(0)
waiting = [socket.socket() for _ in range(8)]  # more than the queue has room for
for one in waiting:
    one.setblocking(False)
    one.connect_ex(listener.getsockname())
sys.exit(subprocess.run(sys.argv[1:]).returncode)' "$counterctl" --server http://twice:4747 --timeout 3s increment
  assert_output 1
}
