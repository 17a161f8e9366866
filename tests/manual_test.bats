#!/usr/bin/env bats
# The manual pages say what the programs do: the same options, commands, variables, exit statuses,
# routes and problem types, in both directions. And the README says how the code is laid out.

setup() {
  root=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
  bin=${COUNTERD_BIN_DIR:-$root/build/bin}
  man=${COUNTERD_MAN_DIR:-$root/man}
  export LC_ALL=C
}

# page NAME [SECTION]: the page as plain lines: no comments, no font changes, plain hyphens, macros
# kept. With a section, only that one.
page() {
  sed -e '/^\.\\"/d' -e 's/\\f\(\[[A-Z]*\]\|.\)//g' -e 's/\\-/-/g' -e 's/\\~/ /g' "$man/$1" |
    awk -v section="${2-}" '
      /^\.SH / { name = $0; sub(/^\.SH /, "", name); gsub(/"/, "", name) }
      section == "" || name == section'
}

# The words of a page's macro line: without its name, its quotes and the commas between words.
words() {
  sed -e 's/^\.[A-Z]* *//' -e 's/[",]/ /g' -e 's/  */ /g'
}

# The lines after .TP, which name what is explained.
tags() {
  awk 'tag { print } { tag = /^\.T[PQ]/ }'
}

# The part of COMMANDS in counterctl.1 that explains one command.
command_part() {
  page counterctl.1 COMMANDS | awk -v name="$1" '/^\.SS / { mine = $2 == name } mine'
}

long_options() {
  grep -oE -- '--[a-z][a-z-]*' | sort -u
}

# The options that a --help explains, without what its texts mention.
help_options() {
  "$@" --help | sed -nE 's/^  +(-[a-z], *)?(--[a-z][a-z-]*)( .*)?$/\2/p' | sort -u
}

# Those of them that take a value: its name follows after one space.
help_options_with_value() {
  "$@" --help | sed -nE 's/^  +(-[a-z], *)?(--[a-z][a-z-]*) [^ ].*$/\2/p' | sort -u
}

help_commands() {
  "$bin/counterctl" --help |
    awk 'tolower($0) ~ /^subcommands:/ { mine = 1; next } /^$/ { mine = 0 } mine { print $1 }' |
    sort -u
}

# variables PREFIX: options to names of variables, --redis-prefix to PREFIX_REDIS_PREFIX.
variables() {
  tr 'a-z-' 'A-Z_' | sed "s/^__/$1_/" | sort -u
}

# The rows of the table in error.cc: name, problem type, HTTP status, exit status.
error_table() {
  tr '\n' ' ' <"$root/common/error.cc" | grep -oE 'CodeInfo\{Code::[^}]*\}' |
    sed -E 's/.*::(k[A-Za-z]+), *"([a-z-]+)", *"[^"]*", *([0-9]+), *([0-9]+)\}/\1 \2 \3 \4/'
}

# same WHAT EXPECTED FOUND: fails, and shows the difference, unless two lists are the same; two
# empty ones are a fault of the test.
same() {
  [ -n "$2" ] || { echo "$1: nothing to compare"; return 1; }
  diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") || {
    echo "$1: '<' is missing in the page, '>' is only there"
    return 1
  }
}

@test "counterd.8 explains the options of counterd --help, and no others" {
  same options "$(help_options "$bin/counterd")" \
    "$(page counterd.8 OPTIONS | tags | long_options)"
}

# The options of counterd --help whose default is one word, each with it.
defaults() {
  "$bin/counterd" --help |
    sed -nE 's/^  +(--[a-z][a-z-]*) .*\(default: ([^ ;]+)\)$/\1 \2/p'
}

# option_part OPTION: what counterd.8 says of it, on one line, without macros.
option_part() {
  page counterd.8 OPTIONS |
    awk -v option="$1 " '/^\.T[PQ]/ { tag = 1; next } tag { mine = index($0, option); tag = 0 } mine' |
    sed -e 's/^\.[A-Z]* *//' -e 's/ \.$/./' | tr '\n' ' '
}

@test "the defaults in counterd --help are those of counterd, and of counterd.8" {
  cd "$BATS_TEST_TMPDIR"
  export HOME=$PWD
  effective=$("$bin/counterd" --check-config)
  [ "$(defaults | wc -l)" -ge 8 ]
  while read -r option default; do
    echo "$option $default"
    [ "$("$bin/counterd" --check-config "$option" "$default")" = "$effective" ]
    [[ $(option_part "$option") == *"Default: $default."* ]]
  done < <(defaults)
}

@test "counterctl.1 explains the options of counterctl --help, and no others" {
  same options "$(help_options "$bin/counterctl")" \
    "$(page counterctl.1 OPTIONS | tags | long_options)"
}

@test "counterctl.1 explains the commands of counterctl --help, and no others" {
  same commands "$(help_commands)" \
    "$(page counterctl.1 COMMANDS | sed -n 's/^\.SS \([a-z]*\).*/\1/p' | sort -u)"
}

@test "the README and counterctl.1 list the commands of counterctl --help, and no others" {
  same README "$(help_commands)" "$(sed -n '/^These commands count:/,/^$/p' "$root/README.md" |
    grep -oE "\`[a-z]+\`" | tr -d "\`" | sort -u)"
  same counterctl.1 "$(help_commands)" "$(page counterctl.1 COMMANDS | sed '/^\.SS/,$d' |
    grep '^\.B' | words | tr -d . | xargs -n 1 | sort -u)"
}

