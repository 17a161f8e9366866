// A client that sends what a test says, byte for byte, and reads replies strictly.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/endpoint.h"
#include "common/unique_fd.h"

namespace counterd {

struct Reply {
  int status = 0;
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;

  bool closes() const {
    const auto found = fields.find("connection");
    return found != fields.end() && found->second == "close";
  }
};

class HttpSocket {
 public:
  // Connects; is_open() says whether it succeeded.
  explicit HttpSocket(const Endpoint& endpoint);

  bool is_open() const { return static_cast<bool>(socket_); }
  int fd() const { return socket_.get(); }

  // False: the other side is gone.
  bool send(std::string_view bytes);
  // Nothing more will be sent.
  void end_sending();

  // The next reply; nothing if the connection ends before it or it does not come in time. A reply
  // that is not well formed throws. `head_only`: it has no body, whatever its length says.
  std::optional<Reply> receive(std::chrono::milliseconds timeout = std::chrono::seconds(20),
                               bool head_only = false);
  // Whether the other side ends the connection cleanly, without sending anything more.
  bool ends(std::chrono::milliseconds timeout = std::chrono::seconds(20));
  // Bytes that have come, without waiting for a whole reply.
  std::string receive_some(std::chrono::milliseconds timeout);

  // send() and receive().
  std::optional<Reply> ask(std::string_view bytes);

 private:
  bool fill(std::chrono::steady_clock::time_point deadline);

  UniqueFd socket_;
  std::string input_;
};

// A whole request with Host, and with Content-Length where there is a body.
std::string request(std::string_view method, std::string_view target, std::string_view body = {},
                    std::string_view fields = {});

}  // namespace counterd
