#include "tests/fuzz/other_parser.h"

#include <http_parser.h>

#include <algorithm>
#include <string>

#include "common/ascii.h"
#include "common/limits.h"

namespace counterd {
namespace {

int pause_at_end(http_parser* parser) {
  http_parser_pause(parser, 1);
  return 0;
}

bool reads_as(http_parser_type type, std::string_view head, std::size_t body_size) {
  // One byte more than any body, so that a message that goes on too long is seen.
  static const std::string body(kMaxBodyBytes + 1, 'x');
  http_parser_settings settings{};
  http_parser_settings_init(&settings);
  settings.on_message_complete = pause_at_end;
  http_parser parser{};
  http_parser_init(&parser, type);
  const auto takes = [&](std::string_view bytes, std::size_t size) {
    return http_parser_execute(&parser, &settings, bytes.data(), bytes.size()) == size;
  };
  const auto is = [&](http_errno state) { return HTTP_PARSER_ERRNO(&parser) == state; };
  if (!takes(head, head.size())) return false;
  if (body_size == 0) return is(HPE_PAUSED);
  const std::string_view bytes = std::string_view(body).substr(0, body_size + 1);
  return is(HPE_OK) && takes(bytes, body_size) && is(HPE_PAUSED);
}

// It knows the methods of a list alone, where any token is one (RFC 9110, 9.1), and CONNECT has
// targets of another form: such a method is put to it as the POST that it frames like.
std::string with_known_method(std::string_view head) {
  const std::string_view method = head.substr(0, head.find(' '));
  for (const std::string_view known : {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}) {
    if (method == known) return std::string(head);
  }
  return "POST" + std::string(head.substr(method.size()));
}

// It takes a field whose name only begins with Transfer-Encoding for half of one.
void hide_transfer_encoding_like(std::string& head) {
  constexpr std::string_view kName = "\r\ntransfer-encoding";
  const std::string lower = lower_case(head);
  for (std::size_t at = lower.find(kName); at != lower.npos; at = lower.find(kName, at + 1)) {
    if (lower[at + kName.size()] != ':') head[at + 2] = 'x';
  }
}

}  // namespace

bool reads_as_request(std::string_view head, std::size_t body_size) {
  std::string text = with_known_method(head);
  // It takes a tab after a length for a part of it, where it is a space (RFC 9110, 5.5).
  std::replace(text.begin(), text.end(), '\t', ' ');
  hide_transfer_encoding_like(text);
  return reads_as(HTTP_REQUEST, text, body_size);
}

bool reads_as_response(std::string_view head, std::size_t body_size) {
  return reads_as(HTTP_RESPONSE, head, body_size);
}

}  // namespace counterd