@test "counterctl.1 says what each command prints with --json, but for stop, which prints nothing" {
  same commands "$(help_commands | grep -vx stop)" "$(page counterctl.1 JSON | tags | words | sort -u)"
}

@test "the pages list the operations of a batch, and no others" {
  run "$bin/counterctl" --store "sqlite:$BATS_TEST_TMPDIR/x.db" batch <<<'other'
  [ "$status" -eq 65 ]
  [[ $output =~ is\ none\ of\ ([a-z, ]+) ]]
  known=$(tr -d , <<<"${BASH_REMATCH[1]}" | xargs -n 1 | sort)
  line=$(page counterctl.1 COMMANDS | sed -n '/^A line is$/{n;p}' | words)
  op=$(page counterd.8 "HTTP INTERFACE" | sed -n '/^\.B op$/{n;p}' | words | tr -d '()')
  for list in "$line" "$op"; do
    same operations "$known" "$(xargs -n 1 <<<"$list" | grep -vx or | sort)"
  done
}

@test "counterctl.1 explains the options of each command's --help with the command" {
  [ -n "$(help_commands)" ]
  for command in $(help_commands); do
    # --help is an option of every command and explained once.
    same "$command" "$(help_options "$bin/counterctl" "$command")" \
      "$( (echo --help; command_part "$command" | tags) | long_options)"
  done
}

@test "no page mentions an option that no program has" {
  known=$(
    help_options "$bin/counterd"
    help_options "$bin/counterctl"
    for command in $(help_commands); do help_options "$bin/counterctl" "$command"; done
    # those of curl, wget, chown and systemctl
    printf '%s\n' --unix-socket --fail-with-body --retry --retry-all-errors --retry-max-time --tries \
      --reference --now --user
  )
  for page in counterd.8 counterctl.1; do
    unknown=$(comm -13 <(sort -u <<<"$known") <(page "$page" | long_options))
    [ -z "$unknown" ] || { echo "$page: $unknown"; return 1; }
  done
}

@test "counterd.8 lists the variables of all settings, and no others" {
  same variables \
    "$(help_options "$bin/counterd" | grep -vxE -- '--(help|version|check-config)' |
      variables COUNTERD)" \
    "$(page counterd.8 ENVIRONMENT | tags | grep -oE '\bCOUNTERD_[A-Z_]+' | sort -u)"
}

@test "counterctl.1 lists the variables of all common options with a value, and no others" {
  same variables "$(help_options_with_value "$bin/counterctl" | variables COUNTERCTL)" \
    "$(page counterctl.1 ENVIRONMENT | tags | grep -oE '\bCOUNTERCTL_[A-Z_]+' | sort -u)"
}

@test "every variable in the pages is read by the program" {
  for name in $(page counterd.8 ENVIRONMENT | tags | words); do
    # The names of the settings are made from the options.
    [[ $name == COUNTERD_* && $name != COUNTERD_CONFIG ]] && continue
    grep -rqF "\"$name\"" "$root/daemon" "$root/common" || { echo "$name"; return 1; }
  done
  for name in $(page counterctl.1 ENVIRONMENT | tags | words); do
    grep -rqF "\"$name\"" "$root/cli" "$root/common" || { echo "$name"; return 1; }
  done
}

