#include "common/operation.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

#define XXH_INLINE_ALL  // so that no program has another library to load
#include <xxhash.h>

#include "common/ascii.h"
#include "common/number.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

__extension__ using Wide = __int128;  // holds every sum of two counters

std::string to_text(Wide number) {
  if (number < 0) return "-" + to_text(-number);
  const auto last = static_cast<char>('0' + static_cast<int>(number % 10));
  return number < 10 ? std::string(1, last) : to_text(number / 10) + last;
}

// As hexadecimal digits.
std::string digest_of(const Operation& group) {
  std::string text;
  for (const Operation& member : group.members) {
    text.append(member.name).append(" ").append(identity_of(member)).append("\n");
  }
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  std::array<char, 33> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return digits.data();
}

std::string identity_of_increment(const Operation& operation) {
  std::string text;
  const auto add = [&](std::string_view word, std::int64_t number) {
    text.append(word).append(std::to_string(number));
  };
  // One more bound, or one more way to end, does not compile until it is told apart here.
  const auto& [min, max, clamp] = operation.bounds;
  const auto& [ttl, renew, window] = operation.lifetime;
  add("increment ", operation.operand);
  if (operation.initial != 0) add(" initial ", operation.initial);
  if (min) add(" min ", *min);
  if (max) add(" max ", *max);
  if (clamp) text += " clamp";
  if (ttl) add(" ttl ", ttl->count());
  if (renew) text += " renew";
  if (window) text.append(" per ").append(identity_of(*window));
  if (operation.check) text += " check";
  return text;
}

std::string describe_sum(const Operation& operation, const Outcome& outcome) {
  return "counter " + operation.name + " is " + std::to_string(outcome.value) + "; adding " +
         std::to_string(operation.operand) + " would ";
}

std::string explain_bound(const Operation& operation, const Outcome& outcome) {
  const BrokenBound broken = broken_bound(operation, outcome.value);
  return describe_sum(operation, outcome) + "make it " + broken.would_be +
         (broken.is_max ? ", above the maximum " : ", below the minimum ") +
         std::to_string(broken.bound) +
         (outcome.expires_at_ms == 0
              ? ""
              : "; it begins anew at " + format_timestamp(outcome.expires_at_ms)) +
         "; nothing was changed";
}

// The window as people say it: "per day in Europe/Berlin".
std::string say_window(std::string_view window) {
  if (window.empty()) return "without a window";
  const std::string period = "per " + std::string(take_until(window, ' '));
  return window.empty() ? period : period + " in " + std::string(window);
}

std::string explain_window(const Operation& operation, const Outcome& outcome) {
  const std::optional<Window>& asked = operation.lifetime.window;
  return "counter " + operation.name + " counts " + say_window(outcome.window) +
         (asked ? ", not " + say_window(identity_of(*asked))
                : ", which a renewed time to live would move") +
         "; delete it first, or use another one; nothing was changed";
}

constexpr const char* kClocksApart =
    ": the clock of the Redis server differs from the one here by more than a minute, so the "
    "window is uncertain; set both clocks; nothing was changed";

constexpr const char* kTooManyKeys =
    " was not applied: the store knows as many idempotency keys as it may (raise --max-keys, or "
    "shorten --key-lifetime)";

// A group that fails as a whole, or whose last member with an outcome was refused.
std::string explain_group(const Operation& group, const Outcome& outcome) {
  const std::size_t told = outcome.members.size();
  if (told == 0) {
    if (outcome.code == Code::kClocksApart) return std::string("the batch") + kClocksApart;
    if (outcome.code == Code::kTooManyKeys) return std::string("the batch") + kTooManyKeys;
    return outcome.code == Code::kKeyReused
               ? "another batch was applied under this idempotency key; nothing was changed now"
               : "the batch: " + std::string(code_info(outcome.code).title);
  }
  return place_in_group(told, group.members.size()) +
         explain(group.members[told - 1], outcome.members.back());
}

}  // namespace

Result<void> check_bounds(const Bounds& bounds) {
  if (bounds.min && bounds.max && *bounds.min > *bounds.max) {
    return Error{Code::kBadParameter, "the minimum " + std::to_string(*bounds.min) +
                                          " is above the maximum " + std::to_string(*bounds.max)};
  }
  if (bounds.clamp && !bounds.min && !bounds.max) {
    return Error{Code::kBadParameter, "clamping needs a minimum or a maximum"};
  }
  return {};
}

