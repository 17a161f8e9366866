#include "common/store/sqlite_vfs.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/store/sqlite_shm.h"
#include "tests/catch.h"
#include "tests/temporary_directory.h"

namespace counterd {
namespace {

constexpr int kRows = 500;

// A connection to the database of a test, in which each row has a page of its own.
class Client {
 public:
  Client(const TemporaryDirectory& directory, const char* vfs)
      : database_(directory / "x.db", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 1'000, vfs) {
    run("PRAGMA page_size = 1024");
    run("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = FULL");
    run("PRAGMA wal_autocheckpoint = 0");
    run("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, number INTEGER, filler TEXT)");
  }
  void run(const std::string& sql) {
    SQLite::Statement statement(database_, sql);
    while (statement.executeStep()) continue;
  }
  void fill() {
    run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " +
        std::to_string(kRows) + ") INSERT INTO t SELECT i, 0, printf('%.800c', 'x') FROM n");
  }
  // The log as SQLite sees it.
  sqlite3_file* log() {
    sqlite3_file* file = nullptr;
    sqlite3_file_control(database_.getHandle(), "main", SQLITE_FCNTL_JOURNAL_POINTER,
                         static_cast<void*>(&file));
    return file;
  }
  sqlite3* handle() { return database_.getHandle(); }
  sqlite3_file* file() { return database_file(handle()); }
  std::string ask(const std::string& sql) { return database_.execAndGet(sql).getString(); }
  // Has the database as a whole, and in each row of it this number.
  bool sees(int number) {
    return ask("PRAGMA integrity_check") == "ok" &&
           ask("SELECT min(number) || ' ' || max(number) || ' ' || count(*) FROM t") ==
               std::to_string(number) + " " + std::to_string(number) + " " + std::to_string(kRows);
  }

 private:
  SQLite::Database database_;
};

// Counts the writes of SQLite's files, as long as it lives. Not all of the process: sanitizers
// write now and then as well.
class WriteCount {
 public:
  WriteCount() {
    count = 0;
    set(reinterpret_cast<sqlite3_syscall_ptr>(+[](int fd, const void* data, size_t size, off_t at) {
      ++count;
      return pwrite(fd, data, size, at);
    }));
  }
  WriteCount(const WriteCount&) = delete;
  WriteCount& operator=(const WriteCount&) = delete;
  ~WriteCount() { set(nullptr); }
  static int take() { return std::exchange(count, 0); }

 private:
  static void set(sqlite3_syscall_ptr call) {
    sqlite3_vfs* system = sqlite3_vfs_find("unix");
    // Which of them SQLite calls is decided when it is compiled.
    for (const char* name : {"pwrite", "pwrite64"}) {
      if (system->xGetSystemCall(system, name) != nullptr) {
        system->xSetSystemCall(system, name, call);
      }
    }
  }
  static inline int count = 0;
};

TEST_CASE("a commit of many pages is one write to the log, or one for each 64 KiB", "[sqlite]") {
  const TemporaryDirectory directory;
  Client client(directory, counterd_vfs());
  client.fill();
  const WriteCount count;
  client.run("UPDATE t SET number = 1 WHERE id <= 40");
  CHECK(count.take() == 1);
  client.run("UPDATE t SET number = 1");
  const int writes = count.take();
  CHECK(writes > 1);
  CHECK(writes <= 10);
  CHECK(Client(directory, "").sees(1));
}

TEST_CASE("what is written to the log stands where it was written, in whatever order", "[sqlite]") {
  const TemporaryDirectory directory;
  Client client(directory, counterd_vfs());
  sqlite3_file* log = client.log();
  const auto write = [log](const std::string& text, sqlite3_int64 offset) {
    return log->pMethods->xWrite(log, text.data(), static_cast<int>(text.size()), offset);
  };
  CHECK(write("0123", 100) == SQLITE_OK);
  CHECK(write("4567", 104) == SQLITE_OK);
  CHECK(write("ab", 101) == SQLITE_OK);
  CHECK(write("89", 108) == SQLITE_OK);
  std::string found(10, ' ');
  CHECK(log->pMethods->xRead(log, found.data(), 10, 100) == SQLITE_OK);
  CHECK(found == "0ab3456789");
}

// A limit of the size of files, for as long as it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = signal(SIGXFSZ, SIG_IGN);
};

