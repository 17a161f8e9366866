// The yardstick for counterd's event loop: cpp-httplib's own accept loop and thread pool over the
// same SQLite engine, with the same batches.
//
//   POST /v1/counters/NAME/increment   answers {"value":N}
//   GET /livez                         does nothing
//
// It is set up as well as httplib can be: a thread for each connection, no limit on requests per
// connection, no Nagle delay, no std::regex in its routes.
#include <httplib.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "common/store/store.h"

namespace {

using counterd::Step;
using counterd::Store;

constexpr std::chrono::seconds kTimeout{5};
constexpr std::size_t kThreads = 1'100;  // for 1,000 connections
constexpr std::string_view kBefore = "/v1/counters/";
constexpr std::string_view kBehind = "/increment";

// One store for all threads. The one that waits longest applies what has gathered, as one batch.
class SharedStore {
 public:
  explicit SharedStore(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  // Durable when it returns.
  counterd::Outcome increment(std::string name) {
    Waiting mine;
    mine.step.operation = {counterd::OperationKind::kIncrement, std::move(name), 1};
    std::unique_lock lock(mutex_);
    waiting_.push_back(&mine);
    mine.changed.wait(lock, [&] { return mine.done || waiting_.front() == &mine; });
    if (!mine.done) apply_waiting(lock);
    return std::move(mine.step.outcome);
  }

 private:
  struct Waiting {
    Step step;
    bool done = false;
    std::condition_variable changed;
  };

  // REQUIRES: the caller's own is in front, so that no other thread uses the store
  void apply_waiting(std::unique_lock<std::mutex>& lock) {
    std::vector<Step> batch;
    batch.reserve(waiting_.size());
    for (Waiting* waiting : waiting_) batch.push_back(std::move(waiting->step));
    lock.unlock();
    run_batch(*store_, batch, std::chrono::steady_clock::now() + kTimeout);
    lock.lock();
    for (Step& step : batch) {
      Waiting& waiting = *waiting_.front();
      waiting_.pop_front();
      waiting.step = std::move(step);
      waiting.done = true;
      waiting.changed.notify_one();
    }
    if (!waiting_.empty()) waiting_.front()->changed.notify_one();
  }

  std::unique_ptr<Store> store_;
  std::mutex mutex_;  // guards waiting_ and what is in it
  std::deque<Waiting*> waiting_;
};

// The counter that the path names; empty: it is not an increment.
std::string counter_of(const std::string& path) {
  const std::string_view view = path;
  if (view.size() <= kBefore.size() + kBehind.size() || view.substr(0, kBefore.size()) != kBefore ||
      view.substr(view.size() - kBehind.size()) != kBehind) {
    return {};
  }
  return path.substr(kBefore.size(), view.size() - kBefore.size() - kBehind.size());
}

void answer(SharedStore& store, const httplib::Request& request, httplib::Response& response) {
  if (request.method == "GET" && request.path == "/livez") {
    response.set_content("{\"status\":\"ok\"}", "application/json");
    return;
  }
  std::string name = counter_of(request.path);
  if (request.method != "POST" || name.empty()) {
    response.status = 404;
    return;
  }
  const counterd::Outcome outcome = store.increment(std::move(name));
  if (outcome.code != counterd::Code::kOk) {
    response.status = 503;
    return;
  }
  response.set_content("{\"value\":" + std::to_string(outcome.value) + "}", "application/json");
}

int serve(const std::string& url) {
  counterd::StoreOptions options;
  options.url = url;
  auto opened = counterd::open_store(options);
  if (!opened) {
    std::fprintf(stderr, "httplib_loop: %s\n", opened.error().message.c_str());
    return 1;
  }
  SharedStore store(std::move(*opened));
  httplib::Server server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_keep_alive_max_count(SIZE_MAX);
  server.set_tcp_nodelay(true);
  // Before routing: routes of httplib are regular expressions, which would cost more than the rest.
  server.set_pre_routing_handler([&](const httplib::Request& request, httplib::Response& response) {
    answer(store, request, response);
    return httplib::Server::HandlerResponse::Handled;
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  if (port < 0) {
    std::fprintf(stderr, "httplib_loop: cannot listen\n");
    return 1;
  }
  std::printf("ready http://127.0.0.1:%d\n", port);
  std::fflush(stdout);
  return server.listen_after_bind() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: httplib_loop sqlite:PATH\n");
    return 64;
  }
  return serve(argv[1]);
}
