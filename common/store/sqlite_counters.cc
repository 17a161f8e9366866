#include "common/store/sqlite_counters.h"

#include <sqlite3.h>

#include <utility>

#include "common/counter_name.h"
#include "common/limits.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// How many rows are remembered, a few hundred bytes each, besides those of the batch.
constexpr std::size_t kMostRowsRemembered = 10'000;

// Counters that have ended: a batch deletes two for each end that it has set, so that they do not
// pile up; and a few now and then, for when no more ends are set.
constexpr std::int64_t kSweptForEach = 2;
constexpr std::int64_t kSweptRows = 100;
constexpr std::chrono::milliseconds kSweepPause{100};

// Whether a counter with that end, 0 for none, is missing.
bool has_passed(std::int64_t expires_at_ms, std::int64_t now_ms) {
  return expires_at_ms != 0 && expires_at_ms <= now_ms;
}

}  // namespace

SqliteCounters::SqliteCounters(SQLite::Database& database)
    : select_(database,
              "SELECT value, created_at, updated_at, expires_at FROM counters WHERE name = ?1"),
      // Separate from the others, because few increments ask for it. One that is longer than any
      // stays another one.
      select_window_(database, "SELECT substr(window, 1, " + std::to_string(kMaxWindowLength + 1) +
                                   ") FROM counters WHERE name = ?1"),
      // Does not touch the index of ends, which would cost a twentieth of a request's instructions.
      update_(database, "UPDATE counters SET value = ?2, updated_at = ?4 WHERE name = ?1"),
      upsert_(database,
              "INSERT INTO counters (name, value, created_at, updated_at, expires_at, window) "
              "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE SET value = ?2, "
              "created_at = ?3, updated_at = ?4, expires_at = ?5, window = ?6"),
      erase_(database, "DELETE FROM counters WHERE name = ?1"),
      list_(database,
            "SELECT name, value, expires_at FROM counters WHERE name >= ?1 AND name < ?2 "
            "ORDER BY name"),
      sweep_(database,
             "DELETE FROM counters WHERE name IN (SELECT name FROM counters "
             "WHERE expires_at <= ?1 AND expires_at > 0 ORDER BY expires_at LIMIT ?2)") {}

void SqliteCounters::begin(std::uint32_t version, std::int64_t now_ms) {
  const bool others_have_committed = version_ != version;
  if (others_have_committed || rows_.size() > kMostRowsRemembered) forget_rows();
  now_ms_ = now_ms;
  ends_set_ = 0;
}

Outcome SqliteCounters::apply(const Operation& operation) {
  if (is_group(operation)) return apply_group(operation);
  return apply_to(load(operation), operation, now_ms_);
}

Outcome SqliteCounters::apply_group(const Operation& group) {
  Outcome outcome;
  outcome.members.reserve(group.members.size());
  const bool all = group.kind == OperationKind::kAll;
  std::vector<std::pair<Counter*, Counter>> before;
  for (const Operation& member : group.members) {
    Counter& counter = load(member);
    if (all) before.emplace_back(&counter, counter);
    outcome.members.push_back(apply_to(counter, member, now_ms_));
    if (!all || outcome.members.back().code == Code::kOk) continue;
    outcome.code = outcome.members.back().code;
    // Last first: a counter that occurs more than once gets back what it was before all of them.
    for (; !before.empty(); before.pop_back()) *before.back().first = before.back().second;
    break;
  }
  return outcome;
}

// The counter as the batch has left it so far, with what the operation must know of it.
Counter& SqliteCounters::load(const Operation& operation) {
  Counter& counter = find(operation.name).counter;
  if (asks_for_window(operation) && counter.exists && !counter.window) {
    counter.window = read_window(operation.name);
  }
  return counter;
}

SqliteCounters::Row& SqliteCounters::find(const std::string& name) {
  const auto [found, fresh] = rows_.try_emplace(name);
  Row& row = found->second;
  if (row.in_batch) return row;
  if (fresh) read(name, row);
  row.counter.exists = row.stored && !has_passed(row.counter.expires_at_ms, now_ms_);
  row.in_batch = true;
  batch_.push_back(&*found);
  return row;
}

void SqliteCounters::read(const std::string& name, Row& row) {
  select_.bindNoCopy(1, name);
  if (select_.executeStep()) {
    row.stored = true;
    row.counter.value = select_.getColumn(0).getInt64();
    row.counter.created_at_ms = select_.getColumn(1).getInt64();
    row.counter.updated_at_ms = select_.getColumn(2).getInt64();
    row.counter.expires_at_ms = select_.getColumn(3).getInt64();  // 0 for NULL
  }
  select_.reset();
}

