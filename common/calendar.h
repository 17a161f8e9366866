// Windows of the calendar: a counter with one begins anew when the next one begins, by the clocks
// of a time zone.
//
// The rules of time zones are those of the system's tz database (package tzdata), as it was when
// the process first asked for one, up to the year 2037. They are read as zic(8) has compiled them,
// by the library that <chrono> was taken from: that of GCC 14, which reads their source instead,
// has a wrong offset for days before Samoa crossed the date line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/error.h"

namespace counterd {

enum class Period : unsigned char { kMinute, kHour, kDay, kWeek, kMonth, kYear };

struct Window {
  Period period = Period::kDay;
  // As the tz database calls it, such as Europe/Berlin; empty: that of whoever has the store.
  std::string timezone = {};

  bool operator==(const Window&) const = default;
};

// minute, hour, day, week, month, year. kBadParameter: it is none of them.
Result<Period> parse_period(std::string_view word);

std::string_view word_of(Period period);

// How long such a period takes on most days, in seconds; 0: it has no such length, as months and
// years.
std::int64_t seconds_of(Period period);

// The window as one text, such as "day Europe/Berlin". Two are the same if their texts are.
std::string describe_window(const Window& window);

// kBadParameter: no time zone has such a name: 1 to kMaxTimezoneLength (limits.h) letters, digits
// and characters of _+-/
Result<void> check_timezone_form(std::string_view name);

// kBadParameter: the system's tz database has no time zone of that name.
Result<void> check_timezone(std::string_view name);

// The name of the system's time zone, which check_timezone() may not know: that which the
// environment variable TZ has or, where it is not set, that which /etc/localtime is a link to; UTC
// without such a file. Found once, by the first call. kBadParameter: the file has no name.
Result<std::string> system_timezone();

// When the window ends that `now_ms` is in, and the next one begins; in milliseconds since 1970.
//
// A minute or an hour ends when the clocks of the zone show a full one, or are changed. A day ends
// at midnight or, where the clocks skip that, when they go on; so it has 23 or 25 hours where they
// are changed. A week ends with its Sunday (ISO 8601), a month and a year with their last day.
// REQUIRES: check_timezone() accepts the zone
std::int64_t window_end(const Window& window, std::int64_t now_ms);

}  // namespace counterd
