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
// kConfig also: it, or the link to it, belongs to another user, but root is accepted as its owner,
// and $STATE_DIRECTORY may be anybody's; setup_code() (error.h): it cannot be created.
Result<std::string> make_state_directory();

}  // namespace counterd
