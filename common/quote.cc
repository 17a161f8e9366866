#include "common/quote.h"

#include <array>
#include <cstdio>

namespace counterd {
namespace {

std::string& append_escape(std::string& out, char c) {
  std::array<char, 8> escape{};
  std::snprintf(escape.data(), escape.size(), "\\x%02x", static_cast<unsigned char>(c));
  return out += escape.data();
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

std::string escape_controls(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const bool is_control = static_cast<unsigned char>(c) < ' ' || c == '\x7f';
    is_control ? append_escape(escaped, c) : escaped.append(1, c);
  }
  return escaped;
}

}  // namespace counterd
