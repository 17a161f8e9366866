#include "daemon/ready_set.h"

#include <cerrno>
#include <system_error>

namespace counterd {
namespace {

int make_set() {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  return set;
}

}  // namespace

ReadySet::ReadySet(asio::io_context& loop) : set_(loop, make_set()) {
  wait();
}

bool ReadySet::add(int socket, Member& member) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &member;
  return epoll_ctl(set_.native_handle(), EPOLL_CTL_ADD, socket, &event) == 0;
}

void ReadySet::remove(int socket, const Member& member) {
  epoll_event unused{};
  epoll_ctl(set_.native_handle(), EPOLL_CTL_DEL, socket, &unused);
  for (epoll_event& event : untold_) {
    if (event.data.ptr == &member) event.data.ptr = nullptr;
  }
}

void ReadySet::wait() {
  set_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const asio::error_code& error) {
    if (error) return;
    tell();
    wait();
  });
}

void ReadySet::tell() {
  const int count =
      epoll_wait(set_.native_handle(), events_.data(), static_cast<int>(events_.size()), 0);
  if (count <= 0) return;
  untold_ = std::span(events_).first(static_cast<std::size_t>(count));
  while (!untold_.empty()) {
    const epoll_event event = untold_.front();
    untold_ = untold_.subspan(1);
    if (event.data.ptr != nullptr) static_cast<Member*>(event.data.ptr)->on_ready(event.events);
  }
}

}  // namespace counterd
