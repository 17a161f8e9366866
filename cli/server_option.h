#pragma once

#include <string>

#include "common/endpoint.h"

namespace counterd {

// What a command that a message names needs to reach this server: " --server URL", quoted for a
// shell, or nothing for the one that it reaches without.
std::string server_option(const Endpoint& server);

}  // namespace counterd
