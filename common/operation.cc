#include "common/operation.h"

#include <algorithm>
#include <limits>

#include "common/number.h"

namespace counterd {
namespace {

__extension__ using Wide = __int128;  // holds every sum of two counters

std::string to_text(Wide number) {
  if (number < 0) return "-" + to_text(-number);
  const auto last = static_cast<char>('0' + static_cast<int>(number % 10));
  return number < 10 ? std::string(1, last) : to_text(number / 10) + last;
}

std::string describe_sum(const Step& step) {
  return "counter " + step.operation.name + " is " + std::to_string(step.outcome.value) +
         "; adding " + std::to_string(step.operation.operand) + " would ";
}

std::string explain_bound(const Step& step) {
  const BrokenBound broken = broken_bound(step.operation, step.outcome.value);
  return describe_sum(step) + "make it " + broken.would_be +
         (broken.is_max ? ", above the maximum " : ", below the minimum ") +
         std::to_string(broken.bound) + "; nothing was changed";
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

std::int64_t applied_by(const Operation& operation, const Outcome& outcome) {
  if (!operation.bounds.clamp) return operation.operand;
  return wrapping_subtract(outcome.value, outcome.previous.value_or(0));
}

std::string describe_operation(const Operation& operation) {
  std::string text;
  const auto add = [&](std::string_view word, std::int64_t number) {
    text.append(word).append(std::to_string(number));
  };
  switch (operation.kind) {
    case OperationKind::kIncrement:
      add("increment ", operation.operand);
      if (operation.initial != 0) add(" initial ", operation.initial);
      if (operation.bounds.min) add(" min ", *operation.bounds.min);
      if (operation.bounds.max) add(" max ", *operation.bounds.max);
      if (operation.bounds.clamp) text += " clamp";
      return text;
    case OperationKind::kReset:
      add("reset ", operation.operand);
      return text;
    case OperationKind::kDelete:
      return "delete";
    case OperationKind::kReport:
      break;
  }
  return "report";
}

std::string explain(const Step& step) {
  const auto& [operation, outcome] = step;
  const std::string name = "counter " + operation.name;
  switch (outcome.code) {
    case Code::kMissing:
      return name + " does not exist";
    case Code::kBeyondBound:
      return explain_bound(step);
    case Code::kOutOfRange:
      return describe_sum(step) + "leave the range of 64 bits; nothing was changed";
    case Code::kKeyReused:
      return name +
             " was changed in another way under this idempotency key; nothing was changed now";
    case Code::kTooManyKeys:
      return name + " was not changed: the store knows as many idempotency keys as it may";
    default:
      return name + ": " + std::string(code_info(outcome.code).title);
  }
}

}  // namespace counterd
