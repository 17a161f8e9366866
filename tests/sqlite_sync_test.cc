// When the sqlite engine syncs its log, and what it does when a sync or a write fails. The test
// program's own fdatasync() and pwrite64(), which SQLite calls as well, count and fail as they are
// told.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <optional>
#include <string_view>
#include <thread>

#include "common/store/file_signs.h"
#include "common/store/sqlite_shm.h"
#include "common/store/sqlite_vfs.h"
#include "common/unique_fd.h"
#include "tests/catch.h"
#include "tests/child_process.h"
#include "tests/sqlite_place.h"
#include "tests/steps.h"
#include "tests/temporary_directory.h"

namespace {

std::atomic<int> syncs;
std::atomic<int> full_syncs;         // by fsync()
std::atomic<int> sync_ms;            // how much longer each takes
std::atomic<int> failing_syncs;      // that are still to fail
std::atomic<int> spared_syncs;       // that do not fail before them
std::atomic<int> write_error;        // of all writes; 0: they do not fail
std::atomic<std::size_t> cut_bytes;  // of the end of a page: only these are not written; 0: all
std::atomic<const char*> only_file;  // whose name ends like this fails; null: every one
std::function<void()> when_syncing;  // called by each sync before it begins
std::atomic<const char*> unseen;     // a file whose name ends like this cannot be looked at

}  // namespace

// What the disk has of a file whose pages are forgotten when they cannot be written: the file as of
// its last sync.
class ForgetfulDisk {
 public:
  explicit ForgetfulDisk(std::filesystem::path file) : file_(std::move(file)) { keep(); }
  bool is_of(int fd) const {
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)) == file_;
  }
  void keep() { bytes_ = counterd::contents_of(file_); }
  void forget() const {
    const auto size = std::filesystem::file_size(file_);
    std::string bytes = bytes_;
    bytes.resize(size);  // what was never written reads as zeros
    std::ofstream(file_, std::ios::binary | std::ios::in).write(bytes.data(), bytes.size());
  }

 private:
  const std::filesystem::path file_;
  std::string bytes_;
};
ForgetfulDisk* forgetful_disk = nullptr;

extern "C" int fdatasync(int fd) {
  ++syncs;
  if (when_syncing) when_syncing();
  ForgetfulDisk* const disk =
      forgetful_disk != nullptr && forgetful_disk->is_of(fd) ? forgetful_disk : nullptr;
  std::this_thread::sleep_for(std::chrono::milliseconds(sync_ms));
  if (spared_syncs > 0) {
    --spared_syncs;
  } else if (failing_syncs > 0) {
    --failing_syncs;
    if (disk != nullptr) disk->forget();
    errno = EIO;
    return -1;
  }
  if (disk != nullptr) disk->keep();
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

extern "C" int fsync(int fd) {
  ++full_syncs;
  return static_cast<int>(syscall(SYS_fsync, fd));
}

extern "C" ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  const auto is_it = [&] {
    const std::filesystem::path link = "/proc/self/fd/" + std::to_string(fd);
    return std::filesystem::read_symlink(link).extension() == only_file.load();
  };
  if (write_error != 0 && (only_file == nullptr || is_it()) &&
      (cut_bytes == 0 || size == cut_bytes)) {
    errno = write_error;
    return -1;
  }
  const bool has_page = size >= 1'024;
  return syscall(SYS_pwrite64, fd, bytes, has_page ? size - cut_bytes : size, offset);
}

extern "C" int statx(int folder, const char* path, int flags, unsigned mask, struct statx* found) {
  if (unseen != nullptr && (mask & STATX_INO) != 0 && std::string_view(path).ends_with(unseen)) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_statx, folder, path, flags, mask, found));
}

