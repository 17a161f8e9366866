// The sqlite engine: one WAL-mode database file, used by many processes at once.
//
// Every transaction that writes, and every checkpoint, runs under the turn (file_turn.h): all
// SQLite before 3.51.3 can lose committed transactions when a checkpoint races a writer (the
// WAL-reset bug, sqlite.org/wal.html). So no connection checkpoints by itself, neither after a
// commit nor when it is closed.
//
// With Sync::kFull a commit is written under the turn and synced behind it: others commit
// meanwhile, and their syncs overlap. So everybody sees commits that are not on the disk yet, and
// syncs the log before telling of what is not known to be there.
//
// A sync that fails leaves pages that look written: it is told to each open file, once (Linux 4.13,
// errseq_t), so all who have the log open meet it at their next sync, and then move what they see
// to the database before they go on. Who opens the log later learns of it by the alarm, as long as
// the one that has raised it lives; and who is the first to open it doubts all of it, unless it was
// sealed (sqlite_seal.h) by one that knew it to be on the disk.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <thread>
#include <unordered_map>

#include "common/json.h"
#include "common/number.h"
#include "common/store/engines.h"
#include "common/store/file_turn.h"
#include "common/store/sqlite_keys.h"
#include "common/store/sqlite_log.h"
#include "common/store/sqlite_seal.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

constexpr int kApplicationId = 0x636e7464;  // "cntd" (sqlite.org/pragma.html, application_id)
constexpr int kSchemaVersion = 5;

// Of a new database. A change of a counter writes its whole page, to the log and later to the
// database: with SQLite's own 4,096, four times as much where there are many counters. Rows of up
// to 231 bytes need no page of overflow (sqlite.org/fileformat2.html); that is the longest name.
constexpr int kPageBytes = 1'024;

// The rows that are remembered from batch to batch, a few hundred bytes each, with those of the
// batch beside them.
constexpr std::size_t kMostRowsRemembered = 10'000;

// The length of the log at which a checkpoint is due. Twice as long each time where checkpoints are
// quick and yet take a thirtieth of the time or more, as with many counters: a longer log has more
// changes of the same pages, and gives the disk more of them at once. Half as long where they are
// slow, because everybody waits for them.
constexpr std::int64_t kShortestLogBytes = 1 << 20;
constexpr std::int64_t kLongestLogBytes = 16 << 20;
constexpr int kNotableShare = 30;
constexpr std::chrono::milliseconds kQuickCheckpoint{40};
constexpr std::chrono::milliseconds kSlowCheckpoint{100};

// The longest log that is taken as it is by who opens the database first: a longer one is moved
// into the database sooner than SQLite reads it again, each time that the database is opened.
constexpr std::size_t kLongestSealedBytes = 128 << 10;

// The length from which a checkpoint also waits for readers, so that the log begins anew: without
// that, readers that never pause let it grow.
constexpr std::int64_t kRestartBytes = 2 * kLongestLogBytes;
constexpr std::chrono::milliseconds kRestartPatience{20};

