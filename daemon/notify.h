// Tells systemd how the service is doing (sd_notify(3)): datagrams to $NOTIFY_SOCKET, if there is
// one. Never waits: what systemd has no room for now, as where others' messages fill its queue, is
// sent again a little later.
#pragma once

#include <string>

#include "common/deadline.h"

namespace counterd {

class SystemdNotifier {
 public:
  SystemdNotifier();

  // Sends `state`, lines such as "READY=1" or "STATUS=…", unless it is the same as before. What
  // could not be sent before is outdated.
  void tell(std::string state);

  // Sends what is due by now: a state again, and WATCHDOG=1 twice in the time after which systemd
  // takes the service for dead, if it asks for that (sd_watchdog_enabled(3)).
  void send_due();
  // When something is; max(): at no time.
  Time next_deadline() const;

 private:
  std::string state_;
  Time next_state_ = Time::max();  // max(): it has been sent
  Time next_watchdog_;             // max(): systemd does not ask for it
};

}  // namespace counterd
