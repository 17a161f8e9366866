// Standard input, output and error of a process that was started without some of them.
#pragma once

namespace counterd {

// Keeps the numbers 0 to 2 from what is opened later: a database or a connection that got one of
// them would have written into it what is meant for a terminal or a log. What was closed stays so
// for who reads or writes it: EBADF. Called first of all.
void hold_standard_streams();

}  // namespace counterd
