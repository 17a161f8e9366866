#include "common/idempotency_key.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/limits.h"
#include "common/number.h"

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
      return bad_key("goes on behind its closing quotation mark");
    }
    if (text[i] == '\\' && ++i < text.size() && text[i] != '"' && text[i] != '\\') {
      return bad_key("has a backslash before another character than \" or \\");
    }
    if (i < text.size()) key += text[i];
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
  const bool visible =
      std::all_of(key->begin(), key->end(), [](char c) { return c >= ' ' && c <= '~'; });
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

Result<std::string> make_idempotency_key() {
  std::array<unsigned char, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return system_error(Code::kIo, "cannot get random bytes for an idempotency key", errno);
  }
  const auto now_ms = static_cast<std::uint64_t>(unix_now_ms());
  for (std::size_t i = 0; i < 6; ++i) {
    bytes[i] = static_cast<unsigned char>(now_ms >> (8 * (5 - i)));
  }
  bytes[6] = static_cast<unsigned char>(0x70 | (bytes[6] & 0x0f));  // version 7
  bytes[8] = static_cast<unsigned char>(0x80 | (bytes[8] & 0x3f));  // variant of RFC 9562
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

}  // namespace counterd
