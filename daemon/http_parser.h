// httplib's view of a request head, without httplib's sockets, threads, routes or bodies.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

namespace httplib {
struct Request;
}

namespace counterd {

class HttpParser {
 public:
  HttpParser();
  ~HttpParser();

  // Calls `use` with the parsed head, during the call. False: httplib refuses the head, and `use`
  // was not called.
  // REQUIRES: check_head() has accepted `head`, and without_dropped_fields() has been applied
  bool parse(std::string_view head, const std::function<void(const httplib::Request&)>& use);

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace counterd
