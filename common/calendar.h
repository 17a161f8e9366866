// Calendar windows: a counter with one starts again when the next one begins, by the clocks of a
// time zone.
//
// The rules of time zones, but for UTC, are those of the system's tz database (package tzdata), as
// it was when the process first asked for one, up to the year 2037. Howard Hinnant's library "date"
// reads the zone files that zic(8) has compiled. The <chrono> of GCC 14 reads their source instead,
// and has a wrong offset for days before Samoa crossed the date line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/error.h"

namespace counterd {

enum class Period : unsigned char { kMinute, kHour, kDay, kWeek, kMonth, kYear };

struct Window {
  Period period = Period::kDay;
  // Its name in the tz database, such as Europe/Berlin; empty: the zone of the process that has the
  // store.
  std::string timezone = {};

  bool operator==(const Window&) const = default;
};

// minute, hour, day, week, month, year. kBadParameter: it is none of them.
Result<Period> parse_period(std::string_view word);

std::string_view word_of(Period period);

// How long such a period takes on most days, in seconds; 0: it has no such length, like months and
// years.
std::int64_t seconds_of(Period period);

// The window as one text, such as "day Europe/Berlin". Two are the same if their texts are. Stores
// keep it with counters, so it must not change.
std::string identity_of(const Window& window);

// kBadParameter, unless `name` has the form of a time zone's name: 1 to kMaxTimezoneLength
// (limits.h) letters, digits and characters of _+-/
Result<void> check_timezone_form(std::string_view name);

// The name of the system's time zone, which its tz database may not have: the one in the
// environment variable TZ or, if that is not set, the one that /etc/localtime is a link to; UTC if
// there is no such file. Found once, by the first call. kBadParameter: the file has no name.
Result<std::string> system_timezone();

// Gives the window the time zone that it means: the system's if it names none, and UTC for every
// name that the tz database has for that. Without this, where the system's zone is called Etc/UTC,
// as on Debian, naming UTC and naming no zone would mean two different windows.
// kBadParameter: it is not UTC, and the tz database has no zone of that name; or the system's
// cannot be determined.
Result<void> resolve_timezone(Window& window);

// When the window that `now_ms` is in ends, and the next one begins; in milliseconds since 1970.
//
// A minute or an hour ends when the clocks of the zone show a full one, or are changed. A day ends
// at midnight or, if the clocks skip midnight, when they do; so a day on which they are changed has
// 23 or 25 hours. A week ends with its Sunday (ISO 8601), a month and a year with their last day.
// REQUIRES: resolve_timezone() has accepted the window
std::int64_t window_end(const Window& window, std::int64_t now_ms);

}  // namespace counterd
