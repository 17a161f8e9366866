#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <utility>

namespace counterd {

// Calls `then` after `delay`, on `loop`.
template <class Then>
void after(asio::io_context& loop, std::chrono::milliseconds delay, Then then) {
  auto timer = std::make_shared<asio::steady_timer>(loop, delay);
  timer->async_wait([timer, then = std::move(then)](const asio::error_code& failure) {
    if (!failure) then();
  });
}

}  // namespace counterd
