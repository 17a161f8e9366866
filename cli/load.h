// Load on a daemon: connections that ask one request after another, as many clients would.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <string>

#include "cli/latencies.h"
#include "common/endpoint.h"
#include "common/error.h"

namespace counterd {

struct LoadPlan {
  Endpoint server;
  int connections = 1;
  std::chrono::milliseconds duration{0};
  int counters = 1;       // how many are changed and read, chosen at random
  int reports = 0;        // percentage of requests, at random; the others increment by 1
  bool keyed = false;     // an idempotency key with each increment
  std::int64_t rate = 0;  // requests a second in all; 0: each connection asks once it was answered
};

struct LoadResult {
  std::chrono::nanoseconds time{0};
  std::uint64_t failed = 0;      // answered by another status than 200
  std::uint64_t lost = 0;        // connections that ended, or whose answer was not understood
  std::uint64_t unanswered = 0;  // due or asked, without an answer a while after the end
  std::string failure;           // what the first of these was
  int interrupted_by = 0;        // the signal that ended it early
  // Those of all answers. At a rate, from when the request was due: a server that stalls is also
  // charged for the requests that would have come meanwhile.
  Latencies latencies;
};

// The name of a plan's counter `number`.
std::string load_counter(int number);

// Runs the plan until its time is over or one of `signals` comes, and waits a while for the last
// answers, unless another one comes; `progress` is called once a second with the results so far.
// kUnavailable: not all connections could be made. REQUIRES: the signals are blocked
Result<LoadResult> run_load(const LoadPlan& plan, const sigset_t& signals,
                            const std::function<void(const LoadResult&)>& progress);

}  // namespace counterd
