#include "common/number.h"

#include <limits>
#include <string>

#include "common/quote.h"
#include "common/timestamp.h"
#include "tests/catch.h"

namespace counterd {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

using namespace std::string_view_literals;

}  // namespace

TEST_CASE("whole numbers of the signed 64-bit range are read exactly", "[number]") {
  struct Case {
    std::string_view text;
    std::int64_t value;
  };
  for (const Case& good :
       {Case{"0", 0}, Case{"1", 1}, Case{"-1", -1}, Case{"10", 10}, Case{"-100", -100},
        Case{"9007199254740993", 9007199254740993}, Case{"9223372036854775807", kMax},
        Case{"-9223372036854775807", -kMax}, Case{"-9223372036854775808", kMin}}) {
    CAPTURE(good.text);
    const Result<std::int64_t> value = parse_int64(good.text, "delta");
    REQUIRE(value);
    CHECK(*value == good.value);
  }
}

TEST_CASE("whatever is not in the one form of a number is refused", "[number]") {
  for (const std::string_view bad : {""sv,
                                     "-"sv,
                                     "--1"sv,
                                     "+5"sv,
                                     "-+5"sv,
                                     "010"sv,
                                     "00"sv,
                                     "-0"sv,
                                     "-01"sv,
                                     "0x10"sv,
                                     "1e3"sv,
                                     "1.0"sv,
                                     "1."sv,
                                     ".5"sv,
                                     " 1"sv,
                                     "1 "sv,
                                     "\t1"sv,
                                     "1\n"sv,
                                     "1\r"sv,
                                     "1\0"sv,
                                     "\0"sv,
                                     "1\0002"sv,
                                     "1,000"sv,
                                     "1_000"sv,
                                     "1'000"sv,
                                     "5-"sv,
                                     "1-1"sv,
                                     "abc"sv,
                                     "1a"sv,
                                     "nan"sv,
                                     "inf"sv,
                                     "-inf"sv,
                                     "\xD9\xA1"sv /* Arabic 1 */,
                                     "\xEF\xBC\x91"sv /* full-width 1 */,
                                     "\xE2\x88\x92"
                                     "1"sv /* a typographer's minus */,
                                     "9223372036854775808"sv,
                                     "-9223372036854775809"sv,
                                     "18446744073709551615"sv,
                                     "99999999999999999999"sv,
                                     "-99999999999999999999999999999999999999"sv}) {
    CAPTURE(quote_for_people(bad));
    const Result<std::int64_t> value = parse_int64(bad, "delta");
    REQUIRE_FALSE(value);
    CHECK(value.error().code == Code::kBadNumber);
    CHECK(value.error().message.find("delta") != std::string::npos);
  }
  CHECK_FALSE(parse_int64(std::string(100'000, '9'), "delta"));
  CHECK_FALSE(parse_int64(std::string(100'000, '0'), "delta"));
}

TEST_CASE("a refused number is shown in quotes, without what could forge a line", "[number]") {
  const std::string message = parse_int64("12\nroot", "delta").error().message;
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.find("'12\\x0aroot'") != std::string::npos);
}

TEST_CASE("a bounded number is within its bounds, both of them included", "[number]") {
  CHECK(*parse_int64_within("1", "workers", 1, 256) == 1);
  CHECK(*parse_int64_within("256", "workers", 1, 256) == 256);
  CHECK(*parse_int64_within("-5", "x", -5, -5) == -5);
  for (const char* bad : {"0", "257", "-1", "", "2 ", "9223372036854775808"}) {
    CAPTURE(bad);
    const Result<std::int64_t> value = parse_int64_within(bad, "workers", 1, 256);
    REQUIRE_FALSE(value);
    CHECK(value.error().code == Code::kBadNumber);
    CHECK(value.error().message.find("1 to 256") != std::string::npos);
  }
}

TEST_CASE("a difference beyond 64 bits wraps around", "[number]") {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  CHECK(wrapping_subtract(5, 7) == -2);
  CHECK(wrapping_subtract(kMost, kLeast) == -1);
  CHECK(wrapping_subtract(kLeast, 1) == kMost);
}

TEST_CASE("durations are a positive whole number and a unit", "[number]") {
  using std::chrono::milliseconds;
  CHECK(*parse_duration("1ms", "timeout") == milliseconds(1));
  CHECK(*parse_duration("500ms", "timeout") == milliseconds(500));
  CHECK(*parse_duration("5s", "timeout") == milliseconds(5'000));
  CHECK(*parse_duration("2m", "timeout") == milliseconds(120'000));
  CHECK(*parse_duration("1h", "timeout") == milliseconds(3'600'000));
  CHECK(*parse_duration("365d", "timeout") == milliseconds(31'536'000'000));
  CHECK(*parse_duration("31536000000ms", "timeout") == milliseconds(31'536'000'000));
  for (const std::string_view bad : {""sv,
                                     "5"sv,
                                     "s"sv,
                                     "ms"sv,
                                     "0s"sv,
                                     "0ms"sv,
                                     "-1s"sv,
                                     "+1s"sv,
                                     "05s"sv,
                                     "1.5s"sv,
                                     "1e3s"sv,
                                     "5 s"sv,
                                     " 5s"sv,
                                     "5s "sv,
                                     "5S"sv,
                                     "5sec"sv,
                                     "5M"sv,
                                     "1h30m"sv,
                                     "5s\0"sv,
                                     "366d"sv,
                                     "31536000001ms"sv,
                                     "8761h"sv,
                                     "99999999999999999999s"sv,
                                     "9223372036854775807d"sv}) {
    CAPTURE(quote_for_people(bad));
    const Result<milliseconds> time = parse_duration(bad, "timeout");
    REQUIRE_FALSE(time);
    CHECK(time.error().code == Code::kBadNumber);
    CHECK(time.error().message.find("timeout") != std::string::npos);
  }
}

TEST_CASE("timestamps are RFC 3339 in UTC with milliseconds", "[number]") {
  CHECK(format_timestamp(0) == "1970-01-01T00:00:00.000Z");
  CHECK(format_timestamp(1) == "1970-01-01T00:00:00.001Z");
  CHECK(format_timestamp(1'769'903'999'123) == "2026-01-31T23:59:59.123Z");
  CHECK(format_timestamp(1'709'164'800'050) == "2024-02-29T00:00:00.050Z");
}

TEST_CASE("a moment before 1970 has its milliseconds after the second before it", "[number]") {
  CHECK(format_timestamp(-1) == "1969-12-31T23:59:59.999Z");
  CHECK(format_timestamp(-1'000) == "1969-12-31T23:59:59.000Z");
}

TEST_CASE("timestamps are read as they are written, and nothing else is one", "[number]") {
  for (const std::int64_t moment : {std::int64_t{0}, std::int64_t{1'769'903'999'123},
                                    std::int64_t{1'709'164'800'050}, unix_now_ms()}) {
    CHECK(parse_timestamp(format_timestamp(moment)) == moment);
  }
  for (const char* bad :
       {"", "2026-01-31T23:59:59Z", "2026-01-31T23:59:59.12Z", "2026-01-31T23:59:59.1234Z",
        "2026-01-31T23:59:59.123", "2026-01-31 23:59:59.123Z", "2026-13-31T23:59:59.123Z",
        "2026-01-31T23:59:59.123Z ", "2026-01-31T23:59:59.1-3Z", "null"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_timestamp(bad).has_value());
  }
}

TEST_CASE("the time is Unix time in milliseconds", "[number]") {
  const std::int64_t before = std::int64_t{std::time(nullptr)} * 1'000;
  const std::int64_t now = unix_now_ms();
  CHECK(now >= before);
  CHECK(now < (std::int64_t{std::time(nullptr)} + 2) * 1'000);
}

}  // namespace counterd
