// Times, such as the one by which something must be done, and waiting for a descriptor until then.
#pragma once

#include <chrono>

namespace counterd {

using Time = std::chrono::steady_clock::time_point;
using Deadline = Time;

// How long it is until then, as poll(2) takes it: in milliseconds, rounded up, and a minute at
// most, for a time may be farther off than fits. 0: it has passed.
int milliseconds_until(Time time);

// Waits until one of `events` of poll(2), POLLIN or POLLOUT, is true of `fd`, or it is at its end;
// false: not by `deadline`, or poll(2) failed. A signal does not cut the wait short. Does not even
// look if the deadline has passed.
bool wait_ready(int fd, short events, Deadline deadline);

// Whether `fd` has something to read now, or is at its end; a listening socket, to accept. So it is
// true of a connection that the other side has closed.
bool is_readable(int fd);

}  // namespace counterd
