#include "common/store/store.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/quote.h"
#include "common/store/engines.h"

namespace counterd {

Result<std::unique_ptr<Store>> open_store(const StoreOptions& options) {
  const Result<StoreLocation> location = parse_store_url(options.url);
  if (!location) return location.error();
  return std::visit([&](const auto& place) { return open_engine(place, options); }, *location);
}

Result<Sync> parse_sync(std::string_view text) {
  if (text == "full") return Sync::kFull;
  if (text == "normal") return Sync::kNormal;
  return Error{Code::kConfig, quote_for_people(text) + " is neither full nor normal"};
}

std::string to_string(Sync sync) {
  return sync == Sync::kFull ? "full" : "normal";
}

Result<void> check_redis_prefix(std::string_view prefix) {
  const bool visible = std::ranges::all_of(prefix, [](char c) { return c > ' ' && c <= '~'; });
  if (visible && prefix.size() <= kMaxNameLength) return {};
  return Error{Code::kConfig, "Redis prefix " + quote_for_people(prefix) + " is not up to " +
                                  std::to_string(kMaxNameLength) + " visible ASCII characters"};
}

bool needs_turn(std::span<const Step> batch) {
  return std::ranges::any_of(batch, changes_something, &Step::operation);
}

std::chrono::milliseconds key_lifetime_of(const Operation& operation, const StoreOptions& options) {
  const std::chrono::milliseconds own = operation.key_lifetime;
  const bool is_shorter = own.count() > 0 && own < options.key_lifetime;
  return (is_shorter ? own : options.key_lifetime) + options.key_reserve;
}

void apply_in_turn(Store& store, std::span<Step> batch, Deadline deadline) {
  store.apply(batch, deadline);
  store.yield_turn();
  store.make_durable(batch);
}

void run_batch(Store& store, std::span<Step> batch, Deadline deadline) {
  if (!needs_turn(batch)) {
    store.apply(batch, deadline);
  } else if (const Result<void> turn = store.take_turn(deadline); !turn) {
    fail_batch(batch, turn.error());
  } else {
    apply_in_turn(store, batch, deadline);
  }
  store.tidy();
}

void apply_reports(Store& store, std::span<Step> batch, Deadline deadline) {
  std::vector<Step*> places;
  std::vector<Step> reports;
  for (Step& step : batch) {
    if (changes_something(step.operation)) continue;
    places.push_back(&step);
    reports.push_back(std::move(step));
  }
  if (reports.empty()) return;
  store.apply(reports, deadline);
  for (std::size_t i = 0; i < places.size(); ++i) *places[i] = std::move(reports[i]);
}

void fail_batch(std::span<Step> batch, const Error& error) {
  const bool tells_more = error.code == Code::kUnknown || error.code == Code::kStoreFull;
  for (Step& step : batch) {
    const bool tells = tells_more && changes_something(step.operation);
    step.outcome = failed({tells ? error.code : Code::kUnavailable, error.message});
  }
}

}  // namespace counterd
