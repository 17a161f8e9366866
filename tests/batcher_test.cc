#include "daemon/batcher.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <asio/executor_work_guard.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <functional>
#include <thread>

#include "common/limits.h"
#include "daemon/timer.h"
#include "tests/catch.h"
#include "tests/steps.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Counts in memory, as slowly as it is told to; notes what it was asked.
class SlowStore : public Store {
 public:
  struct Notes {
    int batches = 0;
    int turns_refused = 0;
    std::atomic<bool> turn_is_free{true};  // told by whoever has the loop
    bool is_broken = false;
    bool hangs = false;     // what only reads gets no answer until its deadline
    bool is_wrong = false;  // its configuration
    int probes = 0;
    std::vector<std::string> order;
    std::vector<Deadline> deadlines;  // of each batch
    std::string calls;
    std::vector<steady_clock::time_point> begun;  // of each batch
  };
  static constexpr std::int64_t kSettled = 77;

  SlowStore(Notes& notes, milliseconds commit) : notes_(notes), commit_(commit) {}
  ~SlowStore() override { std::this_thread::sleep_for(commit_); }

  Result<void> take_turn(Deadline deadline, Deadline) override {
    if (notes_.is_broken) {
      std::this_thread::sleep_for(milliseconds(100));
      return Error{Code::kUnavailable, "broken"};
    }
    while (!notes_.turn_is_free) {
      if (steady_clock::now() >= deadline) {
        ++notes_.turns_refused;
        return Error{Code::kOverloaded, "held"};
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
    return {};
  }
  void yield_turn() override { notes_.calls += "yield "; }
  void make_durable(std::span<Step> batch) override {
    notes_.calls += "sync ";
    for (Step& step : batch) step.outcome.value = kSettled;
  }
  void tidy() override { notes_.calls += "tidy "; }
  void apply(std::span<Step> batch, Deadline deadline) override {
    if (batch.empty()) return;
    ++notes_.batches;
    notes_.calls += "apply ";
    notes_.begun.push_back(steady_clock::now());
    notes_.deadlines.push_back(deadline);
    std::this_thread::sleep_for(commit_);
    if (notes_.hangs) std::this_thread::sleep_until(deadline);
    for (Step& step : batch) {
      notes_.order.push_back(step.operation.name);
      step.outcome = {};
    }
  }
  Result<ListPage> list(const ListQuery&, Deadline deadline) override {
    notes_.order.emplace_back("list");
    if (notes_.hangs) std::this_thread::sleep_until(deadline);
    return ListPage();
  }
  Result<void> probe(Deadline) override {
    ++notes_.probes;
    notes_.calls += "probe ";
    std::this_thread::sleep_for(commit_);
    if (notes_.is_wrong) return Error{Code::kConfig, "wrong"};
    return {};
  }
  StoreStatus status() const override { return {}; }

 private:
  Notes& notes_;
  milliseconds commit_;
};

// What goes to standard error while this lives.
class Errors {
 public:
  Errors() : before_(dup(STDERR_FILENO)), file_(memfd_create("errors", MFD_CLOEXEC)) {
    dup2(file_, STDERR_FILENO);
  }
  Errors(const Errors&) = delete;
  Errors& operator=(const Errors&) = delete;
  ~Errors() {
    dup2(before_, STDERR_FILENO);
    close(before_);
    close(file_);
  }
  std::string text() const {
    std::string text(4'096, '\0');
    text.resize(static_cast<std::size_t>(pread(file_, text.data(), text.size(), 0)));
    return text;
  }

 private:
  const int before_, file_;
};

// Asks again a moment after it is answered, until it has asked `rounds` times.
class Client : public Waiter, public std::enable_shared_from_this<Client> {
 public:
  Client(asio::io_context& loop, Batcher& batcher, int rounds, milliseconds pause)
      : batcher_(batcher), rounds_(rounds), pause_(pause), timer_(loop) {}
  void ask(Question question) {
    const bool taken = batcher_.submit(std::move(question), shared_from_this(), 0);
    CHECK(taken);
  }
  void finish(std::uint64_t, Answer answer) override {
    ++answers;
    if (const auto* step = std::get_if<Step>(&answer)) {
      codes.push_back(step->outcome.code);
      last_value = step->outcome.value;
    }
    if (--rounds_ <= 0) return;
    timer_.expires_after(pause_);
    timer_.async_wait([self = shared_from_this()](const asio::error_code&) {
      self->ask(increment_of("again").operation);
    });
  }
  std::size_t answers = 0;
  std::vector<Code> codes;
  std::int64_t last_value = 0;

 private:
  Batcher& batcher_;
  int rounds_;
  const milliseconds pause_;
  asio::steady_timer timer_;
};

struct Fixture {
  Fixture(milliseconds commit, milliseconds timeout)
      : batcher(loop, std::make_unique<SlowStore>(notes, commit), timeout) {}
  std::shared_ptr<Client> client(int rounds = 1, milliseconds pause = milliseconds(2)) {
    return clients.emplace_back(std::make_shared<Client>(loop, batcher, rounds, pause));
  }
  // Runs the loop until `answers` have come.
  void run(std::size_t answers) {
    look(answers, steady_clock::now() + std::chrono::seconds(20));
    batcher.run();
    CHECK(come() >= answers);
  }
  void after(milliseconds delay, std::function<void()> action) {
    counterd::after(loop, delay, std::move(action));
  }
  std::size_t come() const {
    std::size_t count = 0;
    for (const auto& each : clients) count += each->answers;
    return count;
  }
  void look(std::size_t answers, steady_clock::time_point give_up) {
    if (come() >= answers || steady_clock::now() > give_up) return batcher.stop();
    after(milliseconds(1), [=, this] { look(answers, give_up); });
  }

  asio::io_context loop;
  asio::executor_work_guard<asio::io_context::executor_type> guard = asio::make_work_guard(loop);
  SlowStore::Notes notes;
  Batcher batcher;
  std::vector<std::shared_ptr<Client>> clients;
};

Operation group_of(std::size_t size) {
  return each_of(std::vector<Step>(size, increment_of("a"))).operation;
}

TEST_CASE("a group goes into one batch, with no more beside it than a batch may have") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  for (const std::size_t size : {std::size_t{1}, kMaxBatchOperations, kMaxBatchOperations / 2,
                                 kMaxBatchOperations / 2, std::size_t{1}}) {
    fixture.client()->ask(group_of(size));
  }
  fixture.run(5);
  CHECK(fixture.notes.batches == 3);
}

TEST_CASE("an operation does not wait for all large groups, nor they for all operations") {
  Fixture fixture(milliseconds(5), milliseconds(1'000));
  for (int i = 0; i < 4; ++i) fixture.client()->ask(group_of(kMaxBatchOperations));
  fixture.client(20)->ask(increment_of("single").operation);
  fixture.run(24);
  const auto& order = fixture.notes.order;  // in which groups have no name
  REQUIRE(order.size() == 24);
  CHECK(order[0] == "single");
  CHECK(order[1].empty());
  CHECK(order[2] == "again");
  CHECK(std::find(order.rbegin(), order.rend(), "") - order.rbegin() > 10);
}

TEST_CASE("a large group comes after what its client has asked before") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  const auto client = fixture.client();
  const std::size_t count = kMaxBatchOperations + 10;
  for (std::size_t i = 0; i < count; ++i) client->ask(increment_of("before").operation);
  client->ask(group_of(kMaxBatchOperations));
  fixture.run(count + 1);
  REQUIRE(fixture.notes.order.size() == count + 1);
  CHECK(fixture.notes.order.back().empty());
}

TEST_CASE("a large group of reports sees what its client has asked before, also without the turn") {
  Fixture fixture(milliseconds(1), milliseconds(10'000));
  fixture.notes.turn_is_free = false;
  fixture.client()->ask(group_of(kMaxBatchOperations));
  const auto client = fixture.client();
  client->ask(increment_of("before").operation);
  client->ask(each_of(std::vector<Step>(kMaxBatchOperations, report_of("a"))).operation);
  fixture.after(milliseconds(300), [&] {
    CHECK(client->answers == 0);
    fixture.notes.turn_is_free = true;
  });
  fixture.run(3);
  CHECK(fixture.notes.order.back().empty());  // as groups have no name
}

TEST_CASE("as many operations wait as the limit says, those of groups counted") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  fixture.notes.turn_is_free = false;
  const std::size_t groups = kMaxWaitingInLargeGroups / kMaxBatchOperations;
  for (std::size_t i = 0; i < groups; ++i) fixture.client()->ask(group_of(kMaxBatchOperations));
  const auto one_more = fixture.client();
  CHECK_FALSE(fixture.batcher.submit(group_of(kMaxBatchOperations), one_more, 0));
  fixture.client()->ask(group_of(kMaxBatchOperations / 2));
  fixture.client()->ask(group_of(kMaxBatchOperations / 2));
  CHECK_FALSE(fixture.batcher.submit(increment_of("a").operation, one_more, 0));
  fixture.notes.turn_is_free = true;
  fixture.run(groups + 2);
  one_more->ask(increment_of("a").operation);
  fixture.run(groups + 3);
}

TEST_CASE("operations are applied in the order in which they were submitted") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  const std::size_t count = kMaxBatchOperations + 10;
  for (std::size_t i = 0; i < count; ++i) {
    fixture.client()->ask(increment_of("n" + std::to_string(i)).operation);
  }
  fixture.run(count);
  CHECK(fixture.notes.batches == 2);
  REQUIRE(fixture.notes.order.size() == count);
  for (std::size_t i = 0; i < count; ++i) CHECK(fixture.notes.order[i] == "n" + std::to_string(i));
}

TEST_CASE("changes are made durable without the turn, and answered then, reports need neither") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  const auto client = fixture.client();
  client->ask(increment_of("a").operation);
  fixture.run(1);
  CHECK(client->last_value == SlowStore::kSettled);
  const auto reader = fixture.client();
  reader->ask(report_of("a").operation);
  fixture.run(2);
  CHECK(fixture.notes.calls == "apply yield sync tidy apply tidy ");
}

TEST_CASE("a list sees what was submitted before it, and does not wait for all that comes after") {
  Fixture fixture(milliseconds(5), milliseconds(1'000));
  fixture.client(20)->ask(increment_of("before").operation);
  fixture.client()->ask(ListQuery{});
  fixture.run(21);
  const auto& order = fixture.notes.order;
  REQUIRE(order.size() == 21);
  CHECK(order[0] == "before");
  CHECK(order[1] == "list");
}

TEST_CASE("a list sees what its client asked before it, also behind more than fits into a batch") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  const std::size_t others = 2 * kMaxBatchOperations + 10;
  for (std::size_t i = 0; i < others; ++i) fixture.client()->ask(increment_of("other").operation);
  const auto client = fixture.client();
  client->ask(increment_of("own").operation);
  client->ask(ListQuery{});
  fixture.client()->ask(ListQuery{});
  fixture.run(others + 3);
  const auto& order = fixture.notes.order;
  REQUIRE(order.size() == others + 3);
  const auto own = std::ranges::find(order, "own");
  CHECK(std::find(own, order.end(), "list") != order.end());
  CHECK(std::find(order.begin(), own, "list") != own);  // that of another client
}

TEST_CASE("a probe waits neither for all that waits before it nor for a list that does") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  const std::size_t count = 3 * kMaxBatchOperations;
  for (std::size_t i = 0; i < count; ++i) fixture.client()->ask(increment_of("before").operation);
  fixture.client()->ask(ListQuery{});
  fixture.client()->ask(Probe{});
  fixture.run(count + 2);
  CHECK(fixture.notes.batches >= 3);
  const std::string& calls = fixture.notes.calls;
  CHECK(calls.find("probe") < calls.rfind("apply"));
}

TEST_CASE("probes that wait are answered by one, and those that come meanwhile by the next") {
  Fixture fixture(milliseconds(30), milliseconds(1'000));
  fixture.client()->ask(Probe{});
  for (int i = 0; i < 20; ++i) {
    const auto client = fixture.client();
    fixture.after(milliseconds(10), [client] { client->ask(Probe{}); });
  }
  fixture.client()->ask(ListQuery{});
  fixture.run(22);
  CHECK(fixture.notes.probes == 2);
  CHECK(fixture.notes.order.size() == 1);
}

TEST_CASE("clients that come back soon are committed together") {
  constexpr int kClients = 8;
  constexpr int kRounds = 25;
  Fixture fixture(milliseconds(20), milliseconds(1'000));
  for (int i = 0; i < kClients; ++i) {
    // The second half comes while the first is being committed.
    const auto client = fixture.client(kRounds);
    fixture.after(milliseconds(i < kClients / 2 ? 0 : 10),
                  [client] { client->ask(increment_of("a").operation); });
  }
  fixture.run(kClients * kRounds);
  // Two groups that take turns would need twice as many.
  INFO(fixture.notes.batches);
  CHECK(fixture.notes.batches <= kRounds + kRounds / 3);
}

TEST_CASE("a lone client is never kept waiting for others") {
  constexpr milliseconds kCommit{100};
  Fixture fixture(kCommit, milliseconds(1'000));
  fixture.client(6)->ask(increment_of("a").operation);
  fixture.run(6);
  // To wait for others would add half a commit each time; the machine may be busy for a moment.
  const auto& begun = fixture.notes.begun;
  int waits = 0;
  for (std::size_t i = 1; i < begun.size(); ++i) {
    if (begun[i] - begun[i - 1] > kCommit + kCommit / 3) ++waits;
  }
  CHECK(begun.size() == 6);
  CHECK(waits <= 2);
}

TEST_CASE("those that do not come back are not waited for again and again") {
  constexpr int kCycles = 12;
  constexpr milliseconds kCommit{40};
  Fixture fixture(kCommit, milliseconds(1'000));
  const auto ask = [&](int clients) {
    for (int i = 0; i < clients; ++i) fixture.client()->ask(increment_of("a").operation);
    const auto asked = steady_clock::now();
    fixture.run(fixture.clients.size());
    return fixture.notes.begun.back() - asked;
  };
  int waits = 0;
  for (int i = 0; i < kCycles; ++i) {
    ask(2);
    if (ask(1) > kCommit / 3) ++waits;
  }
  CHECK(waits >= 1);
  CHECK(waits <= kCycles / 2);
}

// Processor time of this thread.
milliseconds busy_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return milliseconds(time.tv_sec * 1'000 + time.tv_nsec / 1'000'000);
}

TEST_CASE("waiting for clients uses no processor time") {
  constexpr int kRounds = 15;
  Fixture fixture(milliseconds(40), milliseconds(1'000));
  for (int i = 0; i < 8; ++i) {
    fixture.client(kRounds, milliseconds(2 + 2 * i))->ask(increment_of("a").operation);
  }
  const auto start = steady_clock::now();
  const milliseconds before = busy_time();
  fixture.run(8 * kRounds);
  CHECK((busy_time() - before) * 8 < steady_clock::now() - start);
}

TEST_CASE("who waits in vain for the turn is told so at its deadline, and the rest goes on") {
  const Errors errors;
  Fixture fixture(milliseconds(0), milliseconds(500));
  fixture.notes.turn_is_free = false;
  const auto early = fixture.client();
  early->ask(increment_of("early").operation);
  const auto report = fixture.client();
  report->ask(report_of("b").operation);
  const auto late = fixture.client();
  fixture.after(milliseconds(300), [&] { late->ask(increment_of("late").operation); });
  fixture.after(milliseconds(650), [&] {
    CHECK(early->codes == std::vector{Code::kUnavailable});
    CHECK(report->codes == std::vector{Code::kOk});
    CHECK(late->codes.empty());
    fixture.notes.turn_is_free = true;
  });
  fixture.run(3);
  CHECK(late->codes == std::vector{Code::kOk});
  CHECK(contains(errors.text(), "held"));
}

TEST_CASE("what has waited for longer than twice the timeout is not applied") {
  Fixture fixture(milliseconds(1'500), milliseconds(200));
  const auto slow = fixture.client();
  slow->ask(increment_of("slow").operation);
  const auto late = fixture.client();
  fixture.after(milliseconds(50), [&] { late->ask(increment_of("late").operation); });
  fixture.run(2);
  CHECK(slow->codes == std::vector{Code::kOk});
  CHECK(late->codes == std::vector{Code::kUnavailable});
  // The turn, which came too late, is given back.
  CHECK(fixture.notes.calls == "apply yield sync tidy yield tidy ");
}

TEST_CASE("what a store that stood still has held up has no more than twice the timeout in all") {
  constexpr milliseconds kTimeout{200};
  Fixture fixture(milliseconds(300), kTimeout);
  fixture.client()->ask(increment_of("slow").operation);
  Deadline asked;
  const auto late = fixture.client();
  fixture.after(milliseconds(20), [&] {
    late->ask(increment_of("late").operation);
    asked = steady_clock::now();
  });
  fixture.run(2);
  // If it was held up for too long, it was not put to the store.
  if (late->codes == std::vector{Code::kOk}) {
    CHECK(fixture.notes.deadlines.back() <= asked + 2 * kTimeout);
  }
}

TEST_CASE("where the store hangs, what only reads waits no longer for all that is before it") {
  constexpr milliseconds kTimeout{300};
  Fixture fixture(milliseconds(0), kTimeout);
  fixture.notes.hangs = true;
  const std::size_t reports = 3 * kMaxBatchOperations;
  for (std::size_t i = 0; i < reports; ++i) fixture.client()->ask(report_of("a").operation);
  constexpr std::size_t kLists = 5;
  for (std::size_t i = 0; i < kLists; ++i) fixture.client()->ask(ListQuery{});
  const auto begun = steady_clock::now();
  fixture.run(reports + kLists);
  CHECK(steady_clock::now() - begun < 6 * kTimeout);
}

TEST_CASE("reading goes on while changes wait for the turn, and they are applied when it comes") {
  Fixture fixture(milliseconds(0), milliseconds(10'000));
  fixture.notes.turn_is_free = false;
  const auto change = fixture.client();
  change->ask(each_of(std::vector<Step>(kMaxBatchOperations, increment_of("a"))).operation);
  for (int round = 0; round < 3; ++round) {
    const auto begun = steady_clock::now();
    const std::size_t before = fixture.come();
    fixture.client()->ask(report_of("b").operation);
    fixture.client()->ask(ListQuery{});
    fixture.client()->ask(Probe{});
    fixture.run(before + 3);
    CHECK(steady_clock::now() - begun < milliseconds(1'000));
  }
  CHECK(change->answers == 0);
  fixture.notes.turn_is_free = true;
  fixture.run(fixture.come() + 1);
  CHECK(change->codes == std::vector{Code::kOk});
}

TEST_CASE(
    "while a change waits for the turn, more reports than fit into a batch are all answered") {
  Fixture fixture(milliseconds(0), milliseconds(10'000));
  fixture.notes.turn_is_free = false;
  const auto change = fixture.client();
  change->ask(increment_of("a").operation);
  const std::size_t reports = 2 * kMaxBatchOperations + 1;
  for (std::size_t i = 0; i < reports; ++i) fixture.client()->ask(report_of("b").operation);
  fixture.run(reports);
  CHECK(change->answers == 0);
  fixture.notes.turn_is_free = true;
  fixture.run(reports + 1);
}

TEST_CASE("changes are not kept waiting where the turn is not what is missing") {
  const Errors errors;
  Fixture fixture(milliseconds(0), milliseconds(10'000));
  fixture.notes.is_broken = true;
  const auto begun = steady_clock::now();
  const auto client = fixture.client();
  client->ask(increment_of("a").operation);
  fixture.run(1);
  CHECK(client->codes == std::vector{Code::kUnavailable});
  CHECK(steady_clock::now() - begun < milliseconds(2'000));
  CHECK(contains(errors.text(), "broken"));
}

TEST_CASE("what a client asks after a change of its own sees it, however long that waits") {
  Fixture fixture(milliseconds(0), milliseconds(10'000));
  fixture.notes.turn_is_free = false;
  const auto client = fixture.client();
  client->ask(increment_of("a").operation);
  client->ask(report_of("b").operation);
  client->ask(ListQuery{});
  fixture.after(milliseconds(300), [&] {
    CHECK(client->answers == 0);
    fixture.notes.turn_is_free = true;
  });
  fixture.run(3);
  CHECK(fixture.notes.order == std::vector<std::string>{"a", "b", "list"});
}

TEST_CASE("the event loop goes on while the store is closed") {
  Fixture fixture(milliseconds(100), milliseconds(1'000));
  bool went_on = false;
  fixture.after(milliseconds(20), [&] { went_on = true; });
  fixture.batcher.close();
  CHECK(went_on);
}

TEST_CASE("a store that stands still is logged when more is asked of it") {
  const Errors errors;
  Fixture test(milliseconds(1'500), milliseconds(300));
  test.client()->ask(increment_of("a").operation);
  test.after(milliseconds(50), [&] { test.client()->ask(Probe{}); });
  std::string early;
  test.after(milliseconds(100), [&] { early = errors.text(); });
  for (const int delay : {800, 850}) {
    test.after(milliseconds(delay), [&] { test.client()->ask(Probe{}); });
  }
  test.run(4);
  CHECK(early.empty());
  CHECK(contains(errors.text(), "has not answered for twice --store-timeout"));
  CHECK(errors.text().find('\n') == errors.text().size() - 1);
}

TEST_CASE("a store whose configuration is wrong is logged from its first answer on") {
  const Errors errors;
  Fixture test(milliseconds(0), milliseconds(500));
  const bool has_answered = GENERATE(true, false);
  if (has_answered) {
    test.client()->ask(Probe{});
    test.run(1);
  }
  test.notes.is_wrong = true;
  test.client()->ask(Probe{});
  test.run(has_answered ? 2 : 1);
  CHECK(contains(errors.text(), "wrong") == has_answered);  // else the supervisor logs it
}

TEST_CASE("no more questions wait than the limit") {
  Fixture fixture(milliseconds(1), milliseconds(5'000));
  const auto client = fixture.client();
  for (std::size_t i = 0; i < kMaxWaitingOperations; ++i) {
    if (!fixture.batcher.submit(increment_of("a").operation, client, i)) FAIL(i);
  }
  CHECK(!fixture.batcher.submit(increment_of("a").operation, client, 0));
  fixture.run(kMaxWaitingOperations);
  CHECK(fixture.batcher.submit(increment_of("a").operation, client, 0));
  fixture.run(kMaxWaitingOperations + 1);
}

TEST_CASE("groups that were answered make room for as many again") {
  Fixture fixture(milliseconds(1), milliseconds(1'000));
  const Operation group = group_of(kMaxBatchOperations);
  const std::size_t groups = kMaxWaitingInLargeGroups / kMaxBatchOperations;
  for (std::size_t round = 1; round <= 2; ++round) {
    for (std::size_t i = 0; i < groups; ++i) fixture.client()->ask(group);
    fixture.run(round * groups);
  }
}

TEST_CASE("lists and probes that were answered make room for as many again") {
  Fixture fixture(milliseconds(0), milliseconds(1'000));
  for (std::size_t round = 1; round <= 2; ++round) {
    for (std::size_t i = 0; i < kMaxWaitingOperations; ++i) {
      if (i % 100 == 0) {
        fixture.client()->ask(Probe{});
      } else {
        fixture.client()->ask(ListQuery{});
      }
    }
    fixture.run(round * kMaxWaitingOperations);
  }
}

}  // namespace
}  // namespace counterd
