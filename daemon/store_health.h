// What to log of the store: one line when it begins to fail and one when it has recovered, even if
// failures and successes alternate.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "common/error.h"
#include "common/operation.h"

namespace counterd {

class StoreHealth {
 public:
  // Each returns what to log, if anything. `failure` is null if it worked.

  // How a change went, or getting the turn for it.
  std::optional<std::string> note_change(const Error* failure, Time now);
  // How reading went. That it works says nothing about changes that have failed.
  std::optional<std::string> note_read(const Error* failure, Time now);
  // How a batch went, which is not empty. A failing store fails all changes in it together; where
  // some went well, others fail for what is stored of their counters.
  std::optional<std::string> note_batch(std::span<const Step> batch, Time now);

  // Why the latest change failed; empty: it did not.
  const std::string& change_failure() const { return change_failure_; }

 private:
  std::optional<std::string> note_failure(const Error& failure, Time now);
  std::optional<std::string> note_success(Time now);
  std::optional<std::string> note_refusal(Code code, Time now);
  void forget_outage();

  std::vector<std::string> failures_;  // as logged; none while the store answers
  bool changes_failed_ = false;        // and not only reading
  bool answered_ = false;              // since the latest failure
  std::string change_failure_;
  Time logged_, latest_;           // when one was logged, and when one was met
  std::map<Code, Time> refusals_;  // when each was logged
};

}  // namespace counterd
