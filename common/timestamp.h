// Moments of the wall clock, as people and programs write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace counterd {

// Wall clock time in milliseconds since 1970, UTC.
std::int64_t unix_now_ms();

// RFC 3339 in UTC with milliseconds: 2026-01-31T23:59:59.123Z.
std::string format_timestamp(std::int64_t unix_ms);

// Reads what format_timestamp() writes. Nothing: it is not of that form.
std::optional<std::int64_t> parse_timestamp(std::string_view text);

}  // namespace counterd