// How long housekeeping waits for the turn, while reports wait for it, and how long it does not try
// again where it has not got it: who has the turn may be stopped.
constexpr std::chrono::milliseconds kTidyPatience{100};
constexpr std::chrono::milliseconds kTidyPause{1'000};

// Counters that have ended: a batch deletes two for each end that it has set, so that they do not
// become more and more; and a few now and then, where no ends are set any more.
constexpr std::int64_t kSweptForEach = 2;
constexpr std::int64_t kSweptRows = 100;
constexpr std::chrono::milliseconds kSweepPause{100};

// Counts, for this thread, the logs that SQLite found left over by a crash and read again.
thread_local int recoveries_seen = 0;

// Begins to count, and sees to it that SQLite does not keep books of its memory under a lock.
// False: SQLite was in use in this process before, and takes no settings any more.
bool configure_sqlite() {
  static const bool configured = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK &&
                                 sqlite3_config(
                                     SQLITE_CONFIG_LOG,
                                     +[](void*, int code, const char*) {
                                       if (code == SQLITE_NOTICE_RECOVER_WAL) ++recoveries_seen;
                                     },
                                     nullptr) == SQLITE_OK;
  return configured;
}

template <std::size_t size>
bool is_one_of(const std::array<int, size>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

// The files that SQLite keeps beside a database in use: the log, and the memory that all who use
// it share. What is written to one that was removed is lost.
constexpr std::array<const char*, 2> kCompanions = {"-wal", "-shm"};

struct FileIdentity {
  dev_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

struct FoundFile {
  FileIdentity identity;
  std::uint32_t links = 0;
};

// Nothing: there is no such file, or it cannot be looked at; errno tells.
//
// Not stat(), which asks for the times too: a file whose change time was asked for gets a new one
// at its next write (Linux 6.13, multigrain timestamps), and where ext4 has no journal, each
// fdatasync() then writes a second block, one after the other.
std::optional<FoundFile> look_at(const std::string& path) {
  struct statx found {};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_INO | STATX_NLINK, &found) != 0) return std::nullopt;
  return FoundFile{{makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino},
                   found.stx_nlink};
}

std::optional<FileIdentity> identify(const std::string& path) {
  const std::optional<FoundFile> found = look_at(path);
  return found ? std::optional(found->identity) : std::nullopt;
}

// Whether a log holds nothing, so that nothing in it is in doubt.
bool is_empty(const std::string& log) {
  std::error_code failure;
  const std::uintmax_t size = std::filesystem::file_size(log, failure);
  return failure ? failure == std::errc::no_such_file_or_directory : size == 0;
}

// The bytes of log until the next checkpoint, after one that took so long, so long after the last.
std::int64_t next_interval(std::int64_t bytes, steady_clock::duration took,
                           steady_clock::duration since_last) {
  if (took < kQuickCheckpoint && took * kNotableShare > since_last) bytes *= 2;
  if (took > kSlowCheckpoint) bytes /= 2;
  return std::clamp(bytes, kShortestLogBytes, kLongestLogBytes);
}

// Whether a counter with that end, 0 for none, is missing.
bool has_passed(std::int64_t expires_at_ms, std::int64_t now_ms) {
  return expires_at_ms != 0 && expires_at_ms <= now_ms;
}

// A counter's row, and what a batch has made of it so far.
struct Counter {
  const std::string* name = nullptr;
  bool stored = false;  // there was a row when the batch began
  bool in_batch = false;
  bool exists = false;
  bool changed = false;
  std::int64_t value = 0;
  std::int64_t created_at_ms = 0;
  std::int64_t updated_at_ms = 0;
  std::int64_t expires_at_ms = 0;          // 0: it has no end
  bool keeps_end = true;                   // the row's, and its window
  std::optional<std::string> window = {};  // as described, empty: none; nothing: not read yet
};

void change(Counter& counter, std::int64_t value, std::int64_t now_ms) {
  if (!counter.exists) {
    counter.created_at_ms = now_ms;
    counter.expires_at_ms = 0;
    counter.keeps_end = false;
    counter.window.emplace();
  }
  counter.exists = counter.changed = true;
  counter.value = value;
  counter.updated_at_ms = now_ms;
}

// Whether the increment depends on which window the counter has.
bool asks_for_window(const Operation& operation) {
  return operation.lifetime.window || operation.lifetime.renew;
}

// Whether the counter has a window that the increment would not leave to it, or lacks its.
// REQUIRES: the counter's window has been read
bool has_other_window(const Counter& counter, const Lifetime& lifetime) {
  if (!counter.exists) return false;
  if (!lifetime.window) return lifetime.renew && !counter.window->empty();
  return *counter.window != describe_window(*lifetime.window);
}

// When the counter ends behind the increment.
std::int64_t end_after(const Counter& counter, const Lifetime& lifetime, std::int64_t now_ms) {
  if (counter.exists && !lifetime.renew) return counter.expires_at_ms;
  if (lifetime.window) return window_end(*lifetime.window, now_ms);
  if (lifetime.ttl) return now_ms + lifetime.ttl->count();
  return 0;
}

// The outcome of an increment whose counter ends then and has had the value `before`.
Outcome sum_up(std::int64_t before, const Operation& operation, std::int64_t expires_at_ms,
               std::int64_t now_ms) {
  Outcome outcome;
  const Sum sum = add_within(before, operation.operand, operation.bounds);
  outcome.code = sum.code;
  if (operation.check) {
    outcome.value = before;
  } else {
    outcome.value = sum.value;
    if (operation.bounds.clamp && sum.code == Code::kOk) outcome.previous = before;
  }
  if (operation.lifetime.window) {
    outcome.updated_at_ms = now_ms;
    outcome.expires_at_ms = expires_at_ms;
  }
  return outcome;
}

Outcome increment(Counter& counter, const Operation& operation, std::int64_t now_ms) {
  const Lifetime& lifetime = operation.lifetime;
  if (asks_for_window(operation) && has_other_window(counter, lifetime)) {
    Outcome refused;
    refused.code = Code::kOtherWindow;
    refused.window = *counter.window;
    return refused;
  }
  const std::int64_t before = counter.exists ? counter.value : operation.initial;
  const std::int64_t end = end_after(counter, lifetime, now_ms);
  Outcome outcome = sum_up(before, operation, end, now_ms);
  if (outcome.code != Code::kOk || operation.check) return outcome;
  const bool fresh = !counter.exists;
  change(counter, outcome.value, now_ms);
  if (lifetime.renew) counter.keeps_end = false;
  counter.expires_at_ms = end;
  if (fresh && lifetime.window) counter.window = describe_window(*lifetime.window);
  return outcome;
}

Outcome reset(Counter& counter, const Operation& operation, std::int64_t now_ms) {
  Outcome outcome;
  if (!counter.exists && !operation.create) {
    outcome.code = Code::kMissing;
    return outcome;
  }
  if (counter.exists) outcome.previous = counter.value;
  change(counter, operation.operand, now_ms);
  outcome.value = operation.operand;
  return outcome;
}

Outcome remove(Counter& counter) {
  Outcome outcome;
  if (!counter.exists) {
    outcome.code = Code::kMissing;
    return outcome;
  }
  outcome.value = counter.value;
  outcome.previous = counter.value;
  counter.exists = false;
  counter.changed = true;
  return outcome;
}

Outcome report(const Counter& counter) {
  Outcome outcome;
  if (!counter.exists) outcome.code = Code::kMissing;
  outcome.value = counter.value;
  outcome.created_at_ms = counter.created_at_ms;
  outcome.updated_at_ms = counter.updated_at_ms;
  outcome.expires_at_ms = counter.expires_at_ms;
  return outcome;
}

// REQUIRES: the operation is no group
Outcome apply_to(Counter& counter, const Operation& operation, std::int64_t now_ms) {
  switch (operation.kind) {
    case OperationKind::kIncrement:
      return increment(counter, operation, now_ms);
    case OperationKind::kReset:
      return reset(counter, operation, now_ms);
    case OperationKind::kDelete:
      return remove(counter);
    case OperationKind::kReport:
    case OperationKind::kEach:
    case OperationKind::kAll:
      break;
  }
  return report(counter);
}

// The connection with its prepared statements; made anew after an I/O error. Without locks of its
// own, because one thread at a time has a store.
struct Connection {
  Connection(const std::string& path, Sync sync)
      : database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX, 0,
                 sync == Sync::kFull ? gathering_vfs() : "") {
    database.exec(sync == Sync::kFull ? "PRAGMA synchronous = FULL"
                                      : "PRAGMA synchronous = NORMAL");
  }

  void prepare(const StoreOptions& options) {
    read_begin.emplace(database, "BEGIN");
    write_begin.emplace(database, "BEGIN IMMEDIATE");
    commit.emplace(database, "COMMIT");
    version.emplace(database, "PRAGMA user_version");
    select.emplace(database,
                   "SELECT value, created_at, updated_at, expires_at FROM counters "
                   "WHERE name = ?1");
    // Does not look at the index of ends, which would be a twentieth of a request's instructions.
    update.emplace(database, "UPDATE counters SET value = ?2, updated_at = ?4 WHERE name = ?1");
    upsert.emplace(database,
                   "INSERT INTO counters (name, value, created_at, updated_at, expires_at, window) "
                   "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO UPDATE SET value = ?2, "
                   "created_at = ?3, updated_at = ?4, expires_at = ?5, window = ?6");
    // Apart from the others, because few increments ask for it.
    select_window.emplace(database, "SELECT window FROM counters WHERE name = ?1");
    erase.emplace(database, "DELETE FROM counters WHERE name = ?1");
    list.emplace(database,
                 "SELECT name, value, expires_at FROM counters WHERE name >= ?1 AND name < ?2 "
                 "ORDER BY name LIMIT ?3");
    sweep.emplace(database,
                  "DELETE FROM counters WHERE name IN (SELECT name FROM counters "
                  "WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)");
    keys.emplace(database, options);
  }

  SQLite::Database database;
  std::optional<SQLite::Statement> read_begin, write_begin, commit, version, select, select_window,
      update, upsert, erase, list, sweep;
  std::optional<SqliteKeys> keys;
};

