// The contract of common/store/store.h, promise by promise, on every engine. A new engine is one
// harness here and its name in ON_EVERY_ENGINE.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <map>
#include <random>
#include <thread>

#include "common/limits.h"
#include "common/timestamp.h"
#include "tests/catch.h"
#include "tests/child_process.h"
#include "tests/redis_server.h"
#include "tests/sqlite_place.h"
#include "tests/steps.h"

namespace counterd {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

__extension__ using Wide = __int128;  // holds every sum of two counters

// As SqlitePlace, on a server of its own.
class RedisPlace {
 public:
  static constexpr const char* kEngine = "redis";
  StoreOptions options() const {
    StoreOptions options;
    options.url = server_.url();
    return options;
  }
  std::string location() const { return server_.socket_path() + " database 0"; }
  std::unique_ptr<Store> open() const { return open_or_throw(options()); }

 private:
  RedisServer server_;
};

#define ON_EVERY_ENGINE(name) TEMPLATE_TEST_CASE(name, "[store]", SqlitePlace, RedisPlace)

std::vector<std::string> names_in(const ListPage& page) {
  std::vector<std::string> names;
  for (const ListPage::Row& row : page.rows) names.push_back(row.name);
  return names;
}

ListPage list(Store& store, const std::string& prefix, const std::string& after = "",
              std::size_t limit = kMaxListLimit) {
  Result<ListPage> page = store.list({prefix, after, limit}, patiently());
  if (!page) throw std::runtime_error(page.error().message);
  return std::move(*page);
}

using Names = std::vector<std::string>;

void make_counters(Store& store, const Names& names) {
  std::vector<Step> steps;
  for (const std::string& name : names) steps.push_back(increment_of(name));
  for (const Outcome& outcome : run(store, std::move(steps))) REQUIRE(outcome.code == Code::kOk);
}

// Until the wall clock shows another millisecond than `then`.
std::int64_t wait_for_clock_after(std::int64_t then) {
  while (unix_now_ms() <= then) std::this_thread::yield();
  return unix_now_ms();
}

unsigned choose_seed() {
  const char* given = std::getenv("COUNTERD_TEST_SEED");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                          : std::random_device()();
}

}  // namespace

ON_EVERY_ENGINE("an increment of a missing counter begins at 0") {
  const TestType place;
  const auto store = place.open();
  const Outcome outcome = run_one(*store, increment_of("a", 5));
  CHECK(outcome.code == Code::kOk);
  CHECK(outcome.value == 5);
  CHECK(value_of(*store, "a") == 5);
  CHECK(run_one(*store, increment_of("b", -7)).value == -7);
  CHECK(run_one(*store, increment_of("zero", 0)).code == Code::kOk);
  CHECK(value_of(*store, "zero") == 0);
}

ON_EVERY_ENGINE("increments add up, whatever their sign") {
  const TestType place;
  const auto store = place.open();
  CHECK(run_one(*store, increment_of("a", 10)).value == 10);
  CHECK(run_one(*store, increment_of("a", -25)).value == -15);
  CHECK(run_one(*store, increment_of("a", 0)).value == -15);
  CHECK(run_one(*store, increment_of("a", 15)).value == 0);
  CHECK(value_of(*store, "a") == 0);
}

ON_EVERY_ENGINE("a reset of a missing counter makes it and has no previous") {
  const TestType place;
  const auto store = place.open();
  const Outcome outcome = run_one(*store, reset_of("a", 3));
  CHECK(outcome.code == Code::kOk);
  CHECK(outcome.value == 3);
  CHECK_FALSE(outcome.previous.has_value());
  CHECK(value_of(*store, "a") == 3);
}

ON_EVERY_ENGINE("a reset tells the value before it") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, increment_of("a", 41));
  const Outcome outcome = run_one(*store, reset_of("a", -2));
  CHECK(outcome.code == Code::kOk);
  CHECK(outcome.value == -2);
  CHECK(outcome.previous == 41);
  CHECK(run_one(*store, reset_of("a", 0)).previous == -2);
  CHECK(run_one(*store, reset_of("a", 0)).previous == 0);
}

ON_EVERY_ENGINE("a reset that may not create makes no counter") {
  const TestType place;
  const auto store = place.open();
  CHECK(run_one(*store, existing(reset_of("a", 3))).code == Code::kMissing);
  CHECK(run_one(*store, keyed(existing(reset_of("a", 3)), "k")).code == Code::kMissing);
  CHECK_FALSE(value_of(*store, "a").has_value());
  run_one(*store, increment_of("a", 5));
  const Outcome outcome = run_one(*store, keyed(existing(reset_of("a", 3)), "k"));
  CHECK(outcome.code == Code::kOk);
  CHECK(outcome.previous == 5);
  CHECK(run_one(*store, keyed(existing(reset_of("a", 3)), "k")).replayed);
  CHECK(run_one(*store, keyed(reset_of("a", 3), "k")).code == Code::kKeyReused);
  CHECK(run_one(*store, existing(reset_of("a", 4))).previous == 3);
  CHECK(value_of(*store, "a") == 4);
}

ON_EVERY_ENGINE("report and delete of a missing counter are missing and make nothing") {
  const TestType place;
  const auto store = place.open();
  CHECK(run_one(*store, report_of("a")).code == Code::kMissing);
  CHECK(run_one(*store, delete_of("a")).code == Code::kMissing);
  CHECK(run_one(*store, report_of("a")).code == Code::kMissing);
  CHECK(list(*store, "").rows.empty());
}

ON_EVERY_ENGINE("a deleted counter is missing, and begins at 0 again") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, increment_of("a", 9));
  const Outcome outcome = run_one(*store, delete_of("a"));
  CHECK(outcome.code == Code::kOk);
  CHECK(outcome.value == 9);
  CHECK_FALSE(value_of(*store, "a").has_value());
  CHECK(list(*store, "").rows.empty());
  CHECK(run_one(*store, delete_of("a")).code == Code::kMissing);
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

ON_EVERY_ENGINE("overflow leaves the value unchanged and the rest of the batch goes on") {
  const TestType place;
  const auto store = place.open();
  run(*store, {reset_of("top", kMax), reset_of("bottom", kMin)});
  const std::vector<Outcome> outcomes =
      run(*store, {increment_of("before"), increment_of("top", 1), increment_of("bottom", -1),
                   increment_of("top", kMax), increment_of("bottom", kMin), increment_of("after"),
                   increment_of("top", -1), report_of("bottom")});
  for (const std::size_t refused : {1U, 2U, 3U, 4U}) {
    CHECK(outcomes[refused].code == Code::kOutOfRange);
  }
  CHECK(outcomes[1].value == kMax);
  CHECK(outcomes[2].value == kMin);
  CHECK(outcomes[0].code == Code::kOk);
  CHECK(outcomes[5].code == Code::kOk);
  CHECK(outcomes[6].value == kMax - 1);
  CHECK(outcomes[7].value == kMin);
  CHECK(value_of(*store, "top") == kMax - 1);
  CHECK(value_of(*store, "bottom") == kMin);
  CHECK(value_of(*store, "before") == 1);
  CHECK(value_of(*store, "after") == 1);
}

ON_EVERY_ENGINE("a batch of refused increments alone changes nothing") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, reset_of("a", kMax));
  const Outcome before = run_one(*store, report_of("a"));
  wait_for_clock_after(before.updated_at_ms);
  CHECK(run_one(*store, increment_of("a", 1)).code == Code::kOutOfRange);
  const Outcome after = run_one(*store, report_of("a"));
  CHECK(after.value == kMax);
  CHECK(after.updated_at_ms == before.updated_at_ms);
}

ON_EVERY_ENGINE("alike steps of a batch, however mixed with others, each have their own outcome") {
  const TestType place;
  const auto store = place.open();
  for (const std::int64_t start : {std::int64_t{0}, std::int64_t{1} << 53, kMax - 2, kMin}) {
    for (const std::int64_t by : {std::int64_t{0}, std::int64_t{1}, std::int64_t{-3},
                                  -(std::int64_t{1} << 52), kMax, kMin}) {
      std::vector<Step> steps = {reset_of("a", start), delete_of("b")};
      for (int i = 0; i < 5; ++i) {
        steps.push_back(increment_of("a", by));
        steps.push_back(increment_of("b", i / 2));
        steps.push_back(report_of("c"));
      }
      steps.push_back(report_of("a"));
      steps.push_back(report_of("a"));
      const std::vector<Outcome> outcomes = run(*store, steps);
      std::int64_t a = start;
      std::int64_t b = 0;
      for (std::size_t i = 0; i < 5; ++i) {
        CAPTURE(start, by, i);
        const Wide exact = static_cast<Wide>(a) + by;
        const bool fits = exact >= kMin && exact <= kMax;
        if (fits) a = static_cast<std::int64_t>(exact);
        b += static_cast<std::int64_t>(i) / 2;
        CHECK(outcomes[2 + 3 * i].code == (fits ? Code::kOk : Code::kOutOfRange));
        CHECK(outcomes[2 + 3 * i].value == a);
        CHECK(outcomes[3 + 3 * i].value == b);
        CHECK(outcomes[4 + 3 * i].code == Code::kMissing);
      }
      CHECK(outcomes[17].value == a);
      CHECK(outcomes[18].value == a);
      CHECK(value_of(*store, "b") == b);
    }
  }
}

ON_EVERY_ENGINE("an increment beyond its bound is refused, the rest of the batch goes on") {
  const TestType place;
  const auto store = place.open();
  const std::vector<Outcome> outcomes =
      run(*store, {reset_of("a", 10), within(increment_of("a", 1), {}, 10),
                   within(increment_of("a", -1), 10, {}), within(increment_of("a", 5), 0, 15),
                   within(increment_of("a", 1), 0, 15), within(increment_of("a", -15), 0, 15),
                   within(increment_of("a", -1), 0, 15), increment_of("a", -1)});
  for (const std::size_t refused : {1U, 2U, 4U, 6U}) {
    CAPTURE(refused);
    CHECK(outcomes[refused].code == Code::kBeyondBound);
  }
  CHECK(outcomes[1].value == 10);
  CHECK(outcomes[3].value == 15);
  CHECK(outcomes[4].value == 15);
  CHECK(outcomes[5].value == 0);
  CHECK(outcomes[6].value == 0);
  CHECK(outcomes[7].value == -1);
  // The sum counts, not the way to it.
  CHECK(run_one(*store, within(increment_of("a", 1), 5, {})).code == Code::kBeyondBound);
  CHECK(run_one(*store, within(increment_of("a", -1), {}, -5)).code == Code::kBeyondBound);
  CHECK(run_one(*store, within(increment_of("a", 0), 0, {})).code == Code::kBeyondBound);
  CHECK(run_one(*store, within(increment_of("a", 6), 5, 5)).value == 5);
}

