// The supervisor's side of the control socket (common/control.h), for use with poll(): between
// open() and say_ended() it never waits.
#pragma once

#include <poll.h>

#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "common/control.h"
#include "common/deadline.h"
#include "common/endpoint.h"
#include "common/unix_socket.h"

namespace counterd {

class ControlServer {
 public:
  using Handler = std::function<Result<DaemonInfo>(const ControlRequest& request)>;

  // Opens a control socket named for each of `endpoints`. Waits up to 2 s for the answer of a
  // daemon that has one of them. kConfig; kIo: it may pass by itself.
  static Result<ControlServer> open(const std::vector<Endpoint>& endpoints);

  // Adds what to wait for, and then serves what is ready. The connection of an answer that says
  // that the daemon is stopping is kept open, for say_ended().
  void add_to(std::vector<pollfd>& polled) const;
  void serve(const std::vector<pollfd>& polled, const Handler& handler);
  // Closes connections that say nothing, and ends a pause of accepting.
  void expire();
  // Says to all that have connected that the daemon has ended; nobody can connect from now on. May
  // wait for a second for each socket (see lock_folder()).
  void say_ended();
  // When add_to() and expire() are to be called again, even if nothing is ready; max(): at no time.
  Time next_deadline() const;

 private:
  struct Connection {
    UniqueFd socket;
    std::string input;
    Deadline deadline;
    bool kept = false;  // answered, and open until the end
  };

  bool accept(const UnixListener& listener);  // false: there is nobody
  // False: the connection is done with.
  bool serve_connection(Connection& connection, const Handler& handler);

  std::vector<UnixListener> listeners_;
  std::list<Connection> connections_;
  std::optional<Time> accepts_from_;  // while nobody is accepted
};

}  // namespace counterd
