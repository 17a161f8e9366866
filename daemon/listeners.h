// The listening sockets of a daemon, opened once and kept open while it runs, so that the worker
// that replaces a dead one inherits its queue.
//
// TCP: one socket for each worker slot, all bound to the same port with SO_REUSEPORT, because a
// socket that all workers share gives nearly all connections to the first worker that wakes. The
// kernel spreads connections at random over some of the slots, by a small socket filter that is
// replaced when they change: a slot that is being removed, or whose worker cannot start, gets no
// new connections. Unix sockets, and those that systemd hands over, are shared by all workers.
#pragma once

#include <vector>

#include "common/deadline.h"
#include "common/endpoint.h"
#include "common/error.h"
#include "common/unique_fd.h"
#include "common/unix_socket.h"

namespace counterd {

class Listeners {
 public:
  // Opens `endpoints`, with one slot; names are resolved, and all their addresses are used. Fails
  // with kConfig if an address is already taken, by whatever program, or a name is unknown, and
  // with kIo if this machine does not have the address, or the name cannot be looked up for now;
  // else with setup_code() (error.h). Replaces a Unix socket that nobody listens on. If several
  // daemons open one path at once, one gets it. Waits until `deadline` for an address that is
  // taken: then also of several that open one TCP address at once, one gets it.
  static Result<Listeners> open(const std::vector<Endpoint>& endpoints,
                                Deadline deadline = Deadline());

  // Takes the sockets that systemd hands over (sd_listen_fds(3)), and the variables that tell of
  // them out of the environment; none, if it hands over none. kConfig: it is something else than
  // listening sockets, or a Unix socket without a path.
  static Result<Listeners> from_systemd();

  // Creates the sockets of the next slot (errors: as open()), or removes those of the last. The
  // last may be removed only when nothing uses them any more.
  Result<void> add_slot();
  void remove_slot();
  // Lets new connections go to these slots only. REQUIRES: at least one, at most kMaxWorkers
  void route_to(const std::vector<std::size_t>& slots);

  // The descriptors that the worker of `slot` inherits.
  std::vector<int> sockets_of(std::size_t slot) const;
  // Whether connections are queued in the slot's own sockets.
  bool has_queued(std::size_t slot) const;

  // Stops listening, as the end of this object does: closes every socket and removes the names of
  // Unix sockets that are still ours.
  void close();

  // The endpoints, with the ports that the system chose for port 0.
  const std::vector<Endpoint>& endpoints() const { return endpoints_; }

 private:
  Result<void> open_unix(const Endpoint& endpoint, Deadline deadline);
  Result<void> open_tcp(const Endpoint& endpoint, Deadline deadline);

  std::vector<Endpoint> endpoints_;
  std::vector<UniqueFd> shared_;              // by all slots
  std::vector<std::vector<UniqueFd>> slots_;  // each slot's own: one for each address of TCP
  std::vector<SocketName> names_;             // of Unix sockets
};

}  // namespace counterd