namespace counterd {
namespace {

using std::chrono::steady_clock;

int syncs_of(const std::function<void()>& action) {
  const int before = syncs;
  action();
  return syncs - before;
}

// What `action` returns when writes fail meanwhile, of the files alone whose names end like `file`,
// if that is not null.
template <class Action>
auto while_writes_fail(int error, const char* file, Action action) {
  struct Failing {
    ~Failing() {
      write_error = 0;
      only_file = nullptr;
    }
  } failing;
  write_error = error;
  only_file = file;
  return action();
}

// A database with a counter that holds 1, and stores on it. It has no log, as other programs leave
// it: the first change begins one.
struct Place : SqlitePlace {
  Place() {
    run_one(*open(), increment_of("a"));
    checkpoint("TRUNCATE");
  }
  // As another program makes it.
  void checkpoint(const std::string& mode) const {
    SQLite::Database(path(), SQLite::OPEN_READWRITE)
        .execAndGet("PRAGMA wal_checkpoint(" + mode + ")");
  }
  // In the middle of the log.
  void spoil_log() const {
    std::fstream log(wal_path(), std::ios::binary | std::ios::in | std::ios::out);
    log.seekp(static_cast<std::streamoff>(wal_size() / 2)).put('\x2a');
  }
};

struct OneStore {
  const Place place;
  std::unique_ptr<Store> store = place.open();
};
#define ON_SQLITE(name) TEST_CASE_METHOD(OneStore, name, "[sqlite]")

// Another program's connection, which has read the database.
struct Another : SQLite::Database {
  explicit Another(const Place& place) : Database(place.path(), SQLite::OPEN_READWRITE) {
    execAndGet("SELECT count(*) FROM counters");
  }
  sqlite3_file* file() { return database_file(getHandle()); }
};

// Whether SQLite finds nothing wrong with the database.
bool is_sound(const Place& place) {
  SQLite::Database database(place.path(), SQLite::OPEN_READONLY);
  return database.execAndGet("PRAGMA integrity_check").getString() == "ok";
}

// As who opens what the files hold now finds it.
std::optional<std::int64_t> value_in_files(const Place& place, const std::string& name) {
  const SqlitePlace copy;
  for (const std::string end : {"", "-wal"}) {
    if (!std::filesystem::exists(place.path() + end)) continue;
    std::filesystem::copy_file(place.path() + end, copy.path() + end);
  }
  return value_of(*copy.open(), name);
}

// The database is what its disk has; the log is as it is.
std::optional<std::int64_t> value_after_power_failure(const Place& place, const ForgetfulDisk& disk,
                                                      const std::string& name) {
  disk.forget();
  return value_in_files(place, name);
}

// A batch that is not asked for its outcomes yet.
void apply_unsynced(Store& store, std::span<Step> batch) {
  REQUIRE(store.take_turn(patiently()));
  store.apply(batch, patiently());
  store.yield_turn();
}

void apply_unsynced(Store& store, Step step) {
  apply_unsynced(store, {&step, 1});
}

// A change whose sync fails after it was made.
void fail_sync_of(Store& store, Step change) {
  apply_unsynced(store, {&change, 1});
  failing_syncs = 1;
  store.make_durable({&change, 1});
  CHECK(change.outcome.code == Code::kUnknown);
}

std::vector<Step> large_batch(const std::string& prefix = "counter-") {
  return increments_of_many(900, prefix);
}

// Without the housekeeping.
void change(Store& store, std::vector<Step> batch = large_batch()) {
  apply_unsynced(store, batch);
  store.make_durable(batch);
}

// So long that a checkpoint is due.
void lengthen_log(const Place& place, Store& store) {
  while (place.wal_size() < 2 << 20) change(store);
}

ON_SQLITE("a change is synced after the turn, and before its outcome holds") {
  const auto other = place.open();
  run_one(*store, increment_of("a"));  // the log begins, which is synced at once
  Step step = increment_of("a");
  REQUIRE(store->take_turn(patiently()));
  CHECK(syncs_of([&] {
          store->apply({&step, 1}, patiently());
          store->yield_turn();
        }) == 0);
  CHECK(other->take_turn(patiently()));
  CHECK(syncs_of([&] { store->make_durable({&step, 1}); }) == 1);
  other->yield_turn();
  CHECK(step.outcome.code == Code::kOk);
  CHECK(step.outcome.value == 3);
}

ON_SQLITE(
    "a change is one sync, and none if it changes nothing or need not survive a power failure") {
  run_one(*store, increment_of("a"));
  CHECK(syncs_of([&] { run_one(*store, increment_of("a")); }) == 1);
  CHECK(syncs_of([&] { run_one(*store, within(increment_of("a"), {}, 0)); }) == 0);
  CHECK(syncs_of([&] { run_one(*store, report_of("a")); }) == 0);
  const auto normal = place.open(Sync::kNormal);
  CHECK(syncs_of([&] { run_one(*normal, increment_of("a")); }) == 0);
  place.checkpoint("RESTART");
  // The log restarts: the database, its first bytes, and the folder, once for each connection.
  CHECK(syncs_of([&] { run_one(*normal, increment_of("a")); }) == 3);
}

ON_SQLITE("what another store has changed is on the disk before it is told") {
  const auto other = place.open();
  run_one(*other, report_of("a"));
  CHECK(syncs_of([&] { run_one(*other, report_of("a")); }) == 0);

  const auto once = [&](const std::function<void()>& look) {
    apply_unsynced(*store, increment_of("a"));
    CHECK(syncs_of(look) == 1);
    CHECK(syncs_of(look) == 0);
  };
  once([&] { CHECK(value_of(*other, "a") == 2); });
  once([&] { CHECK(other->list({"", "", 10}, patiently())->rows.size() == 1); });
  once(
      [&] { CHECK(run_one(*other, within(increment_of("a"), {}, 0)).code == Code::kBeyondBound); });
  apply_unsynced(*store, keyed(increment_of("a"), "k"));
  CHECK(syncs_of([&] { CHECK(run_one(*other, keyed(increment_of("a"), "k")).replayed); }) == 1);
}

ON_SQLITE("a change whose sync fails is unknown, and all is moved to the database after it") {
  run_one(*store, increment_of("a"));
  REQUIRE(place.wal_size() > 0);
  failing_syncs = 1;
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*store, "a") == 3);
  CHECK(run_one(*store, increment_of("a")).value == 4);
}

// Bytes that this process has written, to whatever.
std::uintmax_t bytes_written() {
  std::ifstream counts("/proc/self/io");
  std::string name;
  std::uintmax_t count = 0;
  while (counts >> name >> count && name != "wchar:") continue;
  return count;
}

ON_SQLITE("after a failed sync the whole log is written again where it is") {
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("a"));
  const std::uintmax_t log = place.wal_size();
  const std::uintmax_t before = bytes_written();
  failing_syncs = 1;
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  CHECK(bytes_written() - before > log);
}

ON_SQLITE("a log that cannot be written again is not believed") {
  run_one(*store, increment_of("a"));
  fail_sync_of(*store, increment_of("a"));
  const Outcome refused =
      while_writes_fail(EIO, ".db-wal", [&] { return run_one(*store, report_of("a")); });
  CHECK(refused.code == Code::kUnavailable);
  CHECK(contains(refused.detail, "cannot write again the log"));
  CHECK(value_of(*store, "a") == 3);
}

TEST_CASE("what a failed sync left in memory alone, and the kernel forgot, was never counted",
          "[sqlite]") {
  const Place place;
  const bool is_alone = GENERATE(true, false);
  const auto idle = is_alone ? nullptr : place.open();
  const auto store = place.open();
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  const bool store_reports_first = GENERATE(true, false);
  ForgetfulDisk disk(place.wal_path());
  forgetful_disk = &disk;
  failing_syncs = 1;
  const Code code = run_one(*store, increment_of("b")).code;
  forgetful_disk = nullptr;
  CHECK(code == Code::kUnknown);
  const auto newcomer = place.open();
  CHECK(value_of(store_reports_first ? *store : *newcomer, "b") == 100);
  CHECK(run_one(*store, increment_of("b")).value == 101);
  CHECK(value_of(*newcomer, "b") == 101);
  if (idle) CHECK(value_of(*idle, "a") == 1);
  CHECK(is_sound(place));
}

