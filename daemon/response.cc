#include "daemon/response.h"

#include <array>
#include <ctime>

#include "common/json.h"
#include "common/number.h"

namespace counterd {
namespace {

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Internal Server Error";
  }
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
  append_number(out, response.status);
  out += ' ';
  out += reason(response.status);
  out += "\r\nContent-Type: ";
  out += response.content_type;
  out += "\r\nContent-Length: ";
  append_number(out, static_cast<std::int64_t>(response.body.size()));
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
                         std::to_string(info.http_status) + R"(,"detail":)";
  append_json_string(document, error.message);
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
