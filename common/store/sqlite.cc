// The sqlite engine: one WAL-mode database file, used by many processes at once.
//
// Every transaction that writes, and every checkpoint, runs under the turn (file_turn.h): all
// SQLite before 3.51.3 can lose committed transactions when a checkpoint races a writer (the
// WAL-reset bug, sqlite.org/wal.html). So no connection checkpoints by itself, neither after a
// commit nor when it is closed.
//
// With Sync::kFull a commit is written under the turn and synced after it: others commit meanwhile,
// and their syncs overlap. So everybody sees commits that are not on the disk yet, and syncs the
// log before reporting anything that is not known to be there.
//
// A failed sync leaves pages that look written. The kernel reports it to each open file once (Linux
// 4.13, errseq_t), so all that have the log open meet it at their next sync, and then move what
// they see to the database before they go on; not what is no longer as it was written, because the
// kernel may give up the memory of such pages (sqlite_repair.h). Those that open the log later
// learn of it from the doubt shared by all that have it open (sqlite_shm.h); and the first to open
// it doubts all of it, unless it was sealed (sqlite_seal.h) by one that knew it to be on the disk.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "common/log.h"
#include "common/number.h"
#include "common/store/checkpoint_schedule.h"
#include "common/store/engines.h"
#include "common/store/file_turn.h"
#include "common/store/sqlite_counters.h"
#include "common/store/sqlite_file.h"
#include "common/store/sqlite_keys.h"
#include "common/store/sqlite_repair.h"
#include "common/store/sqlite_schema.h"
#include "common/store/sqlite_seal.h"
#include "common/store/sqlite_shm.h"
#include "common/store/sqlite_vfs.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// Of a new database. A change of a counter writes its whole page, to the log and later to the
// database: with SQLite's own 4,096, four times as much where there are many counters. Rows of up
// to 231 bytes, those of the longest names, need no overflow page (sqlite.org/fileformat2.html).
constexpr int kPageBytes = 1'024;

// The longest log that the first to open the database takes as it is: moving a longer one into the
// database takes less time than SQLite needs to read it again each time the database is opened.
constexpr std::size_t kLongestSealedBytes = 128 << 10;