TEST_CASE("what the database has of a log is not undone by what is left of the log", "[sqlite]") {
  const Place place;
  const bool is_alone = GENERATE(true, false);
  const auto idle = is_alone ? nullptr : place.open();
  const auto store = place.open();
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  const ForgetfulDisk disk(place.wal_path());
  failing_syncs = 2;  // the second one is that of the recovery
  CHECK(run_one(*store, increment_of("b")).code == Code::kUnknown);
  place.checkpoint("PASSIVE");
  disk.forget();
  CHECK(value_of(*store, "b") == 101);
  CHECK(run_one(*store, increment_of("b")).value == 102);
  if (idle) CHECK(value_of(*idle, "b") == 102);
  CHECK(is_sound(place));
}

TEST_CASE("a log that has lost what was acknowledged is refused, and left as it is", "[sqlite]") {
  const Place place;
  const bool is_alone = GENERATE(true, false);
  const auto other = is_alone ? nullptr : place.open();
  auto store = place.open(GENERATE(Sync::kFull, Sync::kNormal));
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  if (GENERATE(true, false)) {
    std::filesystem::resize_file(place.wal_path(), place.wal_size() / 2);
  } else {
    place.spoil_log();
  }
  const std::uintmax_t size = place.wal_size();
  // Unknown, or unavailable where it reads what is lost.
  while_writes_fail(EIO, nullptr, [&] { run_one(*store, increment_of("b")); });
  CHECK(contains(run_one(*store, increment_of("b")).detail, "may have lost a part"));
  SQLite::Database another(place.path(), SQLite::OPEN_READWRITE);
  SQLite::Statement checkpoint(another, "PRAGMA wal_checkpoint");
  REQUIRE(checkpoint.executeStep());
  CHECK(checkpoint.getColumn(0).getInt() == 1);  // kept from moving what is left
  CHECK(run_one(*store, increment_of("b")).code == Code::kUnavailable);
  if (other) {
    CHECK(run_one(*other, increment_of("b")).code == Code::kUnavailable);
    store.reset();
    CHECK(run_one(*other, report_of("b")).code == Code::kUnavailable);
    CHECK_FALSE(other->list({"", "", 10}, patiently()));
    CHECK_FALSE(other->probe(patiently()));
    CHECK_THROWS(place.open());
  }
  CHECK(place.wal_size() >= size);
}

ON_SQLITE("a database that has a part of what is lost of a log is refused") {
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  const ForgetfulDisk disk(place.wal_path());
  SQLite::Database reader(place.path(), SQLite::OPEN_READWRITE);
  std::vector<Step> batch = {increment_of("c")};
  apply_unsynced(*store, batch);
  reader.exec("BEGIN");
  reader.execAndGet("SELECT count(*) FROM counters");
  apply_unsynced(*store, increment_of("d"));
  place.checkpoint("PASSIVE");
  reader.exec("COMMIT");
  failing_syncs = 1;
  store->make_durable(batch);
  CHECK(batch[0].outcome.code == Code::kUnknown);
  disk.forget();
  CHECK(run_one(*store, increment_of("b")).code == Code::kUnavailable);
}

ON_SQLITE("a checkpoint that meets a failed sync has moved nothing of what is lost") {
  lengthen_log(place, *store);
  const ForgetfulDisk disk(place.wal_path());
  apply_unsynced(*store, increment_of("a"));
  failing_syncs = 1;
  store->tidy();
  CHECK(failing_syncs == 0);
  disk.forget();
  CHECK(value_of(*store, "a") == 1);
}

ON_SQLITE("nothing is moved of a log that somebody has cut short since the latest change") {
  change(*store, large_batch("a-"));
  lengthen_log(place, *store);
  const std::string before = contents_of(place.path());
  std::filesystem::resize_file(place.wal_path(), place.wal_size() - 10'000);
  store->tidy();
  CHECK(contents_of(place.path()) == before);
  CHECK(contains(run_one(*store, increment_of("a")).detail, "may have lost a part"));
}

ON_SQLITE("a log is not discarded for a database whose sync fails") {
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  const ForgetfulDisk disk(place.wal_path());
  failing_syncs = 2;  // the second one is that of the recovery
  CHECK(run_one(*store, increment_of("b")).code == Code::kUnknown);
  place.checkpoint("PASSIVE");
  disk.forget();
  failing_syncs = 1;
  CHECK(run_one(*store, increment_of("b")).code == Code::kUnavailable);
  CHECK(failing_syncs == 0);
  CHECK(run_one(*store, increment_of("b")).code == Code::kUnavailable);
  CHECK(place.wal_size() > 0);
}

ON_SQLITE("what is lost of a log is left to those that have acknowledged something in it") {
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  const auto newcomer = place.open();
  const ForgetfulDisk disk(place.wal_path());
  fail_sync_of(*newcomer, increment_of("b"));
  disk.forget();
  CHECK(run_one(*newcomer, increment_of("b")).code == Code::kUnavailable);
  failing_syncs = 1;  // the kernel reports it to each
  const Code code = run_one(*store, increment_of("b")).code;
  CHECK((code == Code::kUnknown || code == Code::kUnavailable));
  failing_syncs = 0;
  CHECK(value_of(*store, "b") == 100);
  CHECK(run_one(*newcomer, increment_of("b")).value == 101);
}

ON_SQLITE("what is lost of a log is dropped only when nobody reads it") {
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  const ForgetfulDisk disk(place.wal_path());
  fail_sync_of(*store, increment_of("b"));
  SQLite::Database reader(place.path(), SQLite::OPEN_READONLY);
  SQLite::Statement statement(reader, "SELECT name FROM counters");
  statement.executeStep();
  disk.forget();
  const auto shortly = steady_clock::now() + std::chrono::milliseconds(50);
  const Result<void> turn = store->take_turn(shortly);
  REQUIRE_FALSE(turn);
  CHECK(turn.error().message.find("another program uses it") != std::string::npos);
  statement.reset();
  CHECK(value_of(*store, "b") == 100);
}

ON_SQLITE("a log that nobody has read since its index was forgotten has lost nothing") {
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  Another another(place);
  begin_sync(another.file());  // which makes a newcomer look
  std::filesystem::resize_file(place.wal_path(), place.wal_size() / 2);
  std::fstream index(place.path() + "-shm", std::ios::binary | std::ios::in | std::ios::out);
  constexpr std::array kValid = {12, 48 + 12};  // of the header's two copies
  for (const int at : kValid) index.seekp(at).put('\0');
  index.close();
  CHECK(value_of(*place.open(), "b").value_or(0) > 1);
}

TEST_CASE("after a failed sync all is moved again that a checkpoint had moved and not synced",
          "[sqlite]") {
  const Place place;
  const auto idle = place.open();  // so that the store is never the first to open the log
  const auto store = place.open();
  lengthen_log(place, *store);
  {
    SQLite::Database reader(place.path());
    SQLite::Statement statement(reader, "SELECT name FROM counters");
    statement.executeStep();
    apply_unsynced(*store, increment_of("a"));
    store->tidy();  // up to where the reader is
    REQUIRE(std::filesystem::file_size(place.path()) > 30'000);
  }
  const std::uintmax_t log = place.wal_size();
  const std::uintmax_t before = bytes_written();
  failing_syncs = 1;
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  CHECK(failing_syncs == 0);
  CHECK(place.wal_size() == 0);
  CHECK(bytes_written() - before > log + std::filesystem::file_size(place.path()) / 2);
}

TEST_CASE("a log in doubt is written again by who closes its store, beside others", "[sqlite]") {
  const Place place;
  const auto idle = place.open();
  auto store = place.open();
  run_one(*store, increment_of("a"));
  fail_sync_of(*store, increment_of("a"));
  CHECK(place.wal_size() > 0);
  store.reset();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*idle, "a") == 3);
}

