#include "common/number.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/ascii.h"
#include "common/limits.h"
#include "common/quote.h"

namespace counterd {
namespace {

Error bad_number(std::string_view text, std::string_view what, const std::string& rule) {
  return {Code::kBadNumber, std::string(what) + " " + quote_for_people(text) + " is not " + rule};
}

bool has_strict_form(std::string_view text) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty()) return false;
  if (digits.front() == '0') return digits.size() == 1 && !negative;
  return std::ranges::all_of(digits, is_digit);
}

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};
constexpr std::array kUnits = {Unit{"ms", 1}, Unit{"s", 1'000}, Unit{"m", 60'000},
                               Unit{"h", 3'600'000}, Unit{"d", 86'400'000}};
constexpr std::int64_t kMaxDurationMs = 365LL * 86'400'000;

}  // namespace

Result<std::int64_t> parse_int64(std::string_view text, std::string_view what) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  if (!has_strict_form(text) || std::from_chars(text.data(), end, value).ec != std::errc()) {
    return bad_number(text, what,
                      "a whole number from -9223372036854775808 to 9223372036854775807 (an "
                      "optional minus and digits, without leading zeros)");
  }
  return value;
}

Result<std::int64_t> parse_int64_within(std::string_view text, std::string_view what,
                                        std::int64_t least, std::int64_t most) {
  Result<std::int64_t> value = parse_int64(text, what);
  if (!value || *value < least || *value > most) {
    return bad_number(
        text, what, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

Result<int> parse_workers(std::string_view text, std::string_view what) {
  const Result<std::int64_t> workers = parse_int64_within(text, what, 1, kMaxWorkers);
  if (!workers) return workers.error();
  return static_cast<int>(*workers);
}

std::int64_t wrapping_subtract(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text, std::string_view what) {
  const std::size_t digits = text.find_first_not_of("0123456789");
  const std::string_view unit_name =
      digits == std::string_view::npos ? std::string_view() : text.substr(digits);
  for (const Unit& unit : kUnits) {
    if (unit.name != unit_name) continue;
    const Result<std::int64_t> count =
        parse_int64_within(text.substr(0, digits), what, 1, kMaxDurationMs / unit.milliseconds);
    if (!count) break;
    return std::chrono::milliseconds(*count * unit.milliseconds);
  }
  return bad_number(text, what,
                    "a duration (a whole number and one of ms, s, m, h, d, from 1ms to 365d)");
}

}  // namespace counterd
