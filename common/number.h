// Numbers and durations as people and programs write them. One strict form for each, because
// lenient parsers read 010 as 8 and clip what is too large.
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "common/error.h"

namespace counterd {

// An optional minus and decimal digits without leading zeros, within signed 64 bits; "-0" is
// refused. kBadNumber otherwise; `what` names the value in the message.
Result<std::int64_t> parse_int64(std::string_view text, std::string_view what);

// The same form, from `least` to `most`.
Result<std::int64_t> parse_int64_within(std::string_view text, std::string_view what,
                                        std::int64_t least, std::int64_t most);

// Whether all of `text` is a number as std::from_chars() reads it, and fits; `number` has it then.
// For what others have written, on a Redis server also people: 007 is 7.
template <class Number>
bool read_lenient(std::string_view text, Number& number) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size();
}

// A number of workers, from 1 to kMaxWorkers; kBadNumber otherwise.
Result<int> parse_workers(std::string_view text, std::string_view what);

// a - b modulo 2^64, so that no two numbers from outside cause undefined behaviour.
std::int64_t wrapping_subtract(std::int64_t a, std::int64_t b);

// A positive whole number with one of the units ms, s, m, h, d, up to 365d: "500ms", "5s".
// kBadNumber otherwise.
Result<std::chrono::milliseconds> parse_duration(std::string_view text, std::string_view what);

}  // namespace counterd
