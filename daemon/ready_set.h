// Sockets whose readiness the event loop tells without a system call for each wait: an epoll(7)
// set of our own, edge-triggered, that Asio waits for as a whole. Asio's own wait for one socket
// costs an epoll_ctl() each time, which was a tenth of what a request costs.
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
    // Something has come to read, or there is room to write again, or both; `events` are those of
    // epoll_ctl(2). Told once: whoever does not read all that is there is not told again.
    virtual void on_ready(std::uint32_t events) = 0;

   protected:
    ~Member() = default;
  };

  // Throws std::system_error if the system has no descriptor left.
  explicit ReadySet(asio::io_context& loop);

  // False: the system has no memory for it. `member` is told until it is removed.
  bool add(int socket, Member& member);
  // Called before the socket is closed.
  void remove(int socket, const Member& member);

 private:
  void wait();
  void tell();

  asio::posix::stream_descriptor set_;
  std::array<epoll_event, 256> events_{};
  std::span<epoll_event> untold_;  // of events_
};

}  // namespace counterd
