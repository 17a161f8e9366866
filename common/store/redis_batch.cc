#include "common/store/redis_batch.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

namespace counterd {
namespace {

using std::chrono::milliseconds;

// Whether both may be told as one with a count: reports, or increments by the same under the same
// conditions. Not those that clamp: how much of one is applied would have to be told for each.
bool are_alike(const Operation& a, const Operation& b) {
  if (a.kind != b.kind || is_keyed(a) || is_keyed(b)) return false;
  if (a.kind == OperationKind::kReport) return true;
  return a.kind == OperationKind::kIncrement && a.operand == b.operand && a.initial == b.initial &&
         a.bounds == b.bounds && !a.bounds.clamp;
}

bool has_conditions(const Operation& operation) {
  return operation.initial != 0 || operation.bounds != Bounds{};
}

std::string describe_conditions(const Operation& operation) {
  const auto text = [](const std::optional<std::int64_t>& bound) {
    return bound ? std::to_string(*bound) : "-";
  };
  const auto& [min, max, clamp] = operation.bounds;
  return std::to_string(operation.initial) + " " + text(min) + " " + text(max) +
         (clamp ? " c" : " r");
}

// Takes the text up to `end` off the front.
std::string_view take_until(std::string_view& text, char end) {
  const std::size_t length = std::min(text.find(end), text.size());
  const std::string_view taken = text.substr(0, length);
  text.remove_prefix(std::min(length + 1, text.size()));
  return taken;
}

// What came of a run.
struct RunOutcome {
  Outcome outcome;           // of each step; where it is counted, of the last one that was applied
  bool is_counted = false;   // it is one of increments,
  std::int64_t applied = 0;  // of which so many were applied
  std::int64_t positions = 0;  // steps that have got their outcome
};

// The code that the script's letter stands for.
std::optional<Code> code_of(std::string_view letter) {
  if (letter == "k" || letter == "n" || letter == "r") return Code::kOk;
  if (letter == "m") return Code::kMissing;
  if (letter == "o") return Code::kOutOfRange;
  if (letter == "b") return Code::kBeyondBound;
  if (letter == "x") return Code::kKeyReused;
  if (letter == "f") return Code::kTooManyKeys;
  return std::nullopt;
}

bool read_run(std::string_view line, RunOutcome& run) {
  const std::string_view letter = take_until(line, ' ');
  const std::optional<Code> code = code_of(letter);
  if (!code) return false;
  run.outcome.code = *code;
  run.outcome.replayed = letter == "r";
  if (!read_int64(take_until(line, ' '), run.outcome.value)) return false;
  const std::string_view third = take_until(line, ' ');
  run.is_counted = letter == "n";
  if (run.is_counted) {
    if (!read_int64(third, run.applied)) return false;
  } else if (third != "-") {
    if (!read_int64(third, run.outcome.previous.emplace())) return false;
  }
  return read_int64(take_until(line, ' '), run.outcome.created_at_ms) &&
         read_int64(line, run.outcome.updated_at_ms);
}

// `value` - `count` * `delta`, which is in the range of a counter, although the product may not be.
std::int64_t subtract(std::int64_t value, std::int64_t count, std::int64_t delta) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(value) -
                                   static_cast<std::uint64_t>(count) *
                                       static_cast<std::uint64_t>(delta));
}

// Nothing: the run cannot have come out like this.
std::optional<Outcome> next_outcome(const Operation& operation, RunOutcome& run) {
  Outcome outcome = run.outcome;
  if (!run.is_counted) return outcome;
  const std::int64_t later = run.applied - ++run.positions;
  if (later >= 0) {
    outcome.value = subtract(outcome.value, later, operation.operand);
  } else {
    outcome.code = add_within(outcome.value, operation.operand, operation.bounds).code;
    if (outcome.code == Code::kOk) return std::nullopt;
  }
  return outcome;
}

}  // namespace

bool read_int64(std::string_view text, std::int64_t& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size();
}

RedisBatch::RedisBatch(std::span<Step> batch) : batch_(batch) {
  run_of_.reserve(batch.size());
  std::unordered_map<std::string_view, std::uint32_t> latest;  // run of each counter
  for (const Step& step : batch) {
    const auto next = static_cast<std::uint32_t>(runs_.size());
    const auto [found, fresh] = latest.try_emplace(step.operation.name, next);
    if (fresh || !are_alike(*runs_[found->second].operation, step.operation)) {
      runs_.push_back({&step.operation, 0});
      found->second = next;
    }
    ++runs_[found->second].count;
    run_of_.push_back(found->second);
  }
}

void RedisBatch::describe(milliseconds key_lifetime, std::vector<std::string>& arguments) const {
  constexpr std::array kKinds = {"i", "s", "d", "r"};  // in the order of OperationKind
  constexpr std::array kKeyedKinds = {"I", "S", "D"};
  arguments.reserve(arguments.size() + 6 * runs_.size());
  for (const auto& [operation, count] : runs_) {
    const auto kind = static_cast<std::size_t>(operation->kind);
    const bool keyed = is_keyed(*operation);
    const bool conditions = has_conditions(*operation);
    if (conditions) {
      arguments.emplace_back(keyed ? "B" : "b");
    } else {
      arguments.emplace_back(keyed ? kKeyedKinds.at(kind) : kKinds.at(kind));
    }
    arguments.push_back(operation->name);
    arguments.push_back(std::to_string(operation->operand));
    if (conditions) arguments.push_back(describe_conditions(*operation));
    if (!keyed) {
      arguments.push_back(std::to_string(count));
      continue;
    }
    const milliseconds own = operation->key_lifetime;
    const milliseconds lifetime = own.count() > 0 ? std::min(own, key_lifetime) : key_lifetime;
    arguments.push_back(operation->key);
    arguments.push_back(std::to_string(lifetime.count()));
  }
}

bool RedisBatch::read_outcomes(std::string_view answer) const {
  std::vector<RunOutcome> outcomes(runs_.size());
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    if (answer.empty() || !read_run(take_until(answer, '\n'), outcomes[i])) return false;
    if (outcomes[i].applied < 0 || outcomes[i].applied > runs_[i].count) return false;
  }
  if (!answer.empty()) return false;
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    Step& step = batch_[i];
    std::optional<Outcome> outcome = next_outcome(step.operation, outcomes[run_of_[i]]);
    if (!outcome) return false;
    step.outcome = std::move(*outcome);
  }
  return true;
}

}  // namespace counterd
