// Tells systemd how the service is doing (sd_notify(3)): a datagram to $NOTIFY_SOCKET.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace counterd {

// Sends `state`, lines such as "READY=1" or "STATUS=…", if systemd asks for it. Does not wait.
// False: there is no room for it now, as where others' messages fill the queue.
bool notify_systemd(std::string_view state);

// systemd takes the service for dead that does not send "WATCHDOG=1" at least this often
// (sd_watchdog_enabled(3)); nothing: it does not ask for it.
std::optional<std::chrono::microseconds> watchdog_time();

}  // namespace counterd