TEST_CASE("a log in doubt that cannot be written again is left as it is at the end", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.empty_wal = true;
  auto store = open_or_throw(options);
  fail_sync_of(*store, increment_of("a"));
  while_writes_fail(EIO, ".db-wal", [&] { store.reset(); });
  CHECK(place.wal_size() > 0);
  CHECK(value_of(*place.open(), "a") == 2);
}

ON_SQLITE("nothing is told while the log cannot be synced") {
  const auto other = place.open();
  apply_unsynced(*store, increment_of("a"));
  failing_syncs = 1'000;
  CHECK(run_one(*other, report_of("a")).code == Code::kUnavailable);
  CHECK_FALSE(other->list({"", "", 10}, patiently()));
  CHECK(run_one(*other, increment_of("a")).code == Code::kUnavailable);
  failing_syncs = 0;
  CHECK(value_of(*other, "a") == 2);
  CHECK(other->list({"", "", 10}, patiently()));
}

ON_SQLITE("a report whose sync fails is unavailable, and all is moved to the database after it") {
  const auto other = place.open();
  apply_unsynced(*store, increment_of("a"));
  failing_syncs = 1;
  CHECK(run_one(*other, each_of({report_of("a"), report_of("b")})).code == Code::kUnavailable);
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*other, "a") == 2);
}

ON_SQLITE("in a batch whose sync fails, changes are unknown and reports unavailable") {
  run_one(*store, increment_of("a"));
  std::vector<Step> batch = {report_of("a"), increment_of("a")};
  failing_syncs = 1;
  run_batch(*store, batch, patiently());
  CHECK(batch[0].outcome.code == Code::kUnavailable);
  CHECK(batch[1].outcome.code == Code::kUnknown);
  CHECK(value_of(*store, "a") == 3);
}

TEST_CASE("what a store that need not sync has changed is synced by who tells it and must",
          "[sqlite]") {
  const Place place;
  const auto normal = place.open(Sync::kNormal);
  const auto full = place.open();
  run_one(*full, report_of("a"));
  run_one(*normal, increment_of("a"));
  CHECK(syncs_of([&] { CHECK(value_of(*full, "a") == 2); }) == 1);
  CHECK(syncs_of([&] { CHECK(value_of(*full, "a") == 2); }) == 0);
}

ON_SQLITE("a log that cannot be synced where it begins makes its change unknown") {
  failing_syncs = 1;  // that of the header, within the commit
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  CHECK(failing_syncs == 0);
  const std::int64_t value = value_of(*store, "a").value_or(0);
  CHECK((value == 1 || value == 2));
  CHECK(run_one(*store, increment_of("a")).value == value + 1);
}

ON_SQLITE("a quota that is used up is a store without room, and nothing happens") {
  run_one(*store, increment_of("a"));
  const std::vector<Outcome> outcomes = while_writes_fail(EDQUOT, nullptr, [&] {
    return run(*store, {increment_of("a"), report_of("a")});
  });
  CHECK(outcomes[0].code == Code::kStoreFull);
  CHECK(outcomes[1].code == Code::kOk);  // reports need no room
  CHECK(outcomes[1].value == 2);
  CHECK(run_one(*store, increment_of("a")).value == 3);
}

TEST_CASE("a commit that found no room is not found in the log later", "[sqlite]") {
  const Place place;
  const Sync sync = GENERATE(Sync::kFull, Sync::kNormal);
  const auto store = place.open(sync);
  for (int i = 0; i < 10; ++i) run_one(*store, increment_of("b"));
  const bool restarts = GENERATE(false, true);
  place.checkpoint("RESTART");
  if (!restarts) run_one(*store, increment_of("b"));
  const std::int64_t before = value_of(*store, "b").value_or(0);
  // What is missing of the page, the end of the row of "a", is the same in the older log.
  cut_bytes = 8;
  const int full_syncs_before = full_syncs;
  const Outcome refused =
      while_writes_fail(ENOSPC, nullptr, [&] { return run_one(*store, increment_of("b")); });
  cut_bytes = 0;
  CHECK(refused.code == Code::kStoreFull);
  CHECK(full_syncs > full_syncs_before);  // of the log, without what was cut off
  CHECK(value_in_files(place, "b") == before);
  CHECK(run_one(*store, increment_of("b")).value == before + 1);
}