// How long housekeeping waits for the turn, while reports wait for it, and how long it does not
// retry after failing to get the turn: the process that has it may be stopped.
constexpr std::chrono::milliseconds kTidyPatience{100};
constexpr std::chrono::milliseconds kTidyPause{1'000};

// How long a recovery waits for readers, which only keep it from emptying the log.
constexpr std::chrono::milliseconds kRecoveryPatience{20};

// How long closing the store waits for others.
constexpr std::chrono::milliseconds kEndPatience{500};

// How long opening the store waits for others' syncs to end, as a multiple of what one of its own
// takes, which counts as this long at least; and how often it looks.
constexpr int kSyncPatience = 4;
constexpr std::chrono::milliseconds kShortestSync{1};
constexpr std::chrono::microseconds kSyncPause{200};

// What to do about a database that SQLite cannot make sense of, if that does not pass by itself.
constexpr std::string_view kCheckDatabase =
    "; if it stays so, check it (PRAGMA integrity_check), and put a backup in its place if it is "
    "damaged: see FILES in counterd(8)";

// What to do about a log that has lost a part.
constexpr std::string_view kSaveDatabase =
    "copy the database with its -wal and -shm, end all that use it, and check it (PRAGMA "
    "integrity_check) before it is used again";

// Keeps SQLite from accounting for its memory, under a lock. If SQLite was in use in this process
// before, it still does.
void configure_sqlite() {
  static const int configured = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  static_cast<void>(configured);
}

template <std::size_t size>
bool is_one_of(const std::array<int, size>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

// The connection with its prepared statements; recreated after an I/O error. It has no locks of its
// own, because one thread at a time has a store.
struct Connection {
  Connection(const std::string& path, Sync sync)
      : database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX, 0,
                 sync == Sync::kFull ? gathering_vfs() : "") {}

  // Reads the database, as everything does from here on.
  void set_sync(Sync sync) {
    database.exec(sync == Sync::kFull ? "PRAGMA synchronous = FULL"
                                      : "PRAGMA synchronous = NORMAL");
  }

  void prepare(const StoreOptions& options) {
    read_begin.emplace(database, "BEGIN");
    write_begin.emplace(database, "BEGIN IMMEDIATE");
    commit.emplace(database, "COMMIT");
    version.emplace(database, "PRAGMA user_version");
    counters.emplace(database);
    keys.emplace(database, options);
  }

  SQLite::Database database;
  std::unique_ptr<ShmLock> no_checkpoints;  // of a log that was found damaged
  std::optional<SQLite::Statement> read_begin, write_begin, commit, version;
  std::optional<SqliteCounters> counters;
  std::optional<SqliteKeys> keys;
};

// Runs a statement that returns no rows; throws SQLite::Exception.
void run(SQLite::Statement& statement) {
  statement.exec();
  statement.reset();
}

class SqliteStore final : public Store {
 public:
  SqliteStore(SqliteFile file, const StoreOptions& options)
      : file_(std::move(file)), options_(options), turn_(file_.descriptor()) {}
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;
  ~SqliteStore() override { close(); }

  // Connects, creates or migrates the schema, and recovers. REQUIRES: nothing is open yet
  Result<void> open(Deadline deadline);

  Result<void> take_turn(Deadline deadline) override;
  void yield_turn() override;
  void apply(std::span<Step> batch, Deadline deadline) override;
  void make_durable(std::span<Step> batch) override;
  void tidy() override;
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<void> probe(Deadline deadline) override;
  StoreStatus status() const override;

 private:
  Result<void> connect();
  Result<void> try_to_connect();
  Result<void> check_application();
  Result<void> recover();
  Result<void> check_log_of_others();
  Result<void> check_log();
  Result<void> write_log_again();
  Result<void> check_files() const;
  Error cannot(std::string_view what) const;
  Error damaged() const;
  void distrust_log();
  bool stays_in_doubt();
  void close();
  void empty_log();
  void seal();
  Result<void> make_readable(Deadline deadline);
  Result<void> check_version();
  Result<void> change_counters(std::span<Step> batch);
  Result<void> report_counters(std::span<Step> batch);
  void report_unchanged(std::span<Step> batch);
  Outcome apply_once(const Operation& operation);
  Result<void> begin(SQLite::Statement& begin);
  Result<void> commit();
  Result<void> sync_if_needed();
  bool is_synced();
  std::uint32_t data_version();
  void roll_back();
  void run_due_checkpoint();
  int checkpoint(int mode, Deadline deadline);
  Error full() const;
  Error failure(const SQLite::Exception& exception, std::string_view doing);
  static int wait_while_busy(void* self, int tries);

  SqliteFile file_;
  const StoreOptions options_;
  FileTurn turn_;
  std::unique_ptr<Connection> connection_;  // there is one as soon as the store is open
  bool must_recover_ = false;               // see distrust_log()
  bool knows_log_ = false;                  // all that was in it when it was opened is on the disk
  std::optional<std::uint32_t> synced_version_;  // the data_version() known to be on the disk
  std::optional<std::uint32_t> ours_;            // the data_version() whose latest commit is ours
  std::optional<LogEnd> acknowledged_;           // as far as this store knows; nothing: it does not
  bool applied_ = false;                         // the latest batch was, as a whole
  int page_bytes_ = kPageBytes;
  CheckpointSchedule schedule_;
  steady_clock::time_point next_tidy_;
  Deadline deadline_;  // of the call that runs
};

Result<void> SqliteStore::open(Deadline deadline) {
  deadline_ = deadline;
  if (const Result<void> turn = turn_.take(deadline); !turn) return turn.error();
  Result<void> opened = file_.check_others();
  if (opened) opened = connect();
  if (opened) {
    file_.remember_companions();
    file_.be_present();  // only now: others trust a log that somebody uses
  }
  turn_.yield();
  return opened;
}

// The connection before, if any, stays until the new one is ready: the last one to close takes with
// it what is known of the log.
Result<void> SqliteStore::connect() {
  std::unique_ptr<Connection> before = std::move(connection_);
  Result<void> connected = try_to_connect();
  if (!connected) connection_ = std::move(before);
  return connected;
}

Result<void> SqliteStore::try_to_connect() {
  knows_log_ = false;
  synced_version_.reset();
  ours_.reset();
  const bool was_empty = file_.log_is_empty();
  configure_sqlite();
  try {
    connection_ = std::make_unique<Connection>(file_.path(), options_.sync);
    sqlite3* handle = connection_->database.getHandle();
    sqlite3_busy_handler(handle, &wait_while_busy, this);
    sqlite3_wal_autocheckpoint(handle, 0);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    if (!must_recover_ && !was_empty) {
      if (const Result<void> checked = check_log_of_others(); !checked) return checked.error();
    }
    connection_->set_sync(options_.sync);
    if (const Result<void> ours = check_application(); !ours) return ours.error();
    connection_->prepare(options_);
    // After the log is opened: the kernel reports what fails from then on.
    const bool is_first = !file_.is_another_present();
    const bool sealed = is_first && is_sealed(file_.log_path(), kLongestSealedBytes);
    const bool in_doubt = is_first && !was_empty && !sealed;
    if (must_recover_ || in_doubt || stays_in_doubt()) {
      if (const Result<void> recovered = recover(); !recovered) return recovered.error();
    } else {
      knows_log_ = sealed || was_empty;
      if (sealed) synced_version_ = data_version();
    }
    if (knows_log_) acknowledged_ = end_of_log(handle);
  } catch (const SQLite::Exception& exception) {
    // What may pass by itself. SQLite also says that the database is malformed, or none, when the
    // disk has failed a read, or has lost what is read.
    constexpr std::array passing = {SQLITE_BUSY,    SQLITE_IOERR,    SQLITE_FULL,    SQLITE_NOMEM,
                                    SQLITE_CORRUPT, SQLITE_CANTOPEN, SQLITE_PROTOCOL};
    const bool is_lost =
        connection_ && !was_empty && is_in_doubt(connection_->database.getHandle());
    const bool passes = is_lost || is_one_of(passing, exception.getErrorCode());
    return Error{passes ? Code::kUnavailable : Code::kConfig,
                 "cannot open the database " + file_.path() + ": " + exception.what() +
                     std::string(exception.getErrorCode() == SQLITE_CORRUPT ? kCheckDatabase : "")};
  }
  return {};
}

// Refuses a database that is not ours or newer than this program; creates or migrates the schema.
Result<void> SqliteStore::check_application() {
  SQLite::Database& database = connection_->database;
  const int application = database.execAndGet("PRAGMA application_id").getInt();
  const int version = database.execAndGet("PRAGMA user_version").getInt();
  const bool blank = application == 0 && version == 0 &&
                     database.execAndGet("SELECT count(*) FROM sqlite_schema").getInt() == 0;
  if (!blank && application != kApplicationId) {
    return Error{Code::kConfig, "the database " + file_.path() +
                                    " belongs to another application; name another file with "
                                    "--store sqlite:PATH"};
  }
  if (version > kSchemaVersion) {
    return Error{Code::kConfig, "the database " + file_.path() + " has version " +
                                    std::to_string(version) + ", this program knows versions to " +
                                    std::to_string(kSchemaVersion) + "; install a newer counterd"};
  }
  if (blank) database.exec("PRAGMA page_size = " + std::to_string(kPageBytes));
  page_bytes_ = database.execAndGet("PRAGMA page_size").getInt();
  // Not inside a transaction: SQLite changes the journal mode only outside of one.
  const std::string mode = database.execAndGet("PRAGMA journal_mode = WAL").getString();
  if (mode != "wal") {
    return Error{Code::kConfig, "the database " + file_.path() + " cannot use a write-ahead log"};
  }
  migrate(database, version);
  return {};
}

// Makes the log whole on the disk, then moves it into the database, synced, and empties it. What a
// failed fsync has left in the page cache looks written, and a later fsync says it is: only writing
// it again makes it so. The log itself comes first: if the power fails during the move, what the
// database already has must not be newer than the log that is found. If another program is reading,
// or the database has no room to grow, the log stays as it is now, on the disk.
Result<void> SqliteStore::recover() {
  if (const Result<void> whole = write_log_again(); !whole) {
    distrust_log();
    return whole.error();
  }
  int code = move_again(connection_->database.getHandle());
  if (code == SQLITE_OK) {
    const Deadline deadline = std::min(deadline_, steady_clock::now() + kRecoveryPatience);
    code = checkpoint(SQLITE_CHECKPOINT_TRUNCATE, deadline);
    if (code == SQLITE_BUSY || code == SQLITE_FULL) code = SQLITE_OK;
  }
  if (code != SQLITE_OK) {
    distrust_log();
    return Error{Code::kUnavailable, "cannot recover the database " + file_.path() + ": " +
                                         sqlite3_errstr(code) +
                                         std::string(code == SQLITE_CORRUPT ? kCheckDatabase : "")};
  }
  must_recover_ = false;
  knows_log_ = true;
  trust_log(connection_->database.getHandle());
  return {};
}

// Before this store reads anything: others' syncs may have failed.
// REQUIRES: the turn is held
Result<void> SqliteStore::check_log_of_others() {
  sqlite3* const handle = connection_->database.getHandle();
  int code = open_shared_memory(handle);
  while (code == SQLITE_BUSY && wait_while_busy(this, 0) != 0) code = open_shared_memory(handle);
  Result<void> checked;
  if (code != SQLITE_OK) {
    checked = Error{Code::kUnavailable,
                    "cannot open the database " + file_.path() + ": " + sqlite3_errstr(code)};
  } else if (is_damaged(handle)) {
    checked = damaged();
  } else if (is_in_doubt(handle)) {
    checked = check_log();
  }
  if (!checked) close_shared_memory(handle);
  return checked;
}

// After a failed sync, before anything more is read: the kernel may have given up the memory of
// what it could not write, and the file then has what the disk has.
// REQUIRES: the turn is held
Result<void> SqliteStore::check_log() {
  using State = LogCheck::State;
  sqlite3* const handle = connection_->database.getHandle();
  const UniqueFd log(::open(file_.log_path().c_str(), O_RDWR | O_CLOEXEC));
  if (!log) return cannot("check the log of");
  LogCheck check = examine_log(handle, log.get(), acknowledged_);
  while (check.state == State::kBusy && wait_while_busy(this, 0) != 0) {
    check = examine_log(handle, log.get(), acknowledged_);
  }
  if (check.state == State::kWhole) return {};
  if (check.state == State::kFailed) return cannot("check the log of");
  const std::string what = "the log of " + file_.path() + " has lost " +
                           std::to_string(check.frames - check.whole) + " of " +
                           std::to_string(check.frames) + " frames";
  if (check.state == State::kShortened) {
    log_line(what +
             ": this process told nobody of them, or the database has them already; it goes on");
    return {};
  }
  if (check.state == State::kBusy) {
    return Error{Code::kUnavailable, "cannot check the log of " + file_.path() +
                                         ": another program uses it (lslocks shows which)"};
  }
  if (check.state == State::kUnknown) {
    return Error{Code::kUnavailable,
                 what +
                     ", and this process has not acknowledged anything in it: ask another one; if "
                     "it stays so, " +
                     std::string(kSaveDatabase)};
  }
  connection_->no_checkpoints = std::move(check.no_checkpoints);
  return Error{Code::kUnavailable, what + "; " + damaged().message};
}

Error SqliteStore::damaged() const {
  return {Code::kUnavailable,
          "the log of " + file_.path() +
              " may have lost a part of what was acknowledged: " + std::string(kSaveDatabase)};
}

// kUnavailable: what the files hold must not be used.
Result<void> SqliteStore::check_files() const {
  if (is_damaged(connection_->database.getHandle())) return damaged();
  return file_.check();
}

// Writes the log as it is, and syncs it.
// REQUIRES: the turn is held
Result<void> SqliteStore::write_log_again() {
  const UniqueFd log(::open(file_.log_path().c_str(), O_RDWR | O_CLOEXEC));
  if (!log) return cannot("write again the log of");
  connection_->database.exec("BEGIN IMMEDIATE");  // another program may not know of the turn
  const LogReading::State written = rewrite_log(connection_->database.getHandle(), log.get());
  const int error = errno;
  connection_->database.exec("ROLLBACK");
  if (written == LogReading::State::kWhole) return {};
  if (written == LogReading::State::kLost) {
    return Error{Code::kUnavailable, "the log of " + file_.path() +
                                         " is no longer as it was written; what is left of it is "
                                         "checked next"};
  }
  errno = error;
  return cannot("write again the log of");
}

// With the text of errno.
Error SqliteStore::cannot(std::string_view what) const {
  return system_error(Code::kUnavailable, "cannot " + std::string(what) + " " + file_.path(),
                      errno);
}

// After an I/O error: what is shown may not be on the disk, until recover().
void SqliteStore::distrust_log() {
  must_recover_ = true;
  doubt_log(connection_->database.getHandle());
}

// Whether somebody's sync has failed or does not end. Waits for one that is under way: while this
// store has the turn nobody has more to sync.
bool SqliteStore::stays_in_doubt() {
  sqlite3* const handle = connection_->database.getHandle();
  if (!is_in_doubt(handle)) return false;
  const steady_clock::time_point start = steady_clock::now();
  sync_log(handle);
  const steady_clock::time_point synced = steady_clock::now();
  const auto one = std::max<steady_clock::duration>(synced - start, kShortestSync);
  const Deadline end = std::min(deadline_, synced + kSyncPatience * one);
  while (is_in_doubt(handle)) {
    if (steady_clock::now() >= end) return true;
    std::this_thread::sleep_for(kSyncPause);
  }
  return false;
}

// Recovers, if that is due, so that others need not.
void SqliteStore::close() {
  if (!connection_) return;
  if (must_recover_ && take_turn(steady_clock::now() + kEndPatience)) turn_.yield();
  if (must_recover_ || is_damaged(connection_->database.getHandle())) return;
  options_.empty_log ? empty_log() : seal();
}

// Only the last one to close does this: it would keep others waiting. If it fails, the log is still
// there, and the next one to open it recovers it.
void SqliteStore::empty_log() {
  const Deadline deadline = steady_clock::now() + kEndPatience;
  if (!turn_.take(deadline)) return;
  file_.leave();
  if (!file_.is_another_present()) {
    const std::string aside = file_.set_log_of_deleted_aside();
    if (!aside.empty())
      log_line("the log of the deleted database " + file_.path() + " is now " + aside);
    if (file_.may_empty_log()) checkpoint(SQLITE_CHECKPOINT_TRUNCATE, deadline);
  }
  turn_.yield();
}

// Spares the next one the recovery, if all that it would find in the log is known to be on the
// disk: also what others wrote before this store opened it, whose failures were reported to them;
// and nothing after our latest commit, as left by a process that ends before reporting its own.
void SqliteStore::seal() {
  if (!knows_log_) return;
  deadline_ = steady_clock::now();  // whoever is in the way goes on with the log
  if (!turn_.take(deadline_)) return;
  sqlite3* const handle = connection_->database.getHandle();
  try {
    run(*connection_->write_begin);  // another program may not know of the turn
    const bool ends_with_ours = ours_ == data_version();
    if (ends_with_ours && is_synced() && !is_in_doubt(handle) && check_files()) {
      seal_log(file_.log_path(), end_of_log(handle).frames, kLongestSealedBytes);
    }
  } catch (const std::exception&) {
    // The next one recovers.
  }
  roll_back();
  turn_.yield();
}

Result<void> SqliteStore::take_turn(Deadline deadline) {
  deadline_ = deadline;
  if (const Result<void> turn = turn_.take(deadline); !turn) return turn.error();
  if (!must_recover_) return {};
  Result<void> recovered = check_files();
  if (recovered) recovered = check_log();
  if (recovered) recovered = connect();
  if (!recovered) turn_.yield();
  return recovered;
}

void SqliteStore::yield_turn() {
  turn_.yield();
}

void SqliteStore::tidy() {
  if (!schedule_.is_due() && !must_recover_) return;
  const steady_clock::time_point now = steady_clock::now();
  if (now < next_tidy_ && !must_recover_) return;
  if (!take_turn(now + kTidyPatience)) {
    next_tidy_ = now + kTidyPause;
    return;
  }
  if (schedule_.is_due() && check_files()) run_due_checkpoint();
  turn_.yield();
}

void SqliteStore::run_due_checkpoint() {
  const steady_clock::time_point start = steady_clock::now();
  const auto patience = schedule_.patience();
  const bool waits = patience > patience.zero();
  const int code =
      checkpoint(waits ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, start + patience);
  // What found no room, or was kept out by others, is in the log as before.
  constexpr std::array harmless = {SQLITE_OK, SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL};
  if (!is_one_of(harmless, code)) distrust_log();
  schedule_.note_checkpoint(start, steady_clock::now());
}

// Syncs the log first: SQLite would note in the shared memory how much it is about to move, and
// only then sync; if that failed and the log lost frames, nobody could tell whether those had been
// moved. Syncs the database even if only a part of the log was moved, which SQLite does not: that
// part is read from the database from then on. REQUIRES: the turn is held
int SqliteStore::checkpoint(int mode, Deadline deadline) {
  deadline_ = deadline;
  sqlite3* const handle = connection_->database.getHandle();
  if (options_.sync == Sync::kFull) {
    if (const int synced = sync_log(handle); synced != SQLITE_OK) return synced;
  }
  int frames = 0;
  int moved = 0;
  const int code = sqlite3_wal_checkpoint_v2(handle, nullptr, mode, &frames, &moved);
  if (moved <= 0 || moved == frames) return code;
  const int synced = sync_database(handle);
  if (synced == SQLITE_OK) return code;
  move_again(handle);
  return synced;
}

// What a store that only reads must do first: recover, if that is due.
Result<void> SqliteStore::make_readable(Deadline deadline) {
  if (must_recover_) {
    if (const Result<void> turn = take_turn(deadline); !turn) return turn.error();
    turn_.yield();
  }
  deadline_ = deadline;
  return check_files();
}

// Another program may have migrated the database.
Result<void> SqliteStore::check_version() {
  SQLite::Statement& version = *connection_->version;
  version.executeStep();
  const int found = version.getColumn(0).getInt();
  version.reset();
  if (found == kSchemaVersion) return {};
  return Error{Code::kUnavailable, "the database " + file_.path() + " was changed to version " +
                                       std::to_string(found) + " while it was in use; restart"};
}

void SqliteStore::apply(std::span<Step> batch, Deadline deadline) {
  deadline_ = deadline;
  const Result<void> applied = needs_turn(batch) ? change_counters(batch) : report_counters(batch);
  applied_ = applied.ok();
  if (applied_) return;
  roll_back();
  fail_batch(batch, applied.error());
  if (applied.error().code == Code::kStoreFull) report_unchanged(batch);
}

// The reports of a batch whose changes found no room.
void SqliteStore::report_unchanged(std::span<Step> batch) {
  for (Step& step : batch) {
    if (changes_something(step.operation)) continue;
    const Result<void> reported = report_counters({&step, 1});
    if (reported) continue;
    roll_back();
    fail_batch({&step, 1}, reported.error());
    return;  // those after it have failed with the changes
  }
}

Result<void> SqliteStore::change_counters(std::span<Step> batch) {
  if (const Result<void> usable = check_files(); !usable) return usable.error();
  SqliteCounters& counters = *connection_->counters;
  SqliteKeys& keys = *connection_->keys;
  try {
    if (const Result<void> begun = begin(*connection_->write_begin); !begun) return begun.error();
    const std::int64_t now_ms = unix_now_ms();
    const auto keyed = std::count_if(batch.begin(), batch.end(),
                                     [](const Step& step) { return is_keyed(step.operation); });
    counters.begin(data_version(), now_ms);
    if (keyed > 0) keys.begin(static_cast<std::size_t>(keyed), now_ms);
    for (Step& step : batch) {
      step.outcome =
          is_keyed(step.operation) ? apply_once(step.operation) : counters.apply(step.operation);
    }
    if (keyed > 0) keys.finish();
    counters.write();
  } catch (const SQLite::Exception& exception) {
    return failure(exception, "cannot change the database ");
  }
  if (const Result<void> committed = commit(); !committed) return committed.error();
  counters.end(data_version());
  return {};
}

// Applies a change unless it was applied under its key before.
Outcome SqliteStore::apply_once(const Operation& operation) {
  SqliteKeys& keys = *connection_->keys;
  if (const std::optional<Outcome> before = keys.find(operation)) return *before;
  Outcome outcome = connection_->counters->apply(operation);
  if (outcome.code == Code::kOk) keys.keep(operation, outcome);
  return outcome;
}

Result<void> SqliteStore::report_counters(std::span<Step> batch) {
  if (const Result<void> readable = make_readable(deadline_); !readable) return readable.error();
  SqliteCounters& counters = *connection_->counters;
  try {
    if (const Result<void> begun = begin(*connection_->read_begin); !begun) return begun.error();
    counters.begin(data_version(), unix_now_ms());
    for (Step& step : batch) step.outcome = counters.apply(step.operation);
    run(*connection_->commit);
  } catch (const SQLite::Exception& exception) {
    return failure(exception, "cannot read the database ");
  }
  counters.end(data_version());
  return sync_if_needed();
}

// Begins a transaction.
Result<void> SqliteStore::begin(SQLite::Statement& begin) {
  run(begin);
  return check_version();
}

// Whatever stops a COMMIT, the next start may find it in the log and complete it, unless a write
// found no room: it is the last frame that makes a commit, and that has not been written.
Result<void> SqliteStore::commit() {
  sqlite3* handle = connection_->database.getHandle();
  const bool was_synced = is_synced();
  const bool was_ours = ours_ == data_version();
  const LogEnd before = end_of_log(handle);
  leave_commits_unsynced(handle, true);
  const int code = connection_->commit->tryExecuteStep();
  connection_->commit->tryReset();
  leave_commits_unsynced(handle, false);
  if (code == SQLITE_DONE) {
    const LogEnd end = end_of_log(handle);
    const bool grew = end != before;
    if (grew) schedule_.note_log(std::int64_t{end.frames} * page_bytes_);
    if (end.salts != before.salts)
      acknowledged_ = LogEnd{end.salts, 0};  // it began with this commit
    if (options_.sync != Sync::kFull) acknowledged_ = end;
    if (was_synced && !grew) synced_version_ = data_version();
    if (was_ours || grew) ours_ = data_version();
    return {};
  }
  if (code == SQLITE_FULL) return full();
  distrust_log();
  return Error{Code::kUnknown,
               "the commit to " + file_.path() + " failed: " + sqlite3_errstr(code)};
}

void SqliteStore::make_durable(std::span<Step> batch) {
  if (!applied_) return;
  if (const Result<void> synced = sync_if_needed(); !synced) fail_batch(batch, synced.error());
}

// Syncs the log, unless what the connection has changed and seen is known to be on the disk.
Result<void> SqliteStore::sync_if_needed() {
  if (options_.sync != Sync::kFull || is_synced()) return {};
  sqlite3* const handle = connection_->database.getHandle();
  const LogEnd end = end_of_log(handle);
  const int code = sync_log(handle);
  if (code == SQLITE_OK) {
    synced_version_ = data_version();
    acknowledged_ = end;
    return {};
  }
  distrust_log();
  return Error{Code::kUnknown,
               "the sync of the log of " + file_.path() + " failed: " + sqlite3_errstr(code)};
}

bool SqliteStore::is_synced() {
  return synced_version_ == data_version();
}

// Changes after each commit of ours, and when a transaction has found a commit by others.
std::uint32_t SqliteStore::data_version() {
  std::uint32_t version = 0;
  sqlite3_file_control(connection_->database.getHandle(), "main", SQLITE_FCNTL_DATA_VERSION,
                       &version);
  return version;
}

// Leaves no transaction open. A ROLLBACK that fails leaves none either
// (sqlite.org/lang_transaction).
void SqliteStore::roll_back() {
  ours_.reset();
  for (auto* statement : {&connection_->read_begin, &connection_->write_begin, &connection_->commit,
                          &connection_->version}) {
    (*statement)->tryReset();
  }
  connection_->counters->forget();
  connection_->keys->reset();
  sqlite3* handle = connection_->database.getHandle();
  if (sqlite3_get_autocommit(handle) == 0) {
    sqlite3_exec(handle, "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

Error SqliteStore::full() const {
  return {Code::kStoreFull, "no room for the change on the disk of the database " + file_.path() +
                                "; make room, then ask again"};
}

// What `exception`, met before a commit, means: nothing has happened.
Error SqliteStore::failure(const SQLite::Exception& exception, std::string_view doing) {
  const int code = exception.getErrorCode();
  if (code == SQLITE_FULL) return full();
  if (code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_NOTADB) distrust_log();
  std::string hint;
  if (code == SQLITE_BUSY) hint = " by another program that uses it (lslocks shows which)";
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) hint = kCheckDatabase;
  return {Code::kUnavailable, std::string(doing) + file_.path() + ": " + exception.what() + hint};
}

Result<ListPage> SqliteStore::list(const ListQuery& query, Deadline deadline) {
  if (const Result<void> readable = make_readable(deadline); !readable) return readable.error();
  ListPage page;
  try {
    if (const Result<void> known = check_version(); !known) return known.error();
    page = connection_->counters->list(query, unix_now_ms());
  } catch (const SQLite::Exception& exception) {
    const Error error = failure(exception, "cannot read the database ");
    roll_back();
    return error;
  }
  if (const Result<void> synced = sync_if_needed(); !synced) {
    return Error{Code::kUnavailable, synced.error().message};
  }
  return page;
}

Result<void> SqliteStore::probe(Deadline deadline) {
  if (const Result<void> readable = make_readable(deadline); !readable) return readable.error();
  try {
    return check_version();
  } catch (const SQLite::Exception& exception) {
    const Error error = failure(exception, "cannot read the database ");
    roll_back();
    return error;
  }
}

StoreStatus SqliteStore::status() const {
  return {"sqlite", file_.path(),
          options_.sync == Sync::kFull
              ? "every change survives a crash of processes, system or power (synchronous=FULL)"
              : "every change survives a crash of processes; a power failure may lose the latest "
                "ones (synchronous=NORMAL)"};
}

// Another program may use the file without taking the turn: a shell that looks, a backup.
int SqliteStore::wait_while_busy(void* self, int) {
  if (steady_clock::now() >= static_cast<SqliteStore*>(self)->deadline_) return 0;
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return 1;
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(const SqliteLocation& location,
                                                 const StoreOptions& options) {
  if (options.require_durable && options.sync != Sync::kFull) {
    return Error{Code::kConfig, "--require-durable needs --sync full"};
  }
  Result<SqliteFile> file = open_sqlite_file(location.path, options.create);
  if (!file) return file.error();
  auto store = std::make_unique<SqliteStore>(std::move(*file), options);
  if (const Result<void> opened = store->open(steady_clock::now() + options.timeout); !opened) {
    return opened.error();
  }
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace counterd
