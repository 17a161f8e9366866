#include "tests/faults/history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace counterd::faults {
namespace {

constexpr std::size_t kMaxFindings = 20;

std::int64_t epoch_of(std::int64_t value) {
  // Rounds down below 0 as well.
  const std::int64_t shifted = value + kEpoch / 2;
  return shifted >= 0 ? shifted / kEpoch : -1;
}

// Sums of deltas over time.
class Sums {
 public:
  void add(std::int64_t time, std::int64_t delta) { points_.emplace_back(time, delta); }
  void finish() {
    std::sort(points_.begin(), points_.end());
    std::int64_t sum = 0;
    for (auto& [time, delta] : points_) delta = sum += delta;
  }
  // The sum of all at times before `time`.
  std::int64_t before(std::int64_t time) const {
    const auto found = std::lower_bound(points_.begin(), points_.end(),
                                        std::pair(time, std::numeric_limits<std::int64_t>::min()));
    return found == points_.begin() ? 0 : std::prev(found)->second;
  }

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>> points_;
};

struct Epoch {
  std::int64_t begin = std::numeric_limits<std::int64_t>::min();  // of its reset
  std::int64_t end = std::numeric_limits<std::int64_t>::min();
  bool begun = false;
  std::int64_t sum = 0;
  std::vector<std::int64_t> last_values;  // as the resets that ended it report
  Sums asked_up, asked_down, done_up, done_down;

  void add(const Event& increment) {
    sum += increment.operand;
    const bool up = increment.operand > 0;
    (up ? asked_up : asked_down).add(increment.begin, increment.operand);
    (up ? done_up : done_down).add(increment.end, increment.operand);
  }
  void finish() {
    for (Sums* sums : {&asked_up, &asked_down, &done_up, &done_down}) sums->finish();
  }
};

class Checker {
 public:
  Checker(const std::string& name, std::int64_t last, Verdict& verdict)
      : name_(name), last_(last), verdict_(verdict) {}

  void run(const std::vector<Event>& events) {
    epochs_[0].begun = true;
    for (const Event& event : events) sort_in(event);
    epochs_[epoch_of(last_)].last_values.push_back(last_);
    std::sort(resets_.begin(), resets_.end());
    std::int64_t latest = std::numeric_limits<std::int64_t>::min();
    for (auto& [end, begin] : resets_) begin = latest = std::max(latest, begin);
    for (auto& [number, epoch] : epochs_) epoch.finish();
    for (const Event& event : events) check_reading(event);
    for (const auto& [number, epoch] : epochs_) check_sum(number, epoch);
    check_steps(events);
  }

 private:
  void find(const std::string& what) {
    if (verdict_.findings.size() < kMaxFindings) verdict_.findings.push_back(name_ + ": " + what);
  }

  void sort_in(const Event& event) {
    if (event.kind == Kind::kIncrement) {
      epochs_[epoch_of(event.value)].add(event);
    } else if (event.kind == Kind::kReset) {
      Epoch& epoch = epochs_[epoch_of(event.operand)];
      epoch.begun = true;
      epoch.begin = event.begin;
      epoch.end = event.end;
      epochs_[epoch_of(event.previous)].last_values.push_back(event.previous);
      resets_.emplace_back(event.end, event.begin);
    }
  }

  // The latest time at which any reset acknowledged before `time` was asked for.
  std::int64_t latest_reset_before(std::int64_t time) const {
    const auto found = std::lower_bound(resets_.begin(), resets_.end(),
                                        std::pair(time, std::numeric_limits<std::int64_t>::min()));
    return found == resets_.begin() ? std::numeric_limits<std::int64_t>::min()
                                    : std::prev(found)->second;
  }

  void check_reading(const Event& event) {
    if (event.kind == Kind::kReset) {
      if (event.value != event.operand) wrong(event, "a reset that returned another value");
      return;
    }
    const std::int64_t number = epoch_of(event.value);
    const Epoch& epoch = epochs_[number];
    if (!epoch.begun) return wrong(event, "a value that nothing leads to");
    if (epoch.begin >= event.end) return wrong(event, "a value from the future");
    if (latest_reset_before(event.begin) > epoch.end) return wrong(event, "a value from the past");
    const std::int64_t done_up = epoch.done_up.before(event.begin);
    const std::int64_t done_down = epoch.done_down.before(event.begin);
    std::int64_t lower = number * kEpoch + done_up + epoch.asked_down.before(event.end);
    std::int64_t upper = number * kEpoch + done_down + epoch.asked_up.before(event.end);
    // Its own delta is certain here; above, it counts as only possible.
    if (event.kind == Kind::kIncrement) (event.operand > 0 ? lower : upper) += event.operand;
    if (event.value < lower || event.value > upper) {
      wrong(event, "a value that is not within " + std::to_string(lower) + " and " +
                       std::to_string(upper));
    }
  }

  void wrong(const Event& event, const std::string& what) {
    ++verdict_.wrong;
    constexpr const char* kKinds[] = {"increment by ", "reset to ", "report "};
    find(what + ": " + kKinds[static_cast<int>(event.kind)] + std::to_string(event.operand) +
         " = " + std::to_string(event.value));
  }

  void check_sum(std::int64_t number, const Epoch& epoch) {
    if (epoch.last_values.empty()) {
      // Two resets that name the same value before them, or an epoch that came to nothing.
      ++verdict_.lost;
      return find("epoch " + std::to_string(number) + " has no end");
    }
    verdict_.doubled += static_cast<std::int64_t>(epoch.last_values.size()) - 1;
    const std::int64_t excess = epoch.last_values.back() - number * kEpoch - epoch.sum;
    if (excess == 0) return;
    const auto downs = static_cast<std::int64_t>(
        std::llround(static_cast<double>(excess) / static_cast<double>(kDown)));
    const std::int64_t ups = (excess - downs * kDown) / kUp;
    for (const std::int64_t operations : {ups, downs}) {
      (operations < 0 ? verdict_.lost : verdict_.doubled) += std::abs(operations);
    }
    find("epoch " + std::to_string(number) + " is too great by " + std::to_string(excess));
  }

  void check_steps(const std::vector<Event>& events) {
    std::vector<std::int64_t> left = {last_};
    std::vector<std::int64_t> reached = {0};
    for (const Event& event : events) {
      if (event.kind == Kind::kReport) continue;
      const bool reset = event.kind == Kind::kReset;
      left.push_back(reset ? event.previous : event.value - event.operand);
      reached.push_back(event.value);
    }
    std::sort(left.begin(), left.end());
    std::sort(reached.begin(), reached.end());
    std::vector<std::int64_t> odd;
    std::set_difference(reached.begin(), reached.end(), left.begin(), left.end(),
                        std::back_inserter(odd));
    if (odd.empty()) return;
    verdict_.wrong += static_cast<std::int64_t>(odd.size());
    find(std::to_string(odd.size()) + " answers do not follow each other; the first is " +
         std::to_string(odd.front()));
  }

  const std::string& name_;
  const std::int64_t last_;
  Verdict& verdict_;
  std::map<std::int64_t, Epoch> epochs_;
  // When each was acknowledged, and the latest time at which any of those up to it was asked for.
  std::vector<std::pair<std::int64_t, std::int64_t>> resets_;
};

}  // namespace

void check_counter(const std::string& name, std::vector<Event> events, std::int64_t last,
                   Verdict& verdict) {
  Checker(name, last, verdict).run(events);
}

}  // namespace counterd::faults