TEST_CASE("a commit whose place in the log's index has no room has not happened", "[sqlite]") {
  constexpr std::uint32_t kIndexed = 4'062;  // frames in the first part of the index
  const Place place;
  const auto store = place.open(Sync::kNormal);  // sooner
  SQLite::Database reader(place.path(), SQLite::OPEN_READWRITE);
  SQLite::Statement reading(reader, "SELECT count(*) FROM counters");
  REQUIRE(reading.executeStep());  // so that the log cannot restart
  const auto frames = [&] { return end_of_wal(reader.getHandle()).frames; };
  std::int64_t acknowledged = 1;
  while_writes_fail(GENERATE(ENOSPC, EDQUOT), ".db-shm", [&] {
    Outcome outcome;
    while (outcome.code == Code::kOk && frames() <= kIndexed) {
      outcome = run_one(*store, increment_of("a"));
      if (outcome.code == Code::kOk) ++acknowledged;
    }
    CHECK(outcome.code == Code::kStoreFull);
    CHECK(run_one(*store, report_of("a")).value == acknowledged);
  });
  CHECK(run_one(*store, increment_of("a")).value == acknowledged + 1);
}

TEST_CASE("who opens a database where the log's index has no room is told so", "[sqlite]") {
  const Place place;
  const Result<std::unique_ptr<Store>> store =
      while_writes_fail(ENOSPC, ".db-shm", [&] { return open_store(place.options()); });
  REQUIRE_FALSE(store);
  check_error(store.error(), Code::kUnavailable, "its -shm cannot grow: is the disk full?");
  CHECK(value_of(*place.open(), "a") == 1);
}

TEST_CASE("a store whose files cannot be looked at is not opened", "[sqlite]") {
  const Place place;
  unseen = GENERATE("-wal", "-shm");
  const Result<std::unique_ptr<Store>> store = open_store(place.options());
  unseen = nullptr;
  REQUIRE_FALSE(store);
  check_error(store.error(), Code::kUnavailable, "a part of the database: Input/output error");
  CHECK(run_one(*place.open(), increment_of("a")).value == 2);
}

TEST_CASE("a store whose shared memory can only be read is not opened", "[sqlite]") {
  const Place place;
  ChildProcess other([&](int output) {
    const auto store = place.open();
    return ChildProcess::say_and_wait(output);
  });
  REQUIRE(other.wait_for_byte());
  sqlite3_vfs* const system = sqlite3_vfs_find("unix");
  const auto open_read_only = [](const char* path, int flags, int mode) {
    const bool fails = std::string_view(path).ends_with("-shm") && (flags & O_RDWR) != 0;
    if (!fails) return open(path, flags, mode);
    errno = EMFILE;
    return -1;
  };
  system->xSetSystemCall(system, "open", reinterpret_cast<sqlite3_syscall_ptr>(+open_read_only));
  const Result<std::unique_ptr<Store>> store = open_store(place.options());
  system->xSetSystemCall(system, "open", nullptr);
  REQUIRE_FALSE(store);
  check_error(store.error(), Code::kUnavailable, "its -shm can only be read");
  CHECK(run_one(*place.open(), increment_of("a")).value == 2);
}

TEST_CASE("who opens a database whose log could not be synced moves all to the database first",
          "[sqlite]") {
  const Place place;
  const auto idle = place.open();  // so that nobody else is the first, who recovers anyway
  const auto store = place.open();
  apply_unsynced(*store, increment_of("a"));
  place.open();
  CHECK(place.wal_size() > 0);
  failing_syncs = 2;  // the second one is that of the repair
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  REQUIRE(failing_syncs == 0);
  REQUIRE(place.wal_size() > 0);
  const auto late = place.open();
  CHECK(place.wal_size() == 0);

  run_one(*store, increment_of("a"));  // recovers as well
  run_one(*store, increment_of("a"));
  place.open();
  CHECK(place.wal_size() > 0);
}

ON_SQLITE("a store whose recovery failed is still seen to use the database") {
  run_one(*store, increment_of("a"));
  failing_syncs = 2;  // the second one is that of the recovery
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  CHECK(failing_syncs == 0);
  Another{place};
  CHECK(place.wal_size() > 0);  // another program that ends is not the last one
  std::filesystem::rename(place.path() + "-shm", place.path() + "-moved");
  CHECK_THROWS(place.open());
  std::filesystem::rename(place.path() + "-moved", place.path() + "-shm");
  CHECK(run_one(*store, increment_of("a")).value == 4);
}

ON_SQLITE("a database that cannot grow is recovered in its log") {
  run_one(*store, increment_of("a"));
  SECTION("after a sync that failed") {
    failing_syncs = 1;
    CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  }
  SECTION("by who is the first to open it") {
    apply_unsynced(*store, increment_of("a"));
    store = nullptr;
  }
  while_writes_fail(ENOSPC, ".db", [&] {
    if (!store) store = place.open();
    CHECK(value_of(*store, "a") == 3);
    CHECK(run_one(*store, increment_of("a")).value == 4);
  });
}

TEST_CASE("who opens a database recovers it after a sync that failed or was never ended",
          "[sqlite]") {
  const Place place;
  const auto idle = place.open();  // so that nobody else is the first, who recovers anyway
  run_one(*idle, increment_of("a"));
  SECTION("of a store that is closed") {
    failing_syncs = 3;  // the others are those of the repair, and of the one at the end
    CHECK(run_one(*place.open(), increment_of("a")).code == Code::kUnknown);
    CHECK(failing_syncs == 0);
  }
  SECTION("of a process that died in it") {
    Another dying(place);
    begin_sync(dying.file());
  }
  SECTION("although others' syncs were not ended before it, and came to their ends") {
    Another dying(place);
    const std::uint32_t before = begin_sync(dying.file());
    trust_wal(dying.getHandle());
    begin_sync(dying.file());
    end_sync(dying.file(), before);
  }
  REQUIRE(place.wal_size() > 0);
  CHECK(value_of(*place.open(), "a").value_or(0) >= 2);
  CHECK(place.wal_size() == 0);
  CHECK(run_one(*idle, increment_of("a")).code == Code::kOk);
  place.open();
  CHECK(place.wal_size() > 0);
}

