#include "daemon/request_head.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <charconv>

#include "common/ascii.h"
#include "common/limits.h"

namespace counterd {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::size_t kMaxMethodLength = 32;

// The characters of a token (RFC 9110, 5.6.2).
constexpr std::array<bool, 256> kTokenCharacters = [] {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<std::size_t>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return kTokenCharacters[static_cast<unsigned char>(c)];
  });
}

bool is_target(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c > ' ' && c <= '~' && c != '#'; });
}

// Field values hold visible characters, spaces, tabs and bytes beyond ASCII (RFC 9110, 5.5).
bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= ' ' && byte != 0x7f) || byte == '\t';
  });
}

// `name` is in lower case.
bool is_named(std::string_view text, std::string_view name) {
  return text.size() == name.size() &&
         std::equal(text.begin(), text.end(), name.begin(),
                    [](char a, char b) { return lower_case(a) == b; });
}

bool begins_with(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && is_named(text.substr(0, start.size()), start);
}

// Whether the comma-separated list `value` has the element `name`, in lower case.
bool list_has(std::string_view value, std::string_view name) {
  while (!value.empty()) {
    if (is_named(trim(take_until(value, ',')), name)) return true;
  }
  return false;
}

Error malformed(std::string_view why) {
  return {Code::kBadRequest, std::string(why)};
}

// The host of a target in absolute form, as for a proxy, goes before the field Host (RFC 9112,
// 3.2.2). Leaves the path; where there is none, no route is meant, whatever the query.
void take_host_from_target(RequestHead& head) {
  constexpr std::string_view kScheme = "http://";
  if (!begins_with(head.target, kScheme)) return;
  const std::string_view rest = head.target.substr(kScheme.size());
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  if (end == 0) return;
  head.host = rest.substr(0, end);
  head.target = end < rest.size() && rest[end] == '/' ? rest.substr(end) : "/";
}

Result<void> read_request_line(std::string_view line, RequestHead& head) {
  const std::size_t method_end = std::min(line.find(' '), line.size());
  head.method = line.substr(0, method_end);
  if (method_end > kMaxMethodLength || !is_token(head.method)) {
    return malformed("the request line does not begin with a method");
  }
  const std::size_t version_start = line.rfind(' ');
  if (version_start == std::string_view::npos || version_start <= method_end) {
    return malformed("the request line is not METHOD TARGET VERSION");
  }
  head.target = line.substr(method_end + 1, version_start - method_end - 1);
  const std::string_view version = line.substr(version_start + 1);
  if (head.target.size() > kMaxTargetBytes) {
    return Error{Code::kTargetTooLong,
                 "the target is longer than " + std::to_string(kMaxTargetBytes) + " bytes"};
  }
  head.http_1_0 = version == "HTTP/1.0";
  if (version != "HTTP/1.1" && !head.http_1_0) {
    if (!version.starts_with("HTTP/")) return malformed("the request line names no HTTP version");
    return Error{Code::kVersionNotSupported, "this server speaks HTTP/1.1 and HTTP/1.0"};
  }
  const bool is_visible = is_target(head.target);
  if (is_visible) take_host_from_target(head);
  if (!is_visible || !head.target.starts_with('/')) {
    return malformed("the target is not a path in visible ASCII");
  }
  head.keep_alive = !head.http_1_0;
  return {};
}

Result<void> read_length(std::string_view value, RequestHead& head) {
  const bool is_number = !value.empty() && std::ranges::all_of(value, is_digit);
  if (!is_number) return malformed("Content-Length is not a number");
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), head.body_size);
  if (parsed.ec != std::errc() || head.body_size > kMaxBodyBytes) {
    return Error{Code::kBodyTooLarge,
                 "the body is longer than " + std::to_string(kMaxBodyBytes) + " bytes"};
  }
  return {};
}

Result<void> read_connection(std::string_view value, RequestHead& head) {
  // "close" outweighs "keep-alive", in whichever order and field they come (RFC 9112, 9.3).
  if (list_has(value, "close")) head.asks_to_close = true;
  if (head.http_1_0 && list_has(value, "keep-alive")) head.keep_alive = true;
  if (head.asks_to_close) head.keep_alive = false;
  return {};
}

Result<void> read_expectation(std::string_view value, RequestHead& head) {
  if (head.http_1_0) return {};  // it cannot expect anything (RFC 9110, 10.1.1)
  head.expects_continue = true;
  if (is_named(value, "100-continue")) return {};
  return Error{Code::kExpectationFailed, "the only expectation met is 100-continue"};
}

Result<void> read_content_type(std::string_view value, RequestHead& head) {
  head.content_type = value;
  if (!begins_with(value, "multipart/")) return {};
  return Error{Code::kUnsupportedMediaType, "multipart bodies are not accepted"};
}

template <std::optional<std::string_view> RequestHead::*member>
Result<void> keep_even_if_empty(std::string_view value, RequestHead& head) {
  head.*member = value;
  return {};
}

Result<void> read_origin(std::string_view, RequestHead& head) {
  head.has_origin = true;
  return {};
}

