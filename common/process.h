// What both programs need as processes of the system.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace counterd {

// timeout(1) sends its signal twice at once, to the process and to its group: what comes within
// this time after a signal is no second one.
inline constexpr std::chrono::milliseconds kOneSignal{250};

// What a program does before anything else.
//
// Keeps the descriptors 0 to 2 from being used for what is opened later, if the process was started
// without some of them: otherwise what is meant for a terminal or a log would be written into a
// database or a connection that got one of them. What was closed stays closed to whoever reads or
// writes it: EBADF.
//
// Turns into errors to report what would end the process: writing to a peer that is gone (SIGPIPE,
// EPIPE), and beyond the size that is allowed for a file (SIGXFSZ, EFBIG; see RLIMIT_FSIZE in
// setrlimit(2)).
void set_up_process();

// The arguments, or the environment, as execve(2) takes them. REQUIRES: `words` outlive them
std::vector<char*> argv_of(std::vector<std::string>& words);

}  // namespace counterd
