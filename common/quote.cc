#include "common/quote.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "common/ascii.h"

namespace counterd {
namespace {

std::string& append_escape(std::string& out, char c) {
  std::array<char, 8> escape{};
  std::snprintf(escape.data(), escape.size(), "\\x%02x", static_cast<unsigned char>(c));
  return out += escape.data();
}

// The URL without what stands where a password may: before an '@' or after a '?'. Any scheme,
// because rediss:// and others are refused with a password in them.
std::string without_secrets(std::string_view url) {
  const std::size_t scheme = std::min(url.find(':'), url.size());
  const std::size_t at = url.rfind('@');
  std::string shown(url);
  if (at != std::string_view::npos) {
    shown = std::string(at > scheme ? url.substr(0, scheme + 1) : "") + "..." +
            std::string(url.substr(at));
  }
  const std::size_t query = shown.find('?');
  return query == std::string::npos ? shown : shown.substr(0, query) + "?...";
}

// U+0080 to U+009F, in UTF-8.
bool is_c1_control(std::string_view text) {
  if (text.size() < 2 || text[0] != '\xc2') return false;
  const auto second = static_cast<unsigned char>(text[1]);
  return second >= 0x80 && second <= 0x9f;
}

}  // namespace

std::string quote_for_people(std::string_view text) {
  constexpr std::size_t kShown = 64;
  std::string quoted = "'";
  for (const char c : text.substr(0, kShown)) {
    const bool visible = c >= ' ' && c <= '~';
    visible ? quoted.append(1, c) : append_escape(quoted, c);
  }
  quoted += text.size() > kShown ? "…'" : "'";
  return quoted;
}

std::string quote_without_secrets(std::string_view url) {
  return quote_for_people(without_secrets(url));
}

std::string escape_controls(std::string_view text, std::string_view kept) {
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (is_c1_control(rest)) {
      append_escape(append_escape(escaped, rest[0]), rest[1]);
      ++i;
      continue;
    }
    const char c = rest.front();
    const bool escapes = is_control(c) && kept.find(c) == kept.npos;
    escapes ? append_escape(escaped, c) : escaped.append(1, c);
  }
  return escaped;
}

std::string quote_for_shell(std::string_view word) {
  std::string quoted = "'";
  for (const char c : word) c == '\'' ? quoted.append("'\\''") : quoted.append(1, c);
  return quoted + "'";
}

std::string word_for_shell(std::string_view word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/.:_-";
  const bool is_plain = word.find_first_not_of(kPlain) == word.npos;
  return is_plain ? std::string(word) : quote_for_shell(word);
}

}  // namespace counterd