ON_EVERY_ENGINE("a refused increment makes no counter and changes no time") {
  const TestType place;
  const auto store = place.open();
  const Outcome refused = run_one(*store, within(increment_of("a", 5), {}, 4));
  CHECK(refused.code == Code::kBeyondBound);
  CHECK(refused.value == 0);
  CHECK_FALSE(value_of(*store, "a").has_value());
  run_one(*store, increment_of("a", 4));
  const Outcome before = run_one(*store, report_of("a"));
  wait_for_clock_after(before.updated_at_ms);
  CHECK(run_one(*store, within(increment_of("a", 1), {}, 4)).code == Code::kBeyondBound);
  CHECK(run_one(*store, report_of("a")).updated_at_ms == before.updated_at_ms);
}

ON_EVERY_ENGINE(
    "an increment that clamps applies what fits, never more than its delta or less than none") {
  const TestType place;
  const auto store = place.open();
  struct Case {
    std::int64_t before, by;
    std::optional<std::int64_t> min, max;
    std::int64_t after;
  };
  const std::vector<Case> cases = {
      {10, 7, {}, 15, 15},        {10, 5, {}, 15, 15},          {10, 7, 0, 15, 15},
      {10, -7, 5, {}, 5},         {10, -7, 5, 15, 5},           {10, 7, 5, {}, 17},
      {10, 1, {}, 5, 10},         {10, -1, {}, 5, 9},           {10, -7, {}, 5, 3},
      {10, -20, 0, 5, 0},         {10, -1, 20, {}, 10},         {10, 1, 20, {}, 11},
      {10, 0, 20, 30, 10},        {kMax, kMax, {}, kMax, kMax}, {0, kMin, kMin, {}, kMin},
      {-1, kMin, kMin, {}, kMin}, {kMin, kMax, {}, -2, -2},     {kMax - 1, 5, {}, kMax, kMax}};
  for (const Case& c : cases) {
    CAPTURE(c.before, c.by, c.after);
    run_one(*store, reset_of("a", c.before));
    const Step step = within(increment_of("a", c.by), c.min, c.max, true);
    const Outcome outcome = run_one(*store, step);
    CHECK(outcome.code == Code::kOk);
    CHECK(outcome.value == c.after);
    CHECK(outcome.previous == c.before);
    CHECK(static_cast<Wide>(c.before) + applied_by(step.operation, outcome) == c.after);
    CHECK(value_of(*store, "a") == c.after);
  }
  CHECK(run_one(*store, within(increment_of("new", 7), {}, 5, true)).value == 5);
  const Outcome none = run_one(*store, within(increment_of("none", 7), {}, 0, true));
  CHECK(none.code == Code::kOk);
  CHECK(none.previous == 0);
  CHECK(value_of(*store, "none") == 0);
}

ON_EVERY_ENGINE(
    "an increment that clamps to nothing is the latest change, and sets the end as any") {
  const TestType place;
  const auto store = place.open();
  const std::chrono::hours hour(1);
  const Step full = within(increment_of("a", 5), {}, 5, true);
  run_one(*store, ending_in(hour, full, true));
  const Outcome before = run_one(*store, report_of("a"));
  const std::int64_t then = wait_for_clock_after(before.updated_at_ms);
  const Outcome none = run_one(*store, ending_in(2 * hour, full, true));
  CHECK(none.value == 5);
  CHECK(none.previous == 5);
  const Outcome after = run_one(*store, report_of("a"));
  CHECK(after.created_at_ms == before.created_at_ms);
  CHECK(after.updated_at_ms >= then);
  CHECK(after.expires_at_ms >= then + std::chrono::milliseconds(2 * hour).count());
  run_one(*store, ending_in(hour, within(increment_of("b", 5), {}, 0, true)));
  CHECK(run_one(*store, report_of("b")).expires_at_ms >= then);
}

ON_EVERY_ENGINE("beyond 64 bits a bound on that side decides, else the range does") {
  const TestType place;
  const auto store = place.open();
  run(*store, {reset_of("top", kMax), reset_of("bottom", kMin)});
  const auto code = [&](Step step) { return run_one(*store, std::move(step)).code; };
  CHECK(code(within(increment_of("top", 1), {}, kMax)) == Code::kBeyondBound);
  CHECK(code(within(increment_of("top", 1), 0, {})) == Code::kOutOfRange);
  CHECK(code(within(increment_of("top", 1), 0, {}, true)) == Code::kOutOfRange);
  CHECK(code(within(increment_of("bottom", -1), kMin, {})) == Code::kBeyondBound);
  CHECK(code(within(increment_of("bottom", kMin), {}, 0)) == Code::kOutOfRange);
  CHECK(code(within(increment_of("bottom", kMin), {}, 0, true)) == Code::kOutOfRange);
  CHECK(value_of(*store, "top") == kMax);
  CHECK(value_of(*store, "bottom") == kMin);
}

ON_EVERY_ENGINE(
    "the members of a group are applied in their order and have outcomes of their own") {
  const TestType place;
  const auto store = place.open();
  const bool with_key = GENERATE(false, true);
  const bool all = GENERATE(false, true);
  CAPTURE(with_key, all);
  run(*store, {reset_of("a", 10), increment_of("gone")});
  const std::vector<Step> members = {increment_of("a", 5),
                                     increment_of("b", -1),
                                     increment_of("a", 5),
                                     report_of("a"),
                                     reset_of("a", 3),
                                     delete_of("gone"),
                                     increment_of("a"),
                                     increment_of("a"),
                                     starting_at(100, increment_of("new")),
                                     within(increment_of("a", 9), {}, 8, true)};
  Step group = group_of(all ? OperationKind::kAll : OperationKind::kEach, members);
  if (with_key) group = keyed(group, "k");
  const std::vector<Outcome> outcomes = run(*store, {increment_of("a"), group, increment_of("a")});
  CHECK(outcomes[0].value == 11);
  CHECK(outcomes[2].value == 9);
  REQUIRE(outcomes[1].code == Code::kOk);
  const std::vector<Outcome>& inner = outcomes[1].members;
  REQUIRE(inner.size() == members.size());
  const std::vector<std::int64_t> values = {16, -1, 21, 21, 3, 1, 4, 5, 101, 8};
  for (std::size_t i = 0; i < values.size(); ++i) {
    CAPTURE(i);
    CHECK(inner[i].code == Code::kOk);
    CHECK(inner[i].value == values[i]);
  }
  CHECK(inner[3].created_at_ms > 0);
  CHECK(inner[4].previous == 21);
  CHECK(inner[9].previous == 5);
  CHECK_FALSE(value_of(*store, "gone").has_value());
}

ON_EVERY_ENGINE("a refused member of kEach leaves the others alone") {
  const TestType place;
  const auto store = place.open();
  const Outcome outcome =
      run_one(*store, each_of({increment_of("a"), within(increment_of("a"), {}, 1), delete_of("b"),
                               increment_of("top", kMax), increment_of("top"), increment_of("a")}));
  REQUIRE(outcome.code == Code::kOk);
  REQUIRE(outcome.members.size() == 6);
  CHECK(outcome.members[1].code == Code::kBeyondBound);
  CHECK(outcome.members[1].value == 1);
  CHECK(outcome.members[2].code == Code::kMissing);
  CHECK(outcome.members[4].code == Code::kOutOfRange);
  CHECK(outcome.members[5].value == 2);
  CHECK(value_of(*store, "top") == kMax);
}

ON_EVERY_ENGINE("where a member of kAll is refused, nothing of the group is applied") {
  const TestType place;
  const auto store = place.open();
  run(*store, {reset_of("a", 5), reset_of("top", kMax), increment_of("gone")});
  const Outcome before = run_one(*store, report_of("a"));
  wait_for_clock_after(before.updated_at_ms);
  const std::vector<std::pair<Step, Code>> refusals = {
      {within(increment_of("a", -10), 0, {}), Code::kBeyondBound},
      {increment_of("top"), Code::kOutOfRange},
      {delete_of("missing"), Code::kMissing},
      {report_of("missing"), Code::kMissing}};
  const bool with_key = GENERATE(false, true);
  for (const auto& [refused, code] : refusals) {
    CAPTURE(code, with_key);
    Step group = all_of({increment_of("a", 2), increment_of("new"), delete_of("gone"),
                         increment_of("a", 2), refused, increment_of("a", 2)});
    if (with_key) group = keyed(group, "k");
    const std::vector<Outcome> outcomes =
        run(*store, {increment_of("other"), group, report_of("a"), increment_of("other")});
    CHECK(outcomes[0].code == Code::kOk);
    CHECK(outcomes[1].code == code);
    REQUIRE(outcomes[1].members.size() == 5);
    CHECK(outcomes[1].members.back().code == code);
    CHECK(outcomes[2].value == 5);
    CHECK(outcomes[2].updated_at_ms == before.updated_at_ms);
    CHECK(outcomes[3].code == Code::kOk);
    CHECK(value_of(*store, "gone") == 1);
    CHECK_FALSE(value_of(*store, "new").has_value());
  }
  CHECK(names_in(list(*store, "")) == Names{"a", "gone", "other", "top"});
}

ON_EVERY_ENGINE("alike members of kAll that do not all fit are refused together") {
  const TestType place;
  const auto store = place.open();
  const Step up = within(increment_of("a", 3), {}, 10);
  const Outcome outcome =
      run_one(*store, all_of({increment_of("b"), up, up, increment_of("b"), up, up, up}));
  CHECK(outcome.code == Code::kBeyondBound);
  REQUIRE(outcome.members.size() == 6);
  CHECK(outcome.members[4].value == 9);
  CHECK(outcome.members[5].value == 9);
  CHECK(list(*store, "").rows.empty());
  CHECK(run_one(*store, all_of({up, up, up})).members.back().value == 9);
}

ON_EVERY_ENGINE("a group with a key is applied once, and gets all of its first outcomes again") {
  const TestType place;
  const bool all = GENERATE(false, true);
  const Step group = keyed(
      group_of(all ? OperationKind::kAll : OperationKind::kEach,
               {increment_of("a", 5), reset_of("b", 2), report_of("a"), increment_of("a"),
                increment_of("a"), within(increment_of("c", 9), {}, 4, true), delete_of("b")}),
      "k");
  const Outcome first = run_one(*place.open(), group);
  REQUIRE(first.code == Code::kOk);
  CHECK_FALSE(first.replayed);
  const auto store = place.open();
  run(*store, {increment_of("a", 100)});
  const std::vector<Outcome> again = run(*store, {group, increment_of("a"), group});
  CHECK(again[1].value == 108);
  for (const Outcome& outcome : {again[0], again[2]}) {
    CHECK(outcome.code == Code::kOk);
    CHECK(outcome.replayed);
    REQUIRE(outcome.members.size() == first.members.size());
    for (std::size_t i = 0; i < first.members.size(); ++i) {
      CAPTURE(i);
      CHECK(outcome.members[i].code == Code::kOk);
      CHECK(outcome.members[i].value == first.members[i].value);
      CHECK(outcome.members[i].previous == first.members[i].previous);
    }
  }
  CHECK_FALSE(value_of(*store, "b").has_value());
}

