// Tells systemd how the service is doing (sd_notify(3)): a datagram to $NOTIFY_SOCKET.
#pragma once

#include <string_view>

namespace counterd {

// Sends `state`, lines such as "READY=1" or "STATUS=…". Does nothing unless systemd asks for it,
// and nothing is lost if it does not listen.
void notify_systemd(std::string_view state);

}  // namespace counterd
