// The SQLite database of one store: its connection, and what is known of what is on the disk.
//
// With Sync::kFull a commit is written under the turn and synced after it: others commit meanwhile,
// and their syncs overlap. So everybody sees commits that are not on the disk yet, and syncs the
// log before reporting anything that is not known to be there.
//
// A failed sync leaves pages that look written. The kernel reports it to each open file once (Linux
// 4.13, errseq_t), so every process that has the log open gets the error at its next sync. It then
// checks the log and moves it into the database before it answers anything; not the frames that are
// no longer as they were written, because the kernel may give up the memory of such pages
// (sqlite_repair.h). Those that open the log later learn of it from the doubt shared by all that
// have it open (sqlite_shm.h); and the first to open it doubts all of it, unless it was sealed
// (sqlite_seal.h) by one that knew it to be on the disk.
//
// That the turn is held means: by this store (file_turn.h).
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/deadline.h"
#include "common/error.h"
#include "common/store/sqlite_counters.h"
#include "common/store/sqlite_file.h"
#include "common/store/sqlite_keys.h"
#include "common/store/sqlite_wal.h"
#include "common/store/store.h"

namespace counterd {

class ShmLock;

class SqliteDatabase {
 public:
  SqliteDatabase(SqliteFile file, const StoreOptions& options);
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;
  ~SqliteDatabase();

  // Connects, creates or migrates the schema, and recovers if the log is in doubt. kConfig: the
  // database cannot be used as it is; kUnavailable: try again.
  // REQUIRES: the turn is held, and nothing is open yet
  Result<void> open(Deadline deadline);
  // The rest is for a database that is open.
  bool is_open() const { return connection_ != nullptr; }

  const std::string& path() const { return file_.path(); }
  SqliteCounters& counters();
  SqliteKeys& keys();

  // Whether an error has left in doubt what is shown, so that recover() is due before anything
  // else.
  bool must_recover() const { return must_recover_; }
  // Errors: as open(). REQUIRES: the turn is held
  Result<void> recover(Deadline deadline);
  // kUnavailable: what the files hold must not be used.
  Result<void> check_files() const;

  // How long what follows waits for SQLite's own locks, which other programs hold without taking
  // the turn.
  void set_deadline(Deadline deadline);

  // Begin a transaction, which sees the database as it is now. kUnavailable: another program has
  // migrated it; to write, also: the log was cut short, so that must_recover() is true, or its
  // index cannot grow (kStoreFull: for lack of room). After an Error it may be open: see
  // roll_back(). They may throw SQLite::Exception. REQUIRES, to write: the turn is held
  Result<void> begin_to_write();
  Result<void> begin_to_read();
  // Ends a transaction that has only read. Throws SQLite::Exception.
  void end_reading();
  // Whatever stops it, the next start may find the transaction in the log and complete it
  // (kUnknown), unless a write found no room, and what there is of the transaction was cut off
  // (kStoreFull). REQUIRES: the turn is held
  Result<void> commit();
  // Leaves no transaction open.
  void roll_back();

  // Syncs the log, unless what the connection has changed and seen is known to be on the disk.
  // kUnknown: it failed.
  Result<void> sync_if_needed();

  // SQLite's own number (SQLITE_FCNTL_DATA_VERSION): changes after each commit of ours, and when a
  // transaction has found a commit by others.
  std::uint32_t data_version();
  // How long the log is, in bytes of pages.
  std::int64_t wal_bytes();

  // Moves the log into the database; `mode` is one of sqlite3_wal_checkpoint_v2(). Nothing is lost
  // where others or the disk are in the way. REQUIRES: the turn is held
  void checkpoint(int mode, Deadline deadline);

  // Whether the latest transaction found an index of the log that looks like any other one which is
  // made from an empty log, so that give_salts() is due.
  bool lacks_salts() const { return lacks_salts_; }
  // Restarts an empty log, so that its index has salts. False: others or the disk are in the way.
  // Waits for others for a moment, at most until set_deadline(). REQUIRES: the turn is held
  bool give_salts();

  // Ends the use of the database in good order: other stores no longer see that it is in use here.
  // If StoreOptions::empty_wal is set, the last store empties the log, as far as other programs let
  // it by `deadline`; else the log stays, sealed if all that it holds is on the disk. The log of a
  // deleted database gets another name (sqlite_file.h).
  // REQUIRES: the turn is held, must_recover() and is_wal_damaged() are false
  void end(Deadline deadline);
  // Whether end() does what is worth waiting for the turn.
  bool is_end_worth_waiting() const { return options_.empty_wal || file_.is_deleted(); }
  // Whether the log has been found damaged, so that it is to stay as it is.
  bool is_wal_damaged() const;
  // Recovers if the log is shorter than what was written to it. Errors: as recover().
  // REQUIRES: the turn is held
  Result<void> check_end_of_wal(Deadline deadline);

  // What `exception`, met before a commit, means: nothing has happened. Leaves no transaction open.
  // After an I/O error, or where the database looks damaged, must_recover() is true. `doing` goes
  // before the path in the message.
  Error note_failure(const SQLite::Exception& exception, std::string_view doing);

 private:
  struct Connection;

  Result<void> connect();
  Result<void> open_connection();
  Result<void> settle_wal();
  Error cannot_open(const SQLite::Exception& exception) const;
  Result<void> move_wal_again();
  Result<void> check_wal_of_others();
  Result<void> check_wal();
  Result<void> write_wal_again();
  Result<void> begin(SQLite::Statement& statement);
  Result<void> check_wal_length();
  void seal();
  std::unique_ptr<ShmLock> keep_out_writers();
  int try_checkpoint(int mode, Deadline deadline);
  void distrust_wal();
  bool wait_for_syncs_of_others();
  bool cut_off_commit(const WalEnd& end);
  bool is_synced();
  sqlite3* handle() const;
  Error cannot(std::string_view what, int error) const;  // errno
  Error damaged() const;
  Error full() const;
  bool wait_for_others();

  SqliteFile file_;
  const StoreOptions options_;
  std::unique_ptr<Connection> connection_;
  bool must_recover_ = false;           // see distrust_wal()
  bool lacks_salts_ = false;            // see give_salts()
  std::optional<WalEnd> acknowledged_;  // as far as this store knows; nothing: it does not
  Deadline deadline_;                   // see set_deadline()
};

}  // namespace counterd
