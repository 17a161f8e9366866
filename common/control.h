// The control socket: how the supervisor is asked about its workers and told what to do.
//
// A Unix stream socket of the supervisor, for its own user and root (by the peer's credentials).
// One request and one reply per connection, each one JSON object on one line:
//   {"command":"workers"}            {"pid":…,"ready":…,"stopping":…,"settings":[…],"wanted":…,
//                                     "workers":[{"pid":…,"slot":…,"state":…,"since_ms":…}]}
//   {"command":"scale","workers":4}  the same, once the number is adopted
//   {"command":"stop"}               the same
// After its reply the daemon closes the connection; if it is stopping, only when all its processes
// have ended, which it says by kEndedWord to everybody who is connected then. A connection that is
// closed without it says nothing about workers.
// A refused request is answered by {"error":{"code":…,"message":…}}, whose code is the problem's
// type (error.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"

namespace counterd {

enum class WorkerState : unsigned char {
  kWaiting,   // to be started (again): there is no process
  kStarting,  // until the store has answered
  kReady,
  kDraining,  // takes no more connections, and ends
  kLeaving,   // as kDraining, and another worker already has its slot
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
  bool ready = false;                 // every worker serves, and its store has answered it once
  bool stopping = false;              // it ends, and takes no more connections
  std::vector<std::string> settings;  // how it serves, as `counterd --check-config` prints it
  int wanted = 0;                     // number of workers it is to have
  std::vector<WorkerInfo> workers;
};

enum class ControlCommand : unsigned char { kWorkers, kScale, kStop };

struct ControlRequest {
  ControlCommand command;
  int workers = 0;  // kScale: 1 to kMaxWorkers
};

inline constexpr char kEndedWord = '.';  // begins no reply

std::string encode(const ControlRequest& request);
std::string encode(const DaemonInfo& info);
std::string encode(const Error& error);
// kBadBody, kBadParameter, kBadNumber.
Result<ControlRequest> decode_control_request(std::string_view line);
// The error that the daemon answered with, or kUnavailable if its answer makes no sense.
Result<DaemonInfo> decode_control_reply(std::string_view line);

}  // namespace counterd
