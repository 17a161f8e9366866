// Reports the readiness of sockets without a system call for each wait: an edge-triggered epoll(7)
// set of our own, which Asio waits for as a whole. Asio's own wait for one socket costs an
// epoll_ctl() each time, which was a tenth of the cost of a request.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <span>

namespace counterd {

class ReadySet {
 public:
  class Member {
   public:
    // There is something to read, or room to write again, or both; `events` are those of
    // epoll_ctl(2). Called once: a member that does not read all that is there is not called again.
    virtual void on_ready(std::uint32_t events) = 0;

   protected:
    ~Member() = default;
  };

  // Throws std::system_error if the system has no descriptor left.
  explicit ReadySet(asio::io_context& loop);

  // False: the system has no memory for it. `member` is notified until it is removed.
  bool add(int socket, Member& member);
  // Called before the socket is closed.
  void remove(int socket, const Member& member);

 private:
  void wait();
  void tell();

  asio::posix::stream_descriptor set_;
  std::array<epoll_event, 256> events_{};
  std::span<epoll_event> untold_;  // the rest of events_, still to be reported
};

}  // namespace counterd
