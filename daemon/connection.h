// One client's connection: reads bytes, passes requests on to the store in order, and writes the
// responses in the same order, with one write for all that were asked together.
//
// A connection is read only when everything it has asked is answered and written, so a client that
// does not take its replies holds up nobody but itself. Between requests it is a socket in the
// event loop and this object, without buffers.
#pragma once

#include <asio/steady_timer.hpp>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "daemon/api.h"
#include "daemon/batcher.h"
#include "daemon/ready_set.h"
#include "daemon/request_head.h"
#include "daemon/response.h"

namespace counterd {

class Connection;
class Server;

// A connection as the server keeps it, in the list of its phase.
struct Guest {
  std::shared_ptr<Connection> connection;
  Deadline deadline;         // of the phase
  std::size_t buffered = 0;  // what it holds, as last noted
};
using GuestPlace = std::list<Guest>::iterator;

// What a connection waits for; the server cuts off what waits too long (limits.h).
enum class Phase : unsigned char {
  kIdle,       // the first byte of a request
  kReceiving,  // the rest of a request
  kServing,    // the store; has no deadline of its own
  kSending,    // the client to take its replies
  kLingering,  // the client to read an error and close
};
inline constexpr std::size_t kPhases = 5;

class Connection : public Waiter,
                   public ReadySet::Member,
                   public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, GuestPlace place, UniqueFd socket);

  // Begins to read. Closes if the system has no memory for that.
  void start();

  void on_ready(std::uint32_t events) override;
  void finish(std::uint64_t number, Answer answer) override;

  // Closes; an idle connection as end_if_silent() does. If a request is being received, it is
  // answered first, with `why`.
  void cut_off(const Error& why);
  // Ends the connection after what it has already asked; at once if it has asked nothing and either
  // has been served before or the drain is late.
  void drain();
  // Ends an idle connection, unless a request has come meanwhile. REQUIRES: it is in Phase::kIdle
  void end_if_silent();
  void close();

  // In bytes.
  std::size_t buffered() const { return input_.capacity() + output_.capacity(); }

 private:
  // A request until its response is written.
  struct Exchange {
    Call call;
    bool http_1_0 = false;
    std::optional<Response> response = {};              // nothing: not yet
    std::unique_ptr<asio::steady_timer> patience = {};  // for a probe
  };

  void go_on_reading();
  void go_on_serving();
  bool reads() const;
  bool has_another_request() const;
  std::string_view receive();
  void read_input();
  void serve_input(std::string_view fresh);
  void await_request();
  std::size_t serve_requests(std::string_view input);
  std::size_t serve_request(std::string_view input);
  void answer_request(const RequestHead& head, std::string_view body);
  void send_continue();
  void acknowledge();
  void refuse(const Error& error, std::string_view request);
  void ask(Question&& question);
  void complete(Exchange& exchange, Response response);
  void send_when_answered();
  void send_output();
  void continue_after_output();
  void linger();
  void enter(Phase phase);

  Server& server_;
  const GuestPlace place_;
  UniqueFd socket_;  // none: closed
  Phase phase_ = Phase::kIdle;
  bool readable_ = false;           // the socket may have more to read, or its end or an error
  bool client_ended_ = false;       // its end or error was reported: no further event will come
  bool closing_ = false;            // no more requests are taken
  bool continue_due_ = false;       // 100, once the answers before it are sent
  bool round_ended_ = false;        // the rest of the input waits for the answers
  std::uint32_t unanswered_ = 0;    // of exchanges_
  std::uint64_t first_number_ = 0;  // of exchanges_.front()
  std::size_t needed_ = 0;          // bytes of input to wait for before looking at it again
  Deadline linger_end_;             // the latest end of kLingering
  std::string input_;               // the beginning of a request; without memory while idle
  std::string output_;              // unwritten
  std::vector<Exchange> exchanges_;
};

}  // namespace counterd
