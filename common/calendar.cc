#include "common/calendar.h"

#include <date/tz.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "common/environment.h"
#include "common/limits.h"
#include "common/quote.h"

namespace counterd {
namespace {

using date::local_days;
using date::local_seconds;
using date::sys_seconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct Known {
  std::string_view word;
  std::int64_t seconds;
};
constexpr std::array kPeriods = {Known{"minute", 60},    Known{"hour", 3'600}, Known{"day", 86'400},
                                 Known{"week", 604'800}, Known{"month", 0},    Known{"year", 0}};

// What all names of UTC become. It has no rules, so it needs no tz database, which small containers
// lack.
constexpr std::string_view kUtc = "UTC";

// Whether it is UTC, or the tz database has a zone of that name. "localtime" is another one on
// another machine.
bool is_known_timezone(const std::string& name) {
  if (name == kUtc) return true;
  if (name == "localtime") return false;
  try {
    date::locate_zone(name)->get_info(sys_seconds());  // reads its file: nothing fails later
    return true;
  } catch (const std::runtime_error&) {  // or there is no tz database
    return false;
  }
}

bool is_utc(std::string_view timezone) {
  // Of the files etcetera and backward of the tz database.
  constexpr std::array<std::string_view, 8> kNames = {
      "UTC", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"};
  return std::ranges::find(kNames, timezone) != kNames.end();
}

// A full minute or hour by the offset that is in force, or the change of that offset.
template <class Length>
sys_seconds end_of_clock_time(const date::time_zone& zone, sys_seconds now) {
  const date::sys_info info = zone.get_info(now);
  const local_seconds local(now.time_since_epoch() + info.offset);
  const local_seconds next = std::chrono::floor<Length>(local) + Length(1);
  const sys_seconds end(next.time_since_epoch() - info.offset);
  const bool changed = info.end < end && zone.get_info(info.end).offset != info.offset;
  return changed ? info.end : end;
}

// The first day of the period that follows that of `today`.
local_days next_first_day(Period period, local_days today) {
  const date::year_month_day date(today);
  switch (period) {
    case Period::kWeek:
      return today - (date::weekday(today) - date::Monday) + date::weeks(1);
    case Period::kMonth:
      return local_days((date.year() / date.month() + date::months(1)) / 1);
    case Period::kYear:
      return local_days((date.year() + date::years(1)) / date::January / 1);
    default:
      return today + date::days(1);
  }
}

sys_seconds end_of_days(const date::time_zone& zone, Period period, sys_seconds now) {
  const local_days today = std::chrono::floor<date::days>(zone.to_local(now));
  const local_seconds midnight = next_first_day(period, today);
  const sys_seconds first = zone.to_sys(midnight, date::choose::earliest);
  // Clocks that go back over midnight show it twice, and the first time may be past already.
  return first > now ? first : zone.to_sys(midnight, date::choose::latest);
}

sys_seconds end_in_utc(Period period, sys_seconds now) {
  if (period == Period::kMinute) {
    return std::chrono::floor<std::chrono::minutes>(now) + std::chrono::minutes(1);
  }
  if (period == Period::kHour) {
    return std::chrono::floor<std::chrono::hours>(now) + std::chrono::hours(1);
  }
  const local_days today(std::chrono::floor<date::days>(now).time_since_epoch());
  return sys_seconds(next_first_day(period, today).time_since_epoch());
}

sys_seconds end_in_zone(const date::time_zone& zone, Period period, sys_seconds now) {
  if (period == Period::kMinute) return end_of_clock_time<std::chrono::minutes>(zone, now);
  if (period == Period::kHour) return end_of_clock_time<std::chrono::hours>(zone, now);
  return end_of_days(zone, period, now);
}

Result<std::string> find_system_timezone() {
  constexpr const char* kFile = "/etc/localtime";
  std::string variable = environment("TZ");
  if (variable.starts_with(':')) variable.erase(0, 1);
  if (!variable.empty() && variable != kFile) return variable;
  const bool is_empty = std::getenv("TZ") != nullptr && variable.empty();
  // A copy says what its rules are, not which zone it is, and other files may be older than it.
  constexpr std::string_view kFolder = "/zoneinfo/";
  std::error_code failure;
  const std::string target = std::filesystem::read_symlink(kFile, failure);
  const bool is_missing = failure == std::errc::no_such_file_or_directory;
  if (is_empty || is_missing) return std::string(kUtc);  // as the C library says
  const std::size_t folder = target.rfind(kFolder);
  if (!failure && folder != std::string::npos) return target.substr(folder + kFolder.size());
  return Error{Code::kBadParameter,
               std::string(kFile) + " is no link that names a time zone; name one, or set TZ"};
}

}  // namespace

Result<Period> parse_period(std::string_view word) {
  const auto found = std::ranges::find(kPeriods, word, &Known::word);
  if (found != kPeriods.end()) return static_cast<Period>(found - kPeriods.begin());
  return Error{Code::kBadParameter,
               quote_for_people(word) + " is none of minute, hour, day, week, month, year"};
}

std::string_view word_of(Period period) {
  return kPeriods.at(static_cast<std::size_t>(period)).word;
}

std::int64_t seconds_of(Period period) {
  return kPeriods.at(static_cast<std::size_t>(period)).seconds;
}

std::string identity_of(const Window& window) {
  return std::string(word_of(window.period)).append(" ").append(window.timezone);
}

Result<void> check_timezone_form(std::string_view name) {
  const bool allowed = std::ranges::all_of(name, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_+-/").find(c) != std::string_view::npos;
  });
  if (allowed && !name.empty() && name.size() <= kMaxTimezoneLength) return {};
  return Error{Code::kBadParameter,
               quote_for_people(name) + " is no time zone, which has a name such as Europe/Berlin"};
}

Result<std::string> system_timezone() {
  static const Result<std::string> name = find_system_timezone();
  return name;
}

Result<void> resolve_timezone(Window& window) {
  const bool is_given = !window.timezone.empty();
  const Result<std::string> meant = is_given ? window.timezone : system_timezone();
  if (!meant) return meant.error();
  window.timezone = is_utc(*meant) ? kUtc : *meant;
  if (is_known_timezone(window.timezone)) return {};
  constexpr std::string_view kWhose =
      "no time zone is given, and that of the system will not do (TZ, else /etc/localtime): ";
  return Error{Code::kBadParameter,
               std::string(is_given ? "" : kWhose) + "time zone " +
                   quote_for_people(window.timezone) +
                   " is unknown; it is named as in the tz database, such as Europe/Berlin (package "
                   "tzdata; old names: tzdata-legacy)"};
}

std::int64_t window_end(const Window& window, std::int64_t now_ms) {
  const sys_seconds now(std::chrono::floor<seconds>(milliseconds(now_ms)));
  const sys_seconds end = window.timezone == kUtc ? end_in_utc(window.period, now)
                                                  : end_in_zone(*date::locate_zone(window.timezone),
                                                                window.period, now);
  return milliseconds(end.time_since_epoch()).count();
}

}  // namespace counterd