TEST_CASE("a process that dies while it writes the log again leaves it in doubt", "[sqlite]") {
  const Place place;
  ChildProcess dying([&](int) {
    const auto store = place.open();
    run_one(*store, increment_of("a"));
    fail_sync_of(*store, increment_of("a"));
    raise(SIGSTOP);
    when_syncing = [] { _exit(0); };
    run_one(*store, increment_of("a"));
    return 1;
  });
  REQUIRE(dying.wait_until_stopped());
  const auto store = place.open();  // recovers, so that nothing is in doubt
  apply_unsynced(*store, increment_of("a"));
  dying.send(SIGCONT);
  REQUIRE(dying.wait() == 0);
  CHECK(is_in_doubt(Another(place).getHandle()));
  place.open();
  CHECK(place.wal_size() == 0);
}

ON_SQLITE("a recovery waits for a checkpoint of another program") {
  run_one(*store, increment_of("a"));
  std::vector<Step> batch = {increment_of("a")};
  apply_unsynced(*store, batch);
  SECTION("by who is the first to open the log") {
    store = nullptr;
  }
  SECTION("after a sync that failed") {
    failing_syncs = 1;
    store->make_durable(batch);
  }
  Another another(place);
  std::optional<ShmLock> checkpoint(std::in_place, another.getHandle(), kCheckpointLock);
  REQUIRE(checkpoint->code() == SQLITE_OK);
  std::atomic<bool> ends = false;
  const auto ending = std::async(std::launch::async, [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ends = true;
    checkpoint.reset();
  });
  if (!store) store = place.open();
  CHECK(run_one(*store, increment_of("a")).value == 4);
  CHECK(ends);
}

TEST_CASE("a killed process vouches for no log while its locks are being released", "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a"));
  // Those of SQLite go first; so the next one to open it makes new shared memory.
  const UniqueFd dying(open(place.path().c_str(), O_RDWR | O_CLOEXEC));
  const auto inode_of = [](const std::string& path) {
    struct stat found {};
    REQUIRE(stat(path.c_str(), &found) == 0);
    return found.st_ino;
  };
  give_sign(dying.get(), Sign::kLog, inode_of(place.wal_path()));
  give_sign(dying.get(), Sign::kSharedMemory, inode_of(place.path() + "-shm"));
  {
    SQLite::Database other(place.path(), SQLite::OPEN_READWRITE);  // what it writes has no seal
    other.exec("UPDATE counters SET value = 7");
    sqlite3_db_config(other.getHandle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
  REQUIRE(place.wal_size() > 0);
  const auto store = place.open();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*store, "a") == 7);
  run_one(*store, increment_of("a"));
  place.open();
  CHECK(place.wal_size() > 0);
}

ON_SQLITE("who opens a database waits for syncs that are under way, and need not recover") {
  run_one(*store, increment_of("a"));
  Another syncing(place);
  const std::uint32_t begun = begin_sync(syncing.file());
  sync_ms = 150;
  std::thread ending([&] {  // later than those that the newcomer makes itself
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    end_sync(syncing.file(), begun);
  });
  const auto opened = place.open();
  sync_ms = 0;
  CHECK_FALSE(is_in_doubt(syncing.getHandle()));
  ending.join();
  CHECK(place.wal_size() > 0);
}

ON_SQLITE("who opens a database waits for no sync that never ends") {
  run_one(*store, increment_of("a"));
  Another killed(place);
  begin_sync(killed.file());
  CHECK(time_of([&] { place.open(); }) < StoreOptions().timeout / 2);
}

ON_SQLITE("a log whose syncs fail without end stays in doubt") {
  Another failing(place);
  for (int i = 0; i < 1 << 16; ++i) begin_sync(failing.file());
  CHECK(is_in_doubt(failing.getHandle()));
}

ON_SQLITE("a database that makes no sense while its log is in doubt is asked for again") {
  run_one(*store, increment_of("a"));
  Another failing(place);
  const bool in_doubt = GENERATE(true, false);
  if (in_doubt) begin_sync(failing.file());
  std::fstream(place.path(), std::ios::binary | std::ios::in | std::ios::out) << "what is this?";
  const Result<std::unique_ptr<Store>> opened = open_store(place.options());
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == (in_doubt ? Code::kUnavailable : Code::kConfig));
}

ON_SQLITE("what a checkpoint has moved in part is synced, or does not count as moved") {
  SQLite::Database reader(place.path(), SQLite::OPEN_READWRITE);
  lengthen_log(place, *store);
  reader.exec("BEGIN");
  reader.execAndGet("SELECT count(*) FROM counters");
  change(*store);  // which the reader does not see, and a checkpoint does not move
  SECTION("the sync works") {
    std::vector<std::uint32_t> moved;
    std::vector<bool> doubts;
    when_syncing = [&] {
      moved.push_back(moved_frames(reader.getHandle()).moved);
      doubts.push_back(is_in_doubt(reader.getHandle()));
    };
    CHECK(syncs_of([&] { store->tidy(); }) == 3);  // of the log, twice, and of the database
    when_syncing = nullptr;
    CHECK(moved == std::vector<std::uint32_t>(3, 0));  // till then: a process may die in it
    CHECK(doubts == std::vector<bool>(3, true));
    CHECK(moved_frames(reader.getHandle()).moved > 0);
    CHECK_FALSE(is_in_doubt(reader.getHandle()));
  }
  SECTION("the sync fails") {
    spared_syncs = 2;
    failing_syncs = 1;
    store->tidy();
    CHECK(moved_frames(reader.getHandle()).moved == 0);
    CHECK(failing_syncs == 0);
    CHECK(is_in_doubt(reader.getHandle()));
  }
  reader.exec("COMMIT");
  run_one(*store, increment_of("a"));
  CHECK_FALSE(is_in_doubt(reader.getHandle()));
}

