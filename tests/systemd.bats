#!/usr/bin/env bats
# The unit, as cmake installs it.

load environment

setup_file() {
  export install_root="$BATS_FILE_TMPDIR/root"
  export build
  build=$(cd "${COUNTERD_BIN_DIR:-$BATS_TEST_DIRNAME/../build/bin}/.." && pwd)
  DESTDIR="$install_root" cmake --install "$build" >/dev/null
}

unit() { printf '%s' "$install_root/usr/local/lib/systemd/system/counterd.service"; }

@test "cmake --install installs programs, manual pages, completion, the unit and the licence, and nothing else" {
  run find "$install_root" -type f -printf '%P\n'
  [ "$(sort <<<"$output")" = "usr/local/bin/counterctl
usr/local/bin/counterd
usr/local/lib/systemd/system/counterd.service
usr/local/share/bash-completion/completions/counterctl
usr/local/share/doc/counterd/LICENSE
usr/local/share/man/man1/counterctl.1
usr/local/share/man/man8/counterd.8" ]
}

@test "the service starts after what waits until the clock is right" {
  grep -Eq '^After=(.* )?time-sync\.target( |$)' "$(unit)"
}

@test "the unit names the program where cmake --install --prefix puts it" {
  local prefix
  cd "$BATS_TEST_TMPDIR"
  for prefix in /usr / out; do
    rm -rf root
    DESTDIR=$([ "$prefix" = out ] || echo "$PWD/root") cmake --install "$build" --prefix "$prefix" \
      >/dev/null
    run find "$PWD" -name counterd.service -exec grep ^ExecStart= {} \;
    case $prefix in
      /usr) [ "$output" = ExecStart=/usr/bin/counterd ] ;;
      /) [ "$output" = ExecStart=/bin/counterd ] ;;
      out) [ "$output" = "ExecStart=$PWD/out/bin/counterd" ] ;;
    esac
  done
}

@test "systemd-analyze verify has nothing to say about the unit" {
  # It looks for the programs where the unit says: in a root of their own.
  sed "s|/usr/local/bin/|$install_root/usr/local/bin/|; /^Documentation=/d" "$(unit)" \
    >"$BATS_TEST_TMPDIR/counterd.service"
  run --separate-stderr systemd-analyze verify "$BATS_TEST_TMPDIR/counterd.service"
  [ "$status" -eq 0 ]
  [ -z "$stderr" ]
}

# The manual's drop-ins for counterd.service, and that of counterctl(1) for a unit of the reader, each
# in a file of its own in the folder $1.
write_drop_ins() {
  local man
  man=$(cd "$BATS_TEST_DIRNAME/../man" && pwd)
  mkdir -p "$1"
  awk -v folder="$1" '
    /^\.EE/ { inside = 0 }
    inside { gsub(/\\-/, "-"); print > file }
    /^\.EX/ {
      getline
      if ($0 ~ /^\[(Unit|Service)\]$/) {
        inside = 1
        file = folder "/" (FILENAME ~ /counterd\.8$/ ? "counterd" : "reader") "." ++number ".conf"
        print > file
      }
    }' "$man/counterd.8" "$man/counterctl.1"
}

@test "systemd-analyze verify has nothing to say about the manual's drop-ins" {
  local file name
  cd "$BATS_TEST_TMPDIR"
  write_drop_ins drop-ins
  [ "$(find drop-ins -name 'counterd.*' | wc -l)" -ge 5 ]
  [ "$(find drop-ins -name 'reader.*' | wc -l)" -eq 1 ]
  sed "s|/usr/local/bin/|$install_root/usr/local/bin/|; /^Documentation=/d" "$(unit)" >counterd.service
  printf '%s\n' '[Service]' Type=oneshot ExecStart=/bin/true >reader.service
  for file in drop-ins/*; do
    name=${file#drop-ins/}
    mkdir "${name%%.*}.service.d"
    # The programs are in a root of their own. A whole unit has an ExecStart of its own.
    sed "s|=-counterctl |=-$install_root/usr/local/bin/counterctl |
      s|^ExecStart=|ExecStart=\\n&$install_root|" "$file" >"${name%%.*}.service.d/manual.conf"
    SYSTEMD_UNIT_PATH=$PWD: run --separate-stderr systemd-analyze verify "$PWD/${name%%.*}.service"
    [ "$status" -eq 0 ]
    [ -z "$stderr" ] || { echo "$file: $stderr"; return 1; }
    rm -r "${name%%.*}.service.d"
  done
}

@test "systemd-analyze verify would have found a misspelled key" {
  sed "s|/usr/local/bin/|$install_root/usr/local/bin/|; s/^StateDirectory=/StateDirectoy=/" "$(unit)" \
    >"$BATS_TEST_TMPDIR/counterd.service"
  run --separate-stderr systemd-analyze verify "$BATS_TEST_TMPDIR/counterd.service"
  [[ "$stderr" == *StateDirectoy* ]]
}

@test "the unit is hardened: its exposure is at most 2.0 of 10" {
  run systemd-analyze security --offline=true --threshold=20 "$(unit)"
  [ "$status" -eq 0 ]
}

@test "the unit starts the installed program, waits for READY=1 and keeps its state" {
  run cat "$(unit)"
  [[ "$output" == *$'\nExecStart=/usr/local/bin/counterd\n'* ]]
  [[ "$output" == *$'\nType=notify\n'* ]]
  [[ "$output" == *$'\nStateDirectory=counterd\n'* ]]
  [[ "$output" == *$'\nRuntimeDirectory=counterd\n'* ]]
  [[ "$output" == *$'\nRestartPreventExitStatus=64 78\n'* ]]
  [[ "$output" == *$'\nTimeoutStartSec=5min\n'* ]]
}
