#include "daemon/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <asio/post.hpp>
#include <cerrno>

#include "common/limits.h"
#include "daemon/server.h"

namespace counterd {
namespace {

// How much buffer an idle connection may keep: most replies fit.
constexpr std::size_t kKeptBuffer = 512;

void release_unused(std::string& buffer) {
  if (buffer.capacity() > std::max(kKeptBuffer, 2 * buffer.size())) buffer.shrink_to_fit();
}

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

Connection::Connection(Server& server, GuestPlace place, UniqueFd socket)
    : server_(server), place_(place), socket_(std::move(socket)) {}

void Connection::start() {
  if (!server_.ready_set().add(socket_.get(), *this)) close();
}

void Connection::enter(Phase phase) {
  server_.move(place_, std::exchange(phase_, phase), phase);
}

void Connection::on_ready(std::uint32_t events) {
  const auto self = shared_from_this();  // may be closed meanwhile
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) client_ended_ = true;
  if ((events & EPOLLIN) != 0 || client_ended_) readable_ = true;
  if (phase_ == Phase::kSending) {
    send_output();
  } else if (readable_ && reads()) {
    read_input();
  }
}

bool Connection::reads() const {
  return socket_ && phase_ != Phase::kServing && phase_ != Phase::kSending;
}

// What arrived while nothing was read is not reported again. Posted, so that a connection that
// always has more to read does not keep the event loop from the others.
void Connection::go_on_reading() {
  if (!readable_) return;
  asio::post(server_.loop(), [self = shared_from_this()] {
    if (self->readable_ && self->reads()) self->read_input();
  });
}

// The rest of the input. Posted, so that a connection that asks much at once does not keep the
// event loop from the others.
void Connection::go_on_serving() {
  enter(Phase::kServing);
  asio::post(server_.loop(), [self = shared_from_this()] {
    if (self->socket_) self->serve_input({});
  });
}

// Reads what is there, up to a limit; empty if nothing is there now. Closes at the end of input.
std::string_view Connection::receive() {
  const std::span<char> scratch = server_.scratch();
  const ssize_t size = recv(socket_.get(), scratch.data(), scratch.size(), 0);
  if (size == 0 || (size < 0 && !would_block(errno))) {
    close();
    return {};
  }
  // A short read means that there is nothing more (epoll(7)), except for the end.
  readable_ = size == static_cast<ssize_t>(scratch.size()) || (client_ended_ && size > 0);
  return {scratch.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

void Connection::read_input() {
  const std::string_view fresh = receive();
  if (!socket_) return;
  if (phase_ != Phase::kLingering) return serve_input(fresh);
  if (std::chrono::steady_clock::now() >= linger_end_) return close();
  if (!server_.draining()) enter(Phase::kLingering);  // anew: there is more to come
  go_on_reading();
}

// Serves the whole requests in the input so far and `fresh`; keeps the rest.
void Connection::serve_input(std::string_view fresh) {
  round_ended_ = false;
  if (input_.empty()) {
    fresh.remove_prefix(serve_requests(fresh));
    input_ = fresh;
  } else {
    input_ += fresh;
    input_.erase(0, serve_requests(input_));
  }
  release_unused(input_);
  if (!exchanges_.empty()) {
    enter(Phase::kServing);
    send_when_answered();
    return;
  }
  if (input_.empty() && server_.drain_is_late()) return close();
  await_request();
}

// The rest of one, or the next.
void Connection::await_request() {
  if (input_.empty()) {
    enter(Phase::kIdle);
  } else if (phase_ != Phase::kReceiving) {
    enter(Phase::kReceiving);  // and stays in it: the deadline is for the whole request
  }
  send_continue();
  if (!input_.empty()) acknowledge();
  go_on_reading();
  server_.make_room(place_);
}

// Serves the whole requests that `input` begins with, up to the limit of one round; their size.
std::size_t Connection::serve_requests(std::string_view input) {
  std::size_t used = 0;
  if (input.size() < needed_) return 0;
  needed_ = 0;
  while (!closing_ && !round_ended_ && used < input.size()) {
    // An empty line is no request: some send one after a body (RFC 9112, 2.2).
    const std::string_view rest = input.substr(used);
    const bool is_empty_line = rest.starts_with("\r\n");
    const std::size_t size = is_empty_line ? 2 : serve_request(rest);
    if (size == 0) break;
    used += size;
    if (exchanges_.size() == kMaxPipelined) round_ended_ = true;
  }
  return used;
}

// Serves the first request of `input`; its size, or 0 if it is not whole yet or is refused.
std::size_t Connection::serve_request(std::string_view input) {
  const Result<std::optional<RequestHead>> read = read_request_head(input);
  if (!read) {
    refuse(read.error(), input);
    return 0;
  }
  if (!*read) return 0;
  const RequestHead& head = **read;
  const std::size_t size = head.size + head.body_size;
  if (input.size() < size) {
    needed_ = size;
    continue_due_ = head.expects_continue;  // its head is not looked at again before it is whole
    return 0;
  }
  answer_request(head, input.substr(head.size, head.body_size));
  return size;
}

void Connection::answer_request(const RequestHead& head, std::string_view body) {
  server_.count_request();
  if (!head.keep_alive) closing_ = true;
  Decoded decoded = decode(head, body, server_.api_options());
  Exchange& exchange = exchanges_.emplace_back();
  exchange.call = decoded.call;
  exchange.http_1_0 = head.http_1_0;
  ++unanswered_;
  if (auto* refusal = std::get_if<Response>(&decoded.result)) {
    complete(exchange, std::move(*refusal));
  } else {
    ask(std::move(std::get<Question>(decoded.result)));
  }
}

// What the latest exchange is about.
void Connection::ask(Question&& question) {
  Exchange& exchange = exchanges_.back();
  const std::uint64_t number = first_number_ + exchanges_.size() - 1;
  if (std::holds_alternative<Nothing>(question)) {
    complete(exchange, encode(exchange.call, Nothing{}, server_.figures()));
    return;
  }
  // A page of a list is large, as is a batch: one at a time for each connection.
  const auto* operation = std::get_if<Operation>(&question);
  const bool is_group_operation = operation != nullptr && is_group(*operation);
  if (is_group_operation || std::holds_alternative<ListQuery>(question)) round_ended_ = true;
  if (std::holds_alternative<Probe>(question)) {
    exchange.patience = std::make_unique<asio::steady_timer>(server_.loop(), kReadyTimeout);
    exchange.patience->async_wait([self = shared_from_this(), number](const auto& cancelled) {
      if (cancelled) return;
      self->finish(number, Result<StoreStatus>(
                               Error{Code::kUnavailable, "the store does not answer in time"}));
    });
  }
  // What one asks at once must not use up the room that is left for others.
  if (server_.batcher().is_crowded()) round_ended_ = true;
  if (!server_.batcher().submit(std::move(question), shared_from_this(), number)) {
    complete(exchange,
             problem_response({Code::kOverloaded, "too many operations wait for the store"}));
  }
}

void Connection::finish(std::uint64_t number, Answer answer) {
  const std::uint64_t index = number - first_number_;
  if (number < first_number_ || index >= exchanges_.size()) return;
  Exchange& exchange = exchanges_[index];
  if (exchange.response) return;
  complete(exchange, encode(exchange.call, answer, server_.figures()));
  send_when_answered();
}

void Connection::complete(Exchange& exchange, Response response) {
  exchange.response = std::move(response);
  exchange.patience.reset();
  --unanswered_;
}

// The head cannot be trusted, nor can where the next request begins: this is the last response.
void Connection::refuse(const Error& error, std::string_view request) {
  closing_ = true;
  Exchange& exchange = exchanges_.emplace_back();
  exchange.call.head_only = request.starts_with("HEAD ");
  exchange.response = problem_response(error);
}

void Connection::send_continue() {
  if (!std::exchange(continue_due_, false)) return;
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  // Nothing else is unwritten, so a socket that does not take this much takes nothing. The client
  // sends the body all the same, after a while (RFC 9110, 10.1.1).
  send(socket_.get(), kContinue.data(), kContinue.size(), MSG_NOSIGNAL);
}

// A client that sends the head and then the body may hold back the body until the head is
// acknowledged (Nagle's algorithm), which the kernel delays by 40 ms where nothing is sent back.
void Connection::acknowledge() {
  constexpr int kYes = 1;
  setsockopt(socket_.get(), IPPROTO_TCP, TCP_QUICKACK, &kYes, sizeof kYes);  // not on a Unix socket
}

void Connection::send_when_answered() {
  if (unanswered_ != 0 || exchanges_.empty() || !socket_) return;
  if (server_.draining() && !has_another_request()) closing_ = true;
  for (const Exchange& exchange : exchanges_) {
    const bool last = &exchange == &exchanges_.back();
    const After after = last && closing_    ? After::kClose
                        : exchange.http_1_0 ? After::kKeepAlive10
                                            : After::kKeepAlive;
    append_bytes(output_, *exchange.response, after, exchange.call.head_only);
  }
  first_number_ += exchanges_.size();
  exchanges_.clear();
  if (exchanges_.capacity() > 4) std::vector<Exchange>().swap(exchanges_);
  send_output();
}

// Whether the input begins with a whole request, which waits for its round.
bool Connection::has_another_request() const {
  if (!round_ended_) return false;
  std::string_view rest = input_;
  while (rest.starts_with("\r\n")) rest.remove_prefix(2);  // no request (see serve_requests())
  const Result<std::optional<RequestHead>> read = read_request_head(rest);
  return read && *read && rest.size() >= (*read)->size + (*read)->body_size;
}

void Connection::send_output() {
  std::size_t sent = 0;
  while (sent < output_.size()) {
    const ssize_t size =
        send(socket_.get(), output_.data() + sent, output_.size() - sent, MSG_NOSIGNAL);
    if (size < 0 && !would_block(errno)) return close();
    if (size < 0) break;
    sent += static_cast<std::size_t>(size);
  }
  output_.erase(0, sent);
  if (output_.empty()) return continue_after_output();
  if (phase_ != Phase::kSending) enter(Phase::kSending);
  server_.make_room(place_);
}

void Connection::continue_after_output() {
  release_unused(output_);
  release_unused(input_);
  if (closing_) return linger();
  if (!input_.empty() && round_ended_) return go_on_serving();
  if (server_.draining() && input_.empty()) return linger();
  await_request();
}

// Closing a socket with unread input resets the connection, and the client may never see what was
// sent last. So: end our side, and read on for a moment.
void Connection::linger() {
  shutdown(socket_.get(), SHUT_WR);
  std::string().swap(input_);
  linger_end_ = std::chrono::steady_clock::now() + kLongestLinger;
  enter(Phase::kLingering);
  go_on_reading();
}

void Connection::cut_off(const Error& why) {
  if (phase_ == Phase::kIdle) return end_if_silent();
  if (phase_ != Phase::kReceiving) return close();
  refuse(why, input_);
  send_when_answered();
}

void Connection::drain() {
  if (phase_ != Phase::kIdle) return;
  // A client that has only just connected cannot know that it must try again: it gets its answer.
  if (first_number_ == 0 && !server_.drain_is_late()) return;
  end_if_silent();
}

void Connection::end_if_silent() {
  const std::string_view fresh = receive();
  if (fresh.empty()) return close();
  serve_input(fresh);
}

void Connection::close() {
  if (!socket_) return;
  const auto self = shared_from_this();  // the server lets go of it
  server_.ready_set().remove(socket_.get(), *this);
  socket_.reset();
  std::string().swap(output_);  // before the server looks what memory can be given back
  server_.remove(place_, phase_);
}

}  // namespace counterd
