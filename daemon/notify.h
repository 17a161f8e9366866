// Tells systemd how the service is doing (sd_notify(3)): a datagram to $NOTIFY_SOCKET.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace counterd {

// Sends `state`, lines such as "READY=1" or "STATUS=…". Does nothing unless systemd asks for it,
// and nothing is lost if it does not listen; if it is slow, waits for up to a second.
void notify_systemd(std::string_view state);

// systemd takes the service for dead that does not send "WATCHDOG=1" at least this often
// (sd_watchdog_enabled(3)); nothing: it does not ask for it.
std::optional<std::chrono::microseconds> watchdog_time();

}  // namespace counterd
