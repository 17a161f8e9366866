#include "daemon/store_health.h"

#include <algorithm>

#include "common/log.h"

namespace counterd {

void StoreHealth::note_change(const Error* failure) {
  const std::string now = failure == nullptr ? std::string() : failure->message;
  code_ = failure == nullptr ? Code::kOk : failure->code;
  if (now == failure_) return;
  log_line(failure == nullptr ? "the store answers again" : now);
  failure_ = now;
}

void StoreHealth::note_look(const Error* failure) {
  if (failure != nullptr || code_ != Code::kStoreFull) note_change(failure);
}

void StoreHealth::note_batch(std::span<const Step> batch) {
  const auto change = std::find_if(batch.begin(), batch.end(), [](const Step& step) {
    return changes_something(step.operation);
  });
  const bool looks = change == batch.end();
  const Outcome& told = looks ? batch.front().outcome : change->outcome;
  const bool failed = told.code == Code::kUnavailable || told.code == Code::kUnknown ||
                      told.code == Code::kStoreFull;
  const Error failure{told.code, told.detail};
  looks ? note_look(failed ? &failure : nullptr) : note_change(failed ? &failure : nullptr);
}

}  // namespace counterd
