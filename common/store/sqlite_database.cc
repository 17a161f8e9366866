#include "common/store/sqlite_database.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>
#include <thread>

#include "common/limits.h"
#include "common/log.h"
#include "common/store/sqlite_repair.h"
#include "common/store/sqlite_schema.h"
#include "common/store/sqlite_seal.h"
#include "common/store/sqlite_shm.h"
#include "common/store/sqlite_vfs.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// More pages than nearly any batch changes: two for each operation, its own and one of an index.
constexpr std::uint32_t kFramesOfBatch = 2 * kMaxBatchOperations;

// Of a text, a row or a statement, in bytes: a group's outcomes take much less.
constexpr int kLongestValue = 4 << 20;

// How long opening the store, or a recovery, waits for other programs that keep it from emptying
// the log: that can be done without.
constexpr std::chrono::milliseconds kRecoveryPatience{20};

// Opening the store waits for others' syncs for kSyncPatience times as long as one of its own
// takes, but at least for that many times kShortestSync; it looks every kSyncPause.
constexpr int kSyncPatience = 4;
constexpr std::chrono::milliseconds kShortestSync{1};
constexpr std::chrono::microseconds kSyncPause{200};

// What to do about a log that has lost a part.
constexpr const char* kSaveDatabase =
    "copy the database with its -wal and -shm, end all that use it, and check it (PRAGMA "
    "integrity_check) before it is used again";

// Keeps SQLite from accounting for its memory, under a lock. If SQLite was in use in this process
// before, it still does.
void configure_sqlite() {
  [[maybe_unused]] static const int configured = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

bool is_one_of(std::initializer_list<int> numbers, int number) {
  return std::ranges::find(numbers, number) != numbers.end();
}

// What follows SQLite's own words for a failure: who causes it, or what to do about it.
const char* hint_for(int extended_code) {
  if (extended_code == SQLITE_IOERR_SHMSIZE) return " (its -shm cannot grow: is the disk full?)";
  switch (extended_code & 0xff) {
    case SQLITE_BUSY:
      return " by another program that uses it (lslocks shows which)";
    case SQLITE_PROTOCOL:
      return " (another program keeps its locks: lslocks shows which)";
    case SQLITE_CANTOPEN:
      return " (its -wal or -shm: rights, descriptors, inodes left?)";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "; if it stays so, check it (PRAGMA integrity_check), and put a backup in its place "
             "if it is damaged: see FILES in counterd(8)";
    default:
      return "";
  }
}

// An exception that is not SQLite's own has no extended code.
const char* hint_for(const SQLite::Exception& exception) {
  const int extended = exception.getExtendedErrorCode();
  return hint_for(extended == -1 ? exception.getErrorCode() : extended);
}

// Runs a statement that returns no rows; throws SQLite::Exception.
void run(SQLite::Statement& statement) {
  statement.exec();
  statement.reset();
}

// What is prepared once the database has its tables.
struct Statements {
  Statements(SQLite::Database& database, const StoreOptions& options)
      : read_begin(database, "BEGIN"),
        write_begin(database, "BEGIN IMMEDIATE"),
        commit(database, "COMMIT"),
        version(database, "PRAGMA user_version"),
        counters(database),
        keys(database, options) {}

  SQLite::Statement read_begin, write_begin, commit, version;
  SqliteCounters counters;
  SqliteKeys keys;
};

}  // namespace

// With what is known of the log as this connection sees it; another one takes its place after an
// error. It has no locks of its own, because one thread at a time has a store.
struct SqliteDatabase::Connection {
  explicit Connection(const SqliteFile& file)
      : wal_was_empty(file.wal_is_empty()),
        database(file.path(), SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX, 0, counterd_vfs()) {}

  const bool wal_was_empty;  // before it was opened
  SQLite::Database database;
  std::unique_ptr<ShmLock> no_checkpoints;  // of a log that was found damaged
  std::optional<Statements> statements;

  std::uint32_t page_bytes = 0;
  bool knows_log = false;  // all that was in the log when it was opened is on the disk
  std::optional<std::uint32_t> synced_version;  // the data_version() known to be on the disk
  std::optional<std::uint32_t> our_version;     // the data_version() whose latest commit is ours
};

