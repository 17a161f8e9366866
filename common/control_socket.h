// Where the control sockets of this host's daemons are, and how a client asks over one
// (control.h).
#pragma once

#include <string>

#include "common/control.h"
#include "common/deadline.h"
#include "common/endpoint.h"
#include "common/error.h"
#include "common/unique_fd.h"

namespace counterd {

// What to do where a control socket cannot be.
inline constexpr const char* kNameAnotherPlace =
    "; for another place set RUNTIME_DIRECTORY to a folder that is this user's";

// The directory where a daemon makes its control socket: $RUNTIME_DIRECTORY, else
// $XDG_RUNTIME_DIR/counterd if $XDG_RUNTIME_DIR is there and this user's, else /run/counterd-0 for
// root, else /tmp/counterd-UID. The first is taken as it is; the others are created if missing, for
// their owner alone. kConfig: one of those belongs to another user, or others may write to it;
// setup_code() (error.h): it cannot be created.
Result<std::string> control_directory();

// The name of the control socket of a daemon that listens on `endpoint`, in that directory.
std::string control_socket_name(const Endpoint& endpoint);

// A connection to the daemon of this host and user that listens on `endpoint`, which may name any
// address of this host that reaches the daemon. kUnavailable: there is none; kOverloaded: it takes
// no connection in time; kForbidden: only another user's is there.
Result<UniqueFd> find_daemon(const Endpoint& endpoint, Deadline deadline);

// Asks one question over the connection. Errors: the daemon's own refusal; kUnavailable: it has
// ended (see wait_for_end()); kOverloaded: it does not answer, and has not been told to do
// anything; kUnknown: it does not answer, and may yet do what it was told.
Result<DaemonInfo> ask_daemon(const UniqueFd& daemon, const ControlRequest& request,
                              Deadline deadline);

// find_daemon(), then ask_daemon() over that connection.
Result<DaemonInfo> ask_daemon(const Endpoint& endpoint, const ControlRequest& request,
                              Deadline deadline);

enum class DaemonEnd : unsigned char {
  kNotYet,
  kComplete,  // no process of the daemon is left
  kUnknown,   // it has closed the connection without a word: killed, perhaps, but not its workers
};

// Waits for the end of a daemon that has answered that it is stopping. kNotYet: by `deadline`.
DaemonEnd wait_for_end(const UniqueFd& daemon, Deadline deadline);

}  // namespace counterd