ON_SQLITE("what was closed in order is opened and told without a sync") {
  run_one(*store, increment_of("a"));
  run_one(*store, delete_of("b"));  // of nothing: a commit that adds nothing to the log
  store.reset();
  CHECK(syncs_of([&] {
          store = place.open();
          CHECK(value_of(*store, "a") == 2);
        }) == 0);
  // And the folder, once for each connection: it might be the one that has made the log.
  CHECK(syncs_of([&] { CHECK(run_one(*store, increment_of("a")).value == 3); }) == 2);
  CHECK(syncs_of([&] {
          store.reset();
          CHECK(value_of(*place.open(), "a") == 3);
        }) == 0);
}

ON_SQLITE("a seal that is found again where changes were lost vouches for nothing") {
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("a"));
  place.checkpoint("PASSIVE");
  run_one(*store, increment_of("a"));  // the log restarts over a longer one, with older pages
  store = nullptr;
  const ForgetfulDisk disk(place.wal_path());            // has the seal
  std::optional<Another> another(std::in_place, place);  // keeps the index
  sqlite3_db_config(another->getHandle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  {
    const auto killed = place.open();
    apply_unsynced(*killed, increment_of("a"));
  }
  disk.forget();
  const Result<std::unique_ptr<Store>> opened = open_store(place.options());
  if (opened) CHECK(value_of(**opened, "a").value_or(-1) == 102);
  CHECK_FALSE(opened);
  another.reset();
  CHECK(value_of(*place.open(), "a") == 102);
}

TEST_CASE("what was closed with something unsynced is moved to the database by the next one",
          "[sqlite]") {
  const Place place;
  SECTION("a change that nobody synced") {
    const auto store = place.open();
    run_one(*store, increment_of("a"));
    apply_unsynced(*store, increment_of("a"));
  }
  SECTION("another store's, by the one that is closed last") {
    auto store = place.open();
    auto other = place.open();
    run_one(*store, increment_of("a"));
    apply_unsynced(*other, increment_of("a"));
    other.reset();
    store.reset();
  }
  SECTION("one that need not survive a power failure") {
    run_one(*place.open(), increment_of("a"));
    run_one(*place.open(Sync::kNormal), increment_of("a"));
  }
  SECTION("a sync that failed, and was not mended") {
    const auto store = place.open();
    run_one(*store, increment_of("a"));
    failing_syncs = 3;  // the others are those of the repair, and of the one at the end
    CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
  }
  SECTION("a sync that failed, and was not mended yet") {
    auto store = place.open();
    run_one(*store, increment_of("a"));
    fail_sync_of(*store, increment_of("a"));
    failing_syncs = 1;
    store.reset();
  }
  SECTION("a sync that failed, by another store that knows only of its own") {
    auto store = place.open();
    auto other = place.open();
    run_one(*store, increment_of("a"));
    failing_syncs = 2;
    CHECK(run_one(*other, report_of("a")).code == Code::kUnavailable);
    store.reset();
    failing_syncs = 1;
    other.reset();
  }
  CHECK(failing_syncs == 0);
  REQUIRE(place.wal_size() > 0);
  const auto next = place.open();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*next, "a").value_or(0) >= 2);
}

// More large batches than make a checkpoint due.
constexpr int kMostBatches = 1'000;

ON_SQLITE("no other program writes while a store makes a checkpoint") {
  SQLite::Database other(place.path(), SQLite::OPEN_READWRITE);
  std::vector<int> codes;
  for (int i = 0; i < kMostBatches && codes.empty(); ++i) {
    change(*store);
    when_syncing = [&] {
      codes.push_back(other.tryExec("BEGIN IMMEDIATE"));
      other.tryExec("ROLLBACK");
    };
    store->tidy();
    when_syncing = nullptr;
  }
  REQUIRE_FALSE(codes.empty());
  CHECK(codes == std::vector<int>(codes.size(), SQLITE_BUSY));
}

TEST_CASE("a checkpoint whose sync fails warns those who open the database later", "[sqlite]") {
  const Place place;
  const auto idle = place.open();  // so that nobody else is the first, who recovers anyway
  const auto store = place.open();
  bool failed = false;
  for (int i = 0; i < kMostBatches && !failed; ++i) {
    change(*store);
    failing_syncs = 1;
    store->tidy();
    failed = failing_syncs.exchange(0) == 0;
  }
  REQUIRE(failed);
  REQUIRE(place.wal_size() > 0);
  place.open();
  CHECK(place.wal_size() == 0);
}

// Below the store: the log itself.

TEST_CASE("commits that are left unsynced are on the disk after a sync of the log", "[sqlite]") {
  const TemporaryDirectory directory;
  SQLite::Database database(directory / "x.db", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 0,
                            counterd_vfs());
  for (const char* sql : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
                          "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE t (number)"}) {
    SQLite::Statement(database, sql).executeStep();
  }
  const auto insert = [&] { database.exec("INSERT INTO t VALUES (1)"); };
  CHECK(syncs_of(insert) == 1);
  leave_commits_unsynced(database.getHandle(), true);
  CHECK(syncs_of(insert) == 0);
  CHECK(syncs_of([&] { CHECK(sync_wal(database.getHandle()) == SQLITE_OK); }) == 1);
  leave_commits_unsynced(database.getHandle(), false);
  CHECK(syncs_of(insert) == 1);

  // A log that restarts is synced once, at its beginning, and the database before that.
  CHECK(sqlite3_wal_checkpoint_v2(database.getHandle(), nullptr, SQLITE_CHECKPOINT_RESTART, nullptr,
                                  nullptr) == SQLITE_OK);
  leave_commits_unsynced(database.getHandle(), true);
  CHECK(syncs_of(insert) == 2);
  CHECK(syncs_of(insert) == 0);
}

ON_SQLITE("what was lost of a log that began with a change of ours is left aside") {
  const auto other = place.open();
  // A new log, one that the change restarts, and one that somebody has emptied.
  const char* before = GENERATE("", "PASSIVE", "TRUNCATE");
  CAPTURE(before);
  if (*before != '\0') {
    run_one(*store, increment_of("a"));
    place.checkpoint(before);
  }
  Step ours = increment_of("a");
  apply_unsynced(*store, {&ours, 1});
  apply_unsynced(*other, increment_of("b"));
  ForgetfulDisk disk(place.wal_path());
  // Only the first commit is on the disk.
  disk.keep();
  apply_unsynced(*other, increment_of("b"));
  forgetful_disk = &disk;
  failing_syncs = 1;
  store->make_durable({&ours, 1});
  forgetful_disk = nullptr;
  CHECK(ours.outcome.code == Code::kUnknown);
  const Outcome next = run_one(*store, increment_of("a"));
  INFO(next.detail);
  CHECK(next.code == Code::kOk);
}

