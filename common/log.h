// What people should know goes to standard error, one line each.
#pragma once

#include <string_view>

namespace counterd {

// Writes "PROGRAM[PID]: " and `message` and a newline in one write, but for a terminal that has no
// room for all of it, with control characters escaped, so that no input forges a line. The time
// comes first if standard error is a file; elsewhere it is added by whoever keeps the lines. The
// journal of systemd adds all three.
void log_line(std::string_view message);

// The same for what somebody should look into: the journal gets it as a warning, so that it can be
// found among the other lines, and be alerted on.
void log_warning(std::string_view message);

}  // namespace counterd
