#include "daemon/store_health.h"

#include "tests/catch.h"
#include "tests/steps.h"

namespace counterd {
namespace {

using std::chrono::seconds;

constexpr seconds kQuiet{10};

const Error kGone{Code::kUnavailable, "gone"};
const Error kOther{Code::kUnavailable, "other"};
const std::optional<std::string> kNothing;
const std::optional<std::string> kAgain = "the store answers again";

TEST_CASE("a failure is logged when it comes, and once however often") {
  StoreHealth health;
  const Time now{};
  CHECK(health.note_change(nullptr, now) == kNothing);
  CHECK(health.note_change(&kGone, now) == kGone.message);
  for (int i = 1; i < 100; ++i) CHECK(health.note_change(&kGone, now + seconds(i)) == kNothing);
}

TEST_CASE("that the store answers again is logged once no failure has come for a while") {
  StoreHealth health;
  const Time now{};
  health.note_change(&kGone, now);
  health.note_change(&kGone, now + seconds(5));
  CHECK(health.note_change(nullptr, now + seconds(5) + kQuiet - seconds(1)) == kNothing);
  CHECK(health.note_change(nullptr, now + seconds(5) + kQuiet) == kAgain);
  CHECK(health.note_change(nullptr, now + seconds(30)) == kNothing);
  CHECK(health.note_change(&kGone, now + seconds(31)) == kGone.message);
}

TEST_CASE("each outage is logged where changes are few and the store soon answers") {
  StoreHealth health;
  Time now{};
  for (int outage = 0; outage < 3; ++outage, now += std::chrono::hours(1)) {
    CHECK(health.note_change(&kGone, now) == kGone.message);
    CHECK(health.note_change(&kGone, now + seconds(1)) == kNothing);
    CHECK(health.note_change(nullptr, now + seconds(2)) == kNothing);
  }
  CHECK(health.note_read(&kGone, now) == kGone.message);
  CHECK(health.note_read(nullptr, now + kQuiet) == kAgain);
}

TEST_CASE("an outage that lasts is logged once, also where changes are few") {
  StoreHealth health;
  Time now{};
  CHECK(health.note_change(&kGone, now) == kGone.message);
  for (int hour = 1; hour < 8; ++hour) {
    now += std::chrono::hours(1);
    CHECK(health.note_read(nullptr, now) == kNothing);
    CHECK(health.note_change(&kGone, now) == kNothing);
  }
}

TEST_CASE("failures that alternate with successes, or with each other, do not flood the log") {
  StoreHealth health;
  const Time now{};
  int lines = 0;
  for (int i = 0; i < 1'000; ++i) {
    lines += health.note_change(&kGone, now).has_value() ? 1 : 0;
    lines += health.note_change(nullptr, now).has_value() ? 1 : 0;
    lines += health.note_change(&kOther, now).has_value() ? 1 : 0;
  }
  CHECK(lines == 2);
}

TEST_CASE("many different failures do not flood the log, unless they end the daemon") {
  StoreHealth health;
  const Time now{};
  int lines = 0;
  Error error{Code::kUnavailable, ""};
  for (int i = 0; i < 1'000; ++i) {
    error.message = std::to_string(i);
    lines += health.note_change(&error, now).has_value() ? 1 : 0;
  }
  CHECK(lines == 8);
  CHECK(health.note_change(&error, now + kQuiet) == error.message);
  error = {Code::kConfig, "not durable"};
  CHECK(health.note_change(&error, now + kQuiet) == error.message);
}

TEST_CASE("that reading works says nothing about changes that have failed") {
  StoreHealth health;
  const Time now{};
  const Deadline later = now + 2 * kQuiet;
  health.note_change(&kGone, now);
  CHECK(health.note_read(nullptr, later) == kNothing);
  CHECK(health.note_change(nullptr, later) == kAgain);
  CHECK(health.note_read(&kGone, later) == kGone.message);
  CHECK(health.note_read(nullptr, later + kQuiet) == kAgain);
}

TEST_CASE("why the latest change failed is known until one does not") {
  StoreHealth health;
  const Time now{};
  health.note_read(&kOther, now);
  CHECK(health.change_failure().empty());
  health.note_change(&kGone, now);
  health.note_read(nullptr, now);
  CHECK(health.change_failure() == kGone.message);
  health.note_change(nullptr, now);
  CHECK(health.change_failure().empty());
}

TEST_CASE("a batch with a change went as the change did") {
  StoreHealth health;
  const Time now{};
  std::vector<Step> batch = {report_of("a"), increment_of("a")};
  batch[1].outcome.code = Code::kStoreFull;
  batch[1].outcome.detail = "full";
  CHECK(health.note_batch(batch, now) == "full");
  const std::vector<Step> reads = {report_of("a")};
  CHECK(health.note_batch(reads, now + 2 * kQuiet) == kNothing);
  batch[1].outcome = {};
  CHECK(health.note_batch(batch, now + 2 * kQuiet) == kAgain);
}

TEST_CASE("a batch in which only some changes fail is none of a failing store") {
  StoreHealth health;
  const Time now{};
  std::vector<Step> batch = {increment_of("bad"), increment_of("good")};
  batch[0].outcome.code = Code::kUnavailable;
  batch[0].outcome.detail = "bad";
  CHECK(health.note_batch(batch, now) == kNothing);
  CHECK(health.change_failure().empty());
  CHECK(health.note_batch(std::span(batch).first(1), now) == "bad");
  batch[1].outcome = batch[0].outcome;
  health.note_change(nullptr, now);
  health.note_batch(batch, now);
  CHECK(health.change_failure() == "bad");
}

TEST_CASE("keys that are too many are logged, also behind a change that has none") {
  StoreHealth health;
  const Time now{};
  std::vector<Step> batch = {increment_of("a"), increment_of("b")};
  batch[1].outcome.code = Code::kTooManyKeys;
  CHECK(health.note_batch(batch, now).value_or("").starts_with("Too many idempotency keys"));
  CHECK(health.note_batch(batch, now) == kNothing);
  CHECK(health.note_batch(batch, now + std::chrono::hours(1)) != kNothing);
}

TEST_CASE("an outage is logged each time also while keys are too many") {
  StoreHealth health;
  Time now{};
  Step refused = increment_of("a");
  refused.outcome.code = Code::kTooManyKeys;
  CHECK(health.note_batch({&refused, 1}, now) != kNothing);
  for (int outage = 0; outage < 2; ++outage) {
    CHECK(health.note_change(&kGone, now) == kGone.message);
    CHECK(health.note_batch({&refused, 1}, now + kQuiet / 2) == kNothing);
    now += kQuiet;
    CHECK(health.note_batch({&refused, 1}, now) == kAgain);
  }
}

}  // namespace
}  // namespace counterd
