#include "cli/http_client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "cli/server_option.h"
#include "common/ascii.h"
#include "common/deadline.h"
#include "common/number.h"
#include "common/tcp_address.h"
#include "common/unix_socket.h"

namespace counterd {
namespace {

constexpr std::size_t kMaxHead = 16 * 1024;
// A batch of 1,000 operations on counters with the longest names has answers of half a MiB.
constexpr std::size_t kMaxBody = 4 * 1024 * 1024;
constexpr std::size_t kReadBytes = 16 * 1024;

// The value of a field of `head`, without the blanks around it (RFC 9112, 5); nothing if it has
// none.
std::optional<std::string_view> field_of(std::string_view head, std::string_view name) {
  const auto same = [](char a, char b) { return lower_case(a) == lower_case(b); };
  const std::string line = "\r\n" + std::string(name) + ":";
  const auto found = std::search(head.begin(), head.end(), line.begin(), line.end(), same);
  if (found == head.end()) return std::nullopt;
  head.remove_prefix(static_cast<std::size_t>(found - head.begin()) + line.size());
  return trim(head.substr(0, head.find('\r')));
}

Result<UniqueFd> connect_to(const TcpAddress& address, Deadline deadline) {
  UniqueFd connection(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection) return system_error(Code::kUnavailable, "socket", errno);
  const int yes = 1;
  setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(connection.get(), address.get(), address.size) == 0) return connection;
  int failure = errno;
  if (failure == EINPROGRESS) {
    socklen_t length = sizeof failure;
    if (!wait_ready(connection.get(), POLLOUT, deadline)) {
      failure = ETIMEDOUT;
    } else {
      getsockopt(connection.get(), SOL_SOCKET, SO_ERROR, &failure, &length);
    }
  }
  if (failure == 0) return connection;
  return Error{Code::kUnavailable, std::generic_category().message(failure)};
}

Result<UniqueFd> connect_to_path(const std::string& path, Deadline deadline) {
  UnixConnection connection = connect_unix(path, deadline);
  if (connection.failure == 0) return std::move(connection.socket);
  return Error{connection.failure == EACCES ? Code::kForbidden : Code::kUnavailable,
               std::generic_category().message(connection.failure)};
}

}  // namespace

Result<std::optional<ReplyHead>> read_reply_head(std::string_view input) {
  const Error wrong{Code::kBadBody, "an answer that is not understood"};
  const std::size_t end = input.substr(0, kMaxHead).find("\r\n\r\n");
  if (end == input.npos) {
    if (input.size() >= kMaxHead) return wrong;
    return std::optional<ReplyHead>();
  }
  const std::string_view head = input.substr(0, end + 2);
  ReplyHead reply;
  reply.size = end + 4;
  if (!head.starts_with("HTTP/1.1 ") || !read_lenient(head.substr(9, 3), reply.status))
    return wrong;
  reply.closes = field_of(head, "Connection") == "close";
  if (reply.status < 200) return std::optional(reply);  // it has no body: the answer comes after it
  const std::optional<std::string_view> length = field_of(head, "Content-Length");
  if (!length || !read_lenient(*length, reply.body_size) || reply.body_size > kMaxBody)
    return wrong;
  return std::optional(reply);
}

std::string to_bytes(const HttpRequest& request, const Endpoint& server) {
  std::string bytes = request.method + " " + request.target +
                      " HTTP/1.1\r\nHost: " + (server.is_unix() ? "localhost" : to_string(server)) +
                      "\r\n" + request.fields;
  if (request.method == "POST") {
    bytes += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  return bytes + "\r\n" + request.body;
}

Result<UniqueFd> connect_to_server(const Endpoint& server, Deadline deadline) {
  if (server.is_unix()) return connect_to_path(server.path, deadline);
  const auto [addresses, failure] = look_up(server);
  if (failure != 0) return Error{Code::kUnavailable, gai_strerror(failure)};
  Result<UniqueFd> connection = Error{Code::kUnavailable, "no address"};
  for (const TcpAddress& address : addresses) {
    const Time now = std::chrono::steady_clock::now();
    const bool is_last = &address == &addresses.back();
    const Deadline until = is_last ? deadline : now + (deadline - now) / 2;  // it may be silent
    connection = connect_to(address, until);
    if (connection) break;
  }
  return connection;
}

Result<HttpReply> HttpClient::ask(const HttpRequest& request, Deadline deadline) {
  // A connection that the server has closed since the last answer would only lose the request.
  if (socket_ && is_readable(socket_.get())) socket_.reset();
  if (!socket_) {
    Result<UniqueFd> connection = connect_to_server(server_, deadline);
    if (!connection) return connection.error();
    socket_ = std::move(*connection);
  }
  input_.clear();
  Result<HttpReply> reply = exchange(to_bytes(request, server_), deadline);
  if (!reply) socket_.reset();
  return reply;
}

Result<HttpReply> HttpClient::exchange(std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno != EAGAIN || !wait_ready(socket_.get(), POLLOUT, deadline)) {
      return Error{Code::kUnknown, "the connection was lost"};
    }
  }
  for (;;) {
    const Result<std::optional<ReplyHead>> read = read_reply_head(input_);
    if (!read) return read.error();
    const std::optional<ReplyHead>& head = *read;
    const std::size_t size = head ? head->size + head->body_size : 0;
    if (!head || input_.size() < size) {
      if (const Result<void> more = receive_some(deadline); !more) return more.error();
    } else if (head->status < 200) {
      input_.erase(0, size);
    } else {
      const bool has_more = input_.size() > size;  // than was asked for
      if (head->closes || has_more) socket_.reset();
      return HttpReply{head->status, input_.substr(head->size, head->body_size)};
    }
  }
}

Result<void> HttpClient::receive_some(Deadline deadline) {
  const std::size_t size = input_.size();
  if (!wait_ready(socket_.get(), POLLIN, deadline))
    return Error{Code::kUnknown, "it takes too long (see its log, or counterctl workers" +
                                     server_option(server_) + " on its host)"};
  input_.resize(size + kReadBytes);
  const ssize_t got = recv(socket_.get(), &input_[size], kReadBytes, 0);
  input_.resize(size + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got > 0 || (got < 0 && errno == EAGAIN)) return {};
  return Error{Code::kUnknown, "the connection was lost"};
}

}  // namespace counterd
