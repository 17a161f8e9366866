#include "common/store/sqlite_keys.h"

#include <sqlite3.h>

#include <tuple>
#include <utility>
#include <vector>

#include "common/ascii.h"
#include "common/store/engines.h"
#include "common/store/outcome_text.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// Rows that a batch looks at: two for each key that it may add, so that the table never holds more
// than twice what is known, and a few more.
constexpr std::size_t kSweptForEach = 2;
constexpr std::size_t kSweptAlways = 16;

// At the limit of keys a batch looks for expired ones for up to kSearchTime, kSweptWhenFull rows at
// a time: at 40,000 rows or so. Then others are served for kSearchPause without that: a search of
// ten million keys takes five seconds, for which nobody's change, with a key or without, should
// have to wait.
constexpr std::size_t kSweptWhenFull = 2'000;
constexpr std::chrono::milliseconds kSearchTime{20};
constexpr std::chrono::milliseconds kSearchPause{200};

// Whether an outcome has more than the columns hold.
bool has_more(const Operation& operation) {
  return is_group(operation) || operation.lifetime.window.has_value();
}

std::string write_more(const Operation& operation, const Outcome& outcome) {
  std::string text;
  if (!is_group(operation)) append_outcome_line(text, outcome);
  for (const Outcome& member : outcome.members) append_outcome_line(text, member);
  return text;
}

std::vector<Outcome> read_outcomes(std::string_view text, std::size_t count) {
  std::vector<Outcome> outcomes(count);
  bool whole = true;
  for (Outcome& outcome : outcomes)
    whole = whole && read_outcome_line(take_until(text, '\n'), outcome);
  if (whole && text.empty()) return outcomes;
  throw SQLite::Exception("what is kept under a key makes no sense", SQLITE_CORRUPT);
}

}  // namespace

