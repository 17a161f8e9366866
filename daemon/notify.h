// Tells systemd how the service is doing (sd_notify(3)): a datagram to $NOTIFY_SOCKET.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace counterd {

// Whether to wait, up to a second, where others' messages fill systemd's queue, or else to give up.
enum class Urgency : unsigned char { kWaits, kGivesUp };

// Sends `state`, lines such as "READY=1" or "STATUS=…", if systemd asks for it. False: it did not
// take it.
bool notify_systemd(std::string_view state, Urgency urgency);

// systemd takes the service for dead that does not send "WATCHDOG=1" at least this often
// (sd_watchdog_enabled(3)); nothing: it does not ask for it.
std::optional<std::chrono::microseconds> watchdog_time();

}  // namespace counterd
