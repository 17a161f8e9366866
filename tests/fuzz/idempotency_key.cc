// The parser of idempotency keys: a quoted text is a key if and only if it is how the key is
// quoted, and every key can be quoted.
#include "common/idempotency_key.h"

#include <algorithm>

#include "common/limits.h"
#include "tests/fuzz/fuzz.h"

using namespace counterd;

namespace {

bool may_be_key(std::string_view text) {
  return !text.empty() && text.size() <= kMaxKeyLength &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

void expect_key(std::string_view text, bool good, std::string_view expected) {
  const Result<std::string> key = parse_idempotency_key(text);
  EXPECT(key.ok() == good);
  if (key) {
    EXPECT(*key == expected);
  } else {
    EXPECT(key.error().code == Code::kBadKey);
    expect_message(key.error());
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  expect_key(quoted_key(text), may_be_key(text), text);
  if (!text.starts_with('"')) {
    expect_key(text, may_be_key(text), text);
    return 0;
  }
  const Result<std::string> key = parse_idempotency_key(text);
  if (!key) {
    expect_message(key.error());
    return 0;
  }
  EXPECT(may_be_key(*key));
  EXPECT(quoted_key(*key) == text);
  return 0;
}