// Runs a statement that returns no rows; throws SQLite::Exception.
void run(SQLite::Statement& statement) {
  statement.exec();
  statement.reset();
}

class SqliteStore : public Store {
 public:
  SqliteStore(std::string path, UniqueFd file, const struct stat& identity,
              const StoreOptions& options)
      : path_(std::move(path)),
        identity_{identity.st_dev, identity.st_ino},
        options_(options),
        turn_(std::move(file)) {}
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;
  ~SqliteStore() override { seal(); }

  // Connects, makes or migrates the schema, and recovers. REQUIRES: nothing is open yet
  Result<void> open(Deadline deadline);

  Result<void> take_turn(Deadline deadline) override;
  void yield_turn() override;
  void apply(std::span<Step> batch, Deadline deadline) override;
  void settle(std::span<Step> batch) override;
  void tidy() override;
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<void> probe(Deadline deadline) override;
  StoreStatus status() const override;

 private:
  Result<void> connect();
  Result<void> try_to_connect();
  Result<void> check_application();
  void migrate(int from_version);
  Result<void> recover();
  Result<void> write_log_again();
  void distrust_log();
  void seal();
  Result<void> make_readable(Deadline deadline);
  Result<void> check_file() const;
  Result<void> check_companions() const;
  void remember_companions();
  Result<void> check_version();
  Result<void> change_counters(std::span<Step> batch);
  Result<void> report_counters(std::span<Step> batch);
  void report_unchanged(std::span<Step> batch);
  Result<void> begin_batch(SQLite::Statement& begin);
  void end_batch();
  void forget_rows();
  Outcome apply_operation(const Operation& operation, std::int64_t now_ms);
  Outcome apply_group(const Operation& group, std::int64_t now_ms);
  Outcome apply_once(const Operation& operation, std::int64_t now_ms);
  Counter& load_for(const Operation& operation, std::int64_t now_ms);
  Counter& load(const std::string& name, std::int64_t now_ms);
  void read_row(Counter& counter);
  std::string read_window(const std::string& name);
  void sweep(std::int64_t now_ms);
  void write_changed();
  void write(const Counter& counter);
  void bind_end(SQLite::Statement& statement, const Counter& counter);
  Result<void> commit();
  Result<void> settle_log();
  bool is_settled();
  std::uint32_t data_version();
  void roll_back();
  void shorten_log();
  int checkpoint(int mode);
  Error full() const;
  Error failure(const SQLite::Exception& exception, std::string_view doing);
  static int wait_while_busy(void* self, int tries);
  static int note_log_size(void* self, sqlite3*, const char*, int frames);

  const std::string path_;  // without symbolic links
  const FileIdentity identity_;
  const StoreOptions options_;
  FileTurn turn_;  // before connection_, so that it is closed after it
  std::optional<Connection> connection_;
  std::array<std::string, kCompanions.size()> companion_paths_;
  std::array<std::optional<FileIdentity>, kCompanions.size()> companions_;  // of the connection
  bool must_recover_ = false;                                               // see distrust_log()
  bool knows_log_ = false;                // all that was in it when it was opened is on the disk
  std::optional<std::uint32_t> settled_;  // the data_version() that is known to be there
  std::optional<std::uint32_t> ours_;     // the data_version() whose latest commit is ours
  bool log_grew_ = false;                 // by our latest commit
  bool applied_ = false;                  // the latest batch was, as a whole
  int page_bytes_ = kPageBytes;
  std::int64_t log_bytes_ = 0;  // as of our latest commit
  std::int64_t checkpoint_interval_ = kShortestLogBytes;
  std::int64_t checkpoint_due_ = kShortestLogBytes;
  steady_clock::time_point last_checkpoint_;
  steady_clock::time_point next_sweep_;
  steady_clock::time_point next_tidy_;
  std::int64_t ends_set_ = 0;  // by the batch: counters that it wrote and that have an end
  Deadline deadline_;          // of the call that runs
  // The rows that were read or written lately, as of the data_version() rows_version_: while
  // nobody else commits, a change of a counter need not read what the last one wrote.
  std::unordered_map<std::string, Counter> counters_;
  std::optional<std::uint32_t> rows_version_;
  std::vector<Counter*> batch_counters_;  // those of counters_ that the batch is about
};

