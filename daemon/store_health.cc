#include "daemon/store_health.h"

#include <algorithm>
#include <utility>

namespace counterd {
namespace {

// How long after a failure the store must have answered to be well again, and how long another
// failure is not told from the one that was logged: where one counter fails and others do not, both
// alternate as fast as they are asked for.
constexpr std::chrono::seconds kQuietTime{10};

}  // namespace

std::optional<std::string> StoreHealth::note_change(const Error* failure, Deadline now) {
  if (failure == nullptr) return note_success(now);
  changes_failed_ = true;
  return note_failure(*failure, now);
}

std::optional<std::string> StoreHealth::note_read(const Error* failure, Deadline now) {
  if (failure != nullptr) return note_failure(*failure, now);
  return changes_failed_ ? std::nullopt : note_success(now);
}

std::optional<std::string> StoreHealth::note_batch(std::span<const Step> batch, Deadline now) {
  const auto change = std::find_if(batch.begin(), batch.end(), [](const Step& step) {
    return changes_something(step.operation);
  });
  const bool only_reads = change == batch.end();
  const Outcome& first = only_reads ? batch.front().outcome : change->outcome;
  const bool failed = first.code == Code::kUnavailable || first.code == Code::kUnknown ||
                      first.code == Code::kStoreFull;
  const Error error{first.code, first.detail};
  const Error* const failure = failed ? &error : nullptr;
  return only_reads ? note_read(failure, now) : note_change(failure, now);
}

std::optional<std::string> StoreHealth::note_failure(const Error& failure, Deadline now) {
  latest_ = now;
  const bool is_new =
      failure_.empty() || (failure.message != failure_ && now - logged_ >= kQuietTime);
  if (!is_new) return std::nullopt;
  failure_ = failure.message;
  logged_ = now;
  return failure_;
}

std::optional<std::string> StoreHealth::note_success(Deadline now) {
  if (failure_.empty() || now - latest_ < kQuietTime) return std::nullopt;
  failure_.clear();
  changes_failed_ = false;
  return "the store answers again";
}

}  // namespace counterd