std::string SqliteCounters::read_window(const std::string& name) {
  select_window_.bindNoCopy(1, name);
  select_window_.executeStep();
  std::string window = select_window_.getColumn(0).getString();  // empty for NULL
  select_window_.reset();
  return window;
}

void SqliteCounters::write() {
  for (const Rows::value_type* entry : batch_) {
    const auto& [name, row] = *entry;
    const bool differs = row.counter.changed && (row.counter.exists || row.stored);
    if (!differs) continue;
    row.counter.exists ? write(name, row) : erase(name);
  }
  sweep();
}

void SqliteCounters::write(const std::string& name, const Row& row) {
  const Counter& counter = row.counter;
  const bool updates = row.stored && counter.keeps_end;
  SQLite::Statement& statement = updates ? update_ : upsert_;
  statement.bindNoCopy(1, name);
  statement.bind(2, counter.value);
  statement.bind(4, counter.updated_at_ms);
  if (!updates) {
    statement.bind(3, counter.created_at_ms);
    bind_end(statement, counter);
  }
  const int rows = statement.exec();
  statement.reset();
  if (rows != 1) throw SQLite::Exception("a counter was not written", SQLITE_MISMATCH);
}

void SqliteCounters::bind_end(SQLite::Statement& statement, const Counter& counter) {
  statement.bind(5);
  statement.bind(6);
  if (counter.expires_at_ms == 0) return;
  statement.bind(5, counter.expires_at_ms);
  ++ends_set_;
  if (!counter.window->empty()) statement.bindNoCopy(6, *counter.window);
}

void SqliteCounters::erase(const std::string& name) {
  erase_.bindNoCopy(1, name);
  const int rows = erase_.exec();
  erase_.reset();
  if (rows != 1) throw SQLite::Exception("a counter was not deleted", SQLITE_MISMATCH);
}

// Deletes some of the counters that have ended, now and then, so that what a batch pays for them is
// bounded.
void SqliteCounters::sweep() {
  const Time now = steady_clock::now();
  const bool due = now >= next_sweep_;
  if (!due && ends_set_ == 0) return;
  if (due) next_sweep_ = now + kSweepPause;
  sweep_.bind(1, now_ms_);
  sweep_.bind(2, (due ? kSweptRows : 0) + kSweptForEach * ends_set_);
  sweep_.exec();
  sweep_.reset();
}

void SqliteCounters::end(std::uint32_t version) {
  for (Rows::value_type* entry : batch_) {
    auto& [name, row] = *entry;
    // A counter with an end may leave the table unnoticed, when it is swept.
    if (row.counter.expires_at_ms != 0) {
      rows_.erase(rows_.find(name));
      continue;
    }
    row.stored = row.counter.exists;
    row.counter.keeps_end = true;
    row.in_batch = row.counter.changed = false;
  }
  batch_.clear();
  version_ = version;
}

void SqliteCounters::forget() noexcept {
  for (SQLite::Statement* statement :
       {&select_, &select_window_, &update_, &upsert_, &erase_, &list_, &sweep_}) {
    statement->tryReset();
  }
  forget_rows();
}

void SqliteCounters::forget_rows() {
  rows_.clear();
  batch_.clear();
  version_.reset();
}

ListPage SqliteCounters::list(const ListQuery& query, std::int64_t now_ms) {
  // No name has a character below '-' or above 'z', so these bounds lie between names.
  const std::string behind = query.after + '\x01';
  const std::string& from = query.after.empty() || behind < query.prefix ? query.prefix : behind;
  const std::string to = query.prefix + '\x7f';
  list_.bindNoCopy(1, from);
  list_.bindNoCopy(2, to);
  ListPage page;
  // Counters that have ended count like the others: a page takes no longer because of them.
  std::string last;
  std::size_t seen = 0;
  while (list_.executeStep()) {
    std::string name = list_.getColumn(0).getString();
    if (!check_counter_name(name)) continue;  // another program has written it
    if (seen++ == query.limit) {
      page.next = std::move(last);
      break;
    }
    last = std::move(name);
    const bool has_ended = has_passed(list_.getColumn(2).getInt64(), now_ms);
    if (!has_ended) page.rows.push_back({last, list_.getColumn(1).getInt64()});
  }
  list_.reset();
  return page;
}

}  // namespace counterd
