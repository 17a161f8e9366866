#include "common/operation.h"

#include <limits>
#include <set>

#include "tests/catch.h"
#include "tests/steps.h"

namespace counterd {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

}  // namespace

TEST_CASE("bounds that contradict each other, and clamping to none, are refused") {
  CHECK(check_bounds({}).ok());
  CHECK(check_bounds({5, 5, false}).ok());
  CHECK(check_bounds({kMin, kMax, true}).ok());
  CHECK(check_bounds({{}, 0, true}).ok());
  CHECK(check_bounds({6, 5, false}).error().code == Code::kBadParameter);
  CHECK(contains(check_bounds({6, 5, false}).error().message, "minimum 6 is above the maximum 5"));
  CHECK(check_bounds({{}, {}, true}).error().code == Code::kBadParameter);
}

TEST_CASE("what remains is counted to the bound in the direction of the delta, over all 64 bits") {
  const auto left = [](std::int64_t by, std::optional<std::int64_t> min,
                       std::optional<std::int64_t> max, std::int64_t value) {
    return remaining(within(increment_of("a", by), min, max).operation, value);
  };
  CHECK(left(1, 0, 5, 3) == 2);
  CHECK(left(0, 0, 5, 3) == 2);
  CHECK(left(-1, 0, 5, 3) == 3);
  CHECK(left(1, {}, 5, 5) == 0);
  CHECK(left(1, {}, 5, 9) == 0);
  CHECK(left(-1, 5, {}, 2) == 0);
  CHECK(left(1, {}, kMax, kMin) == std::numeric_limits<std::uint64_t>::max());
  CHECK(left(-1, kMin, {}, kMax) == std::numeric_limits<std::uint64_t>::max());
  CHECK_FALSE(left(1, 0, {}, 3).has_value());
  CHECK_FALSE(left(-1, {}, 5, 3).has_value());
}

TEST_CASE("a refusal names value, bound and what would have been, exactly") {
  Step step = within(increment_of("q", kMax), 0, kMax);
  step.outcome.code = Code::kBeyondBound;
  step.outcome.value = kMax;
  CHECK(explain(step.operation, step.outcome) ==
        "counter q is 9223372036854775807; adding 9223372036854775807 would make it "
        "18446744073709551614, above the maximum 9223372036854775807; nothing was changed");
  step = within(increment_of("q", kMin), kMin, {});
  step.outcome.code = Code::kBeyondBound;
  step.outcome.value = kMin;
  CHECK(contains(explain(step.operation, step.outcome),
                 "make it -18446744073709551616, below the minimum -92233"));
}

TEST_CASE("a reset that may not create is another operation than one that may") {
  CHECK(identity_of(reset_of("a", 5).operation) == "reset 5");
  CHECK(identity_of(existing(reset_of("a", 5)).operation) == "reset 5 existing");
}

TEST_CASE("groups with different members, or in another order, have different short texts") {
  const std::vector<Step> members = {increment_of("a"), increment_of("b")};
  std::set<std::string> texts;
  for (const Step& group :
       {each_of(members), all_of(members), each_of({increment_of("b"), increment_of("a")}),
        each_of({increment_of("a")}), each_of({increment_of("a"), increment_of("b", 2)}),
        each_of({increment_of("a"), increment_of("b"), increment_of("b")}),
        each_of({increment_of("a"), report_of("b")})}) {
    const std::string text = identity_of(group.operation);
    CHECK(text.size() < 40);
    CHECK(texts.insert(text).second);
  }
  // It lies in databases: one of another program, or machine, has to know it again.
  CHECK(identity_of(all_of(members).operation) == "all 45d778c282061ebafbc0ef8e54788a5e");
}

TEST_CASE("operations with different conditions have different texts, plain ones those of before") {
  CHECK(identity_of(increment_of("a", 5).operation) == "increment 5");
  std::set<std::string> texts;
  for (const Step& step :
       {increment_of("a", 5), within(increment_of("a", 5), 1, {}),
        within(increment_of("a", 5), {}, 1), within(increment_of("a", 5), 1, {}, true),
        within(increment_of("a", 5), {}, 1, true), within(increment_of("a", 5), 1, 1),
        starting_at(1, increment_of("a", 5)), starting_at(-1, increment_of("a", 5)),
        per(Period::kDay, increment_of("a", 5)), per(Period::kWeek, increment_of("a", 5)),
        per(Period::kDay, increment_of("a", 5), "Asia/Tokyo")}) {
    CHECK(texts.insert(identity_of(step.operation)).second);
  }
  // They lie in databases, under keys that are asked for again after an upgrade.
  CHECK(identity_of(starting_at(-1, within(increment_of("a", 5), -9, 9, true)).operation) ==
        "increment 5 initial -1 min -9 max 9 clamp");
  CHECK(identity_of(ending_in(std::chrono::hours(1), increment_of("a"), true).operation) ==
        "increment 1 ttl 3600000 renew");
  CHECK(identity_of(per(Period::kDay, increment_of("a"), "Asia/Tokyo").operation) ==
        "increment 1 per day Asia/Tokyo");
  CHECK(identity_of(delete_of("a").operation) == "delete");
}

TEST_CASE("all names of UTC are one time zone") {
  for (const char* name : {"UTC", "Etc/UTC", "Zulu", "Etc/Universal"}) {
    CAPTURE(name);
    Step step = per(Period::kDay, increment_of("a"), name);
    REQUIRE(resolve_timezones(step.operation));
    CHECK(step.operation.lifetime.window->timezone == "UTC");
  }
}

TEST_CASE("a window without a time zone gets that of the system, and one unknown is refused") {
  Step plain = per(Period::kDay, increment_of("a"), "");
  REQUIRE(resolve_timezones(plain.operation));
  Window of_system{Period::kDay};
  REQUIRE(resolve_timezone(of_system));
  CHECK(plain.operation.lifetime.window == of_system);
  Step named = per(Period::kDay, increment_of("a"), "Asia/Tokyo");
  REQUIRE(resolve_timezones(named.operation));
  CHECK(named.operation.lifetime.window->timezone == "Asia/Tokyo");
  Step group = each_of({increment_of("a"), per(Period::kDay, increment_of("a"), "")});
  REQUIRE(resolve_timezones(group.operation));
  CHECK_FALSE(group.operation.members[1].lifetime.window->timezone.empty());
  group.operation.members[1].lifetime.window->timezone = "Mars/Olympus";
  CHECK(resolve_timezones(group.operation).error().code == Code::kBadParameter);
}

}  // namespace counterd
