// Shorthands for what store tests do all the time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/store/store.h"

namespace counterd {

inline Step increment_of(std::string name, std::int64_t by = 1) {
  return {{OperationKind::kIncrement, std::move(name), by}};
}
inline Step reset_of(std::string name, std::int64_t to = 0) {
  return {{OperationKind::kReset, std::move(name), to}};
}
inline Step delete_of(std::string name) {
  return {{OperationKind::kDelete, std::move(name)}};
}
inline Step report_of(std::string name) {
  return {{OperationKind::kReport, std::move(name)}};
}

// A group of the steps' operations.
inline Step group_of(OperationKind kind, const std::vector<Step>& steps) {
  Step group{{kind}};
  for (const Step& step : steps) group.operation.members.push_back(step.operation);
  return group;
}
inline Step each_of(const std::vector<Step>& steps) {
  return group_of(OperationKind::kEach, steps);
}
inline Step all_of(const std::vector<Step>& steps) {
  return group_of(OperationKind::kAll, steps);
}

// The same reset, only of an existing counter.
inline Step existing(Step step) {
  step.operation.create = false;
  return step;
}

// The same increment within bounds.
inline Step within(Step step, std::optional<std::int64_t> min, std::optional<std::int64_t> max,
                   bool clamp = false) {
  step.operation.bounds = {min, max, clamp};
  return step;
}
// The same increment, which sets an end.
inline Step ending_in(std::chrono::milliseconds ttl, Step step, bool renew = false) {
  step.operation.lifetime = {ttl, renew, {}};
  return step;
}
// The same increment, of a counter with a window.
inline Step per(Period period, Step step, std::string timezone = "UTC") {
  step.operation.lifetime.window = {period, std::move(timezone)};
  return step;
}
// The same increment, but only asking.
inline Step checking(Step step) {
  step.operation.check = true;
  return step;
}
// The same increment, of a counter that starts at `initial` if it is missing.
inline Step starting_at(std::int64_t initial, Step step) {
  step.operation.initial = initial;
  return step;
}

// The same step under an idempotency key.
inline Step keyed(Step step, std::string key, std::chrono::milliseconds lifetime = {}) {
  step.operation.key = std::move(key);
  step.operation.key_lifetime = lifetime;
  return step;
}

// So many steps, each made for its number, from 0.
inline std::vector<Step> many(int count,
                              const std::function<Step(const std::string& number)>& make) {
  std::vector<Step> steps;
  for (int i = 0; i < count; ++i) steps.push_back(make(std::to_string(i)));
  return steps;
}
// Increments of so many counters, whose names are `prefix` and a number.
inline std::vector<Step> increments_of_many(int count, const std::string& prefix) {
  return many(count, [&](const std::string& number) { return increment_of(prefix + number); });
}

inline Deadline after(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}
// Far enough off that only what hangs reaches it.
inline Deadline patiently() {
  return after(std::chrono::seconds(20));
}

inline std::chrono::milliseconds time_of(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               start);
}

// Looks again and again until it is so; false: it never was.
inline bool becomes_true(const std::function<bool()>& condition) {
  const Deadline end = patiently();
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// Throws, which fails the test or the child, unless the store opens.
inline std::unique_ptr<Store> open_or_throw(const StoreOptions& options) {
  Result<std::unique_ptr<Store>> store = open_store(options);
  if (!store) throw std::runtime_error(store.error().message);
  return std::move(*store);
}

// Runs the steps as one batch.
inline std::vector<Outcome> run(Store& store, std::vector<Step> steps,
                                Deadline deadline = patiently()) {
  run_batch(store, steps, deadline);
  std::vector<Outcome> outcomes;
  for (Step& step : steps) outcomes.push_back(std::move(step.outcome));
  return outcomes;
}

inline Outcome run_one(Store& store, Step step, Deadline deadline = patiently()) {
  std::vector<Step> steps;
  steps.push_back(std::move(step));
  return run(store, std::move(steps), deadline).front();
}

// The counter's value; nothing: it is missing. Throws when the store does not answer.
inline std::optional<std::int64_t> value_of(Store& store, const std::string& name) {
  const Outcome outcome = run_one(store, report_of(name));
  if (outcome.code == Code::kMissing) return std::nullopt;
  if (outcome.code != Code::kOk) throw std::runtime_error(outcome.detail);
  return outcome.value;
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace counterd
