// The counters in an SQLite database, as a batch reads and changes them: each row is read once and
// written once, however many operations there are on it.
//
// Rows are remembered from batch to batch, as SQLite's own pages are: while nobody else commits, a
// change of a counter need not read what the last one wrote.
//
// REQUIRES, for all but list() and forget(): a transaction is open, for write() one that writes
// under the turn. Throws SQLite::Exception.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/deadline.h"
#include "common/operation.h"
#include "common/store/counter.h"
#include "common/store/store.h"

namespace counterd {

class SqliteCounters {
 public:
  explicit SqliteCounters(SQLite::Database& database);

  // Begins a batch, in a transaction that sees this version of the data: SQLite's own number
  // (sqlite.org/c3ref/c_fcntl_begin_atomic_write.html, SQLITE_FCNTL_DATA_VERSION).
  void begin(std::uint32_t version, std::int64_t now_ms);
  // The outcome of the operation on the counters as the batch has left them so far.
  Outcome apply(const Operation& operation);
  // Writes what the batch has changed, and deletes some of the counters that have ended.
  void write();
  // Ends the batch, whose transaction has left this version of the data: it was committed, or has
  // only read.
  void end(std::uint32_t version);
  // Ends a batch that was not committed, whatever failed: leaves no statement running, and
  // remembers nothing.
  void forget() noexcept;

  // A page of the counters that have not ended by `now_ms`.
  ListPage list(const ListQuery& query, std::int64_t now_ms);

 private:
  struct Row {
    Counter counter;
    bool stored = false;    // it was in the table when the batch began
    bool in_batch = false;  // the batch has an operation on it
  };
  using Rows = std::unordered_map<std::string, Row>;  // by name

  Outcome apply_group(const Operation& group);
  Counter& load(const Operation& operation);
  Row& find(const std::string& name);
  void read(const std::string& name, Row& row);
  std::string read_window(const std::string& name);
  void write(const std::string& name, const Row& row);
  void bind_end(SQLite::Statement& statement, const Counter& counter);
  void erase(const std::string& name);
  void sweep();
  void forget_rows();

  SQLite::Statement select_, select_window_, update_, upsert_, erase_, list_, sweep_;

  Rows rows_;
  std::optional<std::uint32_t> version_;  // of the data that rows_ reflects
  Time next_sweep_;

  // Of the batch.
  std::vector<Rows::value_type*> batch_;
  std::int64_t now_ms_ = 0;
  std::int64_t ends_set_ = 0;  // counters that it wrote and that have an end
};

}  // namespace counterd
