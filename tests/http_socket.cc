#include "tests/http_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>

#include "common/deadline.h"
#include "common/unix_socket.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

int connect_tcp(const Endpoint& endpoint) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(endpoint.port));
  inet_pton(AF_INET, endpoint.host.c_str(), &address.sin_addr);
  const int yes = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return socket;
  ::close(socket);
  return -1;
}

int connect_unix(const Endpoint& endpoint) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = unix_address(endpoint.path);
  if (connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return socket;
  ::close(socket);
  return -1;
}

Reply read_head(std::string_view head) {
  Reply reply;
  if (!head.starts_with("HTTP/1.1 ")) throw std::runtime_error("no HTTP reply");
  reply.status = std::stoi(std::string(head.substr(9, 3)));
  head.remove_prefix(head.find("\r\n") + 2);
  while (!head.starts_with("\r\n")) {
    const std::size_t colon = head.find(": ");
    const std::size_t end = head.find("\r\n");
    if (colon == head.npos || colon > end) throw std::runtime_error("malformed field");
    std::string name(head.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    if (!reply.fields.emplace(name, head.substr(colon + 2, end - colon - 2)).second) {
      throw std::runtime_error("repeated field " + name);
    }
    head.remove_prefix(end + 2);
  }
  return reply;
}

}  // namespace

HttpSocket::HttpSocket(const Endpoint& endpoint)
    : socket_(endpoint.is_unix() ? connect_unix(endpoint) : connect_tcp(endpoint)) {}

bool HttpSocket::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(size));
  }
  return true;
}

void HttpSocket::end_sending() {
  shutdown(socket_.get(), SHUT_WR);
}

bool HttpSocket::fill(steady_clock::time_point deadline) {
  if (!wait_ready(socket_.get(), POLLIN, deadline)) return false;
  std::array<char, 65536> portion{};
  const ssize_t size = recv(socket_.get(), portion.data(), portion.size(), 0);
  if (size <= 0) return false;
  input_.append(portion.data(), static_cast<std::size_t>(size));
  return true;
}

std::optional<Reply> HttpSocket::receive(milliseconds timeout, bool head_only) {
  const auto deadline = steady_clock::now() + timeout;
  std::size_t end = std::string::npos;
  while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
    if (!fill(deadline)) return std::nullopt;
  }
  Reply reply = read_head(std::string_view(input_).substr(0, end + 4));
  const bool interim = reply.status < 200;
  const std::size_t size = interim || head_only ? 0 : std::stoul(reply.fields.at("content-length"));
  while (input_.size() < end + 4 + size) {
    if (!fill(deadline)) return std::nullopt;
  }
  reply.body = input_.substr(end + 4, size);
  input_.erase(0, end + 4 + size);
  return reply;
}

bool HttpSocket::ends(milliseconds timeout) {
  char byte = 0;
  return input_.empty() && wait_ready(socket_.get(), POLLIN, steady_clock::now() + timeout) &&
         recv(socket_.get(), &byte, 1, 0) == 0;
}

std::string HttpSocket::receive_some(milliseconds timeout) {
  fill(steady_clock::now() + timeout);
  return std::exchange(input_, {});
}

std::optional<Reply> HttpSocket::ask(std::string_view bytes) {
  if (!is_open() || !send(bytes)) return std::nullopt;
  return receive();
}

std::string request(std::string_view method, std::string_view target, std::string_view body,
                    std::string_view fields) {
  std::string text(method);
  text.append(" ").append(target).append(" HTTP/1.1\r\nHost: localhost\r\n").append(fields);
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text.append("\r\n").append(body);
}

}  // namespace counterd
