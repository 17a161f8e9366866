// The control socket: how the supervisor is asked about its workers and told what to do.
//
// A Unix stream socket of the supervisor, for its own user and root (by the peer's credentials).
// One request and one reply per connection, each one JSON object on one line:
//   {"command":"workers"}            {"pid":…,"ready":…,"stopping":…,"settings":[…],
//                                     "addresses":[…],"wanted":…,"workers":[{"pid":…,
//                                     "slot":…,"state":…,"since_ms":…}]}
//   {"command":"scale","workers":4}  the same, once the number is adopted
//   {"command":"stop"}               the same
// The connection is closed then, but by a daemon that is stopping only when it has ended.
// A refused request is answered by {"error":{"code":…,"message":…}}, whose code is the problem's
// type (error.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/deadline.h"
#include "common/endpoint.h"
#include "common/error.h"
#include "common/unique_fd.h"

namespace counterd {

enum class WorkerState : unsigned char {
  kWaiting,   // to be started (again): there is no process
  kStarting,  // until the store has answered
  kReady,
  kDraining,  // takes no more connections, and ends
  kLeaving,   // the same, while another one already has its slot
};

// "waiting", "starting", "ready", "draining", "leaving"
std::string_view name_of(WorkerState state);

struct WorkerInfo {
  int pid = 0;
  int slot = 0;
  WorkerState state = WorkerState::kWaiting;
  std::int64_t since_ms = 0;  // when that state began, Unix time
};

struct DaemonInfo {
  int pid = 0;
  bool ready = false;                  // every worker serves, and its store has answered it once
  bool stopping = false;               // it ends, and takes no more connections
  std::vector<std::string> settings;   // how it serves, as `counterd --check-config` prints it
  std::vector<std::string> addresses;  // as to_url() gives them; at least one
  int wanted = 0;                      // number of workers it is to have
  std::vector<WorkerInfo> workers;
};

enum class ControlCommand : unsigned char { kWorkers, kScale, kStop };

struct ControlRequest {
  ControlCommand command;
  int workers = 0;  // kScale: 1 to kMaxWorkers
};

std::string encode(const ControlRequest& request);
std::string encode(const DaemonInfo& info);
std::string encode(const Error& error);
// kBadBody, kBadParameter, kBadNumber.
Result<ControlRequest> decode_control_request(std::string_view line);
// The error that the daemon answered with, or kUnavailable: it makes no sense.
Result<DaemonInfo> decode_control_reply(std::string_view line);

// What to do where a control socket cannot be.
inline constexpr std::string_view kNameAnotherPlace =
    "; for another place set RUNTIME_DIRECTORY to a folder that is this user's";

// The directory where a daemon makes its control socket: $RUNTIME_DIRECTORY, else
// $XDG_RUNTIME_DIR/counterd if $XDG_RUNTIME_DIR is there and this user's, else /run/counterd-0 for
// root, else /tmp/counterd-UID; all but the first are created if missing, for their owner alone.
// kConfig, including if it belongs to another user.
Result<std::string> control_directory();

// The name of the control socket of a daemon that listens on `endpoint`, in that directory.
std::string control_socket_name(const Endpoint& endpoint);

// A connection to the daemon of this host and user that listens on `endpoint`, which may name any
// address of this host that reaches the daemon. kUnavailable: there is none; kOverloaded: it takes
// no connection in time; kForbidden: only another user's is there.
Result<UniqueFd> find_daemon(const Endpoint& endpoint, Deadline deadline);

// Asks one question over the connection. kUnavailable: the daemon has ended; kOverloaded: it does
// not answer, and was not told to do anything; kUnknown: the same, and it may do what it was told;
// or the daemon's own refusal.
Result<DaemonInfo> ask_daemon(const UniqueFd& daemon, const ControlRequest& request,
                              Deadline deadline);

// find_daemon(), then ask_daemon() over that connection.
Result<DaemonInfo> ask_daemon(const Endpoint& endpoint, const ControlRequest& request,
                              Deadline deadline);

// Waits until the other side closes `connection`, as a daemon that has answered that it is stopping
// does when it ends; false: not by `deadline`.
bool wait_for_end(const UniqueFd& connection, Deadline deadline);

}  // namespace counterd