SqliteKeys::SqliteKeys(SQLite::Database& database, const StoreOptions& options)
    : options_(options),
      max_keys_(static_cast<std::int64_t>(options.max_keys)),
      read_state_(database, "SELECT count, at_key, at_name, passed FROM keys_state"),
      write_state_(database,
                   "UPDATE keys_state SET count = ?1, at_key = ?2, at_name = ?3, passed = ?4"),
      select_(database,
              "SELECT operation, value, previous, expires_at, members FROM keys "
              "WHERE key = ?1 AND name = ?2"),
      insert_(database,
              "INSERT INTO keys (key, name, operation, value, previous, expires_at, "
              "members) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
      next_(database,
            "SELECT key, name, expires_at FROM keys WHERE (key, name) > (?1, ?2) "
            "ORDER BY key, name LIMIT ?3"),
      erase_(database, "DELETE FROM keys WHERE key = ?1 AND name = ?2") {}

void SqliteKeys::begin(std::size_t count, std::int64_t now_ms) {
  now_ms_ = now_ms;
  read_state_.executeStep();
  count_ = read_state_.getColumn(0).getInt64();
  at_ = {read_state_.getColumn(1).getString(), read_state_.getColumn(2).getString()};
  passed_ = read_state_.getColumn(3).getInt64();
  read_state_.reset();
  if (is_full(count) && steady_clock::now() >= next_search_) {
    search(count);
  } else {
    sweep(kSweptForEach * count + kSweptAlways);
  }
}

// Whether there is no room for so many more.
bool SqliteKeys::is_full(std::size_t count) const {
  return count_ + static_cast<std::int64_t>(count) > max_keys_;
}

// Looks for expired keys until there is room for `count` more, or time is up; at worst once more
// than all round the table, so that all keys have been counted.
void SqliteKeys::search(std::size_t count) {
  const Time end = steady_clock::now() + kSearchTime;
  int rounds_begun = 1;
  do {
    if (sweep(kSweptWhenFull)) ++rounds_begun;
  } while (rounds_begun <= 2 && is_full(count) && steady_clock::now() < end);
  next_search_ = steady_clock::now() + kSearchPause;
}

// Looks at so many rows, and erases those that have expired. Whether it came to the end of the
// table, where all keys have been counted, and starts over.
bool SqliteKeys::sweep(std::size_t rows) {
  std::vector<Position> expired;
  std::size_t seen = 0;
  next_.bindNoCopy(1, at_.first);
  next_.bindNoCopy(2, at_.second);
  next_.bind(3, static_cast<std::int64_t>(rows));
  Position last = at_;
  for (; next_.executeStep(); ++seen) {
    last = {next_.getColumn(0).getString(), next_.getColumn(1).getString()};
    if (next_.getColumn(2).getInt64() <= now_ms_) expired.push_back(last);
  }
  next_.reset();
  at_ = std::move(last);
  passed_ += static_cast<std::int64_t>(seen);
  for (const auto& [key, name] : expired) erase(key, name);
  if (seen == rows) return false;
  at_ = Position();
  count_ = std::exchange(passed_, 0);
  return true;
}

void SqliteKeys::erase(const std::string& key, const std::string& name) {
  erase_.bindNoCopy(1, key);
  erase_.bindNoCopy(2, name);
  erase_.exec();
  erase_.reset();
  --count_;
  if (is_passed(key, name)) --passed_;
}

// Whether the sweep has passed the place of that row, so that it is counted there.
bool SqliteKeys::is_passed(const std::string& key, const std::string& name) const {
  return std::tie(key, name) <= std::tie(at_.first, at_.second);
}

// What the row that was found says of the operation.
Outcome SqliteKeys::read_row(const Operation& operation) {
  if (select_.getColumn(0).getString() != identity_of(operation)) {
    return {.code = Code::kKeyReused};
  }
  Outcome outcome{.replayed = true, .value = select_.getColumn(1).getInt64()};
  if (!select_.getColumn(2).isNull()) outcome.previous = select_.getColumn(2).getInt64();
  if (!has_more(operation)) return outcome;
  std::vector<Outcome> members =
      read_outcomes(select_.getColumn(4).getString(), size_of(operation));
  if (is_group(operation)) {
    outcome.members = std::move(members);
  } else {
    outcome.updated_at_ms = members.front().updated_at_ms;
    outcome.expires_at_ms = members.front().expires_at_ms;
  }
  return outcome;
}

std::optional<Outcome> SqliteKeys::find(const Operation& operation) {
  select_.bindNoCopy(1, operation.key);
  select_.bindNoCopy(2, operation.name);
  const bool found = select_.executeStep();
  const bool expired = found && select_.getColumn(3).getInt64() <= now_ms_;
  std::optional<Outcome> outcome;
  if (found && !expired) outcome = read_row(operation);
  select_.reset();
  if (expired) erase(operation.key, operation.name);
  if (!outcome && count_ >= max_keys_) outcome = {.code = Code::kTooManyKeys};
  return outcome;
}

void SqliteKeys::keep(const Operation& operation, const Outcome& outcome) {
  const std::string text = identity_of(operation);
  insert_.bindNoCopy(1, operation.key);
  insert_.bindNoCopy(2, operation.name);
  insert_.bindNoCopy(3, text);
  insert_.bind(4, outcome.value);
  if (outcome.previous) {
    insert_.bind(5, *outcome.previous);
  } else {
    insert_.bind(5);
  }
  insert_.bind(6, now_ms_ + key_lifetime_of(operation, options_).count());
  std::string more;
  if (has_more(operation)) {
    more = write_more(operation, outcome);
    insert_.bindNoCopy(7, more);
  } else {
    insert_.bind(7);
  }
  insert_.exec();
  insert_.reset();
  ++count_;
  if (is_passed(operation.key, operation.name)) ++passed_;
}

void SqliteKeys::finish() {
  write_state_.bind(1, count_);
  write_state_.bindNoCopy(2, at_.first);
  write_state_.bindNoCopy(3, at_.second);
  write_state_.bind(4, passed_);
  write_state_.exec();
  write_state_.reset();
}

void SqliteKeys::reset() noexcept {
  for (SQLite::Statement* statement :
       {&read_state_, &write_state_, &select_, &insert_, &next_, &erase_}) {
    statement->tryReset();
  }
}

}  // namespace counterd