SqliteDatabase::SqliteDatabase(SqliteFile file, const StoreOptions& options)
    : file_(std::move(file)), options_(options) {}

SqliteDatabase::~SqliteDatabase() = default;

void SqliteDatabase::set_deadline(Deadline deadline) {
  deadline_ = deadline;
  limit_sleep(deadline);
}

sqlite3* SqliteDatabase::handle() const {
  return connection_->database.getHandle();
}

SqliteCounters& SqliteDatabase::counters() {
  return connection_->statements->counters;
}

SqliteKeys& SqliteDatabase::keys() {
  return connection_->statements->keys;
}

Result<void> SqliteDatabase::open(Deadline deadline) {
  set_deadline(deadline);
  if (const Result<void> alike = file_.check_others(); !alike) return alike.error();
  if (const Result<void> connected = connect(); !connected) return connected.error();
  return file_.be_present();  // only now: others trust a log that somebody uses
}

Result<void> SqliteDatabase::recover(Deadline deadline) {
  set_deadline(deadline);
  if (const Result<void> usable = check_files(); !usable) return usable.error();
  if (const Result<void> whole = check_wal(); !whole) return whole.error();
  return connect();
}

// The connection before, if any, stays until the new one is ready: the last one to close takes with
// it what is known of the log.
Result<void> SqliteDatabase::connect() {
  if (const Result<void> allowed = file_.check_access(); !allowed) return allowed.error();
  std::unique_ptr<Connection> before = std::move(connection_);
  Result<void> connected;
  try {
    connected = open_connection();
    if (connected) connected = file_.check_access();  // of files that somebody has made meanwhile
    if (connected) connected = settle_wal();
  } catch (const SQLite::Exception& exception) {
    connected = cannot_open(exception);
  }
  if (!connected) connection_ = std::move(before);
  return connected;
}

