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

@test "cmake --install installs programs, manual pages and the unit, and nothing else" {
  run find "$install_root" -type f -printf '%P\n'
  [ "$(sort <<<"$output")" = "usr/local/bin/counterctl
usr/local/bin/counterd
usr/local/lib/systemd/system/counterd.service
usr/local/share/man/man1/counterctl.1
usr/local/share/man/man8/counterd.8" ]
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
}
