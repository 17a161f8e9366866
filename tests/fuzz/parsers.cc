// The parsers of numbers, durations and names, each against a second way to say what it accepts.
// The first byte chooses the parser: '0' is the first.
#include <cerrno>
#include <cstdlib>

#include "common/counter_name.h"
#include "common/limits.h"
#include "common/number.h"
#include "tests/fuzz/fuzz.h"

using namespace counterd;

namespace {

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};
constexpr Unit kUnits[] = {
    {"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
constexpr std::int64_t kYearMs = 365LL * 86'400'000;

// The number that `text` would be written as, or nothing: what is read must be what is printed.
std::optional<std::int64_t> number_in(std::string_view text) {
  errno = 0;
  const std::int64_t value = std::strtoll(std::string(text).c_str(), nullptr, 10);
  if (errno != 0 || std::to_string(value) != text) return std::nullopt;
  return value;
}

template <class T>
void expect_number(const Result<T>& read, const std::optional<T>& expected) {
  EXPECT(read.ok() == expected.has_value());
  if (read) {
    EXPECT(*read == *expected);
  } else {
    EXPECT(read.error().code == Code::kBadNumber);
    expect_message(read.error());
  }
}

void try_number(std::string_view text) {
  expect_number(parse_int64(text, "by"), number_in(text));
}

// The first two bytes are the bounds, as small signed numbers.
void try_number_within(std::string_view text) {
  if (text.size() < 2) return;
  const std::int64_t least = static_cast<signed char>(text[0]);
  const std::int64_t most = static_cast<signed char>(text[1]);
  text.remove_prefix(2);
  std::optional<std::int64_t> expected = number_in(text);
  if (expected && (*expected < least || *expected > most)) expected.reset();
  expect_number(parse_int64_within(text, "limit", least, most), expected);
}

void try_duration(std::string_view text) {
  std::optional<std::chrono::milliseconds> expected;
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    const auto count = number_in(text.substr(0, text.size() - unit.name.size()));
    if (count && *count > 0 && *count <= kYearMs / unit.milliseconds) {
      expected = std::chrono::milliseconds(*count * unit.milliseconds);
    }
  }
  expect_number(parse_duration(text, "timeout"), expected);
}

bool is_name(std::string_view text) {
  constexpr std::string_view kCharacters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-";
  return !text.empty() && text.size() <= 128 && text.find_first_not_of(kCharacters) == text.npos &&
         std::string_view("._:-").find(text.front()) == std::string_view::npos;
}

void try_name(std::string_view text) {
  const Result<void> name = check_counter_name(text);
  EXPECT(name.ok() == is_name(text));
  if (!name) {
    EXPECT(name.error().code == Code::kBadName);
    expect_message(name.error());
    return;
  }
  for (std::size_t size = 0; size <= text.size(); ++size) {
    EXPECT(check_name_prefix(text.substr(0, size)).ok());
  }
}

void try_prefix(std::string_view text) {
  const Result<void> prefix = check_name_prefix(text);
  EXPECT(prefix.ok() == (text.empty() || is_name(text)));
  if (prefix) return;
  EXPECT(prefix.error().code == Code::kBadParameter);
  expect_message(prefix.error());
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr void (*kParsers[])(std::string_view) = {try_number, try_number_within, try_duration,
                                                    try_name, try_prefix};
  if (size == 0) return 0;
  const auto choice = static_cast<std::uint8_t>(data[0] - '0');
  kParsers[choice % std::size(kParsers)](as_text(data + 1, size - 1));
  return 0;
}