bool changes_something(const Operation& operation) {
  if (!is_group(operation)) return operation.kind != OperationKind::kReport && !operation.check;
  return std::ranges::any_of(operation.members, changes_something);
}

Result<void> resolve_timezones(Operation& operation) {
  for (std::size_t i = 0; i < operation.members.size(); ++i) {
    const Result<void> resolved = resolve_timezones(operation.members[i]);
    if (resolved) continue;
    return Error{resolved.error().code,
                 "operation " + std::to_string(i + 1) + ": " + resolved.error().message};
  }
  std::optional<Window>& window = operation.lifetime.window;
  return window ? resolve_timezone(*window) : Result<void>();
}

Sum add_within(std::int64_t value, std::int64_t delta, const Bounds& bounds) {
  const auto& [min, max, clamp] = bounds;
  Wide sum = static_cast<Wide>(value) + delta;
  if (clamp) {
    if (max && delta > 0) sum = std::min<Wide>(sum, std::max(value, *max));
    if (min && delta < 0) sum = std::max<Wide>(sum, std::min(value, *min));
  } else if ((max && sum > *max) || (min && sum < *min)) {
    return {Code::kBeyondBound, value};
  }
  using Limits = std::numeric_limits<std::int64_t>;
  if (sum < Limits::min() || sum > Limits::max()) return {Code::kOutOfRange, value};
  return {Code::kOk, static_cast<std::int64_t>(sum)};
}

BrokenBound broken_bound(const Operation& operation, std::int64_t value) {
  const auto& [min, max, clamp] = operation.bounds;
  const Wide sum = static_cast<Wide>(value) + operation.operand;
  const bool is_max = max && sum > *max;
  return {is_max, (is_max ? max : min).value_or(0), to_text(sum)};
}

std::optional<std::uint64_t> remaining(const Operation& operation, std::int64_t value) {
  const bool down = operation.operand < 0;
  const std::optional<std::int64_t>& bound = down ? operation.bounds.min : operation.bounds.max;
  if (!bound) return std::nullopt;
  if (down ? value <= *bound : value >= *bound) return 0;
  const auto distance = static_cast<std::uint64_t>(*bound) - static_cast<std::uint64_t>(value);
  return down ? -distance : distance;
}

Outcome failed(const Error& error) {
  return {.code = error.code, .detail = error.message};
}

std::int64_t applied_by(const Operation& operation, const Outcome& outcome) {
  if (operation.check) return 0;
  if (!operation.bounds.clamp) return operation.operand;
  return wrapping_subtract(outcome.value, outcome.previous.value_or(0));
}

std::string identity_of(const Operation& operation) {
  switch (operation.kind) {
    case OperationKind::kIncrement:
      return identity_of_increment(operation);
    case OperationKind::kReset:
      return "reset " + std::to_string(operation.operand) + (operation.create ? "" : " existing");
    case OperationKind::kDelete:
      return "delete";
    case OperationKind::kReport:
      return "report";
    case OperationKind::kEach:
      return "each " + digest_of(operation);
    case OperationKind::kAll:
      break;
  }
  return "all " + digest_of(operation);
}

Code refusal_code(const Operation& operation, const Outcome& outcome) {
  if (outcome.code != Code::kBeyondBound || !operation.lifetime.window) return outcome.code;
  const Sum anew = add_within(operation.initial, operation.operand, operation.bounds);
  return anew.code == Code::kOk ? Code::kLimitReached : outcome.code;
}

std::string place_in_group(std::size_t number, std::size_t size) {
  return "operation " + std::to_string(number) + " of " + std::to_string(size) + ": ";
}

std::string explain(const Operation& operation, const Outcome& outcome) {
  if (!outcome.detail.empty()) return outcome.detail;
  if (is_group(operation)) return explain_group(operation, outcome);
  const std::string name = "counter " + operation.name;
  switch (outcome.code) {
    case Code::kMissing:
      return name + " does not exist";
    case Code::kBeyondBound:
      return explain_bound(operation, outcome);
    case Code::kOtherWindow:
      return explain_window(operation, outcome);
    case Code::kClocksApart:
      return name + kClocksApart;
    case Code::kOutOfRange:
      return describe_sum(operation, outcome) + "leave the range of 64 bits; nothing was changed";
    case Code::kKeyReused:
      return name +
             " was changed in another way under this idempotency key; nothing was changed now";
    case Code::kTooManyKeys:
      return name + kTooManyKeys;
    default:
      return name + ": " + std::string(code_info(outcome.code).title);
  }
}

}  // namespace counterd
