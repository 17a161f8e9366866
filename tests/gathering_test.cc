#include "daemon/gathering.h"

#include <algorithm>

#include "tests/catch.h"

namespace counterd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds kCommit{16};
const Time now = std::chrono::steady_clock::now();

// How long it waits for more when so many of 32 have come, right after a commit.
std::chrono::steady_clock::duration patience(Gathering& gathering, std::size_t come) {
  gathering.begin(32, kCommit, now);
  return std::max(gathering.end(come, now), now) - now;
}

TEST_CASE("most of those expected are waited for half as long as a commit takes") {
  Gathering gathering;
  CHECK(patience(gathering, 1) == kCommit / 2);
  CHECK(patience(gathering, 27) == kCommit / 2);
}

TEST_CASE("the last ones are waited for a sixteenth of a commit, from when most have come") {
  Gathering gathering;
  CHECK(patience(gathering, 28) == kCommit / 16);
  CHECK(gathering.end(29, now + microseconds(500)) == now + kCommit / 16);
  gathering.begin(32, kCommit, now);
  CHECK(gathering.end(28, now + kCommit / 2 - microseconds(1)) == now + kCommit / 2);
}

TEST_CASE("after a stalled commit nobody is waited for any longer than after a slow one") {
  Gathering gathering;
  gathering.begin(32, std::chrono::seconds(30), now);
  CHECK(gathering.end(1, now) == now + milliseconds(50));
}

TEST_CASE("nobody is waited for when all have come, or none is expected") {
  Gathering gathering;
  CHECK(gathering.end(1, now) < now);
  CHECK(patience(gathering, 32) == milliseconds(0));
}

// How many batches begin without waiting for more than the one question that comes for each.
int skipped(Gathering& gathering) {
  int count = 0;
  for (; patience(gathering, 1) == milliseconds(0); ++count) gathering.learn(1);
  gathering.learn(1);
  return count;
}

TEST_CASE(
    "after waiting in vain, the next batches do not wait: twice as many each time, up to 64") {
  Gathering gathering;
  CHECK(skipped(gathering) == 0);
  for (const int expected : {1, 2, 4, 8, 16, 32, 64, 64}) CHECK(skipped(gathering) == expected);
  SECTION("until those waited for come") {
    for (int i = 0; i < 64; ++i) gathering.learn(1);
    CHECK(patience(gathering, 1) > milliseconds(0));
    gathering.learn(32);
    CHECK(patience(gathering, 1) > milliseconds(0));
  }
  SECTION("those that all come in the meantime do not count") {
    gathering.learn(32);
    CHECK(skipped(gathering) == 64);
  }
}

TEST_CASE("a batch that is put to the store for another reason teaches nothing") {
  Gathering gathering;
  CHECK(patience(gathering, 1) > milliseconds(0));
  gathering.learn_nothing();
  gathering.begin(32, kCommit, now);
  gathering.learn(1);  // at once, so nobody was waited for
  CHECK(patience(gathering, 1) > milliseconds(0));
}

}  // namespace
}  // namespace counterd
