// What the sqlite engine promises beyond the contract: its turn, its file, its log, and what it
// refuses. Tampering is done with SQLite's own interface, as another program would.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <thread>
#include <utility>

#include "common/store/sqlite_file.h"
#include "tests/catch.h"
#include "tests/child_process.h"
#include "tests/sqlite_place.h"
#include "tests/steps.h"

namespace {

std::atomic<long> told_file_system;  // what fstatfs() says that a file is on; 0: the truth

}  // namespace

extern "C" int fstatfs64(int file, struct statfs64* found) noexcept {
  const auto failure = static_cast<int>(syscall(SYS_fstatfs, file, found));
  if (failure == 0 && told_file_system != 0) found->f_type = told_file_system;
  return failure;
}

namespace counterd {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class Place : public SqlitePlace {
 public:
  // The error that opening meets. Throws if it meets none.
  static Error refusal(const StoreOptions& options) {
    const Result<std::unique_ptr<Store>> store = open_store(options);
    if (store) throw std::runtime_error("the store was opened");
    return store.error();
  }
  Error refusal() const { return refusal(options()); }
  // The log is moved into the database at the end.
  StoreOptions options_to_empty() const {
    StoreOptions emptying = options();
    emptying.empty_wal = true;
    return emptying;
  }
};

struct OneStore {
  const Place place;
  std::unique_ptr<Store> store = place.open();
};
#define ON_SQLITE(name) TEST_CASE_METHOD(OneStore, name, "[sqlite]")

struct TwoStores {
  const Place place;
  const std::unique_ptr<Store> first = place.open();
  const std::unique_ptr<Store> second = place.open();
};
#define ON_SQLITE_TWICE(name) TEST_CASE_METHOD(TwoStores, name, "[sqlite]")

// Another program's connection.
class Foreigner {
 public:
  explicit Foreigner(const std::string& path)
      : database_(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE) {
    // Like a careful one, so that what a test sees of the log is the engine's doing.
    sqlite3_db_config(database_.getHandle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
  void run(const std::string& sql) { database_.exec(sql); }
  std::string ask(const std::string& sql) { return database_.execAndGet(sql).getString(); }

 private:
  SQLite::Database database_;
};

mode_t mode_of(const std::string& path) {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0) throw std::runtime_error("no " + path);
  return found.st_mode & 07777;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
  chmod(path.c_str(), 0600);
}

}  // namespace

ON_SQLITE_TWICE("one store at a time has the turn") {
  REQUIRE(first->take_turn(patiently()));
  const Result<void> refused = second->take_turn(after(milliseconds(30)));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == Code::kOverloaded);
  CHECK(run_one(*second, increment_of("a"), after(milliseconds(30))).code == Code::kUnavailable);
  first->yield_turn();
  REQUIRE(second->take_turn(patiently()));
  CHECK_FALSE(first->take_turn(after(milliseconds(30))));
  second->yield_turn();
  CHECK(run_one(*first, increment_of("a")).value == 1);
}

