#include "common/idempotency_key.h"

#include "common/limits.h"
#include "tests/catch.h"

namespace counterd {
namespace {

std::string key_of(std::string_view text) {
  const Result<std::string> key = parse_idempotency_key(text);
  return key ? *key : "(" + std::string(code_info(key.error().code).type) + ")";
}

}  // namespace

TEST_CASE("a key is the same with and without quotation marks", "[key]") {
  CHECK(key_of("abc") == "abc");
  CHECK(key_of("\"abc\"") == "abc");
  CHECK(key_of("a b/c:1") == "a b/c:1");
  CHECK(key_of(R"("a\"b\\c")") == R"(a"b\c)");
  CHECK(key_of(R"(a"b\c)") == R"(a"b\c)");
  CHECK(key_of(std::string(kMaxKeyLength, 'k')) == std::string(kMaxKeyLength, 'k'));
  CHECK(key_of('"' + std::string(kMaxKeyLength, 'k') + '"') == std::string(kMaxKeyLength, 'k'));
}

TEST_CASE("a key in quotation marks is the same key", "[key]") {
  for (const std::string key : {"abc", "\"abc\"", "a\\", "\\\"", "a \"b\" c"}) {
    CHECK(key_of(quote_idempotency_key(key)) == key);
  }
}

TEST_CASE("a key that is malformed is refused", "[key]") {
  for (const std::string bad :
       {"", "\"\"", "\"", "\"abc", "\"abc\"d", "\"a\"b\"", "\"a\\", "\"a\\\"", "\"a\\n\"", "a\tb",
        "a\nb", "a\x7f", "caf\xc3\xa9", "\"a\x01\""}) {
    CAPTURE(bad);
    CHECK(key_of(bad) == "(bad-key)");
  }
  CHECK(key_of(std::string("a\0b", 3)) == "(bad-key)");
  CHECK(key_of(std::string(kMaxKeyLength + 1, 'k')) == "(bad-key)");
}

}  // namespace counterd