TEST_CASE("what could not be written to the log is not synced as if it were", "[sqlite]") {
  const TemporaryDirectory directory;
  Client client(directory, counterd_vfs());
  sqlite3_file* log = client.log();
  client.run("BEGIN IMMEDIATE");
  {
    const FileSizeLimit limit(4'096);
    CHECK(log->pMethods->xWrite(log, "lost", 4, 8'192) == SQLITE_OK);
    CHECK(log->pMethods->xWrite(log, "next", 4, 9'000) != SQLITE_OK);
  }
  CHECK(log->pMethods->xWrite(log, "next", 4, 9'000) != SQLITE_OK);
  CHECK(log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) != SQLITE_OK);
  client.run("ROLLBACK");
  client.fill();
  client.run("UPDATE t SET number = 1");
  CHECK(Client(directory, "").sees(1));
}

// One whose log is gathered, and another one, on the same database.
struct Pair {
  Pair() {
    client.fill();
    client.run("PRAGMA cache_size = 10");  // so that pages leave the cache before the commit
  }
  TemporaryDirectory directory;
  Client client{directory, counterd_vfs()};
  Client other{directory, ""};
};

#define ON_A_PAIR(name) TEST_CASE_METHOD(Pair, name, "[sqlite]")

ON_A_PAIR("what is gathered for the log is found by the transaction itself and by others") {
  for (int number = 1; number <= 20; ++number) {
    client.run("BEGIN IMMEDIATE");
    client.run("UPDATE t SET number = " + std::to_string(number));
    CHECK(client.sees(number));
    CHECK(other.sees(number - 1));
    client.run("COMMIT");
    CHECK(other.sees(number));
    if (number % 7 == 0) client.run("PRAGMA wal_checkpoint(TRUNCATE)");
  }
}

// Lets something happen in the next checkpoint of a connection, once it has read how long the log
// is: SQLite then gives up what it may have mapped of the database.
class Interruption {
 public:
  Interruption(Client& client, std::function<void()> action)
      : file_(client.file()), before_(file_->pMethods) {
    methods = *before_;
    unfetch = methods.xUnfetch;
    interrupt = std::move(action);
    methods.xUnfetch = [](sqlite3_file* file, sqlite3_int64 offset, void* page) {
      if (const auto once = std::exchange(interrupt, nullptr)) once();
      return unfetch(file, offset, page);
    };
    file_->pMethods = &methods;
  }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  ~Interruption() { file_->pMethods = before_; }
  static bool has_come() { return !interrupt; }

 private:
  sqlite3_file* const file_;
  const sqlite3_io_methods* const before_;
  static inline sqlite3_io_methods methods;
  static inline decltype(sqlite3_io_methods::xUnfetch) unfetch;
  static inline std::function<void()> interrupt;
};

ON_A_PAIR("the log does not restart while another program makes a checkpoint") {
  client.run("UPDATE t SET number = 1");
  client.run("PRAGMA wal_checkpoint(PASSIVE)");  // all is moved
  const WalEnd before = end_of_wal(client.handle());
  {
    const Interruption interruption(
        other, [this] { client.run("UPDATE t SET number = 2 WHERE id <= 3"); });
    other.run("PRAGMA wal_checkpoint(PASSIVE)");
    REQUIRE(Interruption::has_come());
  }
  CHECK(end_of_wal(client.handle()).frames > before.frames);
  client.run("UPDATE t SET number = 2");
  CHECK(client.sees(2));
  client.run("PRAGMA wal_checkpoint(TRUNCATE)");
  CHECK(client.sees(2));
  CHECK(Client(directory, "").sees(2));
}

ON_A_PAIR("the log restarts when all of it is moved and nobody makes a checkpoint") {
  client.run("UPDATE t SET number = 1");
  client.run("PRAGMA wal_checkpoint(PASSIVE)");
  const WalEnd before = end_of_wal(client.handle());
  client.run("UPDATE t SET number = 2 WHERE id <= 3");
  CHECK(end_of_wal(client.handle()).frames < before.frames);
}

ON_A_PAIR("whoever is kept from restarting the log lets others make checkpoints") {
  client.run("UPDATE t SET number = 1");
  const WalEnd before = end_of_wal(client.handle());
  other.run("BEGIN");
  CHECK(other.sees(1));  // in the log
  client.run("PRAGMA wal_checkpoint(PASSIVE)");
  client.run("UPDATE t SET number = 2 WHERE id <= 3");
  CHECK(end_of_wal(client.handle()).frames > before.frames);
  CHECK(ShmLock(other.handle(), kCheckpointLock).code() == SQLITE_OK);
  other.run("COMMIT");
}

ON_A_PAIR("a lock of the writer that is taken twice is released with the last") {
  other.run("PRAGMA busy_timeout = 0");
  {
    const ShmLock lock(client.handle(), kWriteLock);
    REQUIRE(lock.code() == SQLITE_OK);
    client.run("PRAGMA wal_checkpoint(RESTART)");  // takes it as well
    CHECK_THROWS(other.run("UPDATE t SET number = 1"));
  }
  other.run("UPDATE t SET number = 1");
  CHECK(client.sees(1));
}

ON_A_PAIR("what is added to a log is found, even if whoever restarted it has died") {
  client.run("UPDATE t SET number = 1");
  const std::uint32_t moved = end_of_wal(client.handle()).frames;
  client.run("PRAGMA wal_checkpoint(TRUNCATE)");
  set_moved_frames(client.file(), moved);  // what SQLite sets to 0 after it has emptied the log
  client.run("UPDATE t SET number = 2");
  CHECK(client.sees(2));
  CHECK(other.sees(2));
}

// The index of the log's first 4,062 frames, or of the next 4,096: the page of each, and a hash
// table of them, in which they are counted from 1.
struct Index {
  explicit Index(Client& client, int region = 0) {
    volatile void* memory = nullptr;
    client.file()->pMethods->xShmMap(client.file(), region, 32'768, 0, &memory);
    const int begin = region == 0 ? 33 : -1;
    pages = static_cast<volatile std::uint32_t*>(memory) + begin;  // that of frame 1 is pages[1]
    slots = static_cast<volatile std::uint16_t*>(memory) + 8'192;
  }
  // As SQLite does it, before the frame is part of the log.
  void add(std::uint32_t frame, std::uint32_t page) const {
    pages[frame] = page;
    std::uint32_t slot = page * 383 % 8'192;
    while (slots[slot] != 0) slot = (slot + 1) % 8'192;
    slots[slot] = static_cast<std::uint16_t>(frame);
  }
  std::vector<std::uint32_t> copy() const {
    std::vector<std::uint32_t> all(pages + 1, pages + 4'063);
    for (int slot = 0; slot < 8'192; ++slot) all.push_back(slots[slot]);
    return all;
  }
  volatile std::uint32_t* pages;
  volatile std::uint16_t* slots;
};

ON_A_PAIR("what is added to a log is found, even if two have died who were about to add to it") {
  client.run("UPDATE t SET number = 1");
  const std::uint32_t frames = end_of_wal(client.handle()).frames;
  const Index index(client);
  // One has died who had added 20 frames, and the next who was removing them.
  for (std::uint32_t i = 10; i <= 20; ++i) index.pages[frames + i] = i;
  client.run("PRAGMA cache_size = 1000");  // so that the commit adds all frames at once
  client.run("UPDATE t SET number = 2");
  CHECK(client.sees(2));
  CHECK(other.sees(2));
}

ON_A_PAIR("whoever takes the lock of the writer removes what one who died has left in the index") {
  const auto is_removed = [this](const Index& index, std::uint32_t frames) {
    const auto before = index.copy();
    for (std::uint32_t i = 1; i <= 20; ++i) index.add(frames + i, i);
    CHECK((index.copy() != before));
    CHECK(ShmLock(client.handle(), kWriteLock).code() == SQLITE_OK);
    CHECK((index.copy() == before));
  };
  client.run("UPDATE t SET number = 1");
  is_removed(Index(client), end_of_wal(client.handle()).frames);

  constexpr std::uint32_t kIndexed = 4'062;  // frames in the first part of the index
  while (end_of_wal(client.handle()).frames <= kIndexed)
    client.run("UPDATE t SET number = number + 1");
  is_removed(Index(client, 1), end_of_wal(client.handle()).frames - kIndexed);
}

ON_A_PAIR("what was gathered and rolled back is never written over what others have committed") {
  for (int number = 1; number <= 20; ++number) {
    // Nothing is read from the log, which would write what was gathered.
    client.run("PRAGMA wal_checkpoint(TRUNCATE)");
    client.run("BEGIN IMMEDIATE");
    client.run("UPDATE t SET number = 1000");
    client.run("ROLLBACK");
    other.run("UPDATE t SET number = " + std::to_string(number));
    CHECK(client.sees(number));
    CHECK(other.sees(number));
    client.run("UPDATE t SET filler = filler || 'y' WHERE id = 1");
    CHECK(other.sees(number));
  }
  CHECK(Client(directory, "").sees(20));
}

}  // namespace
}  // namespace counterd
