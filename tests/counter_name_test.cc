#include "common/counter_name.h"

#include <string>

#include "common/limits.h"
#include "common/quote.h"
#include "tests/catch.h"

namespace counterd {
namespace {

using namespace std::string_view_literals;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == ':' || c == '-';
}

}  // namespace

TEST_CASE("letters, digits and four signs make a name", "[name]") {
  for (const std::string_view good :
       {"a"sv, "A"sv, "0"sv, "9"sv, "count"sv, "a.b"sv, "a..b"sv, "a:b"sv, "a_b"sv, "a-b"sv, "a-"sv,
        "a."sv, "1.2.3"sv, "orders:2026-01-31.failed_Total"sv}) {
    CAPTURE(quote_for_people(good));
    CHECK(check_counter_name(good).ok());
    CHECK(check_name_prefix(good).ok());
  }
  CHECK(check_counter_name(kDefaultCounter).ok());
}

TEST_CASE("a name has 1 to 128 characters", "[name]") {
  CHECK_FALSE(check_counter_name(""));
  CHECK(check_counter_name(std::string(kMaxNameLength, 'n')).ok());
  CHECK_FALSE(check_counter_name(std::string(kMaxNameLength + 1, 'n')));
  CHECK_FALSE(check_counter_name(std::string(1'000'000, 'n')));
}

TEST_CASE("a name holds no other byte, and only some begin it", "[name]") {
  for (int byte = 0; byte < 256; ++byte) {
    CAPTURE(byte);
    const char c = static_cast<char>(byte);
    CHECK(check_counter_name("a" + std::string(1, c)).ok() == is_name_character(c));
    CHECK(check_counter_name("a" + std::string(1, c) + "a").ok() == is_name_character(c));
    const bool begins = is_name_character(c) && c != '.' && c != '_' && c != ':' && c != '-';
    CHECK(check_counter_name(std::string(1, c)).ok() == begins);
    CHECK(check_counter_name(std::string(1, c) + "a").ok() == begins);
    CHECK(check_name_prefix(std::string(1, c)).ok() == begins);
  }
}

TEST_CASE("what could escape a path, a shell or a line is no name", "[name]") {
  for (const std::string_view bad :
       {"."sv,      ".."sv,  "../x"sv,  "a/b"sv,  "a%2fb"sv,       "-x"sv,
        "--help"sv, ":a"sv,  "_a"sv,    " a"sv,   "a "sv,          "a b"sv,
        "a\n"sv,    "a\0"sv, "a\0b"sv,  "\0"sv,   "a*"sv,          "$a"sv,
        "a;b"sv,    "a'b"sv, "\"a\""sv, "a\\b"sv, "n\xC3\xA4me"sv, "\xF0\x9F\x98\x80"sv,
        "a\xFF"sv}) {
    CAPTURE(quote_for_people(bad));
    const Result<void> checked = check_counter_name(bad);
    REQUIRE_FALSE(checked);
    CHECK(checked.error().code == Code::kBadName);
    CHECK(checked.error().message.find("128") != std::string::npos);
    CHECK(checked.error().message.find('\n') == std::string::npos);
    const Result<void> prefix = check_name_prefix(bad);
    REQUIRE_FALSE(prefix);
    CHECK(prefix.error().code == Code::kBadParameter);
  }
}

TEST_CASE("names are below a prefix where it ends at a boundary", "[name]") {
  for (const std::string_view name :
       {"web", "web.a", "web_a", "web:a", "web-a", "web.", "web:a:b"}) {
    CAPTURE(name);
    CHECK(is_below(name, "web"));
  }
  for (const std::string_view name : {"we", "webshop", "web2", "Web", "a.web", "webX.a"}) {
    CAPTURE(name);
    CHECK_FALSE(is_below(name, "web"));
  }
  CHECK(is_below("web:a", "web:"));
  CHECK(is_below("web:", "web:"));
  CHECK_FALSE(is_below("web", "web:"));
  CHECK_FALSE(is_below("web.a", "web:"));
  CHECK(is_below("web:a.b", "web:a"));
}

TEST_CASE("a prefix may be empty", "[name]") {
  CHECK(check_name_prefix("").ok());
  CHECK(check_name_prefix(std::string(kMaxNameLength, 'n')).ok());
  CHECK_FALSE(check_name_prefix(std::string(kMaxNameLength + 1, 'n')));
}

}  // namespace counterd