ON_SQLITE("a log is refused if a checkpoint that failed may have moved what is lost of it") {
  run_one(*store, increment_of("a"));
  ForgetfulDisk disk(place.wal_path());
  const auto other = place.open();
  apply_unsynced(*other, increment_of("b"));
  forgetful_disk = &disk;
  {
    SQLite::Database shell(place.path(), SQLite::OPEN_READWRITE);
    shell.exec("PRAGMA synchronous = FULL");
    failing_syncs = 1;
    shell.tryExec("PRAGMA wal_checkpoint(PASSIVE)");
    CHECK(failing_syncs == 0);
    const auto [moved, tried] = moved_frames(shell.getHandle());
    CHECK(moved == 0);
    CHECK(tried > 0);
  }
  failing_syncs = 1;
  CHECK(run_one(*store, increment_of("a")).code != Code::kOk);
  failing_syncs = 0;
  forgetful_disk = nullptr;
  const Outcome next = run_one(*store, increment_of("a"));
  INFO(next.detail);
  CHECK(next.code == Code::kUnavailable);
  CHECK(contains(next.detail, "may have lost"));
}

TEST_CASE("a log that has lost what was acknowledged stays as it is when all stores are closed",
          "[sqlite]") {
  const Place place;
  StoreOptions options;
  options.url = "sqlite:" + place.path();
  options.empty_wal = true;
  auto other = open_or_throw(options);
  auto store = open_or_throw(options);
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("b"));
  CHECK(value_of(*other, "b") == 100);
  place.spoil_log();
  const std::uintmax_t size = place.wal_size();
  while_writes_fail(EIO, nullptr, [&] { run_one(*store, increment_of("b")); });
  CHECK(contains(run_one(*store, increment_of("b")).detail, "may have lost a part"));
  store.reset();
  other.reset();
  CHECK(std::filesystem::exists(place.wal_path()));
  CHECK(place.wal_size() >= size);
}

ON_SQLITE("what others have moved without a sync is on the disk before the log restarts") {
  run(*store, large_batch());
  ForgetfulDisk disk(place.path());
  forgetful_disk = &disk;
  SQLite::Database careless(place.path(), SQLite::OPEN_READWRITE);
  careless.exec("PRAGMA synchronous = OFF");
  careless.execAndGet("PRAGMA wal_checkpoint(PASSIVE)");
  const std::uint64_t salts = end_of_wal(careless.getHandle()).salts;
  SECTION("the sync works") {
    CHECK(run_one(*store, increment_of("a")).value == 2);
    REQUIRE(end_of_wal(careless.getHandle()).salts != salts);
  }
  SECTION("the sync fails") {
    failing_syncs = 1;
    CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown);
    CHECK(failing_syncs == 0);
    CHECK(run_one(*store, increment_of("a")).value == 2);
  }
  forgetful_disk = nullptr;
  CHECK(value_after_power_failure(place, disk, "a") == 2);
  CHECK(value_after_power_failure(place, disk, "counter-899") == 1);
}

TEST_CASE("what others have left without a sync is on the disk before it is told", "[sqlite]") {
  const Place place;
  ForgetfulDisk disk(place.path());
  forgetful_disk = &disk;
  {
    SQLite::Database careless(place.path(), SQLite::OPEN_READWRITE);
    careless.exec("PRAGMA synchronous = OFF");
    careless.exec("UPDATE counters SET value = 3");
  }
  CHECK(value_of(*place.open(), "a") == 3);
  forgetful_disk = nullptr;
  CHECK(value_after_power_failure(place, disk, "a") == 3);
}

TEST_CASE("to open a store with an empty log waits for no other program that writes for long",
          "[sqlite]") {
  const Place place;
  SQLite::Database other(place.path(), SQLite::OPEN_READWRITE);
  other.exec("BEGIN IMMEDIATE");
  const auto start = std::chrono::steady_clock::now();
  const auto store = place.open();
  CHECK(std::chrono::steady_clock::now() - start < StoreOptions().timeout / 2);
  CHECK(value_of(*store, "a") == 1);
}

// Another program empties the log and dies while it writes the index.
void die_writing_index(const Place& place) {
  SQLite::Database dying(place.path(), SQLite::OPEN_READWRITE);
  dying.execAndGet("PRAGMA wal_checkpoint(TRUNCATE)");
  forget_index(dying.getHandle());  // as good as half written
}

ON_SQLITE("a store sees what others have done, even if some have died who were writing the index") {
  const auto other = place.open();
  REQUIRE(value_of(*store, "a") == 1);
  for (int value = 2; value < 5; ++value) {
    run_one(*other, increment_of("a"));
    die_writing_index(place);
    CHECK(value_of(*other, "a") == value);  // makes it anew
    CHECK(value_of(*store, "a") == value);
  }
  CHECK(run_one(*store, increment_of("a")).value == 5);
}

TEST_CASE("an index that could not be given salts when the store was opened is given them later",
          "[sqlite]") {
  const Place place;
  SQLite::Database other(place.path(), SQLite::OPEN_READWRITE);
  other.exec("BEGIN IMMEDIATE");
  const auto store = place.open();
  REQUIRE(value_of(*store, "a") == 1);
  other.exec("ROLLBACK");
  std::this_thread::sleep_for(std::chrono::milliseconds(1'050));  // tidy() has paused
  REQUIRE(value_of(*store, "a") == 1);
  other.exec("UPDATE counters SET value = 2");
  die_writing_index(place);
  CHECK(other.execAndGet("SELECT value FROM counters").getInt() == 2);  // makes it anew
  CHECK(value_of(*store, "a") == 2);
}

}  // namespace
}  // namespace counterd