ON_SQLITE("a change that was held up until after its deadline is not applied") {
  Step step = increment_of("a");
  REQUIRE(store->take_turn(patiently()));
  store->apply({&step, 1}, after(milliseconds(-1)));
  store->yield_turn();
  CHECK(step.outcome.code == Code::kUnavailable);
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

ON_SQLITE_TWICE("the wait for the turn ends at its deadline") {
  REQUIRE(first->take_turn(patiently()));
  for (const int patience_ms : {0, 1, 50, 300}) {
    CAPTURE(patience_ms);
    const milliseconds took =
        time_of([&] { CHECK_FALSE(second->take_turn(after(milliseconds(patience_ms)))); });
    CHECK(took >= milliseconds(patience_ms));
    CHECK(took < milliseconds(patience_ms + 1'000));
  }
  CHECK_FALSE(second->take_turn(steady_clock::now() - std::chrono::hours(1)));
  first->yield_turn();
}

ON_SQLITE_TWICE("the wait for the turn ends at its deadline where all signals are blocked") {
  REQUIRE(first->take_turn(patiently()));
  bool got = true;
  std::thread([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    got = second->take_turn(after(milliseconds(50))).ok();
  }).join();
  CHECK_FALSE(got);
  first->yield_turn();
}

TEST_CASE("who waits for the turn gets it when it is yielded", "[sqlite]") {
  const Place place;
  const auto holder = place.open();
  REQUIRE(holder->take_turn(patiently()));
  StoreOptions options = place.options();
  options.timeout = std::chrono::seconds(20);
  // Opening takes the turn too.
  auto opened = std::async(std::launch::async, [&] { return open_store(options).ok(); });
  CHECK(opened.wait_for(milliseconds(200)) == std::future_status::timeout);
  holder->yield_turn();
  CHECK(opened.get());
}

TEST_CASE("opening waits for the turn no longer than the store's timeout", "[sqlite]") {
  const Place place;
  const auto holder = place.open();
  REQUIRE(holder->take_turn(patiently()));
  StoreOptions options = place.options();
  options.timeout = milliseconds(50);
  Error error{};
  CHECK(time_of([&] { error = place.refusal(options); }) < milliseconds(2'000));
  CHECK(error.code == Code::kUnavailable);
  holder->yield_turn();
}

TEST_CASE("the turn of a killed process is free again", "[sqlite]") {
  const Place place;
  ChildProcess child([&](int output) {
    const auto store = place.open();
    if (!store->take_turn(patiently())) return 1;
    return ChildProcess::say_and_wait(output);
  });
  REQUIRE(child.wait_for_byte());
  StoreOptions options = place.options();
  options.timeout = milliseconds(50);
  CHECK(place.refusal(options).code == Code::kUnavailable);
  child.send(SIGKILL);
  CHECK(child.wait() == -SIGKILL);
  const auto store = place.open();
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

TEST_CASE("a stopped process that has the turn makes others unavailable until it goes on",
          "[sqlite]") {
  const Place place;
  ChildProcess child([&](int) {
    const auto store = place.open();
    run_one(*store, increment_of("a"));
    if (!store->take_turn(patiently())) return 1;
    raise(SIGSTOP);
    store->yield_turn();
    return 0;
  });
  // Not opened yet: the stopped child has the turn, which opening needs.
  REQUIRE(child.wait_until_stopped());
  StoreOptions options = place.options();
  options.timeout = milliseconds(200);
  check_error(place.refusal(options), Code::kUnavailable, "stopped");
  child.send(SIGCONT);
  const auto store = place.open();
  CHECK(run_one(*store, increment_of("a")).value == 2);
  CHECK(child.wait() == 0);
}

TEST_CASE("an open store meets a stopped holder of the turn at its deadline", "[sqlite]") {
  const Place place;
  { place.open(); }
  ChildProcess child([&](int output) {
    const auto store = place.open();
    if (write(output, "o", 1) != 1) return 1;
    raise(SIGSTOP);
    if (!store->take_turn(patiently())) return 2;
    raise(SIGSTOP);
    store->yield_turn();
    return 0;
  });
  REQUIRE(child.wait_for_byte());
  REQUIRE(child.wait_until_stopped());
  const auto store = place.open();
  CHECK(run_one(*store, increment_of("a")).value == 1);
  child.send(SIGCONT);
  while (store->take_turn(after(milliseconds(20))).ok()) {  // until the child has it
    store->yield_turn();
    std::this_thread::yield();
  }
  const milliseconds took = time_of([&] {
    const Outcome outcome = run_one(*store, increment_of("a"), after(milliseconds(200)));
    CHECK(outcome.code == Code::kUnavailable);
    CHECK(contains(outcome.detail, "stopped"));
  });
  CHECK(took < milliseconds(1'200));
  CHECK(value_of(*store, "a") == 1);  // reports go on
  REQUIRE(child.wait_until_stopped());
  child.send(SIGCONT);
  CHECK(run_one(*store, increment_of("a")).value == 2);
  CHECK(child.wait() == 0);
}

TEST_CASE("the database and its log are for their owner alone", "[sqlite]") {
  const mode_t umask_before = umask(0);
  const Place place;
  const auto store = place.open();
  run_one(*store, increment_of("a"));
  umask(umask_before);
  CHECK(mode_of(place.path()) == 0600);
  CHECK(mode_of(place.wal_path()) == 0600);
  CHECK(mode_of(place.path() + "-shm") == 0600);
}

TEST_CASE("in a folder that its group may write to, the group may use the database", "[sqlite]") {
  const Place place;
  REQUIRE(chmod(place.directory().path().c_str(), 02770) == 0);
  const mode_t umask_before = umask(077);
  const auto store = place.open();
  run_one(*store, increment_of("a"));
  umask(umask_before);
  CHECK(mode_of(place.path()) == 0660);
  CHECK(mode_of(place.wal_path()) == 0660);
  CHECK(mode_of(place.path() + "-shm") == 0660);
}

TEST_CASE("in a folder that is everybody's the database is for its owner alone", "[sqlite]") {
  const Place place;
  REQUIRE(chmod(place.directory().path().c_str(), 01777) == 0);
  const auto store = place.open();
  CHECK(mode_of(place.path()) == 0600);
}

TEST_CASE("a shortage of descriptors passes by itself", "[sqlite]") {
  const Place place;
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_NOFILE, &none);
  const Result<std::unique_ptr<Store>> store = open_store(place.options());
  setrlimit(RLIMIT_NOFILE, &before);
  REQUIRE(!store);
  CHECK(store.error().code == Code::kUnavailable);
}

TEST_CASE("an empty file becomes a database", "[sqlite]") {
  const Place place;
  write_file(place.path(), "");
  CHECK(run_one(*place.open(), increment_of("a")).value == 1);
  CHECK(Foreigner(place.path()).ask("PRAGMA page_size") == "1024");
}

TEST_CASE("a database may be named by a relative path, made or not", "[sqlite]") {
  const TemporaryDirectory directory;
  const fs::path before = fs::current_path();
  fs::current_path(directory.path());
  StoreOptions options;
  options.url = "sqlite:relative.db";
  for (int i = 1; i <= 2; ++i) {
    const Result<std::unique_ptr<Store>> store = open_store(options);
    CHECK(store.ok());
    if (!store) continue;
    CHECK((*store)->status().location == directory / "relative.db");
    fs::current_path(before);  // where the process goes later must not matter
    CHECK(run_one(**store, increment_of("a")).value == i);
    fs::current_path(directory.path());
  }
  fs::current_path(before);
}

TEST_CASE("the path of a database is not read as anything else", "[sqlite]") {
  const TemporaryDirectory directory;
  for (const char* name : {"a b.db", "x?mode=memory", "x%20y", "#1", "file:z", "'q'"}) {
    CAPTURE(name);
    const StoreOptions options = Place::options_at(directory / name);
    CHECK(run_one(*open_or_throw(options), increment_of("a")).value == 1);
    CHECK(fs::exists(directory / name));
  }
}

ON_SQLITE("a database reached by a symbolic link is the same one") {
  fs::create_symlink(place.path(), place.directory() / "link.db");
  const StoreOptions options = Place::options_at(place.directory() / "link.db");
  const auto by_link = open_or_throw(options);
  CHECK(by_link->status().location == place.path());
  REQUIRE(store->take_turn(patiently()));
  CHECK_FALSE(by_link->take_turn(after(milliseconds(20))));
  store->yield_turn();
  CHECK(run_one(*store, increment_of("a")).value == 1);
  CHECK(run_one(*by_link, increment_of("a")).value == 2);
  CHECK_FALSE(fs::exists(place.directory() / "link.db-wal"));
}

TEST_CASE("a missing database is not made where it must be there", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.create = false;
  check_error(place.refusal(options), Code::kConfig, place.path());
  CHECK_FALSE(fs::exists(place.path()));
  { place.open(); }
  CHECK(run_one(*open_or_throw(options), increment_of("a")).value == 1);
}

TEST_CASE("a database in a missing folder is refused", "[sqlite]") {
  const TemporaryDirectory directory;
  const StoreOptions options = Place::options_at((directory / "missing") + "/counters.db");
  const Result<std::unique_ptr<Store>> store = open_store(options);
  REQUIRE_FALSE(store);
  check_error(store.error(), Code::kConfig, "folder");
  CHECK(contains(store.error().message, directory / "missing"));
  CHECK_FALSE(fs::exists(directory / "missing"));
}

TEST_CASE("a folder is no database", "[sqlite]") {
  const Place place;
  fs::create_directory(place.path());
  check_error(place.refusal(), Code::kConfig, "irectory");
}

TEST_CASE("a device and a FIFO are no database, and nothing waits for them", "[sqlite]") {
  const Place place;
  StoreOptions options;
  options.url = "sqlite:/dev/null";
  CHECK(place.refusal(options).code == Code::kConfig);
  REQUIRE(mkfifo(place.path().c_str(), 0600) == 0);
  check_error(place.refusal(), Code::kConfig, "regular file");
}

TEST_CASE("a database cannot be in a file", "[sqlite]") {
  const Place place;
  write_file(place.path(), "x");
  StoreOptions options = place.options();
  options.url += "/counters.db";
  check_error(place.refusal(options), Code::kConfig, "is not a folder");
}

TEST_CASE("a database whose path or name is too long for SQLite is refused", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  const fs::path folder = fs::path(place.path()).parent_path();
  const fs::path deep = folder / std::string(200, 'd') / std::string(200, 'd');
  fs::create_directories(deep);
  const bool longest_name = GENERATE(true, false);
  // With "-journal" a name has up to 255 bytes, a path up to 512.
  const std::string most = longest_name
                               ? folder / std::string(255 - 8, 'x')
                               : deep / std::string(512 - 8 - 1 - deep.native().size(), 'x');
  options.url = "sqlite:" + most + "x";
  check_error(place.refusal(options), Code::kConfig, "is too long");
  CHECK_FALSE(fs::exists(most + "x"));
  options.url = "sqlite:" + most;
  CHECK(open_store(options).ok());
}

TEST_CASE("a file that is no database is refused and left as it is", "[sqlite]") {
  const Place place;
  const std::string text(8'192, 'x');
  write_file(place.path(), text);
  const Error error = place.refusal();
  check_error(error, Code::kConfig, "not a database");
  CHECK(contains(error.message, "put a backup in its place"));
  CHECK(contents_of(place.path()) == text);
}

TEST_CASE("a database of another application is refused and left as it is", "[sqlite]") {
  const Place place;
  const char* kind = GENERATE("PRAGMA application_id = 1234", "CREATE TABLE t (x)",
                              "PRAGMA user_version = 1", "PRAGMA user_version = 77",
                              "PRAGMA application_id = 1668183140; PRAGMA user_version = -1");
  CAPTURE(kind);
  Foreigner(place.path()).run(kind);
  chmod(place.path().c_str(), 0600);
  const std::string before = contents_of(place.path());
  check_error(place.refusal(), Code::kConfig, "another application");
  CHECK(contents_of(place.path()) == before);
  CHECK_FALSE(fs::exists(place.wal_path()));
}

TEST_CASE("a database of a newer version is refused and left as it is", "[sqlite]") {
  const Place place;
  { place.open(); }
  Foreigner(place.path()).run("PRAGMA user_version = 7");
  const Error error = place.refusal();
  check_error(error, Code::kConfig, "version 7");
  CHECK(contains(error.message, "newer counterd"));
  CHECK(Foreigner(place.path()).ask("PRAGMA user_version") == "7");
}

TEST_CASE("a database with a hard link is refused", "[sqlite]") {
  const Place place;
  { run_one(*place.open(), increment_of("a")); }
  fs::create_hard_link(place.path(), place.directory() / "second.db");
  check_error(place.refusal(), Code::kConfig, "hard link");
  fs::remove(place.directory() / "second.db");
  CHECK(run_one(*place.open(), increment_of("a")).value == 2);
}

TEST_CASE("a database that every user may open is refused", "[sqlite]") {
  const Place place;
  { place.open(); }
  for (const mode_t mode : {0604, 0602, 0666}) {
    CAPTURE(mode);
    chmod(place.path().c_str(), mode);
    const Error error = place.refusal();
    check_error(error, Code::kConfig, "every user");
    CHECK(contains(error.message, "chmod"));
  }
  chmod(place.path().c_str(), 0640);
  CHECK(place.open() != nullptr);
}

TEST_CASE("nobody is told to close to others what is no database", "[sqlite]") {
  const Place place;
  const std::string text = "root:x:0:0:root:/root:/bin/bash\n";
  std::ofstream(place.path()) << text;
  chmod(place.path().c_str(), 0644);
  const Error error = place.refusal();
  check_error(error, Code::kConfig, "is no database; name another file");
  CHECK_FALSE(contains(error.message, "chmod"));
  CHECK(contents_of(place.path()) == text);
}

TEST_CASE("a database with a part that every user may open is refused", "[sqlite]") {
  const Place place;
  const auto store = place.open();  // or the shared memory would not be there
  for (const std::string part : {"-wal", "-shm"}) {
    CAPTURE(part);
    const std::string path = place.path() + part;
    chmod(path.c_str(), 0604);
    check_error(place.refusal(), Code::kConfig, "chmod o= " + path);
    chmod(path.c_str(), 0600);
    CHECK(place.open() != nullptr);
  }
}

TEST_CASE("what another user has put into a folder that is everybody's is refused", "[sqlite]") {
  constexpr uid_t kOther = 12'345;
  {  // only root can give files away, and not in a user namespace without that user
    const Place place;
    write_file(place.path(), "");
    if (chown(place.path().c_str(), kOther, 0) != 0) return;
  }
  for (const std::string part : {"", "-wal", "-shm"}) {
    CAPTURE(part);
    const Place place;
    const std::string path = place.path() + part;
    const std::string folder = place.directory().path();
    write_file(path, "");
    REQUIRE(chown(path.c_str(), kOther, 0) == 0);
    REQUIRE(chmod(folder.c_str(), 01777) == 0);
    const Error error = place.refusal();
    CHECK(error.code == Code::kConfig);
    // Of the database itself before SQLite gives what it puts beside it to the same owner.
    const std::string what = part.empty() ? "" : ", a part of the database: it";
    CHECK(contains(error.message, path + what + " belongs to another user"));

    // Where others can put nothing, this one was let in; and whose folder it is could put in more.
    REQUIRE(chmod(folder.c_str(), 0700) == 0);
    CHECK(place.open() != nullptr);
    REQUIRE(chown(path.c_str(), kOther, 0) == 0);  // SQLite has given it to the database's owner
    REQUIRE(chown(folder.c_str(), kOther, 0) == 0);
    REQUIRE(chmod(folder.c_str(), 01777) == 0);
    CHECK(place.open() != nullptr);
  }
}

TEST_CASE("a store that must be durable refuses Sync::kNormal and makes no file", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.require_durable = true;
  options.sync = Sync::kNormal;
  const Error error = place.refusal(options);
  check_error(error, Code::kConfig, "--sync full");
  CHECK_FALSE(fs::exists(place.path()));
  options.sync = Sync::kFull;
  const Result<std::unique_ptr<Store>> durable = open_store(options);
  CHECK((durable || contains(durable.error().message, "tmpfs")));  // no disk for the tests
}

TEST_CASE("status tells the two kinds of durability apart", "[sqlite]") {
  const Place place;
  CHECK(contains(place.open()->status().durability, "power (synchronous=FULL)"));
  StoreOptions options = place.options();
  options.sync = Sync::kNormal;
  CHECK(contains(open_or_throw(options)->status().durability, "power failure may lose"));
}

TEST_CASE("network file systems are known by their type, local ones are not", "[sqlite]") {
  CHECK(network_file_system(NFS_SUPER_MAGIC) == "NFS");
  CHECK(network_file_system(static_cast<std::int32_t>(0xff534d42)) ==
        "CIFS");  // as 32 bits sign it
  CHECK(network_file_system(0xfe534d42) == "SMB2");
  CHECK(network_file_system(SMB_SUPER_MAGIC) == "SMB");
  CHECK(network_file_system(V9FS_MAGIC) == "9P");
  CHECK(network_file_system(0x65735546) == "FUSE");
  CHECK(network_file_system(0x00c36400) == "Ceph");
  for (const long local :
       {long{EXT4_SUPER_MAGIC}, long{TMPFS_MAGIC}, long{BTRFS_SUPER_MAGIC},
        long{OVERLAYFS_SUPER_MAGIC}, 0x58465342L /* XFS */, 0x2fc12fc1L /* ZFS */, 0L}) {
    CAPTURE(local);
    CHECK(network_file_system(local).empty());
  }
}

TEST_CASE("a database on a network file system is refused, however it got there", "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a"));
  for (const auto& [type, name] :
       {std::pair(long{NFS_SUPER_MAGIC}, "NFS"), std::pair(0x65735546L, "FUSE")}) {
    told_file_system = type;
    // As SMB and 9P show it, whatever its mode is to be.
    REQUIRE(chmod(place.path().c_str(), 0777) == 0);
    const Result<std::unique_ptr<Store>> store = open_store(place.options());
    REQUIRE(chmod(place.path().c_str(), 0600) == 0);
    told_file_system = 0;
    REQUIRE_FALSE(store);
    check_error(store.error(), Code::kConfig, name);
  }
  CHECK(run_one(*place.open(), increment_of("a")).value == 2);
}

namespace {

// The open store says that it is unavailable, whatever it is asked.
void check_all_unavailable(Store& store) {
  CHECK(run_one(store, increment_of("a")).code == Code::kUnavailable);
  CHECK(run_one(store, reset_of("a")).code == Code::kUnavailable);
  CHECK(run_one(store, report_of("a")).code == Code::kUnavailable);
  const Result<void> probed = store.probe(patiently());
  REQUIRE_FALSE(probed);
  CHECK(probed.error().code == Code::kUnavailable);
  const Result<ListPage> page = store.list({"", "", 10}, patiently());
  REQUIRE_FALSE(page);
  CHECK(page.error().code == Code::kUnavailable);
}

}  // namespace

ON_SQLITE("a database deleted under an open store is noticed and not made anew") {
  run_one(*store, increment_of("a"));
  fs::rename(place.path(), place.directory() / "away");
  check_all_unavailable(*store);
  CHECK_FALSE(fs::exists(place.path()));
  fs::rename(place.directory() / "away", place.path());
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

// A worker that starts then opens the other database: those of one daemon would count in two.
TEST_CASE("a link to a database that is turned to another one is noticed", "[sqlite]") {
  const Place place;
  const Place other;
  const fs::path link = place.directory() / "current";
  fs::create_directory_symlink(fs::path(place.path()).parent_path(), link);
  const StoreOptions options = Place::options_at(link / "counters.db");
  const auto store = open_or_throw(options);
  CHECK(run_one(*store, increment_of("a")).value == 1);
  fs::remove(link);
  check_all_unavailable(*store);
  fs::create_directory_symlink(fs::path(other.path()).parent_path(), link);
  run_one(*open_or_throw(options), increment_of("a", 10));
  check_all_unavailable(*store);
  CHECK(contains(run_one(*store, increment_of("a")).detail, "symbolic link"));
  fs::remove(link);
  fs::create_directory_symlink(fs::path(place.path()).parent_path(), link);
  CHECK(run_one(*store, increment_of("a")).value == 2);
  CHECK(value_of(*other.open(), "a") == 10);
}

TEST_CASE("a path that goes back out of a folder that is missing leads to the same database",
          "[sqlite]") {
  const Place place;
  const StoreOptions options = Place::options_at(place.directory() / "missing/../counters.db");
  const auto store = open_or_throw(options);
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

ON_SQLITE("a database replaced under an open store is noticed and not written to") {
  run_one(*store, increment_of("a", 5));
  fs::rename(place.path(), place.directory() / "away");
  write_file(place.path(), "");
  check_all_unavailable(*store);
  CHECK(contains(run_one(*store, increment_of("a")).detail, "replaced"));
  CHECK(fs::file_size(place.path()) == 0);
  fs::rename(place.directory() / "away", place.path());
  CHECK(run_one(*store, increment_of("a")).value == 6);
}

TEST_CASE("a part of the database that is removed under an open store stops it", "[sqlite]") {
  for (const char* part : {"-wal", "-shm"}) {
    CAPTURE(part);
    const Place place;
    const auto store = place.open();
    run_one(*store, increment_of("a"));
    fs::rename(place.path() + part, place.directory() / "away");
    check_all_unavailable(*store);
    CHECK(contains(run_one(*store, increment_of("a")).detail, part));
    CHECK_FALSE(fs::exists(place.path() + part));
    fs::rename(place.directory() / "away", place.path() + part);
    CHECK(run_one(*store, increment_of("a")).value == 2);
  }
}

TEST_CASE("who opens a database joins no others that use a log or a shared memory that is removed",
          "[sqlite]") {
  using Parts = std::vector<std::string>;
  for (const Parts& parts : {Parts{"-wal"}, Parts{"-shm"}, Parts{"-wal", "-shm"}}) {
    CAPTURE(parts.front(), parts.size());
    const Place place;
    const auto store = place.open();
    run_one(*store, increment_of("a"));
    for (const std::string& part : parts) {
      fs::rename(place.path() + part, place.directory() / ("away" + part));
    }
    check_error(place.refusal(), Code::kUnavailable,
                parts.front() + ", a part of the database, was removed");
    for (const std::string& part : parts) {
      CHECK_FALSE(fs::exists(place.path() + part));
      fs::rename(place.directory() / ("away" + part), place.path() + part);
    }
    CHECK(run_one(*place.open(), increment_of("a")).value == 2);
    CHECK(run_one(*store, increment_of("a")).value == 3);
  }
}

TEST_CASE("a database put in the place of one that is in use does not get its log", "[sqlite]") {
  const Place place;
  const Place other;
  run_one(*other.open(), increment_of("a", 50));
  Foreigner(other.path()).run("PRAGMA wal_checkpoint(TRUNCATE)");
  const auto store = place.open();
  run_one(*store, increment_of("a"));
  const std::string log = contents_of(place.wal_path());
  fs::rename(other.path(), place.path());
  const std::string replacement = contents_of(place.path());
  check_error(place.refusal(), Code::kConfig, "put in the place of another one");
  CHECK(contents_of(place.path()) == replacement);
  CHECK(contents_of(place.wal_path()) == log);
}

ON_SQLITE("nothing of the log is moved after a part of the database was removed") {
  for (int i = 0; place.wal_size() < 2 << 20; ++i) {
    std::vector<Step> steps = increments_of_many(1'000, "row" + std::to_string(i) + "-");
    REQUIRE(store->take_turn(patiently()));  // without the housekeeping
    store->apply(steps, patiently());
    store->yield_turn();
  }
  const std::string before = contents_of(place.path());
  fs::rename(place.path() + "-shm", place.directory() / "away");
  store->tidy();
  CHECK(contents_of(place.path()) == before);
  fs::rename(place.directory() / "away", place.path() + "-shm");
  store->tidy();
  CHECK(contents_of(place.path()) != before);
}

TEST_CASE("a link in the place of a part of the database is refused, and not followed",
          "[sqlite]") {
  for (const char* part : {"-wal", "-shm"}) {
    CAPTURE(part);
    const Place place;
    { place.open(); }
    fs::remove(place.path() + part);
    write_file(place.directory() / "elsewhere", "precious");
    fs::create_symlink(place.directory() / "elsewhere", place.path() + part);
    const Error error = place.refusal();
    check_error(error, Code::kConfig, place.path() + part);
    CHECK(contains(error.message, "regular file"));
    CHECK(contents_of(place.directory() / "elsewhere") == "precious");
  }
}

TEST_CASE("a database that is missing or empty, whose log is not, is not begun anew", "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a"));
  const std::string log = contents_of(place.wal_path());
  REQUIRE_FALSE(log.empty());
  fs::rename(place.path(), place.directory() / "away");
  const auto check_refused = [&] {
    check_error(place.refusal(), Code::kConfig, "put that very database back");
    CHECK(contents_of(place.wal_path()) == log);
  };
  check_refused();
  CHECK_FALSE(fs::exists(place.path()));
  write_file(place.path(), "");
  check_refused();
  fs::rename(place.directory() / "away", place.path());
  CHECK(value_of(*place.open(), "a") == 1);
}

TEST_CASE("a database that somebody empties takes no more changes, and keeps its log", "[sqlite]") {
  const Place place;
  auto store = open_or_throw(place.options_to_empty());
  run_one(*store, increment_of("a"));
  fs::resize_file(place.path(), 0);
  CHECK(contains(run_one(*store, increment_of("a")).detail, "was emptied while it was in use"));
  store.reset();
  CHECK(fs::file_size(place.path()) == 0);
  CHECK(place.wal_size() > 0);
  CHECK(contains(place.refusal().message, "missing or empty, but its log"));
}

ON_SQLITE("a log that somebody cuts short takes no more changes") {
  for (int i = 1; i <= 100; ++i) run_one(*store, increment_of("a"));
  const bool all_moved = GENERATE(false, true);
  if (all_moved) Foreigner(place.path()).ask("PRAGMA wal_checkpoint");
  fs::resize_file(place.wal_path(), all_moved ? 0 : GENERATE(0, 10'000));
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnavailable);
  const Outcome next = run_one(*store, increment_of("a"));
  if (all_moved) {
    CHECK(next.value == 101);
    CHECK(Foreigner(place.path()).ask("PRAGMA integrity_check") == "ok");
  } else {
    CHECK(next.code == Code::kUnavailable);
    CHECK(contains(next.detail, "may have lost a part"));
  }
}

TEST_CASE(
    "who opens a database whose shared memory somebody has cut short misses nothing of the log",
    "[sqlite]") {
  constexpr int kRegionBytes = 32'768;
  const auto bytes = GENERATE(0, 3, 4'096, 20'000, kRegionBytes + 4'096);
  CAPTURE(bytes);
  const int batches = bytes > kRegionBytes ? 140 : 12;
  const Place place;
  ChildProcess child([&](int output) {
    const auto store = place.open();
    for (int i = 0; i < batches; ++i) {
      std::vector<Step> steps = {increment_of("a")};
      for (int row = 0; row < 1'000; ++row) {
        steps.push_back(increment_of("row" + std::to_string(row * 7 % 1'000)));
      }
      if (!store->take_turn(patiently())) return 1;  // without the housekeeping
      apply_in_turn(*store, steps, patiently());
    }
    return ChildProcess::say_and_wait(output);
  });
  REQUIRE(child.wait_for_byte());
  const std::string memory = place.path() + "-shm";
  REQUIRE(fs::file_size(memory) > static_cast<std::uintmax_t>(bytes));
  fs::resize_file(memory, bytes);
  CHECK(run_one(*place.open(), increment_of("a")).value == batches + 1);
  child.send(SIGKILL);
  child.wait();
  const auto store = place.open();
  CHECK(run_one(*store, increment_of("a")).value == batches + 2);
  CHECK(Foreigner(place.path()).ask("PRAGMA integrity_check") == "ok");
}

ON_SQLITE("a hard link made under an open store stops it") {
  run_one(*store, increment_of("a"));
  fs::create_hard_link(place.path(), place.directory() / "second");
  check_all_unavailable(*store);
  fs::remove(place.directory() / "second");
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

ON_SQLITE(
    "a database that becomes newer under an open store is neither changed nor read any more") {
  run_one(*store, increment_of("a"));
  Foreigner foreigner(place.path());
  foreigner.run("PRAGMA user_version = 7");
  const Outcome outcome = run_one(*store, increment_of("a"));
  CHECK(outcome.code == Code::kUnavailable);
  CHECK(contains(outcome.detail, "version 7"));
  CHECK(store->probe(patiently()).error().code == Code::kUnavailable);
  CHECK(run_one(*store, report_of("a")).code == Code::kUnavailable);
  CHECK_FALSE(store->list({"", "", 1}, patiently()));
  CHECK(foreigner.ask("SELECT value FROM counters") == "1");
  foreigner.run("PRAGMA user_version = 6");
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

// Takes from the database what the versions after `version` have added.
void make_older(const Place& place, int version) {
  Foreigner foreigner(place.path());
  if (version < 6) foreigner.run("ALTER TABLE keys_state DROP COLUMN passed");
  if (version < 5) foreigner.run("ALTER TABLE counters DROP COLUMN window");
  if (version < 4) {
    foreigner.run("DROP INDEX counters_by_end");
    foreigner.run("ALTER TABLE counters DROP COLUMN expires_at");
  }
  if (version < 3) foreigner.run("ALTER TABLE keys DROP COLUMN members");
  if (version < 2) {
    foreigner.run("DROP TABLE keys");
    foreigner.run("DROP TABLE keys_state");
  }
  foreigner.run("PRAGMA user_version = " + std::to_string(version));
}

TEST_CASE("a database of version 1 gets the tables of later versions and keeps its counters",
          "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a", 5));
  make_older(place, 1);
  const auto store = place.open();
  CHECK(run_one(*store, keyed(increment_of("a"), "k")).value == 6);
  CHECK(run_one(*store, keyed(increment_of("a"), "k")).replayed);
  Foreigner foreigner(place.path());
  CHECK(foreigner.ask("PRAGMA user_version") == "6");
}

TEST_CASE("a database of version 2 keeps its keys, and keeps those of groups too", "[sqlite]") {
  const Place place;
  run_one(*place.open(), keyed(increment_of("a", 5), "k"));
  make_older(place, 2);
  const auto store = place.open();
  CHECK(run_one(*store, keyed(increment_of("a", 5), "k")).replayed);
  CHECK_FALSE(run_one(*store, keyed(all_of({increment_of("a")}), "k")).replayed);
  CHECK(run_one(*store, keyed(all_of({increment_of("a")}), "k")).replayed);
  CHECK(value_of(*store, "a") == 6);
}

ON_SQLITE("counters that have ended leave the database in small portions") {
  run(*store, many(1'000, [](const std::string& number) {
    return ending_in(milliseconds(1), increment_of("c" + number));
  }));
  run_one(*store, ending_in(std::chrono::hours(1), increment_of("stays")));
  Foreigner foreigner(place.path());
  const auto rows = [&] { return std::stol(foreigner.ask("SELECT count(*) FROM counters")); };
  CHECK(rows() > 800);
  const Deadline limit = after(std::chrono::seconds(20));
  for (long before = rows(); before > 1 && std::chrono::steady_clock::now() < limit;) {
    run_one(*store, increment_of("stays"));
    const long now = rows();
    REQUIRE(before - now <= 100);
    before = now;
  }
  CHECK(rows() == 1);
}

ON_SQLITE("counters with an end that are made all the time do not become more and more") {
  for (int batch = 0; batch < 20; ++batch) {
    run(*store, many(500, [&](const std::string& number) {
      return ending_in(milliseconds(1), increment_of(std::to_string(batch) + ":" + number));
    }));
    std::this_thread::sleep_for(milliseconds(2));
  }
  CHECK(std::stol(Foreigner(place.path()).ask("SELECT count(*) FROM counters")) <= 1'000);
}

TEST_CASE("a database of version 3 has no ends, and keeps the outcomes of its groups", "[sqlite]") {
  const Place place;
  const Step group = keyed(each_of({increment_of("a", 5), delete_of("b")}), "k");
  run_one(*place.open(), group);
  Foreigner(place.path())
      .run("UPDATE keys SET members = 'k 5 - 0 0' || char(10) || 'm 0 - 0 0' || char(10)");
  make_older(place, 3);
  const auto store = place.open();
  const Outcome again = run_one(*store, group);
  CHECK(again.replayed);
  REQUIRE(again.members.size() == 2);
  CHECK(again.members[0].value == 5);
  CHECK(again.members[1].code == Code::kMissing);
  CHECK(value_of(*store, "a") == 5);
}

TEST_CASE("a database of version 4 has no windows, and keeps its ends", "[sqlite]") {
  const Place place;
  const Step step = ending_in(std::chrono::hours(1), increment_of("a"));
  run_one(*place.open(), step);
  make_older(place, 4);
  const auto store = place.open();
  CHECK(run_one(*store, report_of("a")).expires_at_ms > 0);
  const Outcome refused = run_one(*store, per(Period::kDay, increment_of("a")));
  CHECK(refused.code == Code::kOtherWindow);
  CHECK(refused.window.empty());
  CHECK(run_one(*store, per(Period::kDay, increment_of("b"))).value == 1);
}

ON_SQLITE("expired keys leave the database in small portions") {
  constexpr int kKeys = 3'000;
  const auto batch_of = [](int from, int count, milliseconds lifetime) {
    std::vector<Step> steps;
    for (int i = from; i < from + count; ++i) {
      steps.push_back(keyed(increment_of("a"), std::to_string(i), lifetime));
    }
    return steps;
  };
  for (int i = 0; i < kKeys; i += 500) run(*store, batch_of(i, 500, milliseconds(1)));
  std::this_thread::sleep_for(milliseconds(5));
  Foreigner foreigner(place.path());
  const auto rows = [&] { return std::stoi(foreigner.ask("SELECT count(*) FROM keys")); };
  const int before = rows();
  run(*store, batch_of(kKeys, 1, milliseconds(60'000)));
  CHECK(rows() >= before - 20);
  for (int i = 1; i < kKeys / 10; ++i) {
    run(*store, batch_of(kKeys + i, 1, milliseconds(60'000)));
  }
  CHECK(rows() <= kKeys / 10 + 20);
  CHECK(foreigner.ask("SELECT count(*) FROM keys") ==
        foreigner.ask("SELECT count FROM keys_state"));
}

ON_SQLITE("a key that has expired is as good as none while it is still in the database") {
  run(*store, many(100, [](const std::string& number) {
    return keyed(increment_of("a"), number, milliseconds(1));
  }));
  std::this_thread::sleep_for(milliseconds(5));
  const Outcome again = run_one(*store, keyed(increment_of("a"), "99"));  // of the last portion
  CHECK(again.value == 101);
  CHECK_FALSE(again.replayed);
  CHECK(run_one(*store, keyed(increment_of("a"), "99")).replayed);
}

TEST_CASE("keys are counted wherever they are added, forgotten and used again", "[sqlite]") {
  const Place place;
  const std::array stores = {place.open(), place.open()};
  Foreigner foreigner(place.path());
  std::mt19937 random(1);
  for (int batch = 0; batch < 300; ++batch) {
    std::vector<Step> steps;
    for (int i = 0; i < 20; ++i) {
      const milliseconds lifetime(random() % 2 == 0 ? 1 : 60'000);
      steps.push_back(keyed(increment_of("a"), std::to_string(random() % 5'000), lifetime));
    }
    run(*stores.at(random() % 2), std::move(steps));
    if (batch % 10 != 0) continue;
    REQUIRE(foreigner.ask("SELECT count FROM keys_state") ==
            foreigner.ask("SELECT count(*) FROM keys"));
    REQUIRE(foreigner.ask("SELECT passed FROM keys_state") ==
            foreigner.ask("SELECT count(*) FROM keys, keys_state "
                          "WHERE (keys.key, keys.name) <= (at_key, at_name)"));
  }
}

TEST_CASE("keys of a database of version 5 are counted when the sweep comes round", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.max_keys = 10;
  const auto ask = [&](int key) {
    return run_one(*open_or_throw(options), keyed(increment_of("a"), std::to_string(key))).code;
  };
  for (int key = 10; key < 20; ++key) REQUIRE(ask(key) == Code::kOk);
  Foreigner(place.path()).run("UPDATE keys_state SET at_key = '15', at_name = 'a'");
  make_older(place, 5);
  CHECK(ask(20) == Code::kTooManyKeys);
  Foreigner(place.path()).run("DELETE FROM keys WHERE key < '12'");
  CHECK(ask(20) == Code::kOk);
  CHECK(ask(21) == Code::kOk);
  CHECK(ask(22) == Code::kTooManyKeys);
}

TEST_CASE("keys that somebody deletes make room for others", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.max_keys = 2;
  const auto store = open_or_throw(options);
  const auto ask = [&](const char* key) { return run_one(*store, keyed(increment_of("a"), key)); };
  ask("1");
  ask("2");
  Foreigner(place.path()).run("DELETE FROM keys");
  CHECK(ask("3").code == Code::kOk);
  CHECK(ask("4").code == Code::kOk);
  CHECK(ask("5").code == Code::kTooManyKeys);
}

// Adds so many keys, the last of which has expired.
void add_keys(const Place& place, int count) {
  const std::string last = std::to_string(count);
  Foreigner foreigner(place.path());
  foreigner.run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " + last +
                ") INSERT INTO keys (key, name, operation, value, expires_at) "
                "SELECT printf('%08d', i), 'a', 'i', 1, iif(i < " +
                last + ", 9000000000000000, 1) FROM n");
  foreigner.run("UPDATE keys_state SET count = " + last);
}

TEST_CASE("a key that has expired makes room for another one, wherever it is", "[sqlite]") {
  constexpr int kKeys = 100'000;
  const Place place;
  StoreOptions options = place.options();
  options.max_keys = kKeys;
  const auto store = open_or_throw(options);
  add_keys(place, kKeys);
  const auto ask = [&](const char* key) { return run_one(*store, keyed(increment_of("a"), key)); };
  const Deadline end = patiently();
  while (ask("new").code == Code::kTooManyKeys) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    std::this_thread::sleep_for(milliseconds(10));
  }
  CHECK(ask("new").replayed);
  CHECK(ask("other").code == Code::kTooManyKeys);
}

TEST_CASE("looking for expired keys among many holds up few changes", "[sqlite]") {
  constexpr int kKeys = 200'000;  // five times as many as a search looks at
  const Place place;
  StoreOptions options = place.options();
  options.max_keys = kKeys;
  options.sync = Sync::kNormal;
  const auto store = open_or_throw(options);
  add_keys(place, kKeys);
  Foreigner foreigner(place.path());
  const auto passed = [&] { return std::stoll(foreigner.ask("SELECT passed FROM keys_state")); };
  const auto begun = std::chrono::steady_clock::now();
  int searches = 0;
  for (int i = 0; i < 12; ++i) {
    const long long before = passed();
    run_one(*store, keyed(increment_of("a"), "new"));
    if (std::abs(passed() - before) > 1'000) ++searches;  // else some 20 rows
  }
  CHECK(searches >= 1);
  CHECK(searches <= 1 + (std::chrono::steady_clock::now() - begun) / milliseconds(200));
}

ON_SQLITE("what somebody made of a key's outcome is refused if it makes no sense") {
  const Step change = keyed(per(Period::kDay, increment_of("a")), "key");
  run_one(*store, change);
  Foreigner(place.path()).run("UPDATE keys SET members = NULL");
  const Outcome outcome = run_one(*store, change);
  CHECK(outcome.code == Code::kUnavailable);
  CHECK(outcome.detail.find("integrity_check") != std::string::npos);
}

ON_SQLITE("an end of 0, which somebody has set, is none") {
  run_one(*store, increment_of("a", 43));
  Foreigner(place.path()).run("UPDATE counters SET expires_at = 0");
  CHECK(run_one(*store, ending_in(milliseconds(60'000), increment_of("b"))).value == 1);
  CHECK(run_one(*store, increment_of("a")).value == 44);
}

ON_SQLITE("another program's write transaction delays changes to the deadline, not reports") {
  run_one(*store, increment_of("a"));
  Foreigner foreigner(place.path());
  foreigner.run("BEGIN IMMEDIATE");
  const milliseconds took = time_of([&] {
    const std::vector<Outcome> outcomes =
        run(*store, {increment_of("a"), report_of("a")}, after(milliseconds(200)));
    CHECK(outcomes[0].code == Code::kUnavailable);
    CHECK(outcomes[1].code == Code::kUnavailable);
  });
  CHECK(took >= milliseconds(200));
  CHECK(took < milliseconds(1'200));
  CHECK(value_of(*store, "a") == 1);
  foreigner.run("COMMIT");
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

ON_SQLITE("another program's write transaction that ends in time delays changes only") {
  Foreigner foreigner(place.path());
  foreigner.run("BEGIN IMMEDIATE");
  std::atomic<bool> ends{false};
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(200));
    ends = true;
    foreigner.run("COMMIT");
  });
  CHECK(value_of(*store, "a") == std::nullopt);
  CHECK_FALSE(ends);
  CHECK(run_one(*store, increment_of("a")).value == 1);
  CHECK(ends);
  other.join();
}

TEST_CASE("opening a database says that another program has it for itself", "[sqlite]") {
  const Place place;
  place.open();
  Foreigner foreigner(place.path());
  foreigner.run("PRAGMA locking_mode = EXCLUSIVE");
  foreigner.run("BEGIN IMMEDIATE");
  StoreOptions options = place.options();
  options.timeout = milliseconds(50);
  check_error(place.refusal(options), Code::kUnavailable, "by another program that uses it");
}

ON_SQLITE("another program's reader delays no change and loses none") {
  run_one(*store, increment_of("a"));
  Foreigner foreigner(place.path());
  foreigner.run("BEGIN");
  CHECK(foreigner.ask("SELECT value FROM counters") == "1");
  for (int i = 2; i <= 2'000; ++i) REQUIRE(run_one(*store, increment_of("a")).value == i);
  CHECK(foreigner.ask("SELECT value FROM counters") == "1");
  foreigner.run("COMMIT");
  CHECK(foreigner.ask("SELECT value FROM counters") == "2000");
}

ON_SQLITE("the schema is strict and the database is sound after use") {
  run(*store, {increment_of("a", 5), reset_of("b"), delete_of("b")});
  Foreigner foreigner(place.path());
  CHECK(foreigner.ask("PRAGMA journal_mode") == "wal");
  CHECK(foreigner.ask("PRAGMA integrity_check") == "ok");
  CHECK(foreigner.ask("PRAGMA user_version") == "6");
  CHECK(foreigner.ask("PRAGMA application_id") == std::to_string(0x636e7464));
  CHECK_THROWS(foreigner.run("UPDATE counters SET value = 1.5"));
  CHECK_THROWS(foreigner.run("UPDATE counters SET value = 9223372036854775807 + 1"));
}

TEST_CASE("no acknowledged change is missing after writers are killed, again and again",
          "[sqlite]") {
  constexpr int kWriters = 3;
  const Place place;
  std::vector<std::int64_t> counted(kWriters, 0);
  for (int round = 1; round <= 12; ++round) {
    std::vector<std::unique_ptr<ChildProcess>> writers;
    for (int number = 0; number < kWriters; ++number) {
      writers.push_back(std::make_unique<ChildProcess>([&, number](int output) {
        const auto store = place.open();
        const std::string own = "own" + std::to_string(number);
        for (std::int64_t spread = 0;; ++spread) {
          // Other rows too, so that checkpoints are due while the killing goes on.
          std::vector<Step> steps = {increment_of(own), increment_of("all")};
          for (int i = 0; i < 40; ++i) {
            steps.push_back(increment_of("row" + std::to_string((spread * 40 + i) % 4'000)));
          }
          const std::vector<Outcome> outcomes = run(*store, std::move(steps));
          if (outcomes[0].code != Code::kOk) return 1;
          const std::int64_t value = outcomes[0].value;
          if (write(output, &value, sizeof value) != sizeof value) return 2;
        }
      }));
    }
    // The first one decides when: later in each round, so that the log is met at every size.
    std::vector<std::int64_t> acknowledged = counted;
    while (acknowledged[0] < counted[0] + 10 * round &&
           writers[0]->read(&acknowledged[0], sizeof acknowledged[0])) {
    }
    for (const auto& writer : writers) writer->send(SIGKILL);
    for (std::size_t i = 0; i < kWriters; ++i) {
      while (writers[i]->read(&acknowledged[i], sizeof acknowledged[i])) {
      }
      REQUIRE(writers[i]->wait() == -SIGKILL);
    }
    const auto store = place.open();
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kWriters; ++i) {
      counted[i] = value_of(*store, "own" + std::to_string(i)).value_or(0);
      CAPTURE(round, i, acknowledged[i], counted[i]);
      CHECK(counted[i] >= acknowledged[i]);
      CHECK(counted[i] <= acknowledged[i] + 1);
      sum += counted[i];
    }
    CHECK(value_of(*store, "all").value_or(0) == sum);
  }
  CHECK(Foreigner(place.path()).ask("PRAGMA integrity_check") == "ok");
}

TEST_CASE("closing the last store leaves the log, and opening takes it as it is", "[sqlite]") {
  const Place place;
  auto first = place.open();
  auto second = place.open();
  for (int i = 0; i < 10; ++i) run_one(*first, increment_of("a"));
  second.reset();
  CHECK(place.wal_size() > 0);
  first.reset();
  CHECK(place.wal_size() > 0);

  const std::string log = contents_of(place.wal_path());
  first = place.open();
  CHECK(contents_of(place.wal_path()) == log);
  CHECK(value_of(*first, "a") == 10);
  CHECK(run_one(*first, increment_of("a")).value == 11);
  second = place.open();
  CHECK(value_of(*second, "a") == 11);
}

TEST_CASE("the database file is all of it where its log is emptied at the end", "[sqlite]") {
  const Place place;
  const StoreOptions options = place.options_to_empty();
  auto store = open_or_throw(options);
  auto other = open_or_throw(options);
  for (int i = 0; i < 10; ++i) run_one(*store, increment_of("a"));
  store.reset();
  CHECK(place.wal_size() > 0);  // another one uses it
  CHECK(run_one(*other, increment_of("a")).value == 11);
  other.reset();
  CHECK(place.wal_size() == 0);
  const Place copy;
  fs::copy(place.path(), copy.path());
  CHECK(value_of(*copy.open(), "a") == 11);
}

// A store that empties its log at the end, with a counter that holds 1, in its log alone.
std::unique_ptr<Store> open_to_empty(const Place& place) {
  auto store = open_or_throw(place.options_to_empty());
  run_one(*store, increment_of("a"));
  return store;
}

TEST_CASE("a log that was removed is moved into its database at the end", "[sqlite]") {
  const Place place;
  auto store = open_to_empty(place);
  fs::remove(place.wal_path());
  SECTION("alone") {}
  SECTION("with the shared memory") {
    fs::remove(place.path() + "-shm");
  }
  store.reset();
  CHECK(value_of(*place.open(), "a") == 1);
}

TEST_CASE("the log of a database that was replaced is moved into it at the end, not into the other",
          "[sqlite]") {
  const Place place;
  const Place other;
  run_one(*open_to_empty(other), increment_of("a", 49));
  auto store = open_to_empty(place);
  const Place old;
  fs::rename(place.path(), old.path());
  fs::rename(other.path(), place.path());
  store.reset();
  CHECK(value_of(*old.open(), "a") == 1);
  CHECK(value_of(*place.open(), "a") == 50);
}

// Not so on tmpfs before Linux 6.6, and ext4 with small inodes does not know when a file was made.
bool keeps_attributes(const Place& place) {
  const std::string probe = place.directory() / "probe";
  write_file(probe, "");
  struct statx found {};
  return setxattr(probe.c_str(), "user.probe", "1", 1, 0) == 0 &&
         statx(AT_FDCWD, probe.c_str(), 0, STATX_BTIME, &found) == 0 &&
         (found.stx_mask & STATX_BTIME) != 0;
}

TEST_CASE("a database is not read with the log of one that was there before", "[sqlite]") {
  const Place place;
  if (!keeps_attributes(place)) return;  // it is not known there
  const Place backup;
  run_one(*open_to_empty(backup), increment_of("a", 49));
  run_one(*place.open(), increment_of("a", 5));
  const std::string first = place.directory() / "first";
  fs::rename(place.path(), first);
  fs::rename(backup.path(), place.path());
  check_error(place.refusal(), Code::kConfig, "move the log away");
  SECTION("the first one is put back") {
    fs::rename(first, place.path());
    CHECK(value_of(*place.open(), "a") == 5);
  }
  SECTION("a copy of the first one is put back, with a copy of its log") {
    fs::copy_file(place.wal_path(), first + "-wal");
    fs::remove(place.path());
    fs::copy_file(first, place.path());
    fs::rename(first + "-wal", place.wal_path());
    CHECK(value_of(*place.open(), "a") == 5);
  }
  SECTION("the log is moved away") {
    fs::rename(place.wal_path(), first + "-wal");
    CHECK(value_of(*place.open(), "a") == 50);
  }
}

TEST_CASE("a log that was empty at the end may become that of another database", "[sqlite]") {
  const Place place;
  const Place other;
  run_one(*open_to_empty(other), increment_of("a", 49));
  run_one(*open_to_empty(place), increment_of("a", 5));
  CHECK(place.wal_size() == 0);
  fs::rename(other.path(), place.path());
  Foreigner(place.path()).run("UPDATE counters SET value = 60");
  CHECK(place.wal_size() > 0);
  CHECK(value_of(*place.open(), "a") == 60);
}

TEST_CASE("the log is left at the end where another log is there", "[sqlite]") {
  const Place place;
  auto store = open_to_empty(place);
  const std::string before = contents_of(place.path());
  fs::remove(place.wal_path());
  write_file(place.wal_path(), "another one");
  store.reset();
  CHECK(contents_of(place.wal_path()) == "another one");
  CHECK(contents_of(place.path()) == before);
}

TEST_CASE("the log of a deleted database is kept at the end, and spoils no other database",
          "[sqlite]") {
  const Place place;
  const Place backup;
  run_one(*open_to_empty(backup), increment_of("a", 49));
  auto store = open_to_empty(place);
  auto other = place.open();
  const std::string log = contents_of(place.wal_path());
  REQUIRE_FALSE(log.empty());
  struct stat found {};
  REQUIRE(stat(place.path().c_str(), &found) == 0);
  SECTION("deleted") {
    fs::remove(place.path());
  }
  SECTION("replaced") {
    fs::rename(backup.path(), place.path());
  }
  other.reset();
  CHECK(fs::exists(place.wal_path()));
  store.reset();
  CHECK_FALSE(fs::exists(place.wal_path()));
  CHECK_FALSE(fs::exists(place.path() + "-shm"));
  CHECK(contents_of(place.wal_path() + ".of-deleted-" + std::to_string(found.st_ino)) == log);
  if (fs::exists(backup.path())) fs::rename(backup.path(), place.path());
  CHECK(value_of(*place.open(), "a") == 50);
}

ON_SQLITE("the log of a deleted database is kept also where the last one must wait for the turn") {
  const UniqueFd holder(open(place.path().c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(flock(holder.get(), LOCK_EX) == 0);
  fs::remove(place.path());
  std::thread ending([&] {
    std::this_thread::sleep_for(milliseconds(100));
    flock(holder.get(), LOCK_UN);
  });
  store.reset();
  ending.join();
  CHECK_FALSE(fs::exists(place.wal_path()));
}

TEST_CASE("a log that cannot be emptied at the end keeps nobody waiting, and all it holds",
          "[sqlite]") {
  const Place place;
  auto store = open_or_throw(place.options_to_empty());
  run_one(*store, increment_of("a"));
  Foreigner reader(place.path());
  reader.run("BEGIN");
  CHECK(reader.ask("SELECT value FROM counters") == "1");
  run_one(*store, increment_of("a"));
  CHECK(time_of([&] { store.reset(); }) < milliseconds(2'000));
  CHECK(reader.ask("SELECT value FROM counters") == "1");
  CHECK(value_of(*place.open(), "a") == 2);
}

TEST_CASE("a log that was closed is moved into the database by the next one if it is long",
          "[sqlite]") {
  const Place place;
  {
    const auto store = place.open();
    for (int i = 0; i < 200; ++i) run_one(*store, increment_of("a"));
  }
  REQUIRE(place.wal_size() > 128 << 10);
  const auto store = place.open();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*store, "a") == 200);
}

TEST_CASE("a log that another program has written to is moved into the database by the next one",
          "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a"));
  Foreigner(place.path()).run("UPDATE counters SET value = 7");
  REQUIRE(place.wal_size() > 0);
  const auto store = place.open();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*store, "a") == 7);
}

ON_SQLITE("a log with something after its last commit is moved into the database by the next one") {
  run_one(*store, increment_of("a"));
  const std::uintmax_t size = place.wal_size();
  {
    Foreigner foreigner(place.path());
    foreigner.run("PRAGMA cache_size = 1");
    foreigner.run("BEGIN IMMEDIATE");
    foreigner.run(
        "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT 3000) INSERT INTO "
        "counters (name, value, created_at, updated_at) SELECT 'row' || n, 0, 0, 0 FROM i");
    foreigner.run("ROLLBACK");
  }
  REQUIRE(place.wal_size() > size + 10 * 1'024);
  CHECK(run_one(*store, increment_of("a")).value == 2);
  store.reset();
  store = place.open();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*store, "a") == 2);
}

ON_SQLITE("closing a store leaves the log to another program that writes to it") {
  run_one(*store, increment_of("a"));
  Foreigner foreigner(place.path());
  foreigner.run("BEGIN IMMEDIATE");
  foreigner.run("UPDATE counters SET value = 7");
  const std::string log = contents_of(place.wal_path());
  CHECK(time_of([&] { store.reset(); }) < milliseconds(1'000));
  CHECK(contents_of(place.wal_path()) == log);
  foreigner.run("COMMIT");
  CHECK(value_of(*place.open(), "a") == 7);
}

ON_SQLITE(
    "a log with a commit that nobody was told of is moved into the database by the next one") {
  run_one(*store, increment_of("a"));
  const std::string log = contents_of(place.wal_path());
  // As one leaves it that is killed in its COMMIT: the same log, and a commit more.
  const Place copy;
  fs::copy(place.path(), copy.path());
  fs::copy(place.wal_path(), copy.wal_path());
  Foreigner(copy.path()).run("UPDATE counters SET value = 42");
  const std::string longer = contents_of(copy.wal_path());
  REQUIRE(longer.size() > log.size());
  REQUIRE(longer.substr(0, log.size()) == log);
  std::ofstream(place.wal_path(), std::ios::binary | std::ios::app) << longer.substr(log.size());
  CHECK(value_of(*store, "a") == 1);
  store.reset();
  store = place.open();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*store, "a") == 42);
}

ON_SQLITE("closing a store waits for nobody who has the turn") {
  run_one(*store, increment_of("a"));
  const auto other = place.open();
  REQUIRE(other->take_turn(patiently()));
  const std::string log = contents_of(place.wal_path());
  CHECK(time_of([&] { store.reset(); }) < milliseconds(1'000));
  CHECK(contents_of(place.wal_path()) == log);
}

TEST_CASE("a copy of a database that was closed is moved into the database", "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a"));
  const Place copy;
  fs::copy(place.path(), copy.path());
  fs::copy(place.wal_path(), copy.wal_path());
  const auto store = copy.open();
  CHECK(copy.wal_size() == 0);
  CHECK(value_of(*store, "a") == 1);
}

TEST_CASE("triggers and views that others have added are not used", "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a"));
  Foreigner foreigner(place.path());
  foreigner.run("CREATE TRIGGER u BEFORE UPDATE ON counters BEGIN SELECT RAISE(IGNORE); END");
  foreigner.run(
      "CREATE TRIGGER t AFTER INSERT ON counters BEGIN UPDATE counters SET value = 9; END");
  const auto store = place.open();
  CHECK(run_one(*store, increment_of("a")).value == 2);
  CHECK(run_one(*store, increment_of("b")).value == 1);
  CHECK(value_of(*store, "a") == 2);
  foreigner.run("ALTER TABLE counters RENAME TO others");
  foreigner.run("CREATE VIEW counters AS SELECT * FROM others");
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnavailable);
  CHECK(place.refusal().code == Code::kConfig);
}

ON_SQLITE("what others have written and is no name is not listed") {
  for (const char* name : {"a", "b", "c"}) run_one(*store, increment_of(name));
  Foreigner(place.path())
      .run(R"(INSERT INTO counters SELECT 'a","value":7},{"name":"b', 7, 0, 0, NULL, NULL
              UNION SELECT 'b' || char(10), 7, 0, 0, NULL, NULL)");
  Result<ListPage> page = store->list({"", "", 2}, patiently());
  REQUIRE(page);
  CHECK(page->rows.size() == 2);
  CHECK(page->next == "b");
  page = store->list({"", page->next, 2}, patiently());
  REQUIRE(page);
  CHECK(page->rows.size() == 1);
  CHECK(page->next.empty());
}

ON_SQLITE("a window that others have written fills no answer") {
  const Step daily = per(Period::kDay, increment_of("a"));
  run_one(*store, daily);
  Foreigner(place.path()).run("UPDATE counters SET window = window || printf('%.100000c', 'x')");
  const Outcome outcome = run_one(*store, daily);
  CHECK(outcome.code == Code::kOtherWindow);
  CHECK(outcome.window.size() < 100);
}

ON_SQLITE("a store sees at once what others have done to the counters that it knows") {
  const auto other = place.open();
  const auto count = [&] { return run_one(*store, increment_of("a")).value; };
  CHECK(count() == 1);
  CHECK(run_one(*other, increment_of("a")).value == 2);
  CHECK(count() == 3);
  run_one(*other, reset_of("a", 10));
  CHECK(value_of(*store, "a") == 10);
  CHECK(count() == 11);
  run_one(*other, delete_of("a"));
  CHECK(value_of(*store, "a") == std::nullopt);
  CHECK(count() == 1);
  Foreigner(place.path()).run("UPDATE counters SET value = 7");
  CHECK(count() == 8);
  CHECK(count() == 9);
}

TEST_CASE("a store does not take a change that was not committed for one", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.timeout = milliseconds(50);
  const auto store = open_or_throw(options);
  run_one(*store, increment_of("a"));
  std::vector<Step> batch = {increment_of("a"), increment_of("b")};
  {
    // An index that has no room for one of them ends the batch as an error of the database would.
    Foreigner foreigner(place.path());
    foreigner.run(
        "CREATE UNIQUE INDEX refuse ON counters (expires_at IS NULL) WHERE name IN ('b', 'full')");
    run_one(*store, increment_of("full"));
    CHECK(run_one(*store, increment_of("a")).value == 2);
    run_batch(*store, batch, after(options.timeout));
    CHECK(batch[0].outcome.code == Code::kUnavailable);
    CHECK(run_one(*store, increment_of("a")).value == 3);
    foreigner.run("DROP INDEX refuse");
  }
  CHECK(run_one(*store, increment_of("a")).value == 4);
}

TEST_CASE("more counters than a store remembers are all counted", "[sqlite]") {
  constexpr int kCounters = 25'000;
  const Place place;
  const auto store = place.open();
  for (int round = 1; round <= 2; ++round) {
    for (int i = 0; i < kCounters; i += 1'000) {
      const std::vector<Outcome> outcomes =
          run(*store, increments_of_many(1'000, "counter-" + std::to_string(i) + "-"));
      CHECK(std::all_of(outcomes.begin(), outcomes.end(),
                        [&](const Outcome& outcome) { return outcome.value == round; }));
    }
  }
}

TEST_CASE("the log that a killed process leaves is moved into the database by the next one",
          "[sqlite]") {
  const Place place;
  ChildProcess child([&](int output) {
    const auto store = place.open();
    for (int i = 0; i < 100; ++i) run_one(*store, increment_of("a"));
    return ChildProcess::say_and_wait(output);
  });
  REQUIRE(child.wait_for_byte());
  child.send(SIGKILL);
  child.wait();
  CHECK(place.wal_size() > 0);
  const auto store = place.open();
  CHECK(place.wal_size() == 0);
  CHECK(value_of(*store, "a") == 100);
}

TEST_CASE("another program that has the database open does not vouch for its log", "[sqlite]") {
  const Place place;
  run_one(*place.open(), increment_of("a"));
  Foreigner foreigner(place.path());
  foreigner.run("UPDATE counters SET value = 7");
  const bool reads = GENERATE(false, true);
  if (reads) foreigner.run("BEGIN");
  CHECK(foreigner.ask("SELECT value FROM counters") == "7");
  const auto start = steady_clock::now();
  const auto store = place.open();
  CHECK(steady_clock::now() - start < milliseconds(1'000));
  CHECK((place.wal_size() == 0) != reads);  // it was written again, and moved where that could be
  CHECK(value_of(*store, "a") == 7);
  CHECK(run_one(*store, increment_of("a")).value == 8);
  CHECK(foreigner.ask("SELECT value FROM counters") == (reads ? "7" : "8"));
}

namespace {

// Batches that change many rows each, so that the log would be longer than 60 MiB without
// checkpoints.
constexpr int kManyBatches = 2'000;
constexpr std::uintmax_t kMiB = 1 << 20;

// Changes 40 of 4,000 rows, and `a`; false: `a` is not `expected` then.
bool change_many_rows(Store& store, int expected) {
  std::vector<Step> steps = {increment_of("a")};
  for (int i = 0; i < 40; ++i) {
    steps.push_back(increment_of("row" + std::to_string((expected * 40 + i) * 97 % 4'000)));
  }
  return run(store, std::move(steps)).front().value == expected;
}

}  // namespace

TEST_CASE("the log stays small, however many batches", "[sqlite]") {
  const Place place;
  const auto store = place.open(Sync::kNormal);  // the same log, sooner
  for (int i = 1; i <= kManyBatches; ++i) REQUIRE(change_many_rows(*store, i));
  CHECK(place.wal_size() > 0);
  CHECK(place.wal_size() < 18 * kMiB);
}

TEST_CASE("the log restarts although others read without a pause", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.sync = Sync::kNormal;
  const auto store = open_or_throw(options);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  readers.emplace_back([&] {
    try {
      const auto own = open_or_throw(options);
      std::int64_t latest = 0;
      while (!stop) {
        const std::int64_t value = value_of(*own, "a").value_or(0);
        if (std::exchange(latest, value) > value) ++wrong;
      }
    } catch (...) {
      ++wrong;
    }
  });
  // Two that overlap, so that there is not one moment without a reader of the log, each for longer
  // than a batch takes and shorter than the store waits.
  readers.emplace_back([&] {
    try {
      std::array<Foreigner, 2> pair = {Foreigner(place.path()), Foreigner(place.path())};
      const auto look = [](Foreigner& reader) {
        reader.run("BEGIN");
        reader.ask("SELECT count(*) FROM counters");
        std::this_thread::sleep_for(milliseconds(2));
      };
      look(pair[0]);
      while (!stop) {
        look(pair[1]);
        pair[0].run("COMMIT");
        look(pair[0]);
        pair[1].run("COMMIT");
      }
    } catch (...) {
      ++wrong;
    }
  });
  // Until many batches in a row have not made the file longer: they were written from its start.
  // On a busy machine a reader can be off the CPU for longer than the store waits for it, which
  // waits for longer the longer the log is, so this asks for the end of the growth, not for one
  // size.
  constexpr int kMostBatches = 12 * kManyBatches;
  std::uintmax_t longest = 0;
  int batches_since = 0;
  int batches = 0;
  bool ok = true;
  while (ok && batches_since < 1'000 && batches < kMostBatches) {
    ok = change_many_rows(*store, ++batches);
    const std::uintmax_t before = std::exchange(longest, place.wal_size());
    batches_since = before == longest ? batches_since + 1 : 0;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(ok);
  CHECK(wrong == 0);
  CHECK(batches < kMostBatches);
  CHECK(longest > 0);
}

ON_SQLITE("housekeeping that does not get the turn keeps nobody waiting again and again") {
  const auto other = place.open();
  for (int i = 0; place.wal_size() < 2 * kMiB; ++i) {
    std::vector<Step> batch = increments_of_many(500, "row" + std::to_string(i) + "-");
    REQUIRE(store->take_turn(patiently()));
    store->apply(batch, patiently());
    store->yield_turn();
    store->make_durable(batch);
  }
  REQUIRE(other->take_turn(patiently()));
  CHECK(time_of([&] { store->tidy(); }) >= milliseconds(90));
  CHECK(time_of([&] {
          for (int i = 0; i < 10; ++i) store->tidy();
        }) < milliseconds(90));
  other->yield_turn();
}

TEST_CASE("the log is bounded where two stores take turns", "[sqlite]") {
  const Place place;
  StoreOptions options = place.options();
  options.sync = Sync::kNormal;
  const auto first = open_or_throw(options);
  const auto second = open_or_throw(options);
  for (int i = 1; i <= kManyBatches; i += 2) {
    REQUIRE(change_many_rows(*first, i));
    REQUIRE(change_many_rows(*second, i + 1));
  }
  CHECK(place.wal_size() < 34 * kMiB);
}

TEST_CASE("where the log cannot grow, nothing acknowledged is lost and it works again later",
          "[sqlite]") {
  const Place place;
  struct Seen {
    std::int64_t before = 0;
    std::int64_t unknown = 0;
    std::int64_t refused = 0;
    std::int64_t ok = 0;  // recovered, and room again in the log that restarts
    std::int64_t then = 0;
    std::int64_t others = 0;  // outcomes that should not be
  };
  ChildProcess child([&](int output) {
    signal(SIGXFSZ, SIG_IGN);
    const auto store = place.open();
    Seen seen;
    for (int i = 0; i < 5; ++i) seen.before = run_one(*store, increment_of("a")).value;
    // The next frame ends beyond this, whichever of the writes it needs fails.
    const rlimit full{.rlim_cur = place.wal_size() + 100, .rlim_max = RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &full);
    for (int i = 0; i < 5; ++i) {
      const Code code = run_one(*store, increment_of("a"), after(milliseconds(300))).code;
      if (code == Code::kUnknown)
        ++seen.unknown;
      else if (code == Code::kUnavailable)
        ++seen.refused;
      else if (code == Code::kOk)
        ++seen.ok;
      else
        ++seen.others;
    }
    const rlimit free{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &free);
    const Outcome outcome = run_one(*store, increment_of("a"));
    if (outcome.code != Code::kOk) ++seen.others;
    seen.then = outcome.value;
    return write(output, &seen, sizeof seen) == sizeof seen ? 0 : 1;
  });
  Seen seen;
  REQUIRE(child.read(&seen, sizeof seen));
  CHECK(child.wait() == 0);
  CHECK(seen.others == 0);
  CHECK(seen.refused + seen.unknown >= 1);
  CHECK(seen.then >= seen.before + seen.ok + 1);
  CHECK(seen.then <= seen.before + seen.ok + 1 + seen.unknown);
  CHECK(value_of(*place.open(), "a") == seen.then);
}

ON_SQLITE("a copy made by VACUUM INTO while others count is a whole database") {
  run_one(*store, increment_of("a", 7));
  const Place copy;
  Foreigner(place.path()).run("VACUUM INTO '" + copy.path() + "'");
  fs::permissions(copy.path(), fs::perms::owner_read | fs::perms::owner_write);
  run_one(*store, increment_of("a"));
  const auto restored = copy.open();
  CHECK(value_of(*restored, "a") == 7);
  CHECK(run_one(*restored, increment_of("a")).value == 8);
}

ON_SQLITE_TWICE("no signal comes any more when the wait for the turn has ended") {
  REQUIRE(first->take_turn(patiently()));
  CHECK_FALSE(second->take_turn(after(milliseconds(20))));
  first->yield_turn();
  timespec pause{0, 100'000'000};
  CHECK(nanosleep(&pause, nullptr) == 0);
}

ON_SQLITE_TWICE("the wait for the turn ends at its deadline in another thread too") {
  REQUIRE(first->take_turn(patiently()));
  bool got_it = true;
  std::thread([&] { got_it = second->take_turn(after(milliseconds(20))).ok(); }).join();
  CHECK_FALSE(got_it);
  std::promise<void> ended;
  std::thread rescue([&] {  // from a wait without end
    ended.get_future().wait_for(std::chrono::seconds(2));
    first->yield_turn();
  });
  CHECK_FALSE(second->take_turn(after(milliseconds(20))));
  ended.set_value();
  rescue.join();
}

}  // namespace counterd
