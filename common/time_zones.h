// Calendars and time zones as <chrono> of C++20 has them: from the standard library where it has
// the time zones (GCC 14, Debian 13), else from the library that they were taken from (Debian 12).
#pragma once

#include <chrono>

#if defined(__cpp_lib_chrono) && __cpp_lib_chrono >= 201907L
namespace counterd {
namespace zones = std::chrono;
}
#else
#include <date/tz.h>
namespace counterd {
namespace zones = date;
}
#endif
