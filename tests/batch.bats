#!/usr/bin/env bats
# What counterctl batch promises: lines as on the command line, applied in order, in portions, each
# once.

# shellcheck disable=SC2030,SC2031,SC2154,SC2034

load environment

# Runs the function on empty counters: of daemons on both engines, and of a store without one.
for_each_place() {
  for_places "http unix sqlite" "$1"
}

# batch TEXT OPTION...
batch() {
  try ctl batch "${@:2}" <<<"$1"
}

check_lines() {
  printf '%s\n' 'increment hits --by 2' '# a comment' '' '   ' "reset 'a'  --to 5 # another" \
    '  increment  "a" --by=-1 --min 0 --max 9 --clamp' '{"op":"increment","name":"a","by":3}' \
    'report hits' 'increment' 'delete a' >"$dir/lines"
  try ctl batch "$dir/lines"
  assert_status 0
  assert_output $'hits\t2\na\t0\na\t4\na\t7\nhits\t2\ncount\t1\na\t7'
  assert_equal "$stderr" ""
  try ctl batch - <"$dir/lines"
  assert_output $'hits\t4\na\t0\na\t4\na\t7\nhits\t4\ncount\t2\na\t7'
  try ctl -q batch "$dir/lines"
  assert_status 0
  assert_silence
  try ctl list
  assert_output $'count\t3\nhits\t6'
}

@test "batch applies its lines in their order and prints a value for each" {
  for_each_place check_lines
}