// Throws SQLite::Exception.
Result<void> SqliteDatabase::open_connection() {
  configure_sqlite();
  connection_ = std::make_unique<Connection>(file_);
  const auto wait = [](void* self, int) {
    return static_cast<SqliteDatabase*>(self)->wait_for_others() ? 1 : 0;
  };
  sqlite3_busy_handler(handle(), wait, this);
  sqlite3_wal_autocheckpoint(handle(), 0);
  sqlite3_db_config(handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  // Others may have added some, which could do anything, for as long as they like.
  sqlite3_db_config(handle(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(handle(), SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  sqlite3_limit(handle(), SQLITE_LIMIT_LENGTH, kLongestValue);
  if (!must_recover_ && !connection_->wal_was_empty) {
    if (const Result<void> checked = check_wal_of_others(); !checked) return checked.error();
  }
  SQLite::Database& database = connection_->database;
  const bool syncs = options_.sync == Sync::kFull;
  gather_writes(handle(), syncs);
  // Reads the database, as everything does from here on.
  database.exec(syncs ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  if (const Result<void> ours = set_up_schema(database, file_.path()); !ours) return ours.error();
  if (!is_memory_writable(handle())) {
    return Error{Code::kUnavailable, "cannot open the database " + file_.path() +
                                         ": its -shm can only be read (rights, descriptors left?)"};
  }
  connection_->page_bytes = database.execAndGet("PRAGMA page_size").getUInt();
  connection_->statements.emplace(database, options_);
  return {};
}

// Finds out whether the log is on the disk, and moves it into the database if that is in doubt.
// After the log is opened: the kernel reports what fails from then on. Throws SQLite::Exception.
Result<void> SqliteDatabase::settle_wal() {
  // Others are seen for a moment after they were killed, when SQLite's own locks are gone, and the
  // next one to open the log has made new shared memory.
  const bool is_first = !file_.is_another_present() || !was_trusted(handle());
  const bool sealed = is_first && is_sealed(file_.wal_path(), end_of_wal(handle()).frames);
  const bool in_doubt = is_first && !connection_->wal_was_empty && !sealed;
  if (must_recover_ || in_doubt || !wait_for_syncs_of_others()) {
    if (const Result<void> recovered = move_wal_again(); !recovered) return recovered.error();
  } else {
    if (is_first) trust_wal(handle());
    give_salts();
    connection_->knows_log = sealed || connection_->wal_was_empty;
    if (sealed) connection_->synced_version = data_version();
  }
  if (connection_->knows_log) acknowledged_ = end_of_wal(handle());
  return {};
}

// All indexes that are made from an empty log are the same. Somebody may die while writing the
// index, after others have committed and have emptied the log again; then it is made anew, and
// SQLite, which tells by it whether others have committed, would see no difference to this one.
bool SqliteDatabase::give_salts() {
  if (end_of_wal(handle()) == WalEnd{}) {
    checkpoint(SQLITE_CHECKPOINT_TRUNCATE,
               std::min(deadline_, steady_clock::now() + kRecoveryPatience));
  }
  lacks_salts_ = false;  // if it still does, the next transaction sees it
  return end_of_wal(handle()) != WalEnd{};
}

Error SqliteDatabase::cannot_open(const SQLite::Exception& exception) const {
  // SQLite also says that the database is malformed, or none, when the disk has failed a read, or
  // has lost what is read.
  const bool is_lost = connection_ && !connection_->wal_was_empty && is_in_doubt(handle());
  const bool passes =
      is_lost || is_one_of({SQLITE_BUSY, SQLITE_IOERR, SQLITE_FULL, SQLITE_NOMEM, SQLITE_CORRUPT,
                            SQLITE_CANTOPEN, SQLITE_PROTOCOL, SQLITE_READONLY},
                           exception.getErrorCode());
  return {passes ? Code::kUnavailable : Code::kConfig,
          "cannot open the database " + file_.path() + ": " + exception.what() +
              // Without a connection it is the database itself that cannot be opened.
              (connection_ ? hint_for(exception) : "")};
}

// Makes the log whole on the disk, then moves it into the database, synced, and empties it. What a
// failed fsync has left in the page cache looks written, and a later fsync says it is: only writing
// it again makes it so. The log itself comes first: if the power fails during the move, what the
// database already has must not be newer than the log that is found. If another program is reading,
// or the database has no room to grow, the log stays as it is now, on the disk.
Result<void> SqliteDatabase::move_wal_again() {
  if (const Result<void> whole = write_wal_again(); !whole) {
    distrust_wal();
    return whole.error();
  }
  int code = move_again(handle());
  while (code == SQLITE_BUSY && wait_for_others()) code = move_again(handle());
  if (code == SQLITE_OK) {
    const Deadline deadline = std::min(deadline_, steady_clock::now() + kRecoveryPatience);
    code = try_checkpoint(SQLITE_CHECKPOINT_TRUNCATE, deadline);
    if (code == SQLITE_BUSY || code == SQLITE_FULL) code = SQLITE_OK;
  }
  if (code != SQLITE_OK) {
    distrust_wal();
    return Error{Code::kUnavailable, "cannot recover the database " + file_.path() + ": " +
                                         sqlite3_errstr(code) + hint_for(code)};
  }
  must_recover_ = false;
  connection_->knows_log = true;
  trust_wal(handle());
  return {};
}

// Before this store reads anything: others' syncs may have failed.
// REQUIRES: the turn is held
Result<void> SqliteDatabase::check_wal_of_others() {
  int code = open_shared_memory(handle());
  while (code == SQLITE_BUSY && wait_for_others()) code = open_shared_memory(handle());
  Result<void> checked;
  if (code != SQLITE_OK) {
    checked = Error{Code::kUnavailable, "cannot open the database " + file_.path() + ": " +
                                            sqlite3_errstr(code) + hint_for(code)};
  } else if (is_damaged(handle())) {
    checked = damaged();
  } else if (is_in_doubt(handle())) {
    checked = check_wal();
  }
  if (!checked) close_shared_memory(handle());
  return checked;
}

// After a failed sync, before anything more is read: the kernel may have given up the memory of
// what it could not write, and the file then has what the disk has.
// REQUIRES: the turn is held
Result<void> SqliteDatabase::check_wal() {
  using State = WalCheck::State;
  const UniqueFd wal = file_.open_wal(O_RDWR);
  if (!wal) return cannot("check the log of", errno);
  WalCheck check = examine_wal(handle(), wal.get(), acknowledged_);
  while (check.state == State::kBusy && wait_for_others()) {
    check = examine_wal(handle(), wal.get(), acknowledged_);
  }
  const std::string lost = "the log of " + file_.path() + " has lost " +
                           std::to_string(check.frames - check.whole) + " of " +
                           std::to_string(check.frames) + " frames";
  switch (check.state) {
    case State::kWhole:
      break;
    case State::kShortened:
      log_warning(
          lost +
          ": this process told nobody of them, or the database has them already; it goes on");
      break;
    case State::kDamaged:
      connection_->no_checkpoints = std::move(check.no_checkpoints);
      return Error{Code::kUnavailable, lost + "; " + damaged().message};
    case State::kUnknown:
      return Error{Code::kUnavailable,
                   lost +
                       ", and this process has not acknowledged anything in it: ask another one; "
                       "if it stays so, " +
                       kSaveDatabase};
    case State::kBusy:
      return Error{Code::kUnavailable, "cannot check the log of " + file_.path() +
                                           ": another program uses it (lslocks shows which)"};
    case State::kFailed:
      return cannot("check the log of", check.error);
  }
  return {};
}

// REQUIRES: the turn is held
Result<void> SqliteDatabase::write_wal_again() {
  const UniqueFd wal = file_.open_wal(O_RDWR);
  if (!wal) return cannot("write again the log of", errno);
  connection_->database.exec("BEGIN IMMEDIATE");  // another program may not know of the turn
  const WalReading written = rewrite_wal(handle(), wal.get());
  connection_->database.exec("ROLLBACK");
  if (written.state == WalReading::State::kFailed) {
    return cannot("write again the log of", written.error);
  }
  if (written.state == WalReading::State::kWhole) return {};
  return Error{Code::kUnavailable, "the log of " + file_.path() +
                                       " is no longer as it was written; what is left of it is "
                                       "checked next"};
}

// After an I/O error: what is shown may not be on the disk, until recover().
void SqliteDatabase::distrust_wal() {
  must_recover_ = true;
  doubt_wal(handle());
}

// False: one has failed, or does not end. While this store has the turn nobody has more to sync.
bool SqliteDatabase::wait_for_syncs_of_others() {
  if (!is_in_doubt(handle())) return true;
  const Time start = steady_clock::now();
  sync_wal(handle());
  const Time synced = steady_clock::now();
  const auto one = std::max<steady_clock::duration>(synced - start, kShortestSync);
  const Deadline end = std::min(deadline_, synced + kSyncPatience * one);
  while (is_in_doubt(handle())) {
    if (steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kSyncPause);
  }
  return true;
}

// The lock that those who write hold, if its code() is SQLITE_OK.
std::unique_ptr<ShmLock> SqliteDatabase::keep_out_writers() {
  std::unique_ptr<ShmLock> lock;
  do {
    lock = std::make_unique<ShmLock>(handle(), kWriteLock);
  } while (lock->code() == SQLITE_BUSY && wait_for_others());
  return lock;
}

// Keeps out other programs that write: the log must not restart meanwhile (sqlite.cc). And syncs
// it first: SQLite would note in the shared memory how much it is about to move, and only then
// sync; if that failed and the log lost frames, nobody could tell whether those had been moved.
// REQUIRES: the turn is held
int SqliteDatabase::try_checkpoint(int mode, Deadline deadline) {
  set_deadline(deadline);
  const std::unique_ptr<ShmLock> no_writers = keep_out_writers();
  if (no_writers->code() != SQLITE_OK) return no_writers->code();
  if (!check_wal_length()) return SQLITE_IOERR_SHORT_READ;
  if (options_.sync == Sync::kFull) {
    if (const int synced = sync_wal(handle()); synced != SQLITE_OK) return synced;
  }
  const int code = sqlite3_wal_checkpoint_v2(handle(), nullptr, mode, nullptr, nullptr);
  const int synced = take_checkpoint_failure(handle());
  return synced == SQLITE_OK ? code : synced;
}

void SqliteDatabase::checkpoint(int mode, Deadline deadline) {
  const int code = try_checkpoint(mode, deadline);
  // What found no room, or was kept out by others, is in the log as before.
  const bool is_harmless = is_one_of({SQLITE_OK, SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL}, code);
  if (!is_harmless) distrust_wal();
}

Result<void> SqliteDatabase::check_files() const {
  if (is_wal_damaged()) return damaged();
  return file_.check();
}

// Asking for the version is the first to read: a transaction that only reads begins with it.
Result<void> SqliteDatabase::begin(SQLite::Statement& statement) {
  run(statement);
  SQLite::Statement& version = connection_->statements->version;
  version.executeStep();
  const int found = version.getColumn(0).getInt();
  version.reset();
  lacks_salts_ = end_of_wal(handle()) == WalEnd{};
  if (found == kSchemaVersion) return {};
  return Error{Code::kUnavailable, "the database " + file_.path() + " was changed to version " +
                                       std::to_string(found) + " while it was in use; restart"};
}

Result<void> SqliteDatabase::begin_to_write() {
  Result<void> begun = begin(connection_->statements->write_begin);
  if (begun) begun = check_wal_length();
  if (!begun || make_room_in_index(handle(), kFramesOfBatch)) return begun;
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT) return full();
  return cannot("make room in the index of the log of", error);
}

// What is written behind a gap of the log would be lost with it, and a checkpoint would move the
// gap into the database. REQUIRES: nobody else may write to the log
Result<void> SqliteDatabase::check_wal_length() {
  const std::uint64_t bytes = bytes_up_to(end_of_wal(handle()), connection_->page_bytes);
  if (!file_.is_wal_shorter_than(bytes)) return {};
  distrust_wal();
  return Error{Code::kUnavailable, "the log " + file_.wal_path() +
                                       " is shorter than what was written to it; what is left of "
                                       "it is checked next"};
}

Result<void> SqliteDatabase::check_end_of_wal(Deadline deadline) {
  set_deadline(is_end_worth_waiting() ? deadline : steady_clock::now());
  {
    const std::unique_ptr<ShmLock> no_writers = keep_out_writers();
    if (no_writers->code() != SQLITE_OK || check_wal_length()) return {};
  }
  return recover(deadline);
}

Result<void> SqliteDatabase::begin_to_read() {
  return begin(connection_->statements->read_begin);
}

void SqliteDatabase::end_reading() {
  run(connection_->statements->commit);
}

Result<void> SqliteDatabase::commit() {
  const bool was_synced = is_synced();
  const bool was_ours = connection_->our_version == data_version();
  const WalEnd before = end_of_wal(handle());
  leave_commits_unsynced(handle(), true);
  SQLite::Statement& statement = connection_->statements->commit;
  const int code = statement.tryExecuteStep();
  statement.tryReset();
  leave_commits_unsynced(handle(), false);
  if (code == SQLITE_FULL && cut_off_commit(before)) return full();
  if (code != SQLITE_DONE) {
    distrust_wal();
    return Error{Code::kUnknown,
                 "the commit to " + file_.path() + " failed: " + sqlite3_errstr(code)};
  }
  const WalEnd end = end_of_wal(handle());
  const bool grew = end != before;
  // A log that restarts with this commit has nothing that was acknowledged before.
  if (end.salts != before.salts || before.frames == 0) {
    acknowledged_ = WalEnd{end.salts, 0};
    if (grew) file_.note_log();
  }
  if (options_.sync != Sync::kFull) acknowledged_ = end;
  // A commit that adds nothing to the log changes its version all the same.
  if (was_synced && !grew) connection_->synced_version = data_version();
  if (was_ours || grew) connection_->our_version = data_version();
  return {};
}

// False: the next start may yet find what a commit has left behind `end`.
bool SqliteDatabase::cut_off_commit(const WalEnd& end) {
  roll_back();
  const UniqueFd wal = file_.open_wal(O_RDWR);
  return wal && cut_off_wal(handle(), wal.get(), end, connection_->page_bytes);
}

Result<void> SqliteDatabase::sync_if_needed() {
  if (options_.sync != Sync::kFull || is_synced()) return {};
  const WalEnd end = end_of_wal(handle());
  const int code = sync_wal(handle());
  if (code == SQLITE_OK) {
    connection_->synced_version = data_version();
    acknowledged_ = end;
    return {};
  }
  distrust_wal();
  return Error{Code::kUnknown,
               "the sync of the log of " + file_.path() + " failed: " + sqlite3_errstr(code)};
}

bool SqliteDatabase::is_synced() {
  return connection_->synced_version == data_version();
}

std::uint32_t SqliteDatabase::data_version() {
  std::uint32_t version = 0;
  sqlite3_file_control(handle(), "main", SQLITE_FCNTL_DATA_VERSION, &version);
  return version;
}

std::int64_t SqliteDatabase::wal_bytes() {
  return std::int64_t{end_of_wal(handle()).frames} * connection_->page_bytes;
}

// A ROLLBACK that fails leaves no transaction open either (sqlite.org/lang_transaction).
void SqliteDatabase::roll_back() {
  connection_->our_version.reset();
  auto& [read_begin, write_begin, commit, version, counters, keys] = *connection_->statements;
  for (SQLite::Statement* statement : {&read_begin, &write_begin, &commit, &version}) {
    statement->tryReset();
  }
  counters.forget();
  keys.reset();
  if (sqlite3_get_autocommit(handle()) == 0) {
    sqlite3_exec(handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

void SqliteDatabase::end(Deadline deadline) {
  if (const std::string aside = file_.set_wal_of_deleted_aside(); !aside.empty()) {
    log_warning("the log of the deleted database " + file_.path() + " is now " + aside);
  }
  if (!options_.empty_wal) {
    seal();
  } else if (file_.may_empty_wal()) {
    // If it fails, the log is still there, and the next one to open it recovers it.
    try_checkpoint(SQLITE_CHECKPOINT_TRUNCATE, deadline);
  }
  file_.leave();  // last: whoever would take our log for that of another database is refused
}

// Spares the next one the recovery, if all that it would find in the log is known to be on the
// disk: also what others wrote before this store opened it, whose failures were reported to them;
// and nothing after our latest commit, as left by a process that ends before reporting its own.
void SqliteDatabase::seal() {
  if (!connection_->knows_log) return;
  set_deadline(steady_clock::now());  // whoever is in the way goes on with the log
  try {
    run(connection_->statements->write_begin);  // another program may not know of the turn
    const bool ends_with_ours = connection_->our_version == data_version();
    if (ends_with_ours && is_synced() && !is_in_doubt(handle()) && check_files()) {
      seal_wal(file_.wal_path(), end_of_wal(handle()).frames);
    }
  } catch (const std::exception&) {
    // The next one recovers.
  }
  roll_back();
}

bool SqliteDatabase::is_wal_damaged() const {
  return is_damaged(handle());
}

Error SqliteDatabase::cannot(std::string_view what, int error) const {
  return system_error(Code::kUnavailable, "cannot " + std::string(what) + " " + file_.path(),
                      error);
}

Error SqliteDatabase::damaged() const {
  return {Code::kUnavailable,
          "the log of " + file_.path() +
              " may have lost a part of what was acknowledged: " + kSaveDatabase};
}

Error SqliteDatabase::full() const {
  return {Code::kStoreFull, "no room for the change on the disk of the database " + file_.path() +
                                "; make room, then ask again"};
}

Error SqliteDatabase::note_failure(const SQLite::Exception& exception, std::string_view doing) {
  const int code = exception.getErrorCode();
  if (is_one_of({SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_NOTADB}, code)) distrust_wal();
  // The log was just being made when it was opened, and could only be read.
  if (code == SQLITE_READONLY) must_recover_ = true;
  roll_back();
  if (code == SQLITE_FULL) return full();
  return {Code::kUnavailable,
          std::string(doing) + file_.path() + ": " + exception.what() + hint_for(exception)};
}

// Waits a moment: another program may use the file without taking the turn, a shell that looks, a
// backup. False: it has done so until deadline_.
bool SqliteDatabase::wait_for_others() {
  if (steady_clock::now() >= deadline_) return false;
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return true;
}

}  // namespace counterd