ON_EVERY_ENGINE("under the key of a group another group is refused, a counter's own key is not") {
  const TestType place;
  const auto store = place.open();
  const std::vector<Step> members = {increment_of("a"), increment_of("b"), increment_of("a")};
  CHECK(run_one(*store, keyed(each_of(members), "k")).code == Code::kOk);
  const std::vector<Step> others = {
      all_of(members),
      each_of({increment_of("a"), increment_of("b")}),
      each_of({increment_of("a"), increment_of("a"), increment_of("b")}),
      each_of({increment_of("a"), increment_of("b", 2), increment_of("a")}),
      each_of({increment_of("a"), within(increment_of("b"), 0, {}), increment_of("a")}),
      each_of({increment_of("a"), increment_of("b"), increment_of("a"), report_of("b")})};
  for (const Step& other : others) {
    const Outcome outcome = run_one(*store, keyed(other, "k"));
    CHECK(outcome.code == Code::kKeyReused);
    CHECK(outcome.members.empty());
  }
  CHECK(value_of(*store, "a") == 2);
  CHECK(value_of(*store, "b") == 1);
  CHECK_FALSE(run_one(*store, keyed(increment_of("a"), "k")).replayed);
  CHECK(value_of(*store, "a") == 3);
}

ON_EVERY_ENGINE("a kAll that is refused leaves its key unused, a kEach keeps its refusals") {
  const TestType place;
  const auto store = place.open();
  const Step take = within(increment_of("a", -1), 0, {});
  CHECK(run_one(*store, keyed(all_of({increment_of("b"), take}), "all")).code ==
        Code::kBeyondBound);
  CHECK(run_one(*store, keyed(each_of({increment_of("b"), take}), "each")).code == Code::kOk);
  run_one(*store, reset_of("a", 5));
  CHECK(run_one(*store, keyed(all_of({increment_of("b"), take}), "all")).code == Code::kOk);
  const Outcome again = run_one(*store, keyed(each_of({increment_of("b"), take}), "each"));
  CHECK(again.replayed);
  REQUIRE(again.members.size() == 2);
  CHECK(again.members[0].value == 1);
  CHECK(again.members[1].code == Code::kBeyondBound);
  CHECK(value_of(*store, "a") == 4);
  CHECK(value_of(*store, "b") == 2);
}

ON_EVERY_ENGINE("a group of reports alone is one snapshot and takes no turn") {
  const TestType place;
  const auto store = place.open();
  make_counters(*store, {"a", "b"});
  std::vector<Step> batch;
  batch.push_back(each_of({report_of("a"), report_of("missing"), report_of("b")}));
  CHECK_FALSE(needs_turn(batch));
  batch.push_back(all_of({report_of("a"), report_of("missing"), report_of("b")}));
  store->apply(batch, patiently());
  CHECK(batch[0].outcome.members[0].value == 1);
  CHECK(batch[0].outcome.members[1].code == Code::kMissing);
  CHECK(batch[0].outcome.members[2].value == 1);
  CHECK(batch[1].outcome.code == Code::kMissing);
  CHECK(batch[1].outcome.members.size() == 2);
}

ON_EVERY_ENGINE("transfers by kAll from many stores keep the sum and every bound") {
  const TestType place;
  constexpr unsigned kCounters = 8;
  constexpr std::int64_t kHeld = 20;  // by each at first
  {
    const auto store = place.open();
    for (unsigned i = 0; i < kCounters; ++i) {
      run_one(*store, reset_of("t" + std::to_string(i), kHeld));
    }
  }
  const unsigned seed = choose_seed();
  CAPTURE(seed);
  std::vector<std::unique_ptr<ChildProcess>> movers;
  for (unsigned mover = 0; mover < 3; ++mover) {
    movers.push_back(std::make_unique<ChildProcess>([&place, seed, mover](int) {
      const auto store = place.open();
      std::mt19937 random(seed + mover);
      const auto any = [&] { return "t" + std::to_string(random() % kCounters); };
      for (int i = 0; i < 200; ++i) {
        const std::int64_t amount = random() % 15;
        std::vector<Step> steps;
        for (int j = 0; j < 4; ++j) {
          steps.push_back(
              all_of({within(increment_of(any(), -amount), 0, {}), increment_of(any(), amount)}));
        }
        run(*store, std::move(steps));
      }
      return 0;
    }));
  }
  const auto store = place.open();
  std::vector<Step> reports;
  for (unsigned i = 0; i < kCounters; ++i) reports.push_back(report_of("t" + std::to_string(i)));
  for (int look = 0; look < 100; ++look) {
    const Outcome outcome = run_one(*store, each_of(reports));
    REQUIRE(outcome.members.size() == kCounters);
    std::int64_t sum = 0;
    for (const Outcome& member : outcome.members) {
      CHECK(member.value >= 0);
      sum += member.value;
    }
    CHECK(sum == kCounters * kHeld);
  }
  for (const auto& mover : movers) CHECK(mover->wait() == 0);
}

ON_EVERY_ENGINE("of alike increments in a batch so many are applied as the bound allows") {
  const TestType place;
  const auto store = place.open();
  std::vector<Step> steps;
  for (int i = 0; i < 10; ++i) {
    steps.push_back(within(increment_of("up", 3), {}, 10));
    steps.push_back(within(increment_of("down", -4), -9, {}));
    steps.push_back(within(increment_of("clamped", 3), {}, 10, true));
  }
  const std::vector<Outcome> outcomes = run(*store, std::move(steps));
  for (std::int64_t i = 0; i < 10; ++i) {
    CAPTURE(i);
    const auto at = static_cast<std::size_t>(3 * i);
    CHECK(outcomes[at].code == (i < 3 ? Code::kOk : Code::kBeyondBound));
    CHECK(outcomes[at].value == std::min<std::int64_t>(3 * (i + 1), 9));
    CHECK(outcomes[at + 1].code == (i < 2 ? Code::kOk : Code::kBeyondBound));
    CHECK(outcomes[at + 1].value == std::max<std::int64_t>(-4 * (i + 1), -8));
    CHECK(outcomes[at + 2].value == std::min<std::int64_t>(3 * (i + 1), 10));
    CHECK(outcomes[at + 2].previous == std::min<std::int64_t>(3 * i, 10));
  }
  CHECK(value_of(*store, "up") == 9);
  CHECK(value_of(*store, "down") == -8);
  CHECK(value_of(*store, "clamped") == 10);
}

ON_EVERY_ENGINE(
    "an increment of a missing counter begins at its initial value, of another one not") {
  const TestType place;
  const auto store = place.open();
  CHECK(run_one(*store, starting_at(99, increment_of("a", 10))).value == 109);
  CHECK(run_one(*store, starting_at(99, increment_of("a", 10))).value == 119);
  CHECK(run_one(*store, starting_at(kMin, increment_of("low", kMax))).value == -1);
  CHECK(run_one(*store, starting_at(kMax, increment_of("high", 1))).code == Code::kOutOfRange);
  CHECK_FALSE(value_of(*store, "high").has_value());
  CHECK(run_one(*store, starting_at(4, within(increment_of("b", 2), {}, 5))).code ==
        Code::kBeyondBound);
  CHECK_FALSE(value_of(*store, "b").has_value());
  CHECK(run_one(*store, starting_at(4, within(increment_of("b", 2), {}, 5))).value == 4);
  const std::vector<Outcome> alike =
      run(*store, {starting_at(5, increment_of("c")), starting_at(7, increment_of("c")),
                   starting_at(5, increment_of("d")), starting_at(5, increment_of("d"))});
  CHECK(alike[1].value == 7);
  CHECK(alike[3].value == 7);
  const std::vector<Outcome> refused =
      run(*store, {starting_at(5, within(increment_of("e"), {}, 5)),
                   starting_at(3, within(increment_of("e"), {}, 5))});
  CHECK(refused[0].code == Code::kBeyondBound);
  CHECK(refused[0].value == 5);
  CHECK(refused[1].value == 4);
}

ON_EVERY_ENGINE("under a key a bounded increment is one, with the bounds that it had") {
  const TestType place;
  const auto store = place.open();
  const auto clamped = [] { return keyed(within(increment_of("a", 7), {}, 5, true), "k"); };
  CHECK(run_one(*store, clamped()).value == 5);
  const Outcome again = run_one(*store, clamped());
  CHECK(again.replayed);
  CHECK(again.value == 5);
  CHECK(again.previous == 0);
  for (const Step& other : {increment_of("a", 7), within(increment_of("a", 7), {}, 5),
                            within(increment_of("a", 7), {}, 6, true),
                            within(increment_of("a", 7), 0, 5, true), starting_at(1, clamped())}) {
    CHECK(run_one(*store, keyed(other, "k")).code == Code::kKeyReused);
  }
  // What is refused leaves its key unused.
  CHECK(run_one(*store, keyed(within(increment_of("a"), {}, 5), "r")).code == Code::kBeyondBound);
  run_one(*store, reset_of("a", 4));
  CHECK(run_one(*store, keyed(within(increment_of("a"), {}, 5), "r")).value == 5);
  CHECK(run_one(*store, keyed(within(increment_of("a"), {}, 5), "r")).replayed);
}

ON_EVERY_ENGINE("the whole signed 64-bit range is exact") {
  const TestType place;
  const auto store = place.open();
  std::vector<std::int64_t> values;
  for (const std::int64_t around :
       {std::int64_t{0}, std::int64_t{1} << 31, std::int64_t{1} << 32, std::int64_t{1} << 52,
        std::int64_t{1} << 53, std::int64_t{1} << 54, std::int64_t{1} << 62}) {
    for (std::int64_t by = -2; by <= 2; ++by) {
      values.push_back(around + by);
      values.push_back(-around + by);
    }
  }
  for (std::int64_t by = 0; by < 3; ++by) {
    values.push_back(kMax - by);
    values.push_back(kMin + by);
  }

  for (const std::int64_t start : values) {
    std::vector<Step> steps;
    for (const std::int64_t delta : values) {
      steps.push_back(reset_of("a", start));
      steps.push_back(increment_of("a", delta));
      steps.push_back(report_of("a"));
    }
    const std::vector<Outcome> outcomes = run(*store, std::move(steps));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Wide exact = static_cast<Wide>(start) + values[i];
      const bool fits = exact >= kMin && exact <= kMax;
      const std::int64_t expected = fits ? static_cast<std::int64_t>(exact) : start;
      CAPTURE(start, values[i]);
      REQUIRE(outcomes[3 * i].value == start);
      REQUIRE(outcomes[3 * i + 1].code == (fits ? Code::kOk : Code::kOutOfRange));
      REQUIRE(outcomes[3 * i + 1].value == expected);
      REQUIRE(outcomes[3 * i + 2].value == expected);
    }
    // Once more as stored, by every way that reads it.
    run_one(*store, reset_of("a", start));
    REQUIRE(value_of(*store, "a") == start);
    REQUIRE(list(*store, "a").rows.at(0).value == start);
    REQUIRE(run_one(*store, reset_of("a", 0)).previous == start);
    run_one(*store, reset_of("a", start));
    REQUIRE(run_one(*store, delete_of("a")).value == start);
  }
}

namespace {

// What a store should do, in the plainest form.
class Model {
 public:
  Outcome apply(const Operation& operation) {
    return is_group(operation) ? apply_group(operation) : apply_one(operation);
  }
  const std::map<std::string, std::int64_t>& values() const { return values_; }

