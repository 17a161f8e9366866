#include "daemon/refusal.h"

#include <algorithm>
#include <optional>

#include "common/json.h"
#include "common/outcome_json.h"

namespace counterd {
namespace {

// Retry-After (RFC 9110, 10.2.3), RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers-10), for an increment that a bound refuses until its window
// ends. The quota is what the window has room for: the bound's distance from where it begins; there
// is none for an increment away from the bound that it breaks.
std::string limit_fields(const Operation& operation, const Outcome& outcome) {
  // The largest whole number of a structured field (RFC 9651, 3.3.1).
  constexpr std::uint64_t kMost = 999'999'999'999'999;
  const Period period = operation.lifetime.window->period;
  const std::string name = '"' + std::string(word_of(period)) + '"';
  const std::int64_t left_ms = outcome.expires_at_ms - outcome.updated_at_ms;
  const std::string seconds = std::to_string(std::max<std::int64_t>((left_ms + 999) / 1000, 1));
  const auto count = [&](std::int64_t value) {
    return std::to_string(std::min(remaining(operation, value).value_or(0), kMost));
  };
  std::string fields = "Retry-After: " + seconds + "\r\n";
  if (!remaining(operation, operation.initial)) return fields;
  fields += "RateLimit-Policy: " + name + ";q=" + count(operation.initial);
  if (const std::int64_t length = seconds_of(period)) fields += ";w=" + std::to_string(length);
  return fields + "\r\nRateLimit: " + name + ";r=" + count(outcome.value) + ";t=" + seconds +
         "\r\n";
}

// The operation on one counter that was refused; in a group, the last one that has an outcome.
struct Refusal {
  const Operation& operation;
  const Outcome& outcome;
  std::optional<std::size_t> index;  // in its group
};
Refusal refusal_in(const Operation& operation, const Outcome& outcome) {
  if (outcome.members.empty()) return {operation, outcome, std::nullopt};
  const std::size_t index = outcome.members.size() - 1;
  return {operation.members[index], outcome.members[index], index};
}

// What the problem document of a refusal says.
struct Problem {
  Error error;
  std::string members;  // of its own
};
Problem problem_of(const Operation& operation, const Outcome& outcome) {
  const Refusal refused = refusal_in(operation, outcome);
  const bool until_reset = refusal_code(refused.operation, refused.outcome) == Code::kLimitReached;
  const bool says_where = !outcome.detail.empty() && !is_group(operation);
  Problem problem{
      {until_reset ? Code::kLimitReached : outcome.code,
       (says_where ? "counter " + operation.name + ": " : "") + explain(operation, outcome)},
      ""};
  if (refused.index) append_json_member(problem.members, "index", *refused.index);
  append_bound(problem.members, refused.operation, refused.outcome);
  const std::string& window = refused.outcome.window;
  if (!window.empty()) append_json_member(problem.members, "window", window);
  return problem;
}

}  // namespace

std::string refusal_document(const Operation& operation, const Outcome& outcome) {
  const Problem problem = problem_of(operation, outcome);
  return problem_document(problem.error, problem.members);
}

Response refusal(const Operation& operation, const Outcome& outcome) {
  const Problem problem = problem_of(operation, outcome);
  Response response = problem_response(problem.error, problem.members);
  if (problem.error.code == Code::kLimitReached) {
    const Refusal refused = refusal_in(operation, outcome);
    response.fields += limit_fields(refused.operation, refused.outcome);
  }
  return response;
}

}  // namespace counterd
