#include "daemon/store_health.h"

#include <algorithm>

namespace counterd {
namespace {

// The store has recovered when it has not failed for kQuietTime: if one counter fails and others do
// not, failures and successes alternate with every request. Until then each different failure is
// logged once; after kMostFailures of them, at most one in each kQuietTime.
constexpr std::chrono::seconds kQuietTime{10};
constexpr std::size_t kMostFailures = 8;

// A refusal that lasts is logged again after this.
constexpr std::chrono::hours kRefusalPause{1};

bool is_failure(Code code) {
  return code == Code::kUnavailable || code == Code::kUnknown || code == Code::kStoreFull;
}

// Whether the refusal, by a store that answers, may last until an administrator does something.
bool needs_administrator(const Step& step) {
  return step.outcome.code == Code::kTooManyKeys || step.outcome.code == Code::kClocksApart;
}

}  // namespace

std::optional<std::string> StoreHealth::note_change(const Error* failure, Time now) {
  change_failure_ = failure == nullptr ? "" : failure->message;
  if (failure == nullptr) return note_success(now);
  std::optional<std::string> message = note_failure(*failure, now);
  changes_failed_ = true;
  return message;
}

std::optional<std::string> StoreHealth::note_read(const Error* failure, Time now) {
  if (failure != nullptr) return note_failure(*failure, now);
  return changes_failed_ ? std::nullopt : note_success(now);
}

std::optional<std::string> StoreHealth::note_batch(std::span<const Step> batch, Time now) {
  const bool only_reads = std::ranges::none_of(batch, changes_something, &Step::operation);
  const auto tells = [only_reads](const Step& step) {
    return only_reads || changes_something(step.operation);
  };
  const bool works = std::ranges::any_of(
      batch, [&](const Step& step) { return tells(step) && !is_failure(step.outcome.code); });
  const Outcome& first = std::ranges::find_if(batch, tells)->outcome;
  const Error error{first.code, first.detail};
  const Error* const failure = works ? nullptr : &error;
  std::optional<std::string> message =
      only_reads ? note_read(failure, now) : note_change(failure, now);
  const auto refused = std::ranges::find_if(batch, needs_administrator);
  if (message || refused == batch.end()) return message;
  return note_refusal(refused->outcome.code, now);
}

// Apart from failures: the store answers, and its outages are to be logged also while this lasts.
std::optional<std::string> StoreHealth::note_refusal(Code code, Time now) {
  const auto [logged, is_first] = refusals_.try_emplace(code, now);
  if (!is_first && now - logged->second < kRefusalPause) return std::nullopt;
  logged->second = now;
  return std::string(code_info(code).title) + ": some changes are refused; their answers say why";
}

std::optional<std::string> StoreHealth::note_failure(const Error& failure, Time now) {
  // Another outage: nobody has asked late enough after the one before to find that it had ended.
  if (answered_ && now - latest_ >= kQuietTime) forget_outage();
  answered_ = false;
  latest_ = now;
  const bool known = std::ranges::find(failures_, failure.message) != failures_.end();
  const bool too_many = failures_.size() >= kMostFailures && now - logged_ < kQuietTime;
  // A wrong configuration ends the daemon.
  if (known || (too_many && failure.code != Code::kConfig)) return std::nullopt;
  if (failures_.size() >= kMostFailures) failures_.erase(failures_.begin());
  failures_.push_back(failure.message);
  logged_ = now;
  return failure.message;
}

std::optional<std::string> StoreHealth::note_success(Time now) {
  answered_ = true;
  if (failures_.empty() || now - latest_ < kQuietTime) return std::nullopt;
  forget_outage();
  return "the store answers again";
}

void StoreHealth::forget_outage() {
  failures_.clear();
  changes_failed_ = false;
}

}  // namespace counterd