Result<void> SqliteStore::open(Deadline deadline) {
  deadline_ = deadline;
  if (const Result<void> turn = turn_.take(deadline); !turn) return turn.error();
  Result<void> connected = connect();
  turn_.yield();
  return connected;
}

Result<void> SqliteStore::connect() {
  Result<void> connected = try_to_connect();
  if (!connected) connection_.reset();
  return connected;
}

Result<void> SqliteStore::try_to_connect() {
  connection_.reset();
  knows_log_ = false;
  settled_.reset();
  ours_.reset();
  forget_rows();
  const bool was_empty = is_empty(path_ + "-wal");
  const bool watching = configure_sqlite();
  const int recoveries = recoveries_seen;
  try {
    connection_.emplace(path_, options_.sync);
    sqlite3* handle = connection_->database.getHandle();
    sqlite3_busy_handler(handle, &wait_while_busy, this);
    sqlite3_wal_autocheckpoint(handle, 0);
    sqlite3_wal_hook(handle, &note_log_size, this);  // after it: both set the one hook
    sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    if (const Result<void> ours = check_application(); !ours) return ours.error();
    connection_->prepare(options_);
    remember_companions();
    // The alarm behind the opening of the log: what was raised before is heard, and the kernel
    // tells of what fails from then on.
    const bool is_first = !watching || recoveries_seen != recoveries;
    const bool sealed = is_first && is_sealed(companion_paths_[0], kLongestSealedBytes);
    if (must_recover_ || (is_first && !sealed) || turn_.hears_alarm()) return recover();
    knows_log_ = sealed || was_empty;
    if (sealed) settled_ = data_version();
  } catch (const SQLite::Exception& exception) {
    // What may pass by itself. SQLite says of a read that the disk failed, too, that the database
    // is malformed.
    constexpr std::array passing = {SQLITE_BUSY,    SQLITE_IOERR,    SQLITE_FULL,    SQLITE_NOMEM,
                                    SQLITE_CORRUPT, SQLITE_CANTOPEN, SQLITE_PROTOCOL};
    const bool passes = is_one_of(passing, exception.getErrorCode());
    return Error{passes ? Code::kUnavailable : Code::kConfig,
                 "cannot open the database " + path_ + ": " + exception.what()};
  }
  return {};
}

// Refuses a database that is not ours or is newer than this program; makes or migrates the schema.
Result<void> SqliteStore::check_application() {
  SQLite::Database& database = connection_->database;
  const int application = database.execAndGet("PRAGMA application_id").getInt();
  const int version = database.execAndGet("PRAGMA user_version").getInt();
  const bool blank = application == 0 && version == 0 &&
                     database.execAndGet("SELECT count(*) FROM sqlite_schema").getInt() == 0;
  if (!blank && application != kApplicationId) {
    return Error{Code::kConfig, "the database " + path_ +
                                    " belongs to another application; name another file with "
                                    "--store sqlite:PATH"};
  }
  if (version > kSchemaVersion) {
    return Error{Code::kConfig, "the database " + path_ + " has version " +
                                    std::to_string(version) + ", this program knows versions to " +
                                    std::to_string(kSchemaVersion) + "; install a newer counterd"};
  }
  if (blank) database.exec("PRAGMA page_size = " + std::to_string(kPageBytes));
  page_bytes_ = database.execAndGet("PRAGMA page_size").getInt();
  // Not inside a transaction: SQLite changes the journal mode only outside of one.
  const std::string mode = database.execAndGet("PRAGMA journal_mode = WAL").getString();
  if (mode != "wal") {
    return Error{Code::kConfig, "the database " + path_ + " cannot use a write-ahead log"};
  }
  migrate(version);
  return {};
}

void SqliteStore::migrate(int from_version) {
  if (from_version == kSchemaVersion) return;
  SQLite::Database& database = connection_->database;
  database.exec("BEGIN IMMEDIATE");
  if (from_version < 1) {
    database.exec(
        "CREATE TABLE counters (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL, "
        "created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT, WITHOUT ROWID");
  }
  if (from_version < 2) SqliteKeys::create(database);
  if (from_version < 3) SqliteKeys::add_groups(database);
  if (from_version < 4) {
    database.exec("ALTER TABLE counters ADD COLUMN expires_at INTEGER");
    // Of those that have an end alone: it costs the others nothing.
    database.exec(
        "CREATE INDEX counters_by_end ON counters (expires_at) WHERE expires_at IS NOT NULL");
  }
  if (from_version < 5) database.exec("ALTER TABLE counters ADD COLUMN window TEXT");
  database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
  database.exec("PRAGMA user_version = " + std::to_string(kSchemaVersion));
  database.exec("COMMIT");
}

// Makes the log whole on the disk, then moves it into the database, synced, and empties it. What a
// failed fsync has left in the page cache looks written, and a later fsync says it is: only writing
// it again makes it so. First where it is: if the power fails amid the move, what the database has
// got already must not be newer than the log that is found.
Result<void> SqliteStore::recover() {
  if (const Result<void> whole = write_log_again(); !whole) {
    distrust_log();
    return whole.error();
  }
  int code = move_again(connection_->database.getHandle());
  if (code == SQLITE_OK) code = checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
  if (code != SQLITE_OK) {
    distrust_log();
    return Error{Code::kUnavailable,
                 "cannot recover the database " + path_ + ": " + sqlite3_errstr(code)};
  }
  must_recover_ = false;
  knows_log_ = true;
  turn_.end_alarm();
  return {};
}

