#include "common/log.h"

#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <list>
#include <string>

#include "common/deadline.h"
#include "tests/catch.h"
#include "tests/child_process.h"

namespace counterd {
namespace {

TEST_CASE("lines that many processes write to one terminal all arrive") {
  constexpr int kProcesses = 8;
  constexpr int kLines = 60;  // for which there is room, should the reader be late
  int ends[2];
  REQUIRE(openpty(&ends[0], &ends[1], nullptr, nullptr, nullptr) == 0);
  const UniqueFd reader(ends[0]);
  const UniqueFd terminal(ends[1]);
  std::list<ChildProcess> writers;
  for (int i = 0; i < kProcesses; ++i) {
    writers.emplace_back([&](int) {
      dup2(terminal.get(), STDERR_FILENO);
      for (int line = 0; line < kLines; ++line) log_line("");
      return 0;
    });
  }
  std::ptrdiff_t arrived = 0;
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (arrived < kProcesses * kLines && wait_ready(reader.get(), POLLIN, deadline)) {
    std::array<char, 4'096> text;
    const ssize_t size = read(reader.get(), text.data(), text.size());
    REQUIRE(size > 0);
    arrived += std::count(text.begin(), text.begin() + size, '\n');
  }
  CHECK(arrived == kProcesses * kLines);
}

}  // namespace
}  // namespace counterd
