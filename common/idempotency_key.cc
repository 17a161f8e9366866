#include "common/idempotency_key.h"

#include <algorithm>

#include "common/limits.h"

namespace counterd {
namespace {

Error bad_key(std::string_view why) {
  return {Code::kBadKey, "the idempotency key " + std::string(why)};
}

// What the quotation marks of `text` enclose.
Result<std::string> unquote(std::string_view text) {
  std::string key;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      if (i + 1 == text.size()) return key;
      return bad_key("goes on after its closing quotation mark");
    }
    if (text[i] == '\\') {
      ++i;
      if (i == text.size()) break;
      if (text[i] != '"' && text[i] != '\\') {
        return bad_key("has a backslash before another character than \" or \\");
      }
    }
    key += text[i];
  }
  return bad_key("has no closing quotation mark");
}

}  // namespace

Result<std::string> parse_idempotency_key(std::string_view text) {
  Result<std::string> key = text.starts_with('"') ? unquote(text) : std::string(text);
  if (!key) return key;
  if (key->empty()) return bad_key("is empty");
  if (key->size() > kMaxKeyLength) {
    return bad_key("is longer than " + std::to_string(kMaxKeyLength) + " characters");
  }
  const bool visible = std::ranges::all_of(*key, [](char c) { return c >= ' ' && c <= '~'; });
  if (!visible) return bad_key("has a control character or one beyond ASCII");
  return key;
}

std::string quote_idempotency_key(std::string_view key) {
  std::string quoted = "\"";
  for (const char c : key) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace counterd