 private:
  Outcome apply_group(const Operation& group) {
    Outcome outcome;
    const auto before = values_;
    const auto windows_before = windows_;
    for (const Operation& member : group.members) {
      outcome.members.push_back(apply_one(member));
      if (group.kind == OperationKind::kEach || outcome.members.back().code == Code::kOk) continue;
      outcome.code = outcome.members.back().code;
      values_ = before;
      windows_ = windows_before;
      break;
    }
    return outcome;
  }

  Outcome apply_one(const Operation& operation) {
    Outcome outcome;
    const auto found = values_.find(operation.name);
    const bool exists = found != values_.end();
    const std::int64_t value = exists ? found->second : 0;
    outcome.value = value;
    switch (operation.kind) {
      case OperationKind::kIncrement: {
        const std::int64_t before = exists ? value : operation.initial;
        outcome.value = before;
        const Wide sum = sum_of(before, operation);
        const std::string window = window_of(operation);
        if (exists && !window.empty() && windows_[operation.name] != window) {
          outcome.code = Code::kOtherWindow;
        } else if (!operation.bounds.clamp && is_beyond(sum, operation.bounds)) {
          outcome.code = Code::kBeyondBound;
        } else if (sum < kMin || sum > kMax) {
          outcome.code = Code::kOutOfRange;
        } else {
          if (operation.check) break;
          if (operation.bounds.clamp) outcome.previous = before;
          if (!exists) windows_[operation.name] = window;
          outcome.value = values_[operation.name] = static_cast<std::int64_t>(sum);
        }
        break;
      }
      case OperationKind::kReset:
        if (!exists && !operation.create) {
          outcome.code = Code::kMissing;
          break;
        }
        if (exists) outcome.previous = value;
        if (!exists) windows_[operation.name].clear();
        outcome.value = values_[operation.name] = operation.operand;
        break;
      case OperationKind::kDelete:
        if (!exists) outcome.code = Code::kMissing;
        values_.erase(operation.name);
        break;
      case OperationKind::kReport:
        if (!exists) outcome.code = Code::kMissing;
        break;
      case OperationKind::kEach:
      case OperationKind::kAll:
        throw std::logic_error("a group within a group");
    }
    return outcome;
  }

  static bool is_beyond(Wide sum, const Bounds& bounds) {
    return (bounds.min && sum < *bounds.min) || (bounds.max && sum > *bounds.max);
  }
  // Clamped: of all values from `before` to the sum the one nearest to the sum that is within the
  // bounds, or nearest to them.
  static Wide sum_of(std::int64_t before, const Operation& operation) {
    const Wide sum = static_cast<Wide>(before) + operation.operand;
    if (!operation.bounds.clamp) return sum;
    constexpr Wide kFar = static_cast<Wide>(1) << 100;
    const Wide within = std::clamp<Wide>(sum, operation.bounds.min ? *operation.bounds.min : -kFar,
                                         operation.bounds.max ? *operation.bounds.max : kFar);
    return std::clamp<Wide>(within, std::min<Wide>(before, sum), std::max<Wide>(before, sum));
  }

  static std::string window_of(const Operation& operation) {
    const auto& window = operation.lifetime.window;
    return window ? identity_of(*window) : "";
  }

  std::map<std::string, std::int64_t> values_;
  std::map<std::string, std::string> windows_;
};

class RandomSteps {
 public:
  explicit RandomSteps(unsigned seed) : engine_(seed) {}

  std::size_t below(std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end - 1)(engine_);
  }
  std::vector<Step> batch() {
    std::vector<Step> batch;
    for (std::size_t parts = 1 + below(4); parts > 0; --parts) {
      std::vector<Step> part = steps(1 + below(10));
      const OperationKind kind = below(2) == 0 ? OperationKind::kAll : OperationKind::kEach;
      if (below(2) == 0) part = {group_of(kind, part)};
      if (is_group(part[0].operation) && below(2) == 0) {
        part[0] = keyed(part[0], "k" + std::to_string(++keys_));
      }
      batch.insert(batch.end(), part.begin(), part.end());
    }
    return batch;
  }

 private:
  // Often alike ones in a row.
  std::vector<Step> steps(std::size_t size) {
    std::vector<Step> steps;
    for (; size > 0; --size) {
      steps.insert(steps.end(), below(3) == 0 ? 2 + below(4) : 1, step());
    }
    return steps;
  }
  Step step() {
    static const std::array<std::string, 5> kNames = {"a", "b", "a.b", "A:1", "zz-9"};
    const std::string& name = kNames[below(kNames.size())];
    const std::size_t kind = below(10);
    if (kind < 3) return increment_of(name, number());
    if (kind < 6) {
      Step step = bounded(starting_at(below(2) == 0 ? 0 : number(), increment_of(name, number())));
      // Windows that end in no test's time, unless it runs on the last night of a year.
      if (below(4) == 0) step = per(Period::kYear, step, below(2) == 0 ? "UTC" : "Etc/UTC");
      return below(4) == 0 ? checking(step) : step;
    }
    if (kind < 7) {
      return below(2) == 0 ? reset_of(name, number()) : existing(reset_of(name, number()));
    }
    return kind < 8 ? delete_of(name) : report_of(name);
  }
  Step bounded(Step step) {
    std::optional<std::int64_t> min, max;
    if (below(2) == 0) min = number();
    if (below(2) == 0) max = number();
    if (min && max && *min > *max) std::swap(min, max);
    return within(std::move(step), min, max, (min || max) && below(2) == 0);
  }
  // Of every size, and often where doubles end and where 64 bits end.
  std::int64_t number() {
    const auto near = static_cast<std::int64_t>(below(7)) - 3;
    switch (below(5)) {
      case 0:
        return near;
      case 1:
        return (std::int64_t{1} << 53) * (below(2) == 0 ? 1 : -1) + near;
      case 2:
        return below(2) == 0 ? kMax - std::abs(near) : kMin + std::abs(near);
      default:
        return std::uniform_int_distribution<std::int64_t>(kMin, kMax)(engine_) >> below(64);
    }
  }

  std::mt19937_64 engine_;
  std::size_t keys_ = 0;
};

bool is_same(const Outcome& found, const Outcome& expected, const Operation& operation) {
  if (found.code != expected.code || found.members.size() != expected.members.size()) return false;
  for (std::size_t i = 0; i < expected.members.size(); ++i) {
    if (!is_same(found.members[i], expected.members[i], operation.members[i])) return false;
  }
  if (found.code == Code::kMissing || found.code == Code::kOtherWindow) return true;
  if (is_group(operation)) return true;
  const bool clamps = operation.bounds.clamp && !operation.check;
  const bool has_previous = operation.kind == OperationKind::kReset || clamps;
  if (has_previous && found.previous != expected.previous) return false;
  return found.value == expected.value;
}

}  // namespace

ON_EVERY_ENGINE("random batches do what a plain model does") {
  const unsigned seed = choose_seed();
  INFO("repeat with COUNTERD_TEST_SEED=" << seed);
  const TestType place;
  auto store = place.open();
  const auto other = place.open();
  RandomSteps random(seed);
  Model model;
  for (int batch = 0; batch < 300; ++batch) {
    std::vector<Step> steps = random.batch();
    run_batch(random.below(3) == 0 ? *other : *store, steps, patiently());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Operation& operation = steps[i].operation;
      const Outcome expected = model.apply(operation);
      CAPTURE(batch, i, static_cast<int>(operation.kind), operation.name, operation.operand,
              steps[i].outcome.detail, steps[i].outcome.code, steps[i].outcome.value, expected.code,
              expected.value);
      REQUIRE(is_same(steps[i].outcome, expected, operation));
    }
    if (random.below(40) == 0) {
      store.reset();
      store = place.open();
    }
  }
  const ListPage page = list(*store, "");
  REQUIRE(page.rows.size() == model.values().size());
  for (const ListPage::Row& row : page.rows) {
    CAPTURE(row.name);
    REQUIRE(model.values().count(row.name) == 1);
    CHECK(row.value == model.values().at(row.name));
  }
}

