// HTTP/1.1 as far as counterctl speaks it: one request after another on a connection that is kept
// open, and answers with a Content-Length. Not a library's client, because counterctl is started
// for each count: loading and setting up one with its TLS takes longer than counting.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "common/deadline.h"
#include "common/endpoint.h"
#include "common/error.h"
#include "common/unique_fd.h"

namespace counterd {

struct HttpRequest {
  std::string method;
  std::string target;
  std::string fields = {};  // each with its line end; without Host and Content-Length
  std::string body = {};
};

struct HttpReply {
  int status = 0;
  std::string body;
};

// What the head of an answer says.
struct ReplyHead {
  int status = 0;
  std::size_t size = 0;  // of the head
  std::size_t body_size = 0;
  bool closes = false;
};

// Reads the head at the start of `input`. Nothing: it is incomplete. kBadBody: it is malformed, is
// larger than 16 KiB, or gives its body a form that is not understood or a size above 4 MiB.
Result<std::optional<ReplyHead>> read_reply_head(std::string_view input);

// The request as it is sent to `server`.
std::string to_bytes(const HttpRequest& request, const Endpoint& server);

// A non-blocking connection to `server`, by the first of its addresses that answers. kForbidden:
// its Unix socket is not for this user; kUnavailable: none by `deadline`, not counting the time
// that looking up its name takes.
Result<UniqueFd> connect_to_server(const Endpoint& server, Deadline deadline);

class HttpClient {
 public:
  explicit HttpClient(Endpoint server) : server_(std::move(server)) {}

  // As connect_to_server(): nothing was sent; kUnknown: no answer came by `deadline`, or before the
  // connection was lost; kBadBody: what came is not an answer.
  Result<HttpReply> ask(const HttpRequest& request, Deadline deadline);

 private:
  Result<HttpReply> exchange(std::string_view bytes, Deadline deadline);
  Result<void> receive_some(Deadline deadline);

  const Endpoint server_;
  UniqueFd socket_;
  std::string input_;
};

}  // namespace counterd
