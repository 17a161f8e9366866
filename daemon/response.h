// What goes back to a client, and its bytes.
#pragma once

#include <string>
#include <string_view>

#include "common/error.h"

namespace counterd {

struct Response {
  int status = 200;
  std::string_view content_type;  // a literal
  std::string body;
  std::string fields;  // more header fields, each with its CR LF
};

// What becomes of the connection after a response.
enum class After : unsigned char { kKeepAlive, kKeepAlive10, kClose };

// Appends the response as HTTP/1.1 bytes (RFC 9112). For a HEAD request the body is left out, but
// its length is still given.
void append_bytes(std::string& out, const Response& response, After after, bool head_only);

// The problem document for `error` (RFC 9457): type, title, status and detail, followed by
// `members` of its own, each preceded by a comma.
std::string problem_document(const Error& error, std::string_view members = {});

// The response that consists of it.
Response problem_response(const Error& error, std::string_view members = {});

}  // namespace counterd