// Until the counter is missing; false: it is not in time.
bool await_end(Store& store, const std::string& name) {
  const Deadline limit = after(std::chrono::seconds(10));
  while (value_of(store, name)) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

ON_EVERY_ENGINE("a counter that has ended is missing everywhere, and begins anew") {
  const TestType place;
  const auto store = place.open();
  const std::chrono::milliseconds ttl(500);
  const std::int64_t begin = unix_now_ms();
  run(*store, {ending_in(ttl, increment_of("a", 5)), ending_in(ttl, increment_of("b", 5)),
               increment_of("stays"), ending_in(std::chrono::hours(1), increment_of("long"))});
  const Outcome alive = run_one(*store, report_of("a"));
  CHECK(alive.code == Code::kOk);
  CHECK(alive.expires_at_ms >= begin + ttl.count());
  CHECK(alive.expires_at_ms <= unix_now_ms() + ttl.count());
  CHECK(run_one(*store, report_of("stays")).expires_at_ms == 0);
  CHECK(list(*store, "").rows.size() == 4);
  REQUIRE(await_end(*store, "a"));
  CHECK(unix_now_ms() >= alive.expires_at_ms);
  REQUIRE(await_end(*store, "b"));
  const auto other = place.open();
  CHECK_FALSE(value_of(*other, "a").has_value());
  const Outcome missing = run_one(*other, report_of("a"));
  CHECK(missing.value == 0);
  CHECK(missing.created_at_ms == 0);
  CHECK(missing.expires_at_ms == 0);
  CHECK(names_in(list(*store, "")) == Names{"long", "stays"});
  CHECK(run_one(*store, delete_of("a")).code == Code::kMissing);
  CHECK(run_one(*store, existing(reset_of("a"))).code == Code::kMissing);
  CHECK(run_one(*store, within(increment_of("a", -1), 0, {})).code == Code::kBeyondBound);
  CHECK_FALSE(run_one(*store, reset_of("b", 7)).previous.has_value());
  CHECK(run_one(*store, starting_at(10, increment_of("a"))).value == 11);
  const Outcome anew = run_one(*store, report_of("a"));
  CHECK(anew.created_at_ms >= alive.expires_at_ms);
  CHECK(anew.expires_at_ms == 0);
  CHECK(run_one(*store, report_of("b")).expires_at_ms == 0);
  CHECK(names_in(list(*store, "")) == Names{"a", "b", "long", "stays"});
}

ON_EVERY_ENGINE("an end is set when the counter is made, or by each increment that renews it") {
  const TestType place;
  const auto store = place.open();
  const std::chrono::hours hour(1);
  const auto end_of = [&](const std::string& name) {
    return run_one(*store, report_of(name)).expires_at_ms;
  };
  run(*store, {ending_in(hour, increment_of("fixed")),
               ending_in(hour, increment_of("sliding"), true), increment_of("plain")});
  const std::int64_t first = end_of("fixed");
  CHECK(end_of("sliding") >= first);
  wait_for_clock_after(unix_now_ms());
  run(*store, {ending_in(3 * hour, increment_of("fixed")), increment_of("fixed"),
               ending_in(2 * hour, increment_of("sliding"), true), increment_of("sliding"),
               ending_in(hour, increment_of("plain"))});
  CHECK(end_of("fixed") == first);
  CHECK(end_of("sliding") > first + std::chrono::milliseconds(hour).count());
  CHECK(end_of("plain") == 0);
  const std::int64_t second = end_of("sliding");
  run(*store, {reset_of("fixed", 9), reset_of("sliding", 9)});
  CHECK(end_of("fixed") == first);
  CHECK(end_of("sliding") == second);
  CHECK(run_one(*store, ending_in(hour, increment_of("plain"), true)).value == 3);
  CHECK(end_of("plain") > 0);
}

ON_EVERY_ENGINE("a refused increment sets no end, and a deleted counter leaves none") {
  const TestType place;
  const auto store = place.open();
  const std::chrono::hours hour(1);
  const auto end_of = [&](const std::string& name) {
    return run_one(*store, report_of(name)).expires_at_ms;
  };
  run_one(*store, increment_of("a", 5));
  CHECK(run_one(*store, ending_in(hour, within(increment_of("a"), {}, 5), true)).code ==
        Code::kBeyondBound);
  CHECK(run_one(*store, all_of({ending_in(hour, increment_of("a"), true), delete_of("missing")}))
            .code == Code::kMissing);
  CHECK(end_of("a") == 0);
  run(*store, {ending_in(hour, increment_of("b")), delete_of("b"), increment_of("b")});
  CHECK(end_of("b") == 0);
  run(*store, {ending_in(hour, increment_of("c"))});
  run(*store, {delete_of("c"), increment_of("c")});
  CHECK(end_of("c") == 0);
  CHECK(run_one(*store, all_of({ending_in(hour, increment_of("d")), report_of("d")}))
            .members[1]
            .expires_at_ms > 0);
}

ON_EVERY_ENGINE("an increment with another lifetime is another one under its key") {
  const TestType place;
  const auto store = place.open();
  const std::chrono::hours hour(1);
  CHECK(run_one(*store, keyed(ending_in(hour, increment_of("a")), "k")).code == Code::kOk);
  CHECK(run_one(*store, keyed(ending_in(hour, increment_of("a")), "k")).replayed);
  for (const Step& other : {increment_of("a"), ending_in(2 * hour, increment_of("a")),
                            ending_in(hour, increment_of("a"), true)}) {
    CHECK(run_one(*store, keyed(other, "k")).code == Code::kKeyReused);
  }
}

ON_EVERY_ENGINE("a counter with a window ends with it, and each increment tells when") {
  const TestType place;
  const auto store = place.open();
  const Window window{Period::kYear, "Pacific/Auckland"};
  const std::int64_t end = window_end(window, unix_now_ms());
  const Step step = per(window.period, increment_of("a", 2), window.timezone);
  const std::int64_t begin = unix_now_ms();
  const std::vector<Outcome> outcomes = run(*store, {step, step, step, report_of("a")});
  for (std::size_t i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(outcomes[i].code == Code::kOk);
    CHECK(outcomes[i].value == static_cast<std::int64_t>(2 * i + 2));
    CHECK(outcomes[i].expires_at_ms == end);
    CHECK(outcomes[i].updated_at_ms >= begin);
    CHECK(outcomes[i].updated_at_ms <= unix_now_ms());
  }
  CHECK(outcomes[3].expires_at_ms == end);
  const auto other = place.open();
  CHECK(run_one(*other, step).expires_at_ms == end);
  CHECK(run_one(*other, each_of({step})).members.at(0).expires_at_ms == end);
  // What does not name the window leaves it: a reset, and other increments.
  run(*store, {reset_of("a", 7), increment_of("a"), ending_in(std::chrono::hours(1), step)});
  run(*store, {ending_in(std::chrono::hours(1), increment_of("a"))});
  CHECK(run_one(*store, report_of("a")).expires_at_ms == end);
  CHECK(run_one(*store, step).value == 13);
}

ON_EVERY_ENGINE("a bound that refuses until a window ends tells when, also of a missing counter") {
  const TestType place;
  const auto store = place.open();
  const std::int64_t end = window_end({Period::kYear, "UTC"}, unix_now_ms());
  const Step step = within(per(Period::kYear, increment_of("a")), {}, 3);
  const std::vector<Outcome> outcomes = run(*store, {step, step, step, step, step});
  for (std::size_t i = 0; i < 5; ++i) {
    CAPTURE(i);
    CHECK(outcomes[i].code == (i < 3 ? Code::kOk : Code::kBeyondBound));
    CHECK(outcomes[i].value == static_cast<std::int64_t>(std::min<std::size_t>(i + 1, 3)));
    CHECK(outcomes[i].expires_at_ms == end);
  }
  const Outcome refused = run_one(*store, within(per(Period::kYear, increment_of("b", 4)), {}, 3));
  CHECK(refused.code == Code::kBeyondBound);
  CHECK(refused.expires_at_ms == end);
  CHECK_FALSE(value_of(*store, "b").has_value());
}

ON_EVERY_ENGINE("a counter has one window: another one is refused and changes nothing") {
  const TestType place;
  const auto store = place.open();
  const Step day = per(Period::kYear, increment_of("a"));
  run(*store,
      {day, increment_of("plain"), ending_in(std::chrono::hours(1), increment_of("mortal"))});
  const Outcome before = run_one(*store, report_of("a"));
  const std::vector<Step> others = {per(Period::kMonth, increment_of("a")),
                                    per(Period::kYear, increment_of("a"), "Etc/UTC"),
                                    ending_in(std::chrono::hours(1), increment_of("a"), true),
                                    checking(per(Period::kWeek, increment_of("a")))};
  for (const Step& other : others) {
    CAPTURE(identity_of(other.operation));
    const Outcome refused = run_one(*store, other);
    CHECK(refused.code == Code::kOtherWindow);
    CHECK(refused.window == "year UTC");
    CHECK(contains(explain(other.operation, refused), "counts per year in UTC"));
    for (const Outcome& each : run(*store, {other, other})) CHECK(each.code == Code::kOtherWindow);
    CHECK(run_one(*store, all_of({increment_of("b"), other})).code == Code::kOtherWindow);
    CHECK(run_one(*store, keyed(each_of({other}), "k" + identity_of(other.operation)))
              .members.at(0)
              .window == "year UTC");
    CHECK(run_one(*store, keyed(each_of({other}), "k" + identity_of(other.operation)))
              .members.at(0)
              .window == "year UTC");
  }
  CHECK_FALSE(value_of(*store, "b").has_value());
  for (const char* name : {"plain", "mortal"}) {
    const Outcome refused = run_one(*store, per(Period::kYear, increment_of(name)));
    CHECK(refused.code == Code::kOtherWindow);
    CHECK(refused.window.empty());
    CHECK(value_of(*store, name) == 1);
  }
  CHECK(run_one(*store, report_of("a")).expires_at_ms == before.expires_at_ms);
  CHECK(value_of(*store, "a") == 1);
}

ON_EVERY_ENGINE("a deleted counter leaves no window, and one made anew gets its own") {
  const TestType place;
  const auto store = place.open();
  const Step year = per(Period::kYear, increment_of("a"));
  const Step month = per(Period::kMonth, increment_of("a"));
  run(*store, {year, delete_of("a"), month});
  CHECK(run_one(*store, month).value == 2);
  run(*store, {delete_of("a"), year});
  CHECK(run_one(*store, year).value == 2);
  CHECK(run_one(*store, month).code == Code::kOtherWindow);
  run(*store, {delete_of("a"), increment_of("a")});
  CHECK(run_one(*store, report_of("a")).expires_at_ms == 0);
  CHECK(run_one(*store, year).code == Code::kOtherWindow);
  CHECK(run_one(*store, ending_in(std::chrono::hours(1), increment_of("a"), true)).value == 2);
  run_one(*store, delete_of("a"));
  CHECK(run_one(*store, all_of({month, delete_of("missing")})).code == Code::kMissing);
  CHECK(run_one(*store, year).value == 1);
}

ON_EVERY_ENGINE("what is asked again under a key tells the end of the first window") {
  const TestType place;
  const auto store = place.open();
  const Step step = keyed(within(per(Period::kYear, increment_of("a")), {}, 5), "k");
  const Outcome first = run_one(*store, step);
  REQUIRE(first.expires_at_ms > 0);
  run_one(*store, delete_of("a"));
  const Outcome again = run_one(*store, step);
  CHECK(again.replayed);
  CHECK(again.value == 1);
  CHECK(again.expires_at_ms == first.expires_at_ms);
  CHECK_FALSE(value_of(*store, "a").has_value());
  const Step other = keyed(within(per(Period::kMonth, increment_of("a")), {}, 5), "k");
  CHECK(run_one(*store, other).code == Code::kKeyReused);
  const Step group = keyed(each_of({per(Period::kYear, increment_of("b"))}), "g");
  CHECK(run_one(*store, group).members.at(0).expires_at_ms == first.expires_at_ms);
  CHECK(run_one(*store, group).members.at(0).expires_at_ms == first.expires_at_ms);
  CHECK(value_of(*store, "b") == 1);
}

ON_EVERY_ENGINE("a check says what an increment would meet, and changes nothing") {
  const TestType place;
  const auto store = place.open();
  const auto check = [&](Step step) { return run_one(*store, checking(std::move(step))); };
  CHECK(check(increment_of("a")).code == Code::kOk);
  CHECK(check(starting_at(7, increment_of("a"))).value == 7);
  CHECK(check(within(increment_of("a", 6), {}, 5)).code == Code::kBeyondBound);
  const std::int64_t end = window_end({Period::kYear, "UTC"}, unix_now_ms());
  CHECK(check(per(Period::kYear, increment_of("a"))).expires_at_ms == end);
  CHECK(list(*store, "").rows.empty());

  run_one(*store, increment_of("a", 5));
  const Outcome before = run_one(*store, report_of("a"));
  const Outcome allowed = check(within(increment_of("a", 2), {}, 7));
  CHECK(allowed.code == Code::kOk);
  CHECK(allowed.value == 5);
  CHECK(applied_by(checking(increment_of("a", 2)).operation, allowed) == 0);
  CHECK(check(within(increment_of("a", 3), {}, 7)).code == Code::kBeyondBound);
  CHECK(check(within(increment_of("a", 3), {}, 7, true)).code == Code::kOk);
  CHECK(check(increment_of("a", kMax)).code == Code::kOutOfRange);
  CHECK(check(ending_in(std::chrono::hours(1), increment_of("a"), true)).code == Code::kOk);
  const Step limited = checking(within(increment_of("a", 2), {}, 7));
  const std::vector<Outcome> outcomes =
      run(*store, {limited, limited, increment_of("a"), limited, limited, report_of("a")});
  CHECK(outcomes[1].code == Code::kOk);
  CHECK(outcomes[2].value == 6);
  CHECK(outcomes[3].code == Code::kBeyondBound);
  CHECK(outcomes[4].code == Code::kBeyondBound);
  CHECK(outcomes[5].value == 6);
  run_one(*store, increment_of("a", -1));
  CHECK(run_one(*store, all_of({increment_of("b"), checking(within(increment_of("a", 3), {}, 7))}))
            .code == Code::kBeyondBound);
  CHECK(run_one(*store, all_of({increment_of("b"), limited})).code == Code::kOk);
  CHECK(value_of(*store, "b") == 1);
  const Outcome after = run_one(*store, report_of("a"));
  CHECK(after.value == 5);
  CHECK(after.expires_at_ms == 0);
  CHECK(after.created_at_ms == before.created_at_ms);
}

ON_EVERY_ENGINE("a check needs no turn and uses up no key") {
  const TestType place;
  const auto store = place.open();
  const Step step = keyed(checking(increment_of("a", 2)), "k");
  CHECK_FALSE(needs_turn({&step, 1}));
  CHECK(run_one(*store, step).code == Code::kOk);
  CHECK(run_one(*store, keyed(increment_of("a", 3), "k")).value == 3);
}

ON_EVERY_ENGINE("steps of one batch are applied in order and see each other") {
  const TestType place;
  const auto store = place.open();
  const std::vector<Outcome> outcomes =
      run(*store, {report_of("a"), increment_of("a", 2), report_of("a"), increment_of("a", 3),
                   reset_of("a", 10), increment_of("a"), delete_of("a"), report_of("a"),
                   reset_of("a", 4), delete_of("a"), delete_of("a"), increment_of("a", 6)});
  CHECK(outcomes[0].code == Code::kMissing);
  CHECK(outcomes[1].value == 2);
  CHECK(outcomes[2].value == 2);
  CHECK(outcomes[3].value == 5);
  CHECK(outcomes[4].previous == 5);
  CHECK(outcomes[5].value == 11);
  CHECK(outcomes[6].value == 11);
  CHECK(outcomes[7].code == Code::kMissing);
  CHECK_FALSE(outcomes[8].previous.has_value());
  CHECK(outcomes[9].value == 4);
  CHECK(outcomes[10].code == Code::kMissing);
  CHECK(outcomes[11].value == 6);
  CHECK(value_of(*store, "a") == 6);
}

ON_EVERY_ENGINE("a counter made and deleted in one batch leaves nothing") {
  const TestType place;
  const auto store = place.open();
  run(*store, {increment_of("a"), delete_of("a")});
  CHECK_FALSE(value_of(*store, "a").has_value());
  CHECK(list(*store, "").rows.empty());
}

ON_EVERY_ENGINE("a batch that deletes and makes a counter again keeps it in the list") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, reset_of("a", 8));
  run(*store, {delete_of("a"), increment_of("a", 2)});
  CHECK(value_of(*store, "a") == 2);
  CHECK(names_in(list(*store, "")) == Names{"a"});
}