// Writes all bytes of the log as they are; a checkpoint syncs them before it moves any.
// REQUIRES: the turn is held
Result<void> SqliteStore::write_log_again() {
  constexpr std::size_t kPiece = 1 << 20;
  const auto failed = [this] {
    return system_error(Code::kUnavailable, "cannot write the log of " + path_ + " again", errno);
  };
  const UniqueFd log(::open((path_ + "-wal").c_str(), O_RDWR | O_CLOEXEC));
  if (!log) return failed();
  connection_->database.exec("BEGIN IMMEDIATE");  // another program may not know of the turn
  const auto piece = std::make_unique_for_overwrite<char[]>(kPiece);
  bool written = true;
  for (off_t at = 0; written;) {
    const ssize_t size = pread(log.get(), piece.get(), kPiece, at);
    if (size == 0) break;
    written =
        size > 0 && pwrite(log.get(), piece.get(), static_cast<std::size_t>(size), at) == size;
    at += size;
  }
  const int error = errno;
  connection_->database.exec("ROLLBACK");
  errno = error;
  return written ? Result<void>() : failed();
}

// After an I/O error: what is shown may not be on the disk, until recover().
void SqliteStore::distrust_log() {
  must_recover_ = true;
  turn_.raise_alarm();
}

// Spares the next one the recovery, if all that it would find in the log is known to be on the
// disk: also what others wrote before it was opened, whose failures were told to them, and nothing
// behind our latest commit, as one leaves that ends before it tells of its own.
void SqliteStore::seal() {
  if (!knows_log_ || must_recover_) return;
  deadline_ = steady_clock::now();  // who is in the way goes on with the log
  if (!turn_.take(deadline_)) return;
  try {
    run(*connection_->write_begin);  // another program may not know of the turn
    const bool ends_with_ours = ours_ == data_version();
    if (ends_with_ours && is_settled() && !turn_.hears_alarm() && check_file()) {
      seal_log(companion_paths_[0], static_cast<std::size_t>(log_bytes_ / page_bytes_),
               kLongestSealedBytes);
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
  Result<void> recovered = check_file();
  if (recovered) recovered = connect();
  if (!recovered) turn_.yield();
  return recovered;
}

void SqliteStore::yield_turn() {
  turn_.yield();
}

void SqliteStore::tidy() {
  if (log_bytes_ < checkpoint_due_ && !must_recover_) return;
  const steady_clock::time_point now = steady_clock::now();
  if (now < next_tidy_ && !must_recover_) return;
  if (!take_turn(now + kTidyPatience)) {
    next_tidy_ = now + kTidyPause;
    return;
  }
  if (log_bytes_ >= checkpoint_due_) shorten_log();
  turn_.yield();
}

void SqliteStore::shorten_log() {
  const bool restart = log_bytes_ >= kRestartBytes;
  // The longer the log has become, the longer it is worth to wait.
  const steady_clock::time_point start = steady_clock::now();
  deadline_ = start + kRestartPatience * (log_bytes_ / kRestartBytes);
  const int code = checkpoint(restart ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE);
  // What found no room, or was kept off by others, is in the log as before.
  constexpr std::array harmless = {SQLITE_OK, SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL};
  if (!is_one_of(harmless, code)) distrust_log();
  const steady_clock::time_point end = steady_clock::now();
  checkpoint_interval_ = next_interval(checkpoint_interval_, end - start, end - last_checkpoint_);
  last_checkpoint_ = end;
  checkpoint_due_ = log_bytes_ + checkpoint_interval_;
}

// REQUIRES: the turn is held
int SqliteStore::checkpoint(int mode) {
  return sqlite3_wal_checkpoint_v2(connection_->database.getHandle(), nullptr, mode, nullptr,
                                   nullptr);
}

// What a store that only reads must do first: recover, if that is due.
Result<void> SqliteStore::make_readable(Deadline deadline) {
  if (must_recover_) {
    if (const Result<void> turn = take_turn(deadline); !turn) return turn.error();
    turn_.yield();
  }
  deadline_ = deadline;
  return check_file();
}

// Commits into a deleted or replaced file succeed without a word, so each batch looks.
Result<void> SqliteStore::check_file() const {
  const std::optional<FoundFile> now = look_at(path_);
  if (!now) {
    return system_error(Code::kUnavailable, "the database " + path_ + " is gone", errno);
  }
  if (now->identity != identity_) {
    return Error{Code::kUnavailable, "the database " + path_ +
                                         " was replaced by another file while it was in use; "
                                         "put the first one back, or restart"};
  }
  if (now->links != 1) {
    return Error{Code::kUnavailable,
                 "the database " + path_ + " has got a hard link, which would split its log"};
  }
  return check_companions();
}

void SqliteStore::remember_companions() {
  for (std::size_t i = 0; i < kCompanions.size(); ++i) {
    companion_paths_[i] = path_ + kCompanions[i];
    companions_[i] = identify(companion_paths_[i]);
  }
}

Result<void> SqliteStore::check_companions() const {
  for (std::size_t i = 0; i < kCompanions.size(); ++i) {
    if (companions_[i] && identify(companion_paths_[i]) == companions_[i]) continue;
    return Error{Code::kUnavailable,
                 "the file " + companion_paths_[i] +
                     ", a part of the database, was removed or replaced while it was in use; end "
                     "all processes that use the database, then put the file back or restore a "
                     "backup"};
  }
  return {};
}

// REQUIRES: a transaction is open
Result<void> SqliteStore::check_version() {
  SQLite::Statement& version = *connection_->version;
  version.executeStep();
  const int found = version.getColumn(0).getInt();
  version.reset();
  if (found == kSchemaVersion) return {};
  return Error{Code::kUnavailable, "the database " + path_ + " was changed to version " +
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
    return;  // those behind it have failed with the changes
  }
}

Result<void> SqliteStore::change_counters(std::span<Step> batch) {
  if (const Result<void> file = check_file(); !file) return file.error();
  try {
    if (const Result<void> begun = begin_batch(*connection_->write_begin); !begun) {
      return begun.error();
    }
    const std::int64_t now_ms = unix_now_ms();
    const auto keyed = std::count_if(batch.begin(), batch.end(),
                                     [](const Step& step) { return is_keyed(step.operation); });
    SqliteKeys& keys = *connection_->keys;
    if (keyed > 0) keys.begin(static_cast<std::size_t>(keyed), now_ms);
    for (Step& step : batch) {
      step.outcome = is_keyed(step.operation) ? apply_once(step.operation, now_ms)
                                              : apply_operation(step.operation, now_ms);
    }
    if (keyed > 0) keys.finish();
    write_changed();
    sweep(now_ms);
  } catch (const SQLite::Exception& exception) {
    return failure(exception, "cannot change the database ");
  }
  if (const Result<void> committed = commit(); !committed) return committed.error();
  end_batch();
  return {};
}

// Begins the transaction, with what is remembered of rows, if it is still so.
Result<void> SqliteStore::begin_batch(SQLite::Statement& begin) {
  run(begin);
  if (const Result<void> version = check_version(); !version) return version.error();
  const bool others_have_committed = rows_version_ != data_version();
  if (others_have_committed || counters_.size() > kMostRowsRemembered) forget_rows();
  return {};
}

// REQUIRES: the transaction has ended as it should
void SqliteStore::end_batch() {
  for (Counter* counter : batch_counters_) {
    // What ends may leave the table without a word, when it is swept.
    if (counter->expires_at_ms != 0) {
      counters_.erase(counters_.find(*counter->name));
      continue;
    }
    counter->stored = counter->exists;
    counter->keeps_end = true;
    counter->in_batch = counter->changed = false;
  }
  batch_counters_.clear();
  rows_version_ = data_version();
}

void SqliteStore::forget_rows() {
  counters_.clear();
  batch_counters_.clear();
  rows_version_.reset();
}

Outcome SqliteStore::apply_operation(const Operation& operation, std::int64_t now_ms) {
  if (is_group(operation)) return apply_group(operation, now_ms);
  return apply_to(load_for(operation, now_ms), operation, now_ms);
}

Outcome SqliteStore::apply_group(const Operation& group, std::int64_t now_ms) {
  Outcome outcome;
  outcome.members.reserve(group.members.size());
  const bool all = group.kind == OperationKind::kAll;
  std::vector<std::pair<Counter*, Counter>> before;
  for (const Operation& member : group.members) {
    Counter& counter = load_for(member, now_ms);
    if (all) before.emplace_back(&counter, counter);
    outcome.members.push_back(apply_to(counter, member, now_ms));
    if (!all || outcome.members.back().code == Code::kOk) continue;
    outcome.code = outcome.members.back().code;
    // The last one first: a counter that comes more than once gets what it was before all of them.
    for (; !before.empty(); before.pop_back()) *before.back().first = before.back().second;
    break;
  }
  return outcome;
}

// Applies a change unless it was applied under its key before.
Outcome SqliteStore::apply_once(const Operation& operation, std::int64_t now_ms) {
  SqliteKeys& keys = *connection_->keys;
  if (const std::optional<Outcome> before = keys.find(operation)) return *before;
  Outcome outcome = apply_operation(operation, now_ms);
  if (outcome.code == Code::kOk) keys.keep(operation, outcome);
  return outcome;
}

Result<void> SqliteStore::report_counters(std::span<Step> batch) {
  if (const Result<void> readable = make_readable(deadline_); !readable) return readable.error();
  try {
    if (const Result<void> begun = begin_batch(*connection_->read_begin); !begun) {
      return begun.error();
    }
    const std::int64_t now_ms = unix_now_ms();
    for (Step& step : batch) step.outcome = apply_operation(step.operation, now_ms);
    run(*connection_->commit);
    end_batch();
  } catch (const SQLite::Exception& exception) {
    return failure(exception, "cannot read the database ");
  }
  return settle_log();
}

// The counter as the batch has made it so far, with what the operation must know of it.
Counter& SqliteStore::load_for(const Operation& operation, std::int64_t now_ms) {
  Counter& counter = load(operation.name, now_ms);
  if (asks_for_window(operation) && counter.exists && !counter.window) {
    counter.window = read_window(operation.name);
  }
  return counter;
}

std::string SqliteStore::read_window(const std::string& name) {
  SQLite::Statement& select = *connection_->select_window;
  select.bindNoCopy(1, name);
  select.executeStep();
  std::string window = select.getColumn(0).getString();  // empty for NULL
  select.reset();
  return window;
}

Counter& SqliteStore::load(const std::string& name, std::int64_t now_ms) {
  const auto [found, fresh] = counters_.try_emplace(name);
  Counter& counter = found->second;
  if (counter.in_batch) return counter;
  if (fresh) {
    counter.name = &found->first;
    read_row(counter);
  }
  counter.exists = counter.stored && !has_passed(counter.expires_at_ms, now_ms);
  counter.in_batch = true;
  batch_counters_.push_back(&counter);
  return counter;
}

void SqliteStore::read_row(Counter& counter) {
  SQLite::Statement& select = *connection_->select;
  select.bindNoCopy(1, *counter.name);
  if (select.executeStep()) {
    counter.stored = true;
    counter.value = select.getColumn(0).getInt64();
    counter.created_at_ms = select.getColumn(1).getInt64();
    counter.updated_at_ms = select.getColumn(2).getInt64();
    counter.expires_at_ms = select.getColumn(3).getInt64();  // 0 for NULL
  }
  select.reset();
}

// One row for each counter that the batch has changed, however often.
void SqliteStore::write_changed() {
  ends_set_ = 0;
  for (const Counter* counter : batch_counters_) {
    if (!counter->changed || (!counter->exists && !counter->stored)) continue;
    if (counter->exists) {
      write(*counter);
      continue;
    }
    connection_->erase->bindNoCopy(1, *counter->name);
    run(*connection_->erase);
  }
}

void SqliteStore::bind_end(SQLite::Statement& statement, const Counter& counter) {
  statement.bind(5);
  statement.bind(6);
  if (counter.expires_at_ms == 0) return;
  statement.bind(5, counter.expires_at_ms);
  ++ends_set_;
  if (!counter.window->empty()) statement.bindNoCopy(6, *counter.window);
}

void SqliteStore::write(const Counter& counter) {
  const bool updates = counter.stored && counter.keeps_end;
  SQLite::Statement& statement = updates ? *connection_->update : *connection_->upsert;
  statement.bindNoCopy(1, *counter.name);
  statement.bind(2, counter.value);
  statement.bind(4, counter.updated_at_ms);
  if (!updates) {
    statement.bind(3, counter.created_at_ms);
    bind_end(statement, counter);
  }
  const int rows = statement.exec();
  statement.reset();
  // A trigger of somebody's can keep a row as it was, without a word.
  if (rows != 1) throw SQLite::Exception("a counter was not written", SQLITE_MISMATCH);
}

// Deletes some of the counters that have ended, now and then: what a batch pays for them is
// bounded.
void SqliteStore::sweep(std::int64_t now_ms) {
  const steady_clock::time_point now = steady_clock::now();
  const bool due = now >= next_sweep_;
  if (!due && ends_set_ == 0) return;
  if (due) next_sweep_ = now + kSweepPause;
  SQLite::Statement& statement = *connection_->sweep;
  statement.bind(1, now_ms);
  statement.bind(2, (due ? kSweptRows : 0) + kSweptForEach * ends_set_);
  run(statement);
}

// Whatever stops a COMMIT, the next start may find it in the log and complete it; but for a write
// that found no room: it is the last frame that makes a commit, and that has not been written.
Result<void> SqliteStore::commit() {
  sqlite3* handle = connection_->database.getHandle();
  const bool was_settled = is_settled();
  const bool was_ours = ours_ == data_version();
  log_grew_ = false;
  leave_commits_unsynced(handle, true);
  const int code = connection_->commit->tryExecuteStep();
  connection_->commit->tryReset();
  leave_commits_unsynced(handle, false);
  if (code == SQLITE_DONE) {
    if (was_settled && !log_grew_) settled_ = data_version();
    if (was_ours || log_grew_) ours_ = data_version();
    return {};
  }
  if (code == SQLITE_FULL) return full();
  distrust_log();
  return Error{Code::kUnknown, "the commit to " + path_ + " failed: " + sqlite3_errstr(code)};
}

void SqliteStore::settle(std::span<Step> batch) {
  if (!applied_) return;
  if (const Result<void> settled = settle_log(); !settled) fail_batch(batch, settled.error());
}

// Syncs the log, unless what the connection has changed and seen is known to be on the disk.
Result<void> SqliteStore::settle_log() {
  if (options_.sync != Sync::kFull || is_settled()) return {};
  const int code = sync_log(connection_->database.getHandle());
  if (code == SQLITE_OK) {
    settled_ = data_version();
    return {};
  }
  distrust_log();
  return Error{Code::kUnknown,
               "the sync of the log of " + path_ + " failed: " + sqlite3_errstr(code)};
}

bool SqliteStore::is_settled() {
  return settled_ == data_version();
}

// Another one after each commit of ours, and where a transaction has found one of others.
std::uint32_t SqliteStore::data_version() {
  std::uint32_t version = 0;
  sqlite3_file_control(connection_->database.getHandle(), "main", SQLITE_FCNTL_DATA_VERSION,
                       &version);
  return version;
}

// Leaves no transaction open. A ROLLBACK that fails leaves none either
// (sqlite.org/lang_transaction).
void SqliteStore::roll_back() {
  forget_rows();
  ours_.reset();
  if (!connection_) return;
  sqlite3* handle = connection_->database.getHandle();
  for (auto* statement : {&connection_->read_begin, &connection_->write_begin, &connection_->commit,
                          &connection_->version, &connection_->select, &connection_->select_window,
                          &connection_->update, &connection_->upsert, &connection_->erase,
                          &connection_->list, &connection_->sweep}) {
    (*statement)->tryReset();
  }
  connection_->keys->reset();
  if (sqlite3_get_autocommit(handle) == 0) {
    sqlite3_exec(handle, "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

Error SqliteStore::full() const {
  return {Code::kStoreFull, "no room for the change on the disk of the database " + path_ +
                                "; make room, then ask again"};
}

// What `exception`, met before a commit, means: nothing has happened.
Error SqliteStore::failure(const SQLite::Exception& exception, std::string_view doing) {
  const int code = exception.getErrorCode();
  if (code == SQLITE_FULL) return full();
  if (code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_NOTADB) distrust_log();
  return {Code::kUnavailable, std::string(doing) + path_ + ": " + exception.what()};
}

Result<ListPage> SqliteStore::list(const ListQuery& query, Deadline deadline) {
  if (const Result<void> readable = make_readable(deadline); !readable) return readable.error();
  // No name has a character below '-' or above 'z', so these bounds lie between names.
  const std::string behind = query.after + '\x01';
  const std::string& from = query.after.empty() || behind < query.prefix ? query.prefix : behind;
  const std::string to = query.prefix + '\x7f';
  ListPage page;
  try {
    SQLite::Statement& rows = *connection_->list;
    rows.bindNoCopy(1, from);
    rows.bindNoCopy(2, to);
    rows.bind(3, static_cast<std::int64_t>(query.limit) + 1);
    const std::int64_t now_ms = unix_now_ms();
    // Those that have ended are counted with the others: a page takes no longer for them.
    std::string last;
    for (std::size_t seen = 0; rows.executeStep(); ++seen) {
      if (seen == query.limit) {
        page.next = std::move(last);
        break;
      }
      last = rows.getColumn(0).getString();
      const bool has_ended = has_passed(rows.getColumn(2).getInt64(), now_ms);
      if (!has_ended) page.rows.push_back({last, rows.getColumn(1).getInt64()});
    }
    rows.reset();
  } catch (const SQLite::Exception& exception) {
    const Error error = failure(exception, "cannot read the database ");
    roll_back();
    return error;
  }
  if (const Result<void> settled = settle_log(); !settled) {
    return Error{Code::kUnavailable, settled.error().message};
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
  return {"sqlite", path_,
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

int SqliteStore::note_log_size(void* self, sqlite3*, const char*, int frames) {
  auto* store = static_cast<SqliteStore*>(self);
  const std::int64_t bytes = std::int64_t{frames} * store->page_bytes_;
  const bool began_anew = bytes < store->log_bytes_;
  if (began_anew) store->checkpoint_due_ = store->checkpoint_interval_;
  store->log_bytes_ = bytes;
  store->log_grew_ = true;
  return SQLITE_OK;
}

// The file's path without symbolic links, also if the file is yet to be made.
Result<std::string> resolve(const std::string& path) {
  std::error_code failure;
  // Absolute first: weakly_canonical() leaves a relative path to a missing file relative.
  const std::filesystem::path absolute = std::filesystem::absolute(path, failure);
  const std::filesystem::path resolved =
      failure ? absolute : std::filesystem::weakly_canonical(absolute, failure);
  if (failure) return system_error(Code::kConfig, "the database " + path, failure.value());
  const std::string directory = resolved.parent_path();
  struct stat found {};
  if (stat(directory.c_str(), &found) != 0) {
    return system_error(Code::kConfig, "the folder " + directory + " of the database", errno);
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    return system_error(Code::kConfig,
                        "the folder " + directory + " of the database must be writable", errno);
  }
  return resolved.string();
}

// What a failed system call on the database means: some failures pass by themselves.
Code code_of(int error) {
  constexpr std::array passing = {EMFILE, ENFILE, ENOMEM, EIO, ENOSPC, EDQUOT, EINTR};
  return is_one_of(passing, error) ? Code::kUnavailable : Code::kConfig;
}

// Opens or makes the file. A new one is for its owner, or for a group where the folder is.
Result<UniqueFd> open_file(const std::string& path, bool create) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  UniqueFd file(open(path.c_str(), kFlags));
  if (!file && errno == ENOENT && create) {
    struct stat folder {};
    stat(std::filesystem::path(path).parent_path().c_str(), &folder);
    // A folder that is everybody's, as /tmp, says nothing about who shares the file.
    const bool shared = (folder.st_mode & S_IWGRP) != 0 && (folder.st_mode & S_IWOTH) == 0;
    const mode_t mode = shared ? 0660 : 0600;
    file = UniqueFd(open(path.c_str(), kFlags | O_CREAT | O_EXCL, mode));
    if (file) fchmod(file.get(), mode);  // the umask may have taken the group away
    if (!file && errno == EEXIST) file = UniqueFd(open(path.c_str(), kFlags));
  }
  if (!file) return system_error(code_of(errno), "cannot open the database " + path, errno);
  return file;
}

Result<struct stat> check_kind(const std::string& path, int file) {
  struct stat found {};
  struct statfs system {};
  if (fstat(file, &found) != 0 || fstatfs(file, &system) != 0) {
    return system_error(code_of(errno), "cannot examine the database " + path, errno);
  }
  const auto refuse = [&](const std::string& why) {
    return Error{Code::kConfig, "the database " + path + " " + why};
  };
  if (!S_ISREG(found.st_mode)) return refuse("is not a regular file");
  if (found.st_nlink != 1) {
    return refuse("has " + std::to_string(found.st_nlink) +
                  " hard links, which would split its log; leave one");
  }
  if ((found.st_mode & S_IRWXO) != 0) {
    return refuse("is open to every user, who could then hold its lock; run: chmod o= " + path);
  }
  if (const std::string_view name = network_file_system(system.f_type); !name.empty()) {
    return refuse("is on a network file system (" + std::string(name) +
                  "), where SQLite cannot share it safely; use a local disk or Redis");
  }
  return found;
}

}  // namespace

std::string_view network_file_system(long type) {
  struct Known {
    unsigned long type;
    std::string_view name;
  };
  // Those of linux/magic.h, and others from statfs(2) and the file systems' own sources.
  constexpr std::array kKnown = {
      Known{NFS_SUPER_MAGIC, "NFS"},     Known{SMB_SUPER_MAGIC, "SMB"}, Known{0xff534d42, "CIFS"},
      Known{0xfe534d42, "SMB2"},         Known{AFS_SUPER_MAGIC, "AFS"}, Known{0x6b414653, "AFS"},
      Known{CODA_SUPER_MAGIC, "Coda"},   Known{V9FS_MAGIC, "9P"},       Known{0x00c36400, "Ceph"},
      Known{OCFS2_SUPER_MAGIC, "OCFS2"}, Known{0x0bd00bd0, "Lustre"},   Known{0x47504653, "GPFS"},
      Known{0x01161970, "GFS2"},         Known{0x65735546, "FUSE"},
  };
  for (const Known& known : kKnown) {
    if (static_cast<unsigned int>(type) == known.type) return known.name;
  }
  return {};
}

Result<std::unique_ptr<Store>> open_sqlite_store(const SqliteLocation& location,
                                                 const StoreOptions& options) {
  const Result<std::string> path = resolve(location.path);
  if (!path) return path.error();
  if (options.require_durable && options.sync != Sync::kFull) {
    return Error{Code::kConfig, "--require-durable needs --sync full"};
  }
  Result<UniqueFd> file = open_file(*path, options.create);
  if (!file) return file.error();
  const Result<struct stat> identity = check_kind(*path, file->get());
  if (!identity) return identity.error();
  auto store = std::make_unique<SqliteStore>(*path, std::move(*file), *identity, options);
  if (const Result<void> opened = store->open(steady_clock::now() + options.timeout); !opened) {
    return opened.error();
  }
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace counterd
