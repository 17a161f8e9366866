#include "common/idempotency_key.h"

#include <set>

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

TEST_CASE("a fresh key is a UUID of version 7, and later ones sort behind earlier ones", "[key]") {
  std::set<std::string> keys;
  for (int i = 0; i < 1'000; ++i) {
    const Result<std::string> made = make_idempotency_key();
    REQUIRE(made);
    const std::string& key = *made;
    REQUIRE(key.size() == 36);
    CHECK(key[14] == '7');
    CHECK(std::string_view("89ab").find(key[19]) != std::string_view::npos);
    for (const std::size_t dash : {8, 13, 18, 23}) CHECK(key[dash] == '-');
    if (!keys.empty()) CHECK(keys.rbegin()->substr(0, 13) <= key.substr(0, 13));
    CHECK(keys.insert(key).second);
    CHECK(key_of(key) == key);
  }
}

}  // namespace counterd