ON_EVERY_ENGINE("a change asked for again under its key is applied once and answered the same") {
  const TestType place;
  const auto store = place.open();
  const auto other = place.open();
  run_one(*store, reset_of("a", 10));
  const Outcome first = run_one(*store, keyed(increment_of("a", 5), "k1"));
  CHECK(first.value == 15);
  CHECK_FALSE(first.replayed);
  run_one(*store, increment_of("a", 100));
  for (int i = 0; i < 3; ++i) {
    const Outcome again = run_one(*other, keyed(increment_of("a", 5), "k1"));
    CHECK(again.code == Code::kOk);
    CHECK(again.value == 15);
    CHECK(again.replayed);
  }
  CHECK(value_of(*store, "a") == 115);

  CHECK(run_one(*store, keyed(reset_of("a", 7), "k2")).previous == 115);
  run_one(*store, increment_of("a"));
  const Outcome reset = run_one(*store, keyed(reset_of("a", 7), "k2"));
  CHECK(reset.replayed);
  CHECK(reset.value == 7);
  CHECK(reset.previous == 115);
  CHECK(value_of(*store, "a") == 8);

  CHECK(run_one(*store, keyed(delete_of("a"), "k3")).value == 8);
  run_one(*store, increment_of("a"));
  const Outcome deleted = run_one(*store, keyed(delete_of("a"), "k3"));
  CHECK(deleted.replayed);
  CHECK(deleted.value == 8);
  CHECK(value_of(*store, "a") == 1);

  CHECK_FALSE(run_one(*store, keyed(reset_of("new"), "k4")).previous.has_value());
  CHECK_FALSE(run_one(*store, keyed(reset_of("new"), "k4")).previous.has_value());
}

ON_EVERY_ENGINE("a key sees itself within one batch") {
  const TestType place;
  const auto store = place.open();
  std::vector<Step> steps;
  for (int i = 0; i < 3; ++i) steps.push_back(keyed(increment_of("a"), "k"));
  steps.push_back(increment_of("a"));
  steps.push_back(keyed(increment_of("a", 2), "k"));
  const auto outcomes = run(*store, std::move(steps));
  CHECK_FALSE(outcomes[0].replayed);
  CHECK(outcomes[1].replayed);
  CHECK(outcomes[2].value == 1);
  CHECK(outcomes[3].value == 2);
  CHECK(outcomes[4].code == Code::kKeyReused);
  CHECK(value_of(*store, "a") == 2);
}

ON_EVERY_ENGINE("a key is kept also beside the same change without one") {
  const TestType place;
  const auto store = place.open();
  const Step keyed_step = keyed(increment_of("a"), "k");
  CHECK(run(*store, {increment_of("a"), keyed_step, increment_of("a")})[1].value == 2);
  const Outcome again = run_one(*store, keyed_step);
  CHECK(again.replayed);
  CHECK(again.value == 2);
  CHECK(value_of(*store, "a") == 3);
}

ON_EVERY_ENGINE("a key of another operation on the counter is refused and changes nothing") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, keyed(increment_of("a", 5), "k"));
  CHECK(run_one(*store, keyed(increment_of("a", 6), "k")).code == Code::kKeyReused);
  CHECK(run_one(*store, keyed(reset_of("a", 5), "k")).code == Code::kKeyReused);
  CHECK(run_one(*store, keyed(delete_of("a"), "k")).code == Code::kKeyReused);
  CHECK(value_of(*store, "a") == 5);
  CHECK(run_one(*store, keyed(increment_of("a", 5), "k")).replayed);
}

ON_EVERY_ENGINE("a key belongs to one counter's name") {
  const TestType place;
  const auto store = place.open();
  CHECK(run_one(*store, keyed(increment_of("a"), "k")).value == 1);
  const Outcome other = run_one(*store, keyed(increment_of("b", 2), "k"));
  CHECK(other.value == 2);
  CHECK_FALSE(other.replayed);
}

ON_EVERY_ENGINE("an operation that is refused leaves its key unused") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, reset_of("a", kMax));
  CHECK(run_one(*store, keyed(increment_of("a"), "k")).code == Code::kOutOfRange);
  CHECK(run_one(*store, keyed(delete_of("b"), "k")).code == Code::kMissing);
  run_one(*store, reset_of("a", 1));
  run_one(*store, reset_of("b", 1));
  CHECK(run_one(*store, keyed(increment_of("a"), "k")).value == 2);
  CHECK_FALSE(run_one(*store, keyed(delete_of("b"), "k")).replayed);
}

ON_EVERY_ENGINE("a report, and a group that changes nothing, take no notice of a key") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, increment_of("a"));
  CHECK(run_one(*store, keyed(report_of("a"), "k")).value == 1);
  run_one(*store, increment_of("a"));
  CHECK(run_one(*store, keyed(report_of("a"), "k")).value == 2);
  CHECK(run_one(*store, keyed(increment_of("a"), "k")).value == 3);
  const Step group = keyed(each_of({report_of("a"), checking(increment_of("a"))}), "g");
  CHECK(run_one(*store, group).members.at(0).value == 3);
  run_one(*store, increment_of("a"));
  const Outcome again = run_one(*store, group);
  CHECK_FALSE(again.replayed);
  CHECK(again.members.at(0).value == 4);
}

ON_EVERY_ENGINE("the whole range and every character of a key are remembered") {
  const TestType place;
  const auto store = place.open();
  std::string characters;
  for (char c = ' '; c <= '~'; ++c) characters += c;
  for (const std::string& key : {characters, std::string(kMaxKeyLength, 'k'), std::string(" ")}) {
    CHECK(run_one(*store, keyed(reset_of("a", kMin), key)).value == kMin);
    CHECK(run_one(*store, keyed(reset_of("a", kMax), key)).code == Code::kKeyReused);
    const Outcome again = run_one(*store, keyed(reset_of("a", kMin), key));
    CHECK(again.replayed);
    CHECK(again.value == kMin);
  }
}