@test "each operation that JSON has is also a line of words" {
  local word words
  open_sqlite
  batch '{"op":"count","name":"a"}'
  assert_refused 65
  words=${stderr##*is none of }
  batch 'count a'
  assert_refused 65
  assert_stderr_has "'count' is none of ${words%%;*}"
  for word in ${words%%;*}; do
    echo "$word"
    batch "${word%,} a --not-an-option"
    assert_refused 65
    assert_stderr_has "unexpected '--not-an-option'"
  done
}

check_json() {
  batch $'increment a --max 1\nincrement a --max 1\nreset b --to 2\nreset b\nreport a\ndelete a\nreport a' --json
  assert_status 1
  echo "$output" >"$dir/got"
  "$python" - "$dir/got" <<'END' || fail "not as wanted: $output"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
refused, missing = lines.pop(1), lines.pop()
report = lines[-2]
assert report.pop("created_at") and report.pop("updated_at"), report
assert refused["name"] == "a" and refused["type"] == "urn:counterd:error:beyond-bound", refused
assert missing["type"] == "urn:counterd:error:no-such-counter", missing
assert lines == [
    {"name": "a", "value": 1, "applied": 1, "remaining": 0},
    {"name": "b", "value": 2, "previous": None}, {"name": "b", "value": 0, "previous": 2},
    {"name": "a", "value": 1, "expires_at": None}, {"name": "a", "previous": 1}], lines
END
}

@test "a byte order mark before the first line is no part of it" {
  open_sqlite
  batch $'\xef\xbb\xbfincrement marked'
  assert_status 0
  assert_output $'marked\t1'
}

@test "--from beyond the end of the input is refused" {
  open_sqlite
  batch $'increment a\nincrement a' --from 3
  assert_status 0
  assert_output ''
  batch $'increment a\nincrement a' --from 4
  assert_refused 65
  assert_stderr_has 'ends with line 2, before the line of --from'
}

@test "batch --json prints an object for each line, refused ones too" {
  for_each_place check_json
}

check_json_of_limits() {
  local line='increment quota --per day --timezone UTC --max 1' told
  batch "$line"$'\n'"$line"$'\nincrement quota --by 5 --max 2' --json
  assert_status 1
  mapfile -t told <<<"$output"
  [[ ${told[1]} =~ ^\{\"name\":\"quota\",\"type\":\"urn:counterd:error:limit-reached\",\"detail\":\".*\",\"value\":1,\"bound\":1,\"would_be\":2,\"remaining\":0,\"resets_at\":\"20.*Z\"\}$ ]] ||
    fail "${told[1]}"
  [[ ${told[2]} == *'"type":"urn:counterd:error:beyond-bound"'*'"would_be":6,"remaining":1}' ]] ||
    fail "${told[2]}"
  batch $'increment a\nincrement quota --max 1' --json --atomic
  assert_status 1
  [[ $output == '{"name":"quota","type":"urn:counterd:error:beyond-bound",'* ]] || fail "$output"
}

@test "batch --json tells programs of a limit what HTTP tells them" {
  for_each_place check_json_of_limits
}

check_unknown_zone() {
  batch $'increment a\nincrement b --per day --timezone Nowhere'
  assert_refused 65
  assert_stderr_has "operation 2: time zone 'Nowhere' is unknown"
  try ctl report a
  assert_status 2
}

@test "an unknown time zone names its operation" {
  for_each_place check_unknown_zone
}

check_refusals() {
  batch $'increment a\nreport missing\nincrement a --max 1\nincrement a'
  assert_status 2
  assert_output $'a\t1\na\t2'
  assert_equal "$stderr" "counterctl: standard input:2: counter missing does not exist
counterctl: standard input:3: counter a is 1; adding 1 would make it 2, above the maximum 1; nothing was changed"
  batch $'increment a --max 1\nreport missing'
  assert_status 1
}

@test "a refused line leaves the others alone, is named, and the first one gives the status" {
  for_each_place check_refusals
}

check_atomic() {
  ctl -q reset from --to 10
  batch $'increment from --by -7 --min 0\nincrement to --by 7' --atomic
  assert_status 0
  assert_output $'from\t3\nto\t7'
  batch $'increment to --by 7\n\nincrement from --by -7 --min 0\nincrement to' --atomic
  assert_refused 1
  assert_equal "$stderr" "counterctl: standard input:3: counter from is 3; adding -7 would make it \
-4, below the minimum 0; nothing was changed; none of the lines was applied"
  batch $'increment to\ndelete missing' --atomic
  assert_refused 2
  assert_stderr_has 'standard input:2: counter missing does not exist; none of the lines'
  try ctl report from to
  assert_output $'from\t3\nto\t7'
  ctl -q reset most --to 9223372036854775807
  batch 'increment most' --atomic
  assert_refused 1
  assert_equal "$stderr" "counterctl: standard input:1: counter most is 9223372036854775807; adding \
1 would leave the range of 64 bits; nothing was changed; none of the lines was applied"
  batch 'increment most --per day' --atomic
  assert_refused 65
  assert_stderr_has 'standard input:1: counter most counts without a window, not per day in '
}

@test "batch --atomic applies all lines or none" {
  for_each_place check_atomic
}

check_portions() {
  seq 2500 | sed 's/.*/increment a/' >"$dir/many"
  try ctl batch "$dir/many"
  assert_status 0
  diff <(cut -f 2 <<<"$output") <(seq 2500)
  try ctl batch --atomic "$dir/many"
  assert_refused 65
  assert_stderr_has 'many:1001: --atomic takes up to 1000 operations; nothing was applied'
  head -n 1000 "$dir/many" >"$dir/one"
  try ctl -q batch --atomic "$dir/one"
  assert_status 0
  sed -i '$s/$/ --by x/' "$dir/many"
  try ctl -q batch "$dir/many"
  assert_refused 65
  assert_stderr_has "many:2500: "
  assert_stderr_has "'x'"
  assert_stderr_has 'the lines up to 2000 were applied, none after them: go on with --from 2001'
  try ctl report a
  assert_output 5500
  try ctl -q batch --portion 100 "$dir/many"
  assert_stderr_has 'none after them: go on with --from 2401 --portion 100'
  try ctl report a
  assert_output 7900
  try ctl -q batch --portion 1 < <(echo increment b --max 0; echo nonsense)
  assert_refused 65
  assert_stderr_has 'the lines up to 1 were applied, but for those that were refused, none after'
}

@test "a bad line stops before anything of its portion is applied, and says what was" {
  for_each_place check_portions
}

@test "every kind of bad line is refused by its place and changes nothing" {
  open_sqlite
  local line
  while IFS= read -r line; do
    echo "line: $line"
    batch "increment a"$'\n'"$line"
    assert_refused 65
    assert_stderr_has 'standard input:2: '
    assert_stderr_has '; nothing was applied'
  done <<'END'
add a
Increment a
increment a b
increment a --bye 5
increment a --by
increment --by= 7 a
increment a --by 010
increment a --by 9223372036854775808
increment a --min 2 --max 1
increment a --clamp
increment a --key k
increment --json a
increment a --help
--help
increment ../a
increment 'a b'
increment ''
increment "a
increment 'a
increment a\
reset a --by 5
reset a --to 1e3
delete
report
delete a b
delete --prefix a --yes
report a b
next a
list
batch
{"op":"increment"}
{"op":"increment","name":"a","by":1.5}
{"op":"increment","name":"a","key":"k"}
{"op":"increment","name":"a"
{"op":"increment","name":"a"} increment a
{"operations":[]}
[{"op":"increment","name":"a"}]
END
  batch 'increment a --by 1 --by 2'
  assert_refused 65
  assert_stderr_has '--by is given more than once'
  batch $'increment a\nincrement \xc3\xa4'
  assert_refused 65
  try ctl batch < <(printf 'increment a\nincrement a\0b\n')
  assert_refused 65
  try ctl batch < <(printf 'increment a\nincrement %05000d\n' 1)
  assert_refused 65
  assert_stderr_has 'longer than 4096 bytes'
  try ctl report a
  assert_refused 2
}

@test "lines are split into words as a shell does" {
  open_sqlite
  batch $'increment -- a\nincrement "--" a'
  assert_output $'a\t1\na\t2'
  batch 'increment a --by "-"1#x'
  assert_refused 65
  assert_stderr_has "'-1#x'"
  batch $'increment "a"\'b\'c\nincrement a\\bc\n\tincrement\t"ab"c\t\nincrement abc --by "-"1 #x\r\nincrement abc\r'
  assert_status 0
  assert_output $'abc\t1\nabc\t2\nabc\t3\nabc\t2\nabc\t3'
}

@test "an input or an option that cannot be is refused, an empty input is nothing to do" {
  open_sqlite
  try ctl batch "$dir/missing"
  assert_refused 74
  assert_stderr_has missing
  try ctl batch "$dir"
  assert_refused 74
  try ctl batch </dev/null
  assert_status 0
  assert_silence
  local portion
  for portion in 0 -1 1001 x ''; do
    batch 'increment a' --portion "$portion"
    assert_refused 65
    assert_stderr_has --portion
  done
  for portion in 0 -1 x ''; do
    batch 'increment a' --from "$portion"
    assert_refused 65
    assert_stderr_has --from
  done
  batch 'increment a' --key ''
  assert_refused 64
  batch 'increment a' --key "$(printf 'k%.0s' {1..240})"
  assert_refused 64
  try ctl list
  assert_silence
}

@test "a line has up to 4 KiB, and the key of a batch up to 235 characters" {
  open_sqlite
  local key
  batch "increment a$(printf '%4085s' '')"
  assert_output $'a\t1'
  batch "increment a$(printf '%4086s' '')"
  assert_refused 65
  key=$(printf 'k%.0s' {1..235})
  batch 'increment a' --key "$key"
  assert_output $'a\t2'
  batch 'increment a' --key "${key}k"
  assert_refused 64
}

@test "a file that has become the key, as where a variable is not set, is missed" {
  open_sqlite
  echo 'increment visits' >"$dir/lines"
  # shellcheck disable=SC2086 # as a script that forgets the quotation marks
  try ctl batch --key $no_such_variable "$dir/lines" </dev/null
  assert_refused 64
  assert_stderr_has "standard input has no operation, and the --key '$dir/lines' is a file"
  try ctl batch --key "$dir/lines" <<<'increment visits'
  assert_output $'visits\t1'
  try ctl batch --key "$dir/none" </dev/null
  assert_status 0
}

@test "a line without its end is a line" {
  open_sqlite
  try ctl batch < <(printf 'increment a\nincrement a')
  assert_output $'a\t1\na\t2'
}

check_key() {
  seq 250 | sed 's/.*/increment a/' >"$dir/many"
  try ctl batch --key import --portion 100 "$dir/many"
  assert_status 0
  local first=$output
  ctl -q increment a --by 1000
  try ctl batch --key import --portion 100 "$dir/many"
  assert_status 0
  assert_output "$first"
  echo 'increment b' >>"$dir/many"
  try ctl batch --key import --portion 100 "$dir/many"
  assert_status 65
  assert_stderr_has "$dir/many:201: another batch was applied under this idempotency key"
  assert_stderr_has 'the lines up to 200 were applied: '
  assert_stderr_has 'another --key'
  refute_stderr_has '--from'
  try ctl report a
  assert_output 1250
  batch $'increment a\nincrement a\n\nincrement b --by 5' --from 3
  assert_output $'b\t5'
  batch 'increment b' --from 2
  assert_status 0
  assert_silence
}

@test "the same input again under the same key is counted once, portion by portion" {
  for_each_place check_key
}

@test "a batch under a key that was given is continued under it: an earlier run may have come further" {
  open_sqlite
  seq 3000 | sed 's/.*/increment a/' >"$dir/many"
  ctl -q batch --key import --portion 500 "$dir/many"
  # shellcheck disable=SC2016
  try bash -c '"$@" >/dev/full' bash "$counterctl" "${place[@]}" batch --key import --portion 500 "$dir/many"
  assert_refused 74
  refute_stderr_has 'none after them'
  [[ $stderr =~ ': go on, without counting twice, with '(--from 501 --portion 500 --key \'import\')$ ]] ||
    fail "no way to go on in: $stderr"
  eval "try ctl -q batch '$dir/many' ${BASH_REMATCH[1]}"
  assert_status 0
  try ctl report a
  assert_output 3000
}

@test "a portion whose answer was lost is asked for again and counted once" {
  start_daemon
  start_python "$answer_cutter" "${url##*:}" 1 2
  place=(--server "http://127.0.0.1:$said")
  seq 3000 | sed 's/.*/increment a/' >"$dir/many"
  try ctl batch "$dir/many"
  assert_status 0
  diff <(cut -f 2 <<<"$output") <(seq 3000)
}

@test "when nobody knows, the lines and the key to go on with are told" {
  start_daemon
  start_python "$answer_cutter" "${url##*:}" 1 1000
  place=(--server "http://127.0.0.1:$said")
  seq 3000 | sed 's/.*/increment a/' >"$dir/many"
  try ctl -q --timeout 500ms batch "$dir/many"
  assert_refused 75
  assert_stderr_has 'nobody knows whether lines 1001 to 2000 were applied'
  [[ $stderr =~ --from\ 1001\ --key\ \'([^\']+)\' ]] || fail "no key in: $stderr"
  place=(--server "$url")
  try ctl batch --from 1001 --key "${BASH_REMATCH[1]}" "$dir/many"
  assert_status 0
  diff <(cut -f 2 <<<"$output") <(seq 1001 3000)
  try ctl report a
  assert_output 3000
}

sleeps() {
  grep -q '^State:[[:space:]]*S' "/proc/$1/status"
}

sleeps_with_socket() {
  grep -q '^socket:' <<<"$(readlink "/proc/$1/fd"/*)" && sleeps "$1"
}

@test "ended by a signal, between portions or in one, batch says how to go on exactly" {
  local batch status=0 words
  start_daemon
  place=(--server "$url")
  seq 3000 | sed 's/.*/increment a/' >"$dir/many"
  mkfifo "$dir/pipe"
  # Between portions: it waits for more lines.
  "$counterctl" --server "$url" batch "$dir/pipe" >"$dir/out" 2>"$dir/err" &
  batch=$!
  exec 7>"$dir/pipe"
  head -n 1500 "$dir/many" >&7
  await 10 test -s "$dir/out"
  await 10 sleeps "$batch"
  kill -TERM "$batch"
  wait "$batch" || status=$?
  exec 7>&-
  assert_equal "$status" 143
  assert_succeeds grep -q ' --from 1001 ' "$dir/err"
  words=$(sed -n "s/.*\(--from 1001 --key\) '\([^']*\)'$/\1=\2/p" "$dir/err")
  # In one: the workers do not answer.
  ready_workers | xargs kill -STOP
  # shellcheck disable=SC2086
  "$counterctl" --server "$url" --timeout 20s batch "$dir/many" $words >"$dir/more" 2>"$dir/err" &
  batch=$!
  await 10 sleeps_with_socket "$batch"
  kill -TERM "$batch"
  status=0
  wait "$batch" || status=$?
  ready_workers | xargs kill -CONT
  assert_equal "$status" 143
  assert_equal "$(sed -n "s/.*\(--from 1001 --key\) '\([^']*\)'$/\1=\2/p" "$dir/err")" "$words"
  # shellcheck disable=SC2086
  try ctl batch "$dir/many" $words
  assert_status 0
  diff <(cut -f 2 <<<"$output") <(seq 1001 3000)
}

@test "where the store is away in the middle, the status is not that of nothing applied" {
  start_daemon
  place=(--server "$url")
  seq 1500 | sed 's/.*/increment a/' >"$dir/many"
  mkfifo "$dir/pipe"
  ctl --timeout 1s batch "$dir/pipe" >"$dir/out" 2>"$dir/err" &
  local batch=$!
  exec 7>"$dir/pipe"
  head -n 1000 "$dir/many" >&7
  await 10 test -s "$dir/out"
  end_process "$daemon_pid"
  tail -n 500 "$dir/many" >&7
  exec 7>&-
  status=0
  wait "$batch" || status=$?
  assert_status 74
  grep -q 'the lines up to 1000 were applied, none after them: go on with --from 1001$' "$dir/err"
  try ctl --timeout 1s batch "$dir/many"
  assert_refused 69
  assert_stderr_has '; nothing was applied'
}

@test "each portion has the time of --timeout, however late its lines come" {
  start_redis
  for place in "--store redis+unix://$redis_socket" "--store sqlite:$dir/late.db"; do
    # shellcheck disable=SC2206
    place=($place)
    try ctl --timeout 500ms batch --portion 1 < <(sleep 0.7; echo increment a; sleep 0.7; echo increment a)
    assert_status 0
    assert_output $'a\t1\na\t2'
  done
}

@test "a standard input that cannot be read is not an empty one" {
  open_sqlite
  local input
  for input in "<$dir" '<&-'; do
    # shellcheck disable=SC2016
    try bash -c "\"\$@\" $input" bash "$counterctl" "${place[@]}" batch
    assert_refused 74
    assert_stderr_has 'cannot read standard input'
    assert_stderr_has 'nothing was applied'
  done
}

@test "a batch whose stdout is on a full disk ends with 74 and says what was applied" {
  open_sqlite
  seq 3000 | sed 's/.*/increment a/' >"$dir/many"
  # shellcheck disable=SC2016
  try bash -c '"$@" >/dev/full' bash "$counterctl" "${place[@]}" batch "$dir/many"
  assert_refused 74
  assert_stderr_has 'the lines up to 1000 were applied'
  try ctl report a
  assert_output 1000
}

@test "on a terminal the progress of a batch is told, unless -q is given" {
  export TERM=xterm
  seq 2500 | sed 's/.*/increment a/' >"$dir/many"
  SHELL=/bin/sh script -qec "'$counterctl' --store 'sqlite:$dir/a.db' batch '$dir/many' >'$dir/out'" \
    "$dir/terminal" </dev/null >/dev/null
  grep -q '2500 operations, [0-9]*/s' "$dir/terminal"
  assert_equal "$(wc -l <"$dir/out")" 2500
  SHELL=/bin/sh script -qec "'$counterctl' -q --store 'sqlite:$dir/a.db' batch '$dir/many' >'$dir/out'" \
    "$dir/quiet" </dev/null >/dev/null
  assert_fails grep -q operations "$dir/quiet"
  # It cannot clear a line.
  TERM=dumb SHELL=/bin/sh script -qec "'$counterctl' --store 'sqlite:$dir/a.db' batch '$dir/many' >'$dir/out'" \
    "$dir/dumb" </dev/null >/dev/null
  assert_fails grep -q operations "$dir/dumb"
  assert_equal "$(wc -l <"$dir/out")" 2500
}

@test "a batch that ignores SIGHUP, as by nohup, goes on after it" {
  local batch
  start_daemon
  make_pipe
  exec {input}<>"$pipe"
  (trap '' HUP; exec "$counterctl" --server "$url" batch --portion 1 "$pipe") {input}>&- >"$dir/out" 2>"$dir/err" &
  batch=$!
  printf 'increment a\n' >&"$input"
  await 10 test -s "$dir/out"
  kill -HUP "$batch"
  printf 'increment a\n' >&"$input"
  exec {input}>&-
  wait "$batch"
  assert_equal "$(cut -f 2 "$dir/out" | tail -n 1)" 2
}

@test "a batch whose stderr nobody reads is ended by a signal all the same" {
  start_daemon
  try timeout 30 "$python" -c '
import os, signal, subprocess, sys
reader, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while True:
        os.write(writer, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(writer, True)
child = subprocess.Popen(sys.argv[1:] + ["batch", "--portion", "1"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=writer)
child.stdin.write(b"increment a\n")
child.stdin.flush()
child.stdout.readline()
child.send_signal(signal.SIGTERM)
assert child.wait(5) == -signal.SIGTERM' "$counterctl" --server "$url"
  assert_status 0
}
