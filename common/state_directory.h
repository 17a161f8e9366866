// Where the program keeps what outlives it.
#pragma once

#include <string>

#include "common/error.h"

namespace counterd {

// What to do where the state directory cannot be made or used.
inline constexpr const char* kNameAnotherStateDirectory =
    "; set STATE_DIRECTORY or XDG_STATE_HOME to a directory of this user";

// $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/counterd, else $HOME/.local/state/counterd
// (XDG Base Directory Specification). kConfig, if none is set, or HOME is no directory.
Result<std::string> state_directory();

// The same, and creates it, for its owner alone, if it is missing; systemd's is there already.
// kConfig, too: it, or the link to it, belongs to another user, unless that is root or it is
// $STATE_DIRECTORY. If it cannot be created: setup_code() (error.h).
Result<std::string> make_state_directory();

}  // namespace counterd
