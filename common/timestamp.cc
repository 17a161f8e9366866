#include "common/timestamp.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>

namespace counterd {

std::string format_timestamp(std::int64_t unix_ms) {
  const auto moment = std::chrono::milliseconds(unix_ms);
  const auto whole = std::chrono::floor<std::chrono::seconds>(moment);  // down, before 1970 too
  const std::time_t seconds = whole.count();
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%s.%03dZ", date.data(),
                static_cast<int>((moment - whole).count()));
  return text.data();
}

std::optional<std::int64_t> parse_timestamp(std::string_view text) {
  constexpr std::size_t kMillisecondDigits = 3;
  std::tm parts{};
  const std::string whole(text);
  const char* const fraction = strptime(whole.c_str(), "%Y-%m-%dT%H:%M:%S.", &parts);
  if (fraction == nullptr) return std::nullopt;
  const char* const end = fraction + kMillisecondDigits;
  int milliseconds = 0;
  const bool ends_well = whole.c_str() + whole.size() == end + 1 && *end == 'Z';
  if (!ends_well || std::from_chars(fraction, end, milliseconds).ptr != end) return std::nullopt;
  const std::int64_t moment = std::int64_t{1'000} * timegm(&parts) + milliseconds;
  // strptime() also takes what format_timestamp() does not write, such as a month of one digit.
  if (format_timestamp(moment) != text) return std::nullopt;
  return moment;
}

std::int64_t unix_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace counterd
