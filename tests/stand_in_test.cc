#include "daemon/stand_in.h"

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "daemon/timer.h"
#include "tests/catch.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Many times longer than the stand-in's patience.
constexpr milliseconds kLong{100};

struct Fixture {
  // Once, in the loop.
  void after(milliseconds delay, std::function<void()> action) {
    counterd::after(loop, delay, std::move(action));
  }

  asio::io_context loop{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard = asio::make_work_guard(loop);
  StandIn stand_in{loop};
};

void sleep_for(milliseconds time) {
  std::this_thread::sleep_for(time);
}

// Away until the loop's handler has set `handled`, or for much too long.
void stay_away_until(const std::atomic<bool>& handled) {
  const auto give_up = steady_clock::now() + std::chrono::seconds(10);
  while (!handled && steady_clock::now() < give_up) sleep_for(milliseconds(1));
}

TEST_CASE("the loop goes on by another thread while its own is away for long") {
  Fixture fixture;
  std::atomic<bool> handled{false};
  std::thread::id handled_by;
  fixture.after(milliseconds(20), [&] {
    handled_by = std::this_thread::get_id();
    handled = true;
  });
  fixture.stand_in.cover([&] { stay_away_until(handled); });
  CHECK(handled);
  CHECK(handled_by != std::this_thread::get_id());
}

TEST_CASE("what is done meanwhile is returned, and the loop is the first thread's again") {
  Fixture fixture;
  CHECK(fixture.stand_in.cover([] {
    sleep_for(kLong);
    return 7;
  }) == 7);
  std::thread::id handled_by;
  asio::post(fixture.loop, [&] { handled_by = std::this_thread::get_id(); });
  sleep_for(kLong);
  CHECK(handled_by == std::thread::id());
  CHECK(fixture.loop.run_one() == 1);
  while (fixture.loop.poll() > 0) continue;
  CHECK(handled_by == std::this_thread::get_id());
}

TEST_CASE("the first long absence after a rest is stood in for") {
  Fixture fixture;
  for (int i = 0; i < 3; ++i) {
    sleep_for(kLong);  // the second thread rests
    std::atomic<bool> handled{false};
    asio::post(fixture.loop, [&] { handled = true; });
    fixture.stand_in.cover([&] { stay_away_until(handled); });
    CHECK(handled);
  }
}

TEST_CASE("short absences are not stood in for") {
  // Once at least, if not where this thread loses its processor while it is away.
  bool never = false;
  for (int attempt = 0; attempt < 20 && !never; ++attempt) {
    Fixture fixture;
    bool handled = false;
    asio::post(fixture.loop, [&] { handled = true; });
    const auto end = steady_clock::now() + milliseconds(10);
    while (steady_clock::now() < end) fixture.stand_in.cover([] {});
    never = !handled;
  }
  CHECK(never);
}

TEST_CASE("a loop that is stopped meanwhile stays so") {
  Fixture fixture;
  std::atomic<bool> handled{false};
  fixture.after(milliseconds(1), [&] {
    fixture.loop.stop();
    handled = true;
  });
  fixture.stand_in.cover([&] { stay_away_until(handled); });
  CHECK(fixture.loop.stopped());
}

TEST_CASE("never do two threads run the loop") {
  Fixture fixture;
  int running = 0;  // no atomic: a sanitizer finds who touches it at the same time
  bool alone = true;
  long handled = 0;
  std::function<void()> handle = [&] {
    alone = alone && ++running == 1;
    ++handled;
    --running;
    asio::post(fixture.loop, handle);
  };
  asio::post(fixture.loop, handle);
  const auto end = steady_clock::now() + milliseconds(500);
  for (int i = 0; steady_clock::now() < end; ++i) {
    fixture.stand_in.cover([&] { sleep_for(milliseconds(i % 7)); });
    for (int j = 0; j < i % 5; ++j) fixture.loop.poll_one();
    alone = alone && running == 0;
  }
  CHECK(alone);
  CHECK(handled > 0);
}

TEST_CASE("it ends also where the second thread is about to take over") {
  for (int i = 0; i < 100; ++i) {
    Fixture fixture;
    fixture.stand_in.cover([&] { sleep_for(milliseconds(1 + i % 5)); });
  }
}

// How often the threads of this process have fallen asleep.
long sleeps() {
  long all = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(thread.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("voluntary_ctxt_switches:")) all += std::stol(line.substr(24));
    }
  }
  return all;
}

TEST_CASE("a thread that stands in for nobody sleeps") {
  Fixture fixture;
  fixture.stand_in.cover([] {});
  sleep_for(kLong);
  const long before = sleeps();
  sleep_for(kLong);
  CHECK(sleeps() - before <= 2);
}

}  // namespace
}  // namespace counterd