@test "both pages list the exit statuses of error.cc, and no others" {
  statuses=$(error_table | awk '{ print $4 }' | sort -u)
  for page in counterd.8 counterctl.1; do
    same "$page" "$statuses" "$(page "$page" "EXIT STATUS" | tags | words | xargs -n 1 | sort -u)"
  done
}

@test "the --help of counterctl lists the exit statuses of error.cc, and no others" {
  same statuses "$(error_table | awk '{ print $4 }' | sort -u)" \
    "$("$bin/counterctl" --help | sed -n '/^Exit status:/,/\.$/p' | grep -oE '[0-9]+' | sort -u)"
}

@test "counterd.8 lists the problem types and statuses of error.cc, and no others" {
  # These codes are never sent over HTTP.
  expected=$(error_table | awk '$1 !~ /^k(Ok|Usage|NotAllowed|Io)$/ { print $2, $3 }' | sort)
  # The rows of the table: "400;bad-name;what it means".
  found=$(page counterd.8 "HTTP INTERFACE" |
    awk '/^\.SS / { mine = $2 == "Errors" } mine' |
    awk -F ';' '/^[0-9]+;/ { print $2, $1 }' | sort)
  same types "$expected" "$found"
}

@test "counterd.8 lists the routes of api.cc, and no others" {
  expected=$(grep -oE 'Route\{"[A-Z]+", "[^"]+"' "$root/daemon/api.cc" |
    sed -E 's/Route\{"([A-Z]+)", "([^"]+)"/\1 \2/; s/\{name\}/NAME/' | sort)
  # Each has a subsection: .SS "GET /v1/status".
  found=$(page counterd.8 "HTTP INTERFACE" | sed -n 's/^\.SS "\([A-Z]* \/.*\)"$/\1/p' | sort)
  same routes "$expected" "$found"
}

@test "the README's way through the code has the files that it names, and they know no others" {
  part=$(sed -n '/^### The way of a request/,/^## /p' "$root/README.md")
  names=$(grep -oE '[a-z_]+\.(cc|h|lua)' <<<"$part" | sort -u)
  [ -n "$names" ]
  for name in $names; do
    [ -n "$(find "$root/cli" "$root/common" "$root/daemon" "$root/tests" \
      -name "$name")" ] || {
      echo "there is no $name"
      return 1
    }
  done
  upwards=$(
    grep -rE '#include "(cli|daemon)/' "$root/common" || true
    grep -r '#include "cli/' "$root/daemon" || true
    grep -r '#include "daemon/' "$root/cli" || true
    grep -rE '#include "common/store/' "$root/cli" "$root/daemon" |
      grep -vE '/store(_url)?\.h"' || true
  )
  [ -z "$upwards" ] || { echo "$upwards"; return 1; }
}

@test "the pages have no warnings" {
  for page in counterd.8 counterctl.1; do
    run bash -c 'man --warnings -E UTF-8 -l -Tutf8 -Z "$1" 2>&1 >/dev/null' _ "$man/$page"
    [ "$status" -eq 0 ]
    [ -z "$output" ] || { echo "$page: $output"; return 1; }
    run bash -c 'groff -t -ww -man -Tutf8 "$1" 2>&1 >/dev/null' _ "$man/$page"
    [ "$status" -eq 0 ]
    [ -z "$output" ] || { echo "$page: $output"; return 1; }
  done
}

@test "the pages fit a terminal of 80 columns, and break no word, which a search would not find" {
  for page in counterd.8 counterctl.1; do
    text=$(groff -t -man -Tascii -P-cbou -rLL=80n "$man/$page")
    odd=$(grep -nE '.{81}|[a-z]-$' <<<"$text" || true)
    [ -z "$odd" ] || { echo "$page: $odd"; return 1; }
  done
}

@test "the pages name the version of the programs" {
  version=$("$bin/counterd" --version)
  [ -n "$version" ]
  for page in counterd.8 counterctl.1; do
    page "$page" | grep -F '.TH ' | grep -qF "\"$version\""
  done
}
