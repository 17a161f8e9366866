#!/usr/bin/env bats
# Windows of the calendar, as time goes by: programs run at moments of the past and the future.
# Which moments are boundaries, calendar_test.cc holds against date(1).

# shellcheck disable=SC2154,SC2034

load environment

setup_file() {
  FAKETIME_LIBRARY=$(faketime now printenv LD_PRELOAD)
  export FAKETIME_LIBRARY
  # AddressSanitizer wants to be loaded first.
  export ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0
}

# Sets $fake: the words before a command that have it run at TIME (UTC), where time stands still,
# or with a @ goes on from. What waits is not fooled.
fake_time() {
  local start=${1%%[^@]*}
  fake=(env "LD_PRELOAD=$FAKETIME_LIBRARY" FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FMT=%s
    "FAKETIME=$start$(date --utc --date="${1#@}" +%s)")
}

# at TIME COMMAND...
at() {
  fake_time "$1"
  "${fake[@]}" "${@:2}"
}

# at_prints TIME VALUE ARGUMENT...: of counterctl on the database of the test.
at_prints() {
  local when=$1 value=$2
  shift 2
  try at "$when" "$counterctl" --store "sqlite:$dir/counts.db" "$@"
  [[ $status == 0 && $output == "$value" ]] || { show_run; fail "expected $value at $when"; }
}

at_refused() {
  try at "$1" "$counterctl" --store "sqlite:$dir/counts.db" "${@:3}"
  assert_refused "$2"
}

# begins_anew ZONE PERIOD BOUNDARY: counts up to the second before it, and from it on.
begins_anew() {
  local name=$2-${1//\//.}-${3//[ :]/.} words
  words=(increment "$name" --per "$2" --timezone "$1")
  at_prints "$3 UTC - 40 seconds" 1 "${words[@]}"
  at_prints "$3 UTC - 1 second" 2 "${words[@]}"
  at_prints "$3 UTC" 1 "${words[@]}"
  at_prints "$3 UTC + 1 second" 2 "${words[@]}"
}

@test "a counter begins anew at the boundary of its zone's calendar" {
  begins_anew UTC minute '2026-11-24 12:34:00'
  begins_anew Asia/Kathmandu hour '2026-11-24 12:15:00'
  begins_anew America/New_York day '2026-11-24 05:00:00'
  begins_anew Europe/Berlin day '2026-03-28 23:00:00'
  begins_anew Europe/Berlin day '2026-03-29 22:00:00'
  begins_anew Europe/Berlin week '2026-10-25 23:00:00'
  begins_anew Australia/Sydney month '2026-10-31 13:00:00'
  begins_anew Africa/Cairo day '2026-04-23 22:00:00'
  begins_anew Pacific/Auckland year '2026-12-31 11:00:00'
}

@test "a quota of a day is refused until the next one, whose moment is told" {
  local words=(increment api --max 2 --per day --timezone Europe/Berlin)
  at_prints '2026-10-25 00:30' 1 "${words[@]}"
  at_prints '2026-10-25 12:00' '{"name":"api","value":2,"applied":1,"remaining":0,"resets_at":"2026-10-25T23:00:00.000Z"}' \
    --json "${words[@]}"
  # A day with 25 hours.
  at_refused '2026-10-25 22:59:59' 1 "${words[@]}"
  assert_stderr_has 'it begins anew at 2026-10-25T23:00:00.000Z'
  at_refused '2026-10-25 22:59:59' 1 "${words[@]}" --check
  at_prints '2026-10-25 23:00:00' 0 "${words[@]}" --check
  at_prints '2026-10-25 23:00:00' 1 "${words[@]}"
  at_prints '2026-10-25 23:00:01' 1 report api
  at_refused '2026-10-27 00:00' 2 report api
}

@test "another window is refused with 65 until the counter has ended or is deleted" {
  at_prints '2026-11-24 12:00' 1 increment a --per day --timezone UTC
  at_refused '2026-11-24 12:00' 65 increment a --per week --timezone UTC
  assert_stderr_has 'counter a counts per day in UTC, not per week in UTC'
  TZ=Etc/UTC at_prints '2026-11-24 12:00' 2 increment a --per day
  at_refused '2026-11-24 12:00' 65 increment a --per day --timezone Asia/Tokyo
  TZ=Asia/Tokyo at_refused '2026-11-24 12:00' 65 increment a --per day
  assert_stderr_has 'counts per day in UTC, not per day in Asia/Tokyo'
  at_refused '2026-11-24 12:00' 65 increment a --ttl 1h --ttl-mode renew
  at_prints '2026-11-24 12:00' 2 reset a --to 5
  at_prints '2026-11-24 23:59:59' 6 increment a
  at_refused '2026-11-24 23:59:59' 65 increment a --per week --timezone UTC
  at_prints '2026-11-25 00:00' 1 increment a --per week --timezone UTC
  at_prints '2026-11-25 00:00' 1 delete a
  at_prints '2026-11-25 00:00' 1 increment a
  at_refused '2026-11-25 00:00' 65 increment a --per week --timezone UTC
  assert_stderr_has 'counter a counts without a window, not per week in UTC'
}

@test "the counter that needs no name is reported as 0 when it has ended" {
  at_prints '2026-11-24 12:00' 5 increment --by 5 --ttl 1h
  at_prints '2026-11-24 12:59:59' 5 report
  at_prints '2026-11-24 13:00' 0 report
  at_prints '2026-11-24 13:00' \
    '{"name":"count","value":0,"created_at":null,"updated_at":null,"expires_at":null}' --json report
}

@test "the default time zone is that of the system, by TZ" {
  # The program reads the time in the zone, too.
  TZ=Asia/Tokyo at_prints '2026-11-24 14:59:59' \
    '{"name":"a","value":1,"applied":1,"resets_at":"2026-11-24T15:00:00.000Z"}' --json increment a --per day
  TZ=:America/New_York at_prints '2026-11-24 14:59:59' \
    '{"name":"b","value":1,"applied":1,"resets_at":"2026-11-25T05:00:00.000Z"}' --json increment b --per day
  TZ='' at_prints '2026-11-24 14:59:59' \
    '{"name":"c","value":1,"applied":1,"resets_at":"2026-11-25T00:00:00.000Z"}' --json increment c --per day
  TZ=CET-1CEST at_refused '2026-11-24 14:59:59' 65 increment d --per day
  assert_stderr_has "that of the system will not do (TZ, else /etc/localtime): time zone 'CET-1CEST' is unknown"
  TZ=CET-1CEST at_prints '2026-11-24 14:59:59' 1 increment d --per day --timezone Europe/Berlin
}

@test "the default time zone is the one that /etc/localtime leads to, UTC without it, none by a copy" {
  local user=() alone
  ((EUID == 0)) || user=(--map-root-user)
  unshare "${user[@]}" --mount true || skip "this user can make no mounts of its own"
  mkdir "$dir/etc"
  # shellcheck disable=SC2016 # for that shell
  alone=(unshare "${user[@]}" --mount bash -c 'mount --bind "$1" /etc && shift && exec "$@"' bash
    "$dir/etc" "$counterctl" --store "sqlite:$dir/counts.db" --json increment)
  try "${alone[@]}" a --per day
  assert_output_has 'T00:00:00.000Z"}'
  ln -s /usr/share/zoneinfo/Asia/Tokyo "$dir/etc/localtime"
  try "${alone[@]}" b --per day
  assert_output_has 'T15:00:00.000Z"}'
  cp --remove-destination /usr/share/zoneinfo/Asia/Tokyo "$dir/etc/localtime"
  try "${alone[@]}" c --per day
  assert_refused 65
  assert_stderr_has '/etc/localtime is no link that names a time zone'
}

@test "from 2038 on no clocks are changed" {
  local day=(--json increment --per day --timezone Europe/Berlin)
  at_prints '2037-07-01 12:00' \
    '{"name":"a","value":1,"applied":1,"resets_at":"2037-07-01T22:00:00.000Z"}' "${day[@]}" a
  at_prints '2038-07-01 12:00' \
    '{"name":"a","value":1,"applied":1,"resets_at":"2038-07-01T23:00:00.000Z"}' "${day[@]}" a
}

# shifted SECONDS ARGUMENT...: counterctl on Redis, with a clock that is so far from the server's.
shifted() {
  env "LD_PRELOAD=$FAKETIME_LIBRARY" FAKETIME_DONT_FAKE_MONOTONIC=1 "FAKETIME=$1" \
    "$counterctl" --store "redis+unix://$redis_socket" "${@:2}"
}

minute_of_server() {
  echo $(($(redis-cli -s "$redis_socket" time | head -n 1) / 60))
}

@test "on Redis windows end by the clock of its server" {
  start_redis
  local shift minute
  for shift in -50 +50; do
    minute=
    until [[ $(minute_of_server) == "$minute" ]]; do
      minute=$(minute_of_server)
      try shifted "$shift" --json increment "a${shift/+/x}" --per minute --timezone UTC
    done
    assert_status 0
    assert_output_has "\"resets_at\":\"$(date --utc --date="@$(((minute + 1) * 60))" '+%FT%T.000Z')\""
  done
}

@test "with a clock that is far from that of Redis nothing is counted in windows" {
  start_redis
  local shift
  for shift in -200 +200; do
    try shifted "$shift" increment a --per minute --timezone UTC
    assert_refused 69
    assert_stderr_has 'by more than a minute'
    try shifted "$shift" increment a --per minute --timezone UTC --check
    assert_refused 69
    try shifted "$shift" batch --atomic <<<$'increment a\nincrement b --per minute --timezone UTC'
    assert_refused 69
    assert_stderr_has 'by more than a minute'
  done
  try shifted +200 list
  assert_output ''
  # What was counted before is told again, whatever the clock says.
  try shifted +0 increment b --per minute --timezone UTC --key once
  assert_output 1
  try shifted +200 increment b --per minute --timezone UTC --key once
  assert_output 1
  try shifted +200 increment a
  assert_output 1
}

@test "a clock that has just begun in 1970 is only far from that of Redis" {
  start_redis
  try at '1970-01-01 00:00:10' "$counterctl" --store "redis+unix://$redis_socket" batch \
    <<<$'increment a\nincrement b --per day --timezone UTC'
  assert_refused 69
  assert_stderr_has 'by more than a minute'
}

@test "what names no window is counted beside what a clock keeps from being counted" {
  start_redis
  launcher=(env "LD_PRELOAD=$FAKETIME_LIBRARY" FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME=+200)
  start_daemon --store "redis+unix://$redis_socket"
  local increments='"op":"increment","name"'
  try curl -sS -H 'Content-Type: application/json' "$url/v1/batch" -d \
    "{\"operations\":[{$increments:\"a\"},{$increments:\"b\",\"per\":\"minute\"},{$increments:\"a\"}]}"
  assert_output_has '{"name":"a","value":2,"applied":1}]'
  assert_output_has '"type":"urn:counterd:error:clocks-apart"'
  assert_equal "$(http POST /v1/counters/b/increment -d per=minute)" 503
  assert_equal "$(http POST /v1/counters/b/increment)" 200
  assert_equal "$(http GET /v1/counters/b)" 200
  assert_fails grep 'more than a minute' "$daemon_log"
}

@test "over HTTP a refused window is 429 with the time to wait" {
  fake_time '@2026-11-24 12:00:00'
  launcher=("${fake[@]}" TZ=UTC)
  start_daemon --store "sqlite:$dir/counts.db"
  try curl -sS -D "$dir/head" "$url/v1/counters/api/increment" -d max=1 -d per=day -d timezone=UTC
  assert_output '{"name":"api","value":1,"applied":1,"remaining":0,"resets_at":"2026-11-25T00:00:00.000Z"}'
  assert_equal "$(http POST /v1/counters/api/increment -d max=1 -d per=day -D "$dir/head")" 429
  local seconds
  seconds=$(sed -nE 's/^Retry-After: ([0-9]+)\r$/\1/p' "$dir/head")
  assert_between "$seconds" 43140 43200
  assert_equal "$(sed -nE 's/^(RateLimit.*): (.*)\r$/\1=\2/p' "$dir/head")" \
    $'RateLimit-Policy="day";q=1;w=86400\nRateLimit="day";r=0;t='"$seconds"
  assert_equal "$(http GET '/v1/counters/api')" 200
}

@test "windows of UTC need no tz database" {
  local user=() alone
  ((EUID == 0)) || user=(--map-root-user)
  unshare "${user[@]}" --mount true || skip "this user can make no mounts of its own"
  # shellcheck disable=SC2016 # for that shell
  alone=(unshare "${user[@]}" --mount bash -c 'mount -t tmpfs none /usr/share/zoneinfo && exec "$@"'
    bash "$counterctl" --store "sqlite:$dir/counts.db" increment)
  try "${alone[@]}" a --per day --timezone Etc/UTC
  assert_status 0
  try env TZ=UTC "${alone[@]}" a --per day
  assert_equal "$output" 2
  try "${alone[@]}" b --per day --timezone Europe/Berlin
  assert_status 65
  assert_stderr_has 'tzdata'
}
