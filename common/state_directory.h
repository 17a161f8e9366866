// Where the program keeps what outlives it.
#pragma once

#include <string>

#include "common/error.h"

namespace counterd {

// $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/counterd, else $HOME/.local/state/counterd
// (XDG Base Directory Specification); the last two are made, for their owner alone, if missing.
// kConfig, if none is set or it cannot be made.
Result<std::string> state_directory();

}  // namespace counterd
