#include "daemon/response.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "common/json.h"

namespace counterd {
namespace {

struct Reason {
  int status;
  std::string_view phrase;
};
constexpr std::array kReasons = {
    Reason{200, "OK"},
    Reason{400, "Bad Request"},
    Reason{403, "Forbidden"},
    Reason{404, "Not Found"},
    Reason{405, "Method Not Allowed"},
    Reason{408, "Request Timeout"},
    Reason{409, "Conflict"},
    Reason{411, "Length Required"},
    Reason{413, "Content Too Large"},
    Reason{414, "URI Too Long"},
    Reason{415, "Unsupported Media Type"},
    Reason{417, "Expectation Failed"},
    Reason{422, "Unprocessable Content"},
    Reason{429, "Too Many Requests"},
    Reason{431, "Request Header Fields Too Large"},
    Reason{503, "Service Unavailable"},
    Reason{505, "HTTP Version Not Supported"},
    Reason{507, "Insufficient Storage"},
    Reason{500, "Internal Server Error"},
};

std::string_view reason(int status) {
  const auto found = std::find_if(kReasons.begin(), kReasons.end() - 1,
                                  [status](const Reason& known) { return known.status == status; });
  return found->phrase;  // the last one for any other
}

// The Date field, which a server with a clock sends (RFC 9110, 6.6.1); made once a second.
const std::string& date_field() {
  static std::time_t made_at = 0;
  static std::string field;
  const std::time_t now = std::time(nullptr);
  if (now != made_at) {
    made_at = now;
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 64> text{};
    std::strftime(text.data(), text.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    field = text.data();
  }
  return field;
}

}  // namespace

void append_bytes(std::string& out, const Response& response, After after, bool head_only) {
  out += "HTTP/1.1 ";
  out += std::to_string(response.status);
  out += ' ';
  out += reason(response.status);
  out += "\r\nContent-Type: ";
  out += response.content_type;
  out += "\r\nContent-Length: ";
  out += std::to_string(response.body.size());
  out += "\r\nCache-Control: no-store\r\n";
  out += date_field();
  out += response.fields;
  if (after == After::kClose) out += "Connection: close\r\n";
  if (after == After::kKeepAlive10) out += "Connection: keep-alive\r\n";
  out += "\r\n";
  if (!head_only) out += response.body;
}

std::string problem_document(const Error& error, std::string_view members) {
  const CodeInfo& info = code_info(error.code);
  std::string document = R"({"type":")" + problem_type(error.code) + R"(","title":")" +
                         std::string(info.title) + R"(","status":)" +
                         std::to_string(info.http_status);
  append_json_member(document, "detail", error.message);
  return document.append(members).append("}");
}

Response problem_response(const Error& error, std::string_view members) {
  const CodeInfo& info = code_info(error.code);
  Response response;
  response.status = info.http_status;
  response.content_type = "application/problem+json";
  response.body = problem_document(error, members).append("\n");
  // Not for an unknown outcome: a proxy or a library that simply tries again could count twice.
  const bool nothing_happened = info.http_status == 503 && error.code != Code::kUnknown;
  if (nothing_happened) response.fields = "Retry-After: 1\r\n";
  return response;
}

}  // namespace counterd
