// HTTP/1.1, as far as counterctl speaks it: one request after the other on a connection that is
// kept, and answers with a Content-Length. Not a library's client, because counterctl is started
// anew for each count: to load and set up one with its TLS takes longer than to count.
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
  std::string fields;  // each with its line end, none of Host and Content-Length
  std::string body = {};
};

struct HttpReply {
  int status = 0;
  std::string body;
};

// What an answer says of itself.
struct ReplyHead {
  int status = 0;
  std::size_t size = 0;  // of the head
  std::size_t body_size = 0;
  bool closes = false;
};

// Reads the head that `input` begins with. Nothing: it is not whole yet. kUnavailable: it is none,
// is larger than 16 KiB, or says of its body what is not understood or is larger than 4 MiB.
Result<std::optional<ReplyHead>> read_reply_head(std::string_view input);

// The request as it is sent to `server`.
std::string to_bytes(const HttpRequest& request, const Endpoint& server);

// A connection to `server`, which does not block. kUnavailable: none by `deadline`, but for the
// time that looking up its name takes.
Result<UniqueFd> connect_to_server(const Endpoint& server, Deadline deadline);

class HttpClient {
 public:
  explicit HttpClient(Endpoint server) : server_(std::move(server)) {}

  // kUnavailable: nothing was sent; kUnknown: no answer has come by `deadline`, or before the
  // connection was lost; kBadBody: what has come is none.
  Result<HttpReply> ask(const HttpRequest& request, Deadline deadline);

 private:
  Result<HttpReply> exchange(std::string_view bytes, Deadline deadline);
  Result<void> receive_some(Deadline deadline);

  const Endpoint server_;
  UniqueFd socket_;
  std::string input_;
};

}  // namespace counterd