Result<void> refuse_transfer_encoding(std::string_view, RequestHead&) {
  return Error{Code::kLengthRequired,
               "a body needs Content-Length; Transfer-Encoding is not accepted"};
}

Result<void> refuse_content_encoding(std::string_view, RequestHead&) {
  return Error{Code::kUnsupportedMediaType, "encoded bodies are not accepted"};
}

// Keeps the first value.
template <std::string_view RequestHead::*member>
Result<void> keep(std::string_view value, RequestHead& head) {
  if ((head.*member).empty()) head.*member = value;
  return {};
}

// The fields that matter here.
struct Field {
  std::string_view name;  // in lower case
  bool once;              // a second one is malformed
  Result<void> (*read)(std::string_view value, RequestHead& head);
};
constexpr std::array kFields = {
    Field{"host", true, keep<&RequestHead::host>},
    Field{"content-length", true, read_length},
    Field{"content-type", true, read_content_type},
    Field{"connection", false, read_connection},
    Field{"accept", false, keep<&RequestHead::accept>},
    Field{"origin", false, read_origin},
    Field{"sec-fetch-site", true, keep<&RequestHead::sec_fetch_site>},
    Field{"expect", true, read_expectation},
    Field{"idempotency-key", true, keep_even_if_empty<&RequestHead::idempotency_key>},
    Field{"idempotency-key-lifetime", true,
          keep_even_if_empty<&RequestHead::idempotency_key_lifetime>},
    Field{"transfer-encoding", false, refuse_transfer_encoding},
    Field{"content-encoding", false, refuse_content_encoding},
};

// Which of kFields have been seen.
using Seen = std::bitset<kFields.size()>;
constexpr std::size_t kHost = 0;
static_assert(kFields[kHost].name == std::string_view("host"));

Result<void> read_known_field(std::string_view name, std::string_view value, RequestHead& head,
                              Seen& seen) {
  for (std::size_t i = 0; i < kFields.size(); ++i) {
    const Field& field = kFields[i];
    if (!is_named(name, field.name)) continue;
    if (field.once && seen[i]) return malformed(std::string(name) + " is given twice");
    seen[i] = true;
    return field.read(value, head);
  }
  return {};
}

Result<void> read_field(std::string_view line, RequestHead& head, Seen& seen) {
  if (line.starts_with(' ') || line.starts_with('\t')) return malformed("a field is folded");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return malformed("a field has no colon");
  if (!is_token(line.substr(0, colon))) {
    return malformed("a field name has a space or another character that is not allowed");
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (!is_field_value(value)) return malformed("a field value has a control character");
  return read_known_field(line.substr(0, colon), value, head, seen);
}

// REQUIRES: `text` ends with an empty line
Result<std::optional<RequestHead>> read_whole_head(std::string_view text) {
  RequestHead head;
  head.size = text.size();
  Seen seen;
  std::size_t end = text.find(kLineEnd);
  if (Result<void> line = read_request_line(text.substr(0, end), head); !line) return line.error();
  for (std::size_t fields = 0;; ++fields) {
    text.remove_prefix(end + kLineEnd.size());
    end = text.find(kLineEnd);
    if (end == 0) break;
    if (fields == kMaxHeadFields) {
      return Error{Code::kHeadTooLarge,
                   "the head has more than " + std::to_string(kMaxHeadFields) + " fields"};
    }
    if (Result<void> line = read_field(text.substr(0, end), head, seen); !line) {
      return line.error();
    }
  }
  if (!seen[kHost] && !head.http_1_0) return malformed("Host is missing");
  return std::optional<RequestHead>(head);
}

// What is already wrong with a head that has not ended yet.
Result<std::optional<RequestHead>> refuse_part_of_head(std::string_view text) {
  const std::size_t line = std::min(text.find(kLineEnd), text.size());
  if (line > kMaxTargetBytes + kMaxMethodLength + sizeof "  HTTP/1.1") {
    return Error{Code::kTargetTooLong,
                 "the target is longer than " + std::to_string(kMaxTargetBytes) + " bytes"};
  }
  if (text.size() >= kMaxHeadBytes) {
    return Error{Code::kHeadTooLarge,
                 "the head is longer than " + std::to_string(kMaxHeadBytes) + " bytes"};
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool bare_lf = text[at] == '\n' && (at == 0 || text[at - 1] != '\r');
    const bool bare_cr = text[at] == '\r' && at + 1 < text.size() && text[at + 1] != '\n';
    if (bare_lf || bare_cr || text[at] == '\0') {
      return malformed("lines end with CR LF, and neither stands alone");
    }
  }
  return std::optional<RequestHead>();
}

}  // namespace

Result<std::optional<RequestHead>> read_request_head(std::string_view input) {
  const std::string_view within = input.substr(0, kMaxHeadBytes);
  if (within.starts_with(kLineEnd)) return malformed("the request begins with an empty line");
  const std::size_t end = within.find(kHeadEnd);
  if (end == std::string_view::npos) return refuse_part_of_head(within);
  return read_whole_head(within.substr(0, end + kHeadEnd.size()));
}

}  // namespace counterd
