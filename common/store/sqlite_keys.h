// The idempotency keys in an SQLite database: which operations were applied under them, and with
// what outcome.
//
// Rows are stored in key order, so that time-ordered keys, which the command line makes, are all
// added at one end of the table. Expired keys are looked for in small portions, one per batch, by
// going round the table: an index by expiry would cost every operation another page. So where the
// table is full and few keys have expired, finding them takes a while, up to a minute where there
// are ten million. Each time round also counts all keys, since somebody may have deleted some by
// other means.
//
// REQUIRES, for all but reset(): the turn is held and a transaction that writes is open. Throws
// SQLite::Exception.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "common/deadline.h"
#include "common/operation.h"
#include "common/store/store.h"

namespace counterd {

class SqliteKeys {
 public:
  SqliteKeys(SQLite::Database& database, const StoreOptions& options);

  // Begins a batch with `count` keyed changes; forgets some keys that have expired by `now_ms`.
  void begin(std::size_t count, std::int64_t now_ms);
  // What the change's key was used for before: the first outcome, or kKeyReused; kTooManyKeys if
  // the key is new and cannot be kept; nothing if it can.
  std::optional<Outcome> find(const Operation& operation);
  // Keeps the outcome of a change for which find() returned nothing.
  void keep(const Operation& operation, const Outcome& outcome);
  // Ends the batch.
  void finish();
  // Leaves no statement running, whatever has failed.
  void reset() noexcept;

 private:
  using Position = std::pair<std::string, std::string>;  // key and name of a row; empty: the start

  bool is_full(std::size_t count) const;
  void search(std::size_t count);
  bool sweep(std::size_t rows);
  void erase(const std::string& key, const std::string& name);
  bool is_passed(const std::string& key, const std::string& name) const;
  Outcome read_row(const Operation& operation);

  const StoreOptions options_;
  const std::int64_t max_keys_;
  SQLite::Statement read_state_, write_state_, select_, insert_, next_, erase_;

  Time next_search_;  // for room, if there is none

  // Of the batch.
  std::int64_t now_ms_ = 0;
  std::int64_t count_ = 0;   // keys in the table
  Position at_;              // where the sweep continues
  std::int64_t passed_ = 0;  // keys up to there
};

}  // namespace counterd
