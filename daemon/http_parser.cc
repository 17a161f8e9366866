#include "daemon/http_parser.h"

#include <httplib.h>

#include <algorithm>
#include <cstring>

// Without the flags of `pkg-config --cflags cpp-httplib` the layout of Request differs from that
// in the shared library, and the program links all the same.
#ifndef CPPHTTPLIB_OPENSSL_SUPPORT
#error "compile with the flags of: pkg-config --cflags cpp-httplib"
#endif

namespace counterd {
namespace {

// Reads from memory; what httplib writes is dropped, since the answer comes later.
class HeadStream : public httplib::Stream {
 public:
  explicit HeadStream(std::string_view text) : text_(text) {}
  bool is_readable() const override { return !text_.empty(); }
  bool is_writable() const override { return true; }
  ssize_t read(char* to, std::size_t size) override {
    size = std::min(size, text_.size());
    std::memcpy(to, text_.data(), size);
    text_.remove_prefix(size);
    return static_cast<ssize_t>(size);
  }
  ssize_t write(const char*, std::size_t size) override { return static_cast<ssize_t>(size); }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return -1; }

 private:
  std::string_view text_;
};

}  // namespace

class HttpParser::Server : public httplib::Server {
 public:
  Server() {
    // No route is registered: each would be a regular expression, matched recursively.
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response&) {
      used_ = true;
      (*use_)(request);
      return HandlerResponse::Handled;
    });
  }

  bool parse(std::string_view head, const std::function<void(const httplib::Request&)>& use) {
    HeadStream stream(head);
    use_ = &use;
    used_ = false;
    process(*this, stream);
    return used_;
  }

 private:
  // process_request() takes four addresses more from httplib 0.15 on (Debian 13).
  template <class Self>
  static void process(Self& self, httplib::Stream& stream) {
    bool closed = false;
    if constexpr (requires { self.process_request(stream, false, closed, nullptr); }) {
      self.process_request(stream, false, closed, nullptr);
    } else {
      self.process_request(stream, std::string(), 0, std::string(), 0, false, closed, nullptr);
    }
  }

  const std::function<void(const httplib::Request&)>* use_ = nullptr;
  bool used_ = false;
};

HttpParser::HttpParser() : server_(std::make_unique<Server>()) {}
HttpParser::~HttpParser() = default;

bool HttpParser::parse(std::string_view head,
                       const std::function<void(const httplib::Request&)>& use) {
  return server_->parse(head, use);
}

}  // namespace counterd
