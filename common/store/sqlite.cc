// The sqlite engine: one WAL-mode database file, used by many processes at once.
//
// Every transaction that writes, and every checkpoint, runs under the turn (file_turn.h): all
// SQLite before 3.51.3 can lose committed transactions when a checkpoint races a writer (the
// WAL-reset bug, sqlite.org/wal.html). So no connection checkpoints by itself, neither after a
// commit nor when it is closed. Other programs do not know of the turn: SQLite's own locks keep
// their checkpoints from our commits (sqlite_vfs.h), and their commits from our checkpoints. What
// is on the disk is the business of sqlite_database.h.
#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "common/log.h"
#include "common/store/checkpoint_schedule.h"
#include "common/store/engines.h"
#include "common/store/file_turn.h"
#include "common/store/sqlite_database.h"
#include "common/store/sqlite_file.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// Housekeeping waits this long for the turn, because reports wait meanwhile; and if it does not get
// it, it tries again only after a pause: the process that has the turn may be stopped.
constexpr std::chrono::milliseconds kTidyPatience{100};
constexpr std::chrono::milliseconds kTidyPause{1'000};

// A log that has become this long is told of, and again each time that it is twice as long.
constexpr std::int64_t kLongWalBytes = 64 << 20;

// How long closing the store waits for others.
constexpr std::chrono::milliseconds kEndPatience{500};

class SqliteStore final : public Store {
 public:
  SqliteStore(SqliteFile file, const StoreOptions& options)
      : durability_(durability_of(file, options.sync)),
        turn_(file.descriptor()),
        database_(std::move(file), options) {}
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;
  ~SqliteStore() override;

  // Errors: as SqliteDatabase::open(). REQUIRES: nothing is open yet
  Result<void> open(Deadline deadline);

  Result<void> take_turn(Deadline deadline, Deadline recovered) override;
  void yield_turn() override;
  void apply(std::span<Step> batch, Deadline deadline) override;
  void make_durable(std::span<Step> batch) override;
  void tidy() override;
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<void> probe(Deadline deadline) override;
  StoreStatus status() const override;

 private:
  Result<void> make_readable(Deadline deadline);
  template <class Ask>
  std::invoke_result_t<Ask, std::int64_t> read(Deadline deadline, Ask ask);
  Result<void> change_counters(std::span<Step> batch, Deadline deadline);
  Result<void> report_counters(std::span<Step> batch, Deadline deadline);
  Outcome apply_once(const Operation& operation);
  void run_due_checkpoint();
  void log_growth();
  static const char* durability_of(const SqliteFile& file, Sync sync);

  const char* const durability_;
  FileTurn turn_;
  SqliteDatabase database_;
  bool applied_ = false;  // the latest batch was, as a whole
  CheckpointSchedule schedule_;
  Time next_tidy_;
  std::int64_t next_told_bytes_ = kLongWalBytes;
};

Result<void> SqliteStore::open(Deadline deadline) {
  if (const Result<void> turn = turn_.take(deadline); !turn) {
    return Error{Code::kUnavailable, turn.error().message};
  }
  Result<void> opened = database_.open(deadline);
  turn_.yield();
  return opened;
}

// Recovers, if that is due, so that others need not.
SqliteStore::~SqliteStore() {
  if (!database_.is_open()) return;
  const auto end = [] { return steady_clock::now() + kEndPatience; };
  if (database_.must_recover() && take_turn(end(), end())) turn_.yield();
  if (database_.must_recover() || database_.is_wal_damaged()) return;
  if (!turn_.take(database_.is_end_worth_waiting() ? end() : steady_clock::now())) return;
  if (const Result<void> whole = database_.check_end_of_wal(end()); whole) {
    database_.end(end());
  } else {
    log_warning(whole.error().message);  // nobody is left to be told
  }
  turn_.yield();
}

Result<void> SqliteStore::take_turn(Deadline deadline, Deadline recovered) {
  if (const Result<void> turn = turn_.take(deadline); !turn) return turn.error();
  if (!database_.must_recover()) return {};
  Result<void> done = database_.recover(recovered);
  if (!done) turn_.yield();
  return done;
}

void SqliteStore::yield_turn() {
  turn_.yield();
}

void SqliteStore::tidy() {
  const bool is_due = schedule_.is_due() || database_.lacks_salts();
  if (!is_due && !database_.must_recover()) return;
  const Time now = steady_clock::now();
  if (now < next_tidy_ && !database_.must_recover()) return;
  const Deadline deadline = now + kTidyPatience;
  if (!take_turn(deadline, deadline)) {
    next_tidy_ = now + kTidyPause;
    return;
  }
  if (is_due && database_.check_files()) {
    if (schedule_.is_due()) run_due_checkpoint();
    database_.set_deadline(deadline);
    if (!database_.give_salts()) next_tidy_ = now + kTidyPause;
  }
  turn_.yield();
}

void SqliteStore::run_due_checkpoint() {
  const Time start = steady_clock::now();
  const auto patience = schedule_.patience(start);
  const bool waits = patience > patience.zero();
  database_.checkpoint(waits ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE,
                       start + patience);
  schedule_.note_checkpoint(start, steady_clock::now());
  log_growth();
}

// Readers that never pause, or one that never ends, let the log grow until the disk is full.
void SqliteStore::log_growth() {
  const std::int64_t bytes = database_.wal_bytes();
  if (bytes < kLongWalBytes) next_told_bytes_ = kLongWalBytes;
  if (bytes < next_told_bytes_) return;
  next_told_bytes_ = 2 * bytes;
  log_warning(
      "the log of the database " + database_.path() + " has grown to " +
      std::to_string(bytes >> 20) +
      " MiB: another program has been reading the database for long (lslocks shows which has "
      "its -shm); end that before the disk is full");
}

// What must be done before reading, which takes no turn: recover, if that is due, under the turn
// all the same; then check that the files are still the ones in use.
Result<void> SqliteStore::make_readable(Deadline deadline) {
  if (database_.must_recover()) {
    const Result<void> turn = take_turn(deadline, deadline);
    if (!turn && turn.error().code == Code::kOverloaded) {
      return Error{Code::kUnavailable, turn.error().message};
    }
    if (!turn) return turn.error();
    turn_.yield();
  }
  database_.set_deadline(deadline);
  return database_.check_files();
}

// Has `ask` read one snapshot of the database, after what must be done first. Its argument is the
// time in Unix milliseconds, read after the snapshot was taken: a counter that ended while the
// process was kept waiting for it is not shown. `ask` may throw SQLite::Exception.
template <class Ask>
std::invoke_result_t<Ask, std::int64_t> SqliteStore::read(Deadline deadline, Ask ask) {
  if (const Result<void> readable = make_readable(deadline); !readable) return readable.error();
  try {
    if (const Result<void> begun = database_.begin_to_read(); !begun) {
      database_.roll_back();
      return begun.error();
    }
    std::invoke_result_t<Ask, std::int64_t> answer = ask(unix_now_ms());
    database_.end_reading();
    return answer;
  } catch (const SQLite::Exception& exception) {
    return database_.note_failure(exception, "cannot read the database ");
  }
}

void SqliteStore::apply(std::span<Step> batch, Deadline deadline) {
  database_.set_deadline(deadline);
  const Result<void> applied =
      needs_turn(batch) ? change_counters(batch, deadline) : report_counters(batch, deadline);
  applied_ = applied.ok();
  if (applied_) return;
  database_.roll_back();
  fail_batch(batch, applied.error());
  if (applied.error().code != Code::kStoreFull || !needs_turn(batch)) return;
  apply_reports(*this, batch, deadline);
  applied_ = false;  // not as a whole
}

Result<void> SqliteStore::change_counters(std::span<Step> batch, Deadline deadline) {
  if (const Result<void> usable = database_.check_files(); !usable) return usable.error();
  SqliteCounters& counters = database_.counters();
  SqliteKeys& keys = database_.keys();
  try {
    if (const Result<void> begun = database_.begin_to_write(); !begun) return begun.error();
    // If the disk has stood still, the keys of copies may be forgotten by now.
    if (steady_clock::now() > deadline) {
      return Error{Code::kUnavailable, "the database " + database_.path() +
                                           " has kept the change waiting for too long"};
    }
    const std::int64_t now_ms = unix_now_ms();
    const auto keyed = std::ranges::count_if(batch, is_keyed, &Step::operation);
    counters.begin(database_.data_version(), now_ms);
    if (keyed > 0) keys.begin(static_cast<std::size_t>(keyed), now_ms);
    for (Step& step : batch) {
      step.outcome =
          is_keyed(step.operation) ? apply_once(step.operation) : counters.apply(step.operation);
    }
    if (keyed > 0) keys.finish();
    counters.write();
  } catch (const SQLite::Exception& exception) {
    return database_.note_failure(exception, "cannot change the database ");
  }
  if (const Result<void> committed = database_.commit(); !committed) return committed.error();
  schedule_.note_wal(database_.wal_bytes());
  counters.end(database_.data_version());
  return {};
}

// Applies a change unless it was applied under its key before.
Outcome SqliteStore::apply_once(const Operation& operation) {
  SqliteKeys& keys = database_.keys();
  if (const std::optional<Outcome> before = keys.find(operation)) return *before;
  Outcome outcome = database_.counters().apply(operation);
  if (outcome.code == Code::kOk) keys.keep(operation, outcome);
  return outcome;
}

Result<void> SqliteStore::report_counters(std::span<Step> batch, Deadline deadline) {
  const Result<void> reported = read(deadline, [&](std::int64_t now_ms) -> Result<void> {
    SqliteCounters& counters = database_.counters();
    counters.begin(database_.data_version(), now_ms);
    for (Step& step : batch) step.outcome = counters.apply(step.operation);
    counters.end(database_.data_version());
    return {};
  });
  return reported ? database_.sync_if_needed() : reported;
}

void SqliteStore::make_durable(std::span<Step> batch) {
  if (!applied_) return;
  const Result<void> synced = database_.sync_if_needed();
  if (!synced) fail_batch(batch, synced.error());
}

Result<ListPage> SqliteStore::list(const ListQuery& query, Deadline deadline) {
  Result<ListPage> page = read(deadline, [&](std::int64_t now_ms) -> Result<ListPage> {
    return database_.counters().list(query, now_ms);
  });
  if (!page) return page;
  if (const Result<void> synced = database_.sync_if_needed(); !synced) {
    return Error{Code::kUnavailable, synced.error().message};
  }
  return page;
}

Result<void> SqliteStore::probe(Deadline deadline) {
  return read(deadline, [](std::int64_t) { return Result<void>(); });
}

StoreStatus SqliteStore::status() const {
  return {"sqlite", database_.path(), durability_};
}

const char* SqliteStore::durability_of(const SqliteFile& file, Sync sync) {
  if (file.is_in_memory()) {
    return "every change survives a crash of processes; a crash or restart of the system loses all "
           "(the file is on tmpfs)";
  }
  if (sync == Sync::kFull) {
    return "every change survives a crash of processes, system or power (synchronous=FULL)";
  }
  return "every change survives a crash of processes; a power failure may lose the latest ones "
         "(synchronous=NORMAL)";
}

}  // namespace

Result<std::unique_ptr<Store>> open_engine(const SqliteLocation& location,
                                           const StoreOptions& options) {
  if (options.require_durable && options.sync != Sync::kFull) {
    return Error{Code::kConfig, "--require-durable needs --sync full"};
  }
  Result<SqliteFile> file = open_sqlite_file(location.path, options.create);
  if (!file) return file.error();
  if (options.require_durable && file->is_in_memory()) {
    return Error{Code::kConfig, "the database " + file->path() +
                                    " is not durable, as --require-durable asks: it is on tmpfs, "
                                    "which a restart of the system empties; use a disk"};
  }
  const bool is_new = file->is_blank();
  auto store = std::make_unique<SqliteStore>(std::move(*file), options);
  if (const Result<void> opened = store->open(steady_clock::now() + options.timeout); !opened) {
    return opened.error();
  }
  // A daemon that was to go on with another one, whose disk is not mounted, say, counts from 0.
  if (is_new && options.empty_wal) {
    log_line("the database " + store->status().location + " is new and has no counters");
  }
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace counterd
