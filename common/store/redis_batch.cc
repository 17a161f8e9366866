#include "common/store/redis_batch.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "common/ascii.h"
#include "common/store/engines.h"
#include "common/store/outcome_text.h"

namespace counterd {
namespace {

// Whether both may be sent as one with a count: reports, or increments by the same under the same
// conditions. Not those that clamp: how much of each is applied would have to be reported.
bool are_alike(const Operation& a, const Operation& b) {
  if (a.kind != b.kind || is_keyed(a) || is_keyed(b)) return false;
  if (a.kind == OperationKind::kReport) return true;
  return a.kind == OperationKind::kIncrement && a.operand == b.operand && a.initial == b.initial &&
         a.bounds == b.bounds && a.lifetime == b.lifetime && a.check == b.check && !a.bounds.clamp;
}

bool has_conditions(const Operation& operation) {
  return operation.initial != 0 || operation.bounds != Bounds{} ||
         operation.lifetime != Lifetime{} || operation.check;
}

char letter_of(const Operation& operation) {
  if (operation.check) return 'q';
  if (has_conditions(operation)) return 'b';
  if (!operation.create) return 't';
  constexpr std::array kLetters = {'i', 's', 'd', 'r', 'e', 'a'};  // in the order of OperationKind
  static_assert(kLetters.size() == static_cast<std::size_t>(OperationKind::kAll) + 1);
  return kLetters.at(static_cast<std::size_t>(operation.kind));
}

std::string describe_conditions(const Operation& operation) {
  const auto text = [](const std::optional<std::int64_t>& bound) {
    return bound ? std::to_string(*bound) : "-";
  };
  const auto& [min, max, clamp] = operation.bounds;
  const auto& [ttl, renew, window] = operation.lifetime;
  return std::to_string(operation.initial) + " " + text(min) + " " + text(max) +
         (clamp ? " c" : " r") +
         (ttl ? " " + std::to_string(ttl->count()) + (renew ? " r" : " c") : "") +
         (window ? " " + identity_of(*window) : "");
}

// Whether the group is sent as such: it means more than its members alone.
bool is_sent(const Operation& group) {
  return group.kind == OperationKind::kAll || is_keyed(group);
}

// The outcome of a run.
struct RunOutcome {
  Outcome outcome;             // of each step; if it is counted, of the last one that was applied
  bool is_counted = false;     // it is a run of increments,
  std::int64_t applied = 0;    // of which this many were applied
  std::int64_t positions = 0;  // steps that have their outcome
};

bool read_run(std::string_view line, RunOutcome& run) {
  run.is_counted = line.starts_with("n ");
  if (!run.is_counted) return read_outcome_line(line, run.outcome);
  std::string of_each(line);
  of_each.front() = 'k';
  if (!read_outcome_line(of_each, run.outcome) || !run.outcome.previous) return false;
  run.applied = *std::exchange(run.outcome.previous, std::nullopt);
  return true;
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

// Goes through the operations in order, and takes the outcome of each from that of its run.
class RedisBatch::Reader {
 public:
  Reader(const RedisBatch& batch, std::vector<RunOutcome>& outcomes)
      : batch_(batch), outcomes_(outcomes) {}

  // Nothing: it cannot have come out like this.
  std::optional<Outcome> read(const Operation& operation) {
    if (is_group(operation)) return read_group(operation);
    return next_outcome(operation, next_run());
  }

 private:
  std::optional<Outcome> read_group(const Operation& group) {
    Outcome outcome;
    if (is_sent(group)) outcome = next_run().outcome;
    const std::size_t end = position_ + group.members.size();
    for (const Operation& member : group.members) {
      if (outcome.code != Code::kOk) break;
      std::optional<Outcome> of_member = read(member);
      if (!of_member) return std::nullopt;
      if (group.kind == OperationKind::kAll) outcome.code = of_member->code;
      outcome.members.push_back(std::move(*of_member));
    }
    position_ = end;  // past members that have no outcome
    return outcome;
  }

  RunOutcome& next_run() { return outcomes_[batch_.run_of_[position_++]]; }

  const RedisBatch& batch_;
  std::vector<RunOutcome>& outcomes_;
  std::size_t position_ = 0;  // in run_of_
};

RedisBatch::RedisBatch(std::span<Step> batch) : batch_(batch) {
  run_of_.reserve(batch.size());
  LatestRuns latest;
  for (const Step& step : batch) {
    if (is_group(step.operation)) {
      add_group(step.operation, latest);
    } else {
      add(step.operation, latest);
    }
  }
}

void RedisBatch::add(const Operation& operation, LatestRuns& latest) {
  const auto next = static_cast<std::uint32_t>(runs_.size());
  const auto [found, fresh] = latest.try_emplace(operation.name, next);
  if (fresh || !are_alike(*runs_[found->second].operation, operation)) {
    runs_.push_back({&operation, 0});
    found->second = next;
  }
  ++runs_[found->second].count;
  run_of_.push_back(found->second);
}

void RedisBatch::add_group(const Operation& group, LatestRuns& latest) {
  const bool sent = is_sent(group);
  const std::size_t place = runs_.size();
  if (sent) {
    latest.clear();  // no run is partly in the group
    run_of_.push_back(static_cast<std::uint32_t>(place));
    runs_.push_back({&group, 0});
  }
  for (const Operation& member : group.members) add(member, latest);
  if (!sent) return;
  latest.clear();
  runs_[place].count = static_cast<std::uint32_t>(runs_.size() - place - 1);
}

void RedisBatch::append_arguments(const StoreOptions& options,
                                  std::vector<std::string>& arguments) const {
  arguments.reserve(arguments.size() + 6 * runs_.size());
  for (const auto& [operation, count] : runs_) {
    const bool keyed = is_keyed(*operation);
    const bool conditions = has_conditions(*operation);
    const char letter = letter_of(*operation);
    arguments.emplace_back(1, keyed ? static_cast<char>(std::toupper(letter)) : letter);
    arguments.push_back(operation->name);
    arguments.push_back(std::to_string(is_group(*operation) ? count : operation->operand));
    if (conditions) arguments.push_back(describe_conditions(*operation));
    if (keyed && is_group(*operation)) arguments.push_back(identity_of(*operation));
    if (!keyed) {
      arguments.push_back(std::to_string(count));
      continue;
    }
    arguments.push_back(operation->key);
    arguments.push_back(std::to_string(key_lifetime_of(*operation, options).count()));
  }
}

std::string RedisBatch::list_windows(std::int64_t from_ms, std::int64_t until_ms) const {
  std::vector<Window> listed;
  std::string text;
  for (const Run& run : runs_) {
    const std::optional<Window>& window = run.operation->lifetime.window;
    if (!window || std::ranges::find(listed, *window) != listed.end()) continue;
    listed.push_back(*window);
    text += std::to_string(from_ms);
    std::int64_t end = from_ms;
    do {
      end = window_end(*window, end);
      text.append(" ").append(std::to_string(end));
    } while (end <= until_ms);
    text.append(" ").append(identity_of(*window)).append("\n");
  }
  return text;
}

bool RedisBatch::read_outcomes(std::string_view answer) const {
  std::vector<RunOutcome> outcomes(runs_.size());
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    if (answer.empty() || !read_run(take_until(answer, '\n'), outcomes[i])) return false;
    if (outcomes[i].applied < 0 || outcomes[i].applied > runs_[i].count) return false;
  }
  if (!answer.empty()) return false;
  Reader reader(*this, outcomes);
  for (Step& step : batch_) {
    std::optional<Outcome> outcome = reader.read(step.operation);
    if (!outcome) return false;
    step.outcome = std::move(*outcome);
  }
  return true;
}

}  // namespace counterd