ON_EVERY_ENGINE("a key is forgotten when its lifetime is over") {
  const TestType place;
  StoreOptions options = place.options();
  options.key_lifetime = std::chrono::milliseconds(2'000);
  const auto store = open_or_throw(options);
  run_one(*store, keyed(increment_of("a"), "own", std::chrono::milliseconds(500)));
  run_one(*store, keyed(increment_of("a"), "store"));
  run_one(*store, keyed(increment_of("a"), "capped", std::chrono::hours(1)));
  CHECK(run_one(*store, keyed(increment_of("a"), "own")).replayed);
  std::this_thread::sleep_for(std::chrono::milliseconds(550));
  CHECK_FALSE(run_one(*store, keyed(increment_of("a"), "own")).replayed);
  CHECK(run_one(*store, keyed(increment_of("a"), "store")).replayed);
  std::this_thread::sleep_for(std::chrono::milliseconds(1'500));
  CHECK_FALSE(run_one(*store, keyed(increment_of("a"), "store")).replayed);
  CHECK_FALSE(run_one(*store, keyed(increment_of("a"), "capped")).replayed);
  CHECK(value_of(*store, "a") == 6);
}

ON_EVERY_ENGINE("a key is kept for longer than its lifetime, by the reserve") {
  const TestType place;
  StoreOptions options = place.options();
  options.key_lifetime = std::chrono::milliseconds(100);
  options.key_reserve = std::chrono::seconds(60);
  const auto store = open_or_throw(options);
  run_one(*store, keyed(increment_of("a"), "own", std::chrono::milliseconds(1)));
  run_one(*store, keyed(increment_of("a"), "store"));
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  CHECK(run_one(*store, keyed(increment_of("a"), "own")).replayed);
  CHECK(run_one(*store, keyed(increment_of("a"), "store")).replayed);
}

ON_EVERY_ENGINE("beyond the limit of keys a change with a new one is refused, until some expire") {
  const TestType place;
  StoreOptions options = place.options();
  options.max_keys = 3;
  const auto store = open_or_throw(options);
  const auto count_with = [&](const std::string& key) {
    return run_one(*store, keyed(increment_of("a"), key, std::chrono::milliseconds(1'500)));
  };
  std::vector<Step> steps;
  for (int i = 0; i < 5; ++i) {
    steps.push_back(
        keyed(increment_of("a"), "k" + std::to_string(i), std::chrono::milliseconds(1'500)));
  }
  const auto outcomes = run(*store, std::move(steps));
  CHECK(outcomes[2].value == 3);
  CHECK(outcomes[3].code == Code::kTooManyKeys);
  CHECK(outcomes[4].code == Code::kTooManyKeys);
  CHECK(count_with("k3").code == Code::kTooManyKeys);
  CHECK(count_with("k0").replayed);
  CHECK(run_one(*store, increment_of("a")).value == 4);
  std::this_thread::sleep_for(std::chrono::milliseconds(1'550));
  CHECK(count_with("k3").value == 5);
  CHECK(count_with("k0").value == 6);
}

ON_EVERY_ENGINE("stores that ask for the same keys at once count each once") {
  const TestType place;
  constexpr int kThreads = 4;
  constexpr int kKeys = 300;
  std::atomic<int> fresh{0};
  std::vector<std::unique_ptr<Store>> stores;
  for (int t = 0; t < kThreads; ++t) stores.push_back(place.open());
  std::vector<std::thread> threads;
  for (const auto& store : stores) {
    threads.emplace_back([&] {
      for (int i = 0; i < kKeys; ++i) {
        const Outcome outcome = run_one(*store, keyed(increment_of("a"), std::to_string(i)));
        if (outcome.code == Code::kOk && !outcome.replayed) ++fresh;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(fresh == kKeys);
  CHECK(value_of(*stores.front(), "a") == kKeys);
}

ON_EVERY_ENGINE("an empty batch is applied") {
  const TestType place;
  const auto store = place.open();
  CHECK(run(*store, {}).empty());
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

ON_EVERY_ENGINE("reports, lists and probes need no turn") {
  const TestType place;
  const auto holder = place.open();
  const auto reader = place.open();
  run_one(*holder, increment_of("a", 3));
  REQUIRE(holder->take_turn(patiently()));
  CHECK(value_of(*reader, "a") == 3);
  CHECK(names_in(list(*reader, "")) == Names{"a"});
  CHECK(reader->probe(patiently()).ok());
  holder->yield_turn();
}

ON_EVERY_ENGINE("a turn is yielded unused and taken again") {
  const TestType place;
  const auto store = place.open();
  for (int i = 0; i < 3; ++i) {
    REQUIRE(store->take_turn(patiently()));
    store->yield_turn();
  }
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

ON_EVERY_ENGINE("one turn may serve several batches") {
  const TestType place;
  const auto store = place.open();
  REQUIRE(store->take_turn(patiently()));
  for (int i = 1; i <= 3; ++i) {
    std::vector<Step> steps = {increment_of("a")};
    store->apply(steps, patiently());
    CHECK(steps[0].outcome.value == i);
  }
  store->yield_turn();
  const auto other = place.open();
  CHECK(run_one(*other, increment_of("a")).value == 4);
}

ON_EVERY_ENGINE("a batch of reports is one snapshot, and so is a page of a list") {
  const TestType place;
  const auto store = place.open();
  run(*store, {reset_of("left", 0), reset_of("right", 0)});
  std::atomic<bool> stop{false};
  std::atomic<bool> failed{false};
  std::thread writer([&] {
    try {
      const auto own = place.open();
      while (!stop) {
        for (const Outcome& outcome : run(*own, {increment_of("left"), increment_of("right")})) {
          if (outcome.code != Code::kOk) failed = true;
        }
      }
    } catch (...) {
      failed = true;
    }
  });
  // Enough of both: looks, and looks that found something new.
  int torn = 0;
  int looks = 0;
  int news = 0;
  std::int64_t latest = 0;
  const Deadline deadline = patiently();
  while ((looks < 1'000 || news < 100) && !failed && std::chrono::steady_clock::now() < deadline) {
    const std::vector<Outcome> outcomes = run(*store, {report_of("left"), report_of("right")});
    const ListPage page = list(*store, "");
    if (outcomes[0].code != Code::kOk || outcomes[0].value != outcomes[1].value) ++torn;
    if (page.rows.size() != 2 || page.rows[0].value != page.rows[1].value) ++torn;
    if (std::exchange(latest, outcomes[0].value) != outcomes[0].value) ++news;
    ++looks;
  }
  stop = true;
  writer.join();
  CHECK_FALSE(failed);
  CHECK(torn == 0);
  CHECK(looks >= 1'000);
  CHECK(news >= 100);
}

ON_EVERY_ENGINE("a list is sorted by name, bytewise") {
  const TestType place;
  const auto store = place.open();
  make_counters(*store,
                {"b", "a.b", "a", "Z", "a:b", "0", "aa", "A", "a-b", "a_b", "a0", "10", "9"});
  const Names sorted = {"0", "10", "9", "A", "Z", "a", "a-b", "a.b", "a0", "a:b", "a_b", "aa", "b"};
  CHECK(std::is_sorted(sorted.begin(), sorted.end()));
  const ListPage page = list(*store, "");
  CHECK(names_in(page) == sorted);
  CHECK(page.next.empty());
}

ON_EVERY_ENGINE("an empty store lists nothing") {
  const TestType place;
  const auto store = place.open();
  for (const char* prefix : {"", "a"}) {
    const ListPage page = list(*store, prefix);
    CHECK(page.rows.empty());
    CHECK(page.next.empty());
  }
}

ON_EVERY_ENGINE("a prefix selects the names that begin with it, itself among them") {
  const TestType place;
  const auto store = place.open();
  const std::string longest(kMaxNameLength, 'z');
  make_counters(*store, {"a", "a.b", "a:b", "a-z", "aa", "A", "0", "b", "ab", longest, "z"});
  CHECK(names_in(list(*store, "a")) == Names{"a", "a-z", "a.b", "a:b", "aa", "ab"});
  CHECK(names_in(list(*store, "a.")) == Names{"a.b"});
  CHECK(names_in(list(*store, "a.b")) == Names{"a.b"});
  CHECK(names_in(list(*store, "a.b.")).empty());
  CHECK(names_in(list(*store, "A")) == Names{"A"});
  CHECK(names_in(list(*store, "0")) == Names{"0"});
  CHECK(names_in(list(*store, "z")) == Names{"z", longest});
  CHECK(names_in(list(*store, longest)) == Names{longest});
  CHECK(names_in(list(*store, "c")).empty());
}

ON_EVERY_ENGINE("a list goes on after the name given, and says whether there is more") {
  const TestType place;
  const auto store = place.open();
  Names names;
  for (char c = 'a'; c <= 'j'; ++c) names.push_back(std::string("p") + c);
  make_counters(*store, names);
  make_counters(*store, {"o", "q"});

  Names seen;
  std::string after;
  for (int pages = 1;; ++pages) {
    const ListPage page = list(*store, "p", after, 3);
    for (const ListPage::Row& row : page.rows) seen.push_back(row.name);
    if (page.next.empty()) {
      CHECK(pages == 4);
      break;
    }
    REQUIRE(page.rows.size() == 3);
    after = page.rows.back().name;
  }
  CHECK(seen == names);

  CHECK(list(*store, "p", "", 10).next.empty());
  CHECK(!list(*store, "p", "", 9).next.empty());
  CHECK(list(*store, "p", "pa", 9).next.empty());
  // Where `after` is no counter, before or after all that the prefix selects, or its own end.
  CHECK(names_in(list(*store, "p", "pbb", 2)) == Names{"pc", "pd"});
  CHECK(names_in(list(*store, "p", "b", 2)) == Names{"pa", "pb"});
  CHECK(names_in(list(*store, "p", "pj", 2)).empty());
  CHECK(names_in(list(*store, "p", "q", 2)).empty());
  CHECK(names_in(list(*store, "", "pi", 5)) == Names{"pj", "q"});
  CHECK(names_in(list(*store, "", "q", 5)).empty());
}

ON_EVERY_ENGINE("after a name come the names that begin with it") {
  const TestType place;
  const auto store = place.open();
  make_counters(*store, {"a", "a-", "a.b", "aa", "b"});
  CHECK(names_in(list(*store, "", "a")) == Names{"a-", "a.b", "aa", "b"});
  CHECK(names_in(list(*store, "a", "a")) == Names{"a-", "a.b", "aa"});
}

ON_EVERY_ENGINE("a page holds as many rows as the longest list allows") {
  const TestType place;
  const auto store = place.open();
  Names names;
  for (std::size_t i = 0; i <= kMaxListLimit; ++i) names.push_back(std::to_string(100'000 + i));
  make_counters(*store, {names.begin(), names.begin() + 500});
  make_counters(*store, {names.begin() + 500, names.end()});
  const ListPage page = list(*store, "");
  CHECK(page.rows.size() == kMaxListLimit);
  CHECK(!page.next.empty());
  CHECK(names_in(list(*store, "", page.rows.back().name)) == Names{names.back()});
}

ON_EVERY_ENGINE("names of 128 characters and their neighbours are different counters") {
  const TestType place;
  const auto store = place.open();
  const std::string longest(kMaxNameLength, 'n');
  std::string other = longest;
  other.back() = 'o';
  CHECK(run_one(*store, increment_of(longest, 1)).value == 1);
  CHECK(run_one(*store, increment_of(other, 2)).value == 2);
  CHECK(run_one(*store, increment_of(longest.substr(1), 3)).value == 3);
  CHECK(run_one(*store, increment_of("N", 4)).value == 4);
  CHECK(run_one(*store, increment_of("n", 5)).value == 5);
  CHECK(value_of(*store, longest) == 1);
  CHECK(value_of(*store, other) == 2);
  CHECK(list(*store, "").rows.size() == 5);
}

ON_EVERY_ENGINE("a batch of the greatest size is applied") {
  const TestType place;
  const auto store = place.open();
  std::vector<Step> one(kMaxBatchOperations, increment_of("same"));
  const std::vector<Outcome> same = run(*store, std::move(one));
  for (std::size_t i = 0; i < same.size(); ++i) {
    REQUIRE(same[i].value == static_cast<std::int64_t>(i) + 1);
  }
  std::vector<Step> many;
  for (std::size_t i = 0; i < kMaxBatchOperations; ++i) {
    many.push_back(
        reset_of(std::string(120, 'x') + std::to_string(i), static_cast<std::int64_t>(i)));
  }
  for (const Outcome& outcome : run(*store, std::move(many))) REQUIRE(outcome.code == Code::kOk);
  CHECK(value_of(*store, std::string(120, 'x') + "999") == 999);
  CHECK(list(*store, "x").rows.size() == kMaxBatchOperations);
}

ON_EVERY_ENGINE("two stores on one place see each other's changes at once") {
  const TestType place;
  const auto first = place.open();
  const auto second = place.open();
  for (int i = 1; i <= 20; i += 2) {
    CHECK(run_one(*first, increment_of("a")).value == i);
    CHECK(value_of(*second, "a") == i);
    CHECK(run_one(*second, increment_of("a")).value == i + 1);
    CHECK(list(*first, "").rows.at(0).value == i + 1);
  }
}

ON_EVERY_ENGINE("threads with a store each lose no increment and count none twice") {
  constexpr int kThreads = 4;
  constexpr int kBatches = 150;
  const TestType place;
  std::atomic<int> failures{0};
  std::vector<std::vector<std::int64_t>> seen(kThreads);
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      try {
        const auto store = place.open();
        for (int batch = 0; batch < kBatches; ++batch) {
          for (const Outcome& outcome :
               run(*store, {increment_of("a"), increment_of("b", 2), increment_of("a")})) {
            if (outcome.code != Code::kOk) ++failures;
          }
          seen[static_cast<std::size_t>(number)].push_back(
              run_one(*store, increment_of("c")).value);
        }
      } catch (...) {
        ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  const auto store = place.open();
  CHECK(value_of(*store, "a") == 2 * kThreads * kBatches);
  CHECK(value_of(*store, "b") == 2 * kThreads * kBatches);
  // Each value was given to one of them, once.
  std::vector<std::int64_t> all;
  for (const auto& values : seen) all.insert(all.end(), values.begin(), values.end());
  std::sort(all.begin(), all.end());
  REQUIRE(all.size() == kThreads * kBatches);
  for (std::size_t i = 0; i < all.size(); ++i) {
    REQUIRE(all[i] == static_cast<std::int64_t>(i) + 1);
  }
}

ON_EVERY_ENGINE("processes with a store each lose no increment, also where all of them begin it") {
  constexpr int kProcesses = 4;
  constexpr int kBatches = 150;
  const TestType place;
  std::vector<std::unique_ptr<ChildProcess>> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(std::make_unique<ChildProcess>([&](int) {
      const auto store = place.open();
      for (int batch = 0; batch < kBatches; ++batch) {
        for (const Outcome& outcome : run(*store, {increment_of("a"), increment_of("b", -3)})) {
          if (outcome.code != Code::kOk) return 1;
        }
      }
      return 0;
    }));
  }
  for (const auto& child : children) CHECK(child->wait() == 0);
  const auto store = place.open();
  CHECK(value_of(*store, "a") == kProcesses * kBatches);
  CHECK(value_of(*store, "b") == -3 * kProcesses * kBatches);
}

ON_EVERY_ENGINE("the batch of a killed process is applied whole or not at all") {
  const TestType place;
  std::int64_t total = 0;
  for (int round = 1; round <= 8; ++round) {
    std::int64_t acknowledged = 0;
    ChildProcess child([&](int output) {
      const auto store = place.open();
      for (;;) {
        const std::vector<Outcome> outcomes =
            run(*store, {increment_of("a"), increment_of("b"), increment_of("c")});
        if (outcomes[2].code != Code::kOk) return 1;
        if (write(output, &outcomes[2].value, sizeof outcomes[2].value) < 0) return 2;
      }
    });
    while (acknowledged < total + 5 * round && child.read(&acknowledged, sizeof acknowledged)) {
    }
    child.send(SIGKILL);
    while (child.read(&acknowledged, sizeof acknowledged)) {
    }
    CHECK(child.wait() == -SIGKILL);
    const auto store = place.open();
    const std::vector<Outcome> found =
        run(*store, {report_of("a"), report_of("b"), report_of("c")});
    CHECK(found[0].value == found[1].value);
    CHECK(found[1].value == found[2].value);
    // What was acknowledged, and at most the one batch whose answer nobody saw.
    CHECK(found[2].value >= acknowledged);
    CHECK(found[2].value <= acknowledged + 1);
    total = found[2].value;
  }
}

ON_EVERY_ENGINE("what one store has acknowledged, one that is opened later sees") {
  const TestType place;
  auto store = place.open();
  run(*store, {increment_of("a", 7), reset_of("b", kMin), increment_of("gone"), delete_of("gone")});
  const auto beside = place.open();
  CHECK(value_of(*beside, "a") == 7);
  store.reset();
  const auto later = place.open();
  CHECK(value_of(*later, "a") == 7);
  CHECK(value_of(*later, "b") == kMin);
  CHECK(names_in(list(*later, "")) == Names{"a", "b"});
}

ON_EVERY_ENGINE("a store can be handed to another thread") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, increment_of("a"));
  std::int64_t value = 0;
  std::thread([&] { value = run_one(*store, increment_of("a")).value; }).join();
  CHECK(value == 2);
  CHECK(run_one(*store, increment_of("a")).value == 3);
}

ON_EVERY_ENGINE("a counter knows when it was made and when it was changed last") {
  const TestType place;
  const auto store = place.open();
  const std::int64_t begin = unix_now_ms();
  run_one(*store, increment_of("a"));
  const Outcome made = run_one(*store, report_of("a"));
  CHECK(made.created_at_ms >= begin);
  CHECK(made.created_at_ms <= unix_now_ms());
  CHECK(made.updated_at_ms == made.created_at_ms);

  for (const Step& change : {increment_of("a", 2), reset_of("a", 1), increment_of("a", 0)}) {
    const Outcome before = run_one(*store, report_of("a"));
    const std::int64_t then = wait_for_clock_after(before.updated_at_ms);
    run_one(*store, change);
    const Outcome changed = run_one(*store, report_of("a"));
    CHECK(changed.created_at_ms == made.created_at_ms);
    CHECK(changed.updated_at_ms >= then);
  }

  const Outcome last = run_one(*store, report_of("a"));
  const std::int64_t later = wait_for_clock_after(last.updated_at_ms);
  CHECK(run_one(*store, report_of("a")).updated_at_ms == last.updated_at_ms);  // looking is free
  run_one(*store, delete_of("a"));
  run_one(*store, increment_of("a"));
  CHECK(run_one(*store, report_of("a")).created_at_ms >= later);
}

ON_EVERY_ENGINE("a counter that a batch deletes and makes again is new") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, increment_of("a"));
  const std::int64_t then = wait_for_clock_after(run_one(*store, report_of("a")).updated_at_ms);
  run(*store, {delete_of("a"), reset_of("a", 5)});
  CHECK(run_one(*store, report_of("a")).created_at_ms >= then);
}

ON_EVERY_ENGINE("status says engine, place and durability") {
  const TestType place;
  const auto store = place.open();
  REQUIRE(store->probe(patiently()));
  const StoreStatus status = store->status();
  CHECK(status.engine == TestType::kEngine);
  CHECK(status.location == place.location());
  CHECK_FALSE(status.durability.empty());
}

ON_EVERY_ENGINE("a store on a fresh place answers a probe") {
  const TestType place;
  const auto store = place.open();
  CHECK(store->probe(patiently()).ok());
  CHECK(store->probe(patiently()).ok());
}

TEST_CASE("a batch needs the turn if a step changes something") {
  CHECK_FALSE(needs_turn({}));
  CHECK_FALSE(needs_turn(std::vector<Step>{report_of("a"), report_of("b")}));
  for (const Step& change : {increment_of("a", 0), reset_of("a"), delete_of("a")}) {
    CHECK(needs_turn(std::vector<Step>{report_of("a"), change, report_of("a")}));
  }
}

TEST_CASE("reports of a failed batch are unavailable, only changes are unknown") {
  std::vector<Step> steps = {increment_of("a"), report_of("a"), reset_of("a"), delete_of("a")};
  steps[1].outcome.value = 12;
  fail_batch(steps, {Code::kUnknown, "the wire was cut"});
  CHECK(steps[0].outcome.code == Code::kUnknown);
  CHECK(steps[1].outcome.code == Code::kUnavailable);
  CHECK(steps[2].outcome.code == Code::kUnknown);
  CHECK(steps[3].outcome.code == Code::kUnknown);
  CHECK(steps[1].outcome.value == 0);
  CHECK(steps[0].outcome.detail == "the wire was cut");

  fail_batch(steps, {Code::kUnavailable, "nobody there"});
  for (const Step& step : steps) CHECK(step.outcome.code == Code::kUnavailable);
}

TEST_CASE("a store with a URL that is none is refused") {
  StoreOptions options;
  options.url = "postgres://localhost/counters";
  const Result<std::unique_ptr<Store>> store = open_store(options);
  REQUIRE_FALSE(store);
  CHECK(store.error().code == Code::kConfig);
}

ON_EVERY_ENGINE(
    "a reset makes a counter that has ended, or is deleted in its batch, without an end") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, ending_in(std::chrono::milliseconds(1), increment_of("a")));
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK_FALSE(run_one(*store, reset_of("a", 7)).previous.has_value());
  run(*store,
      {ending_in(std::chrono::hours(1), increment_of("b")), delete_of("b"), reset_of("b", 8)});
  const auto reopened = place.open();
  const Outcome a = run_one(*reopened, report_of("a"));
  CHECK(a.value == 7);
  CHECK(a.expires_at_ms == 0);
  const Outcome b = run_one(*reopened, report_of("b"));
  CHECK(b.value == 8);
  CHECK(b.expires_at_ms == 0);
}

ON_EVERY_ENGINE("bounds are exact also where a double is not and the number of digits changes") {
  const TestType place;
  const auto store = place.open();
  // Doubles do not tell any of them from the number before it.
  for (const std::int64_t power :
       {10'000'000'000'000'000, 100'000'000'000'000'000, 1'000'000'000'000'000'000}) {
    for (const std::int64_t sign : {1, -1}) {
      const auto bounded = [&](std::int64_t bound) {
        return sign > 0 ? within(increment_of("a", sign), {}, bound)
                        : within(increment_of("a", sign), bound, {});
      };
      run_one(*store, reset_of("a", sign * (power - 2)));
      CHECK(run_one(*store, bounded(sign * power)).value == sign * (power - 1));
      CHECK(run_one(*store, bounded(sign * (power - 1))).code == Code::kBeyondBound);
      CHECK(run_one(*store, bounded(sign * power)).value == sign * power);
      CHECK(run_one(*store, bounded(sign * power)).code == Code::kBeyondBound);
    }
  }
}

ON_EVERY_ENGINE("what is alike right before a group and right after it is no part of it") {
  const TestType place;
  const auto store = place.open();
  const Step refused = all_of({increment_of("a"), within(increment_of("b", -1), 0, {})});
  const std::vector<Outcome> outcomes =
      run(*store, {increment_of("a"), refused, increment_of("a"),
                   keyed(each_of({increment_of("a")}), "k"), increment_of("a")});
  CHECK(outcomes[0].value == 1);
  CHECK(outcomes[1].code == Code::kBeyondBound);
  CHECK(outcomes[2].value == 2);
  CHECK(outcomes[3].members.at(0).value == 3);
  CHECK(outcomes[4].value == 4);
  CHECK(value_of(*store, "a") == 4);
}

ON_EVERY_ENGINE("a check beside increments that are alike is not counted") {
  const TestType place;
  const auto store = place.open();
  const std::vector<Outcome> outcomes =
      run(*store, {increment_of("a"), checking(increment_of("a")), increment_of("a")});
  CHECK(outcomes[0].value == 1);
  CHECK(outcomes[1].code == Code::kOk);
  CHECK(outcomes[1].value == 1);
  CHECK(outcomes[2].value == 2);
  CHECK(value_of(*store, "a") == 2);
}

ON_EVERY_ENGINE("a counter that has ended and is swept is made anew and deleted in one batch") {
  const TestType place;
  const auto store = place.open();
  run_one(*store, ending_in(std::chrono::milliseconds(1), increment_of("a")));
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  run_one(*store, increment_of("b"));  // sweeps
  const std::vector<Outcome> outcomes = run(*store, {increment_of("a"), delete_of("a")});
  CHECK(outcomes[0].code == Code::kOk);
  CHECK(outcomes[1].code == Code::kOk);
  CHECK(outcomes[1].previous == 1);
}

}  // namespace counterd
