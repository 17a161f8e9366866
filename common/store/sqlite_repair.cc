#include "common/store/sqlite_repair.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/store/sqlite_vfs.h"

namespace counterd {
namespace {

// False, and errno: not all of it is written.
bool write_all(int file, std::string_view bytes, off_t at) {
  while (!bytes.empty()) {
    const ssize_t done = pwrite(file, bytes.data(), bytes.size(), at);
    if (done <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(done));
    at += done;
  }
  return true;
}

// False: errno says why.
bool sync_file(sqlite3* connection, int wal) {
  return sync_in_doubt(database_file(connection), [wal] { return fdatasync(wal); }) == 0;
}

// Shortens the log to the frames that are whole, unless a lost frame has been moved into the
// database. Then the rest of the log would hide newer pages of the database, and the database alone
// would lack pages: a checkpoint does not move a page that changes again later in the log. But if
// all of the log has been moved, the database has everything, and the log is dropped. kFailed:
// check.error says why. REQUIRES: nobody writes, nobody makes a checkpoint
WalCheck::State shorten_wal(sqlite3* connection, int wal, std::uint32_t acknowledged,
                            WalCheck& check) {
  const ShmLock readers(connection, kReaderLocks);
  if (readers.code() != SQLITE_OK) return WalCheck::State::kBusy;
  const auto [moved, tried] = moved_frames(connection);
  if (check.whole < std::max({moved, tried, acknowledged})) {
    // A sync of the database that has failed is not asked again: it would be believed.
    const bool has_all = moved == check.frames && sync_database(connection) == SQLITE_OK;
    if (!has_all) return WalCheck::State::kDamaged;
    if (ftruncate(wal, 0) != 0 || !sync_file(connection, wal)) {
      check.error = errno;
      return WalCheck::State::kFailed;
    }
  }
  forget_index(connection);
  return WalCheck::State::kShortened;
}

}  // namespace

WalCheck examine_wal(sqlite3* connection, int wal, const std::optional<WalEnd>& acknowledged) {
  using State = WalCheck::State;
  const ShmLock write(connection, kWriteLock);
  auto checkpoint = std::make_unique<ShmLock>(connection, kCheckpointLock);
  if (write.code() != SQLITE_OK || checkpoint->code() != SQLITE_OK) return {State::kBusy};
  const WalIndex index = read_wal_index(connection);
  const WalReading read = read_wal(wal, index, [](std::string_view, off_t) { return true; });
  WalCheck check{State::kWhole, index.end.frames, read.whole, read.error};
  if (read.state == WalReading::State::kFailed) check.state = State::kFailed;
  if (read.state == WalReading::State::kLost) {
    const bool is_known = acknowledged && acknowledged->salts == index.end.salts;
    check.state =
        is_known ? shorten_wal(connection, wal, acknowledged->frames, check) : State::kUnknown;
  }
  if (check.state == State::kDamaged) {
    mark_damaged(connection);
    check.no_checkpoints = std::move(checkpoint);
  }
  return check;
}

WalReading rewrite_wal(sqlite3* connection, int wal) {
  WalReading written =
      read_wal(wal, read_wal_index(connection),
               [wal](std::string_view bytes, off_t at) { return write_all(wal, bytes, at); });
  if (written.state == WalReading::State::kWhole && !sync_file(connection, wal)) {
    written = {WalReading::State::kFailed, written.whole, errno};
  }
  return written;
}

// The log may have restarted with the commit. If it is neither, others have written since, over it.
bool cut_off_wal(sqlite3* connection, int wal, const WalEnd& end, std::uint32_t page_bytes) {
  const ShmLock write(connection, kWriteLock);
  if (write.code() != SQLITE_OK) return false;
  const WalEnd now = end_of_wal(connection);
  if (now != end && now.frames != 0) return false;
  const auto cut_off = [wal, bytes = static_cast<off_t>(bytes_up_to(now, page_bytes))] {
    return ftruncate(wal, bytes) == 0 ? fsync(wal) : -1;
  };
  return sync_in_doubt(database_file(connection), cut_off) == 0;
}

}  // namespace counterd
