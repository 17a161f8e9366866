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

// Shortens the log to the frames that are whole. Only if no lost frame has been moved into the
// database: else what is left of the log would cover newer pages there, and the database needs what
// is lost, because a checkpoint skips pages that change again later in the log. If all of the log
// has been moved, the database has everything, and the log is dropped. kFailed: check.error
// says why. REQUIRES: nobody writes, nobody makes a checkpoint
LogCheck::State shorten_log(sqlite3* connection, int log, std::uint32_t acknowledged,
                            LogCheck& check) {
  const ShmLock readers(connection, ShmLocks::kReaders);
  if (readers.code() != SQLITE_OK) return LogCheck::State::kBusy;
  const auto [moved, tried] = moved_frames(connection);
  if (check.whole < std::max({moved, tried, acknowledged})) {
    // A sync of the database that has failed is not asked again: it would be believed.
    const bool has_all = moved == check.frames && sync_database(connection) == SQLITE_OK;
    if (!has_all) return LogCheck::State::kDamaged;
    if (ftruncate(log, 0) != 0 || fdatasync(log) != 0) {
      check.error = errno;
      return LogCheck::State::kFailed;
    }
  }
  forget_index(connection);
  return LogCheck::State::kShortened;
}

}  // namespace

LogCheck examine_log(sqlite3* connection, int log, const std::optional<LogEnd>& acknowledged) {
  using State = LogCheck::State;
  const ShmLock write(connection, ShmLocks::kWrite);
  auto checkpoint = std::make_unique<ShmLock>(connection, ShmLocks::kCheckpoint);
  if (write.code() != SQLITE_OK || checkpoint->code() != SQLITE_OK) return {State::kBusy};
  const LogIndex index = read_log_index(connection);
  const LogReading read = read_log(log, index, [](std::string_view, off_t) { return true; });
  LogCheck check{State::kWhole, index.end.frames, read.whole, read.error};
  if (read.state == LogReading::State::kFailed) check.state = State::kFailed;
  if (read.state == LogReading::State::kLost) {
    const bool is_known = acknowledged && acknowledged->salts == index.end.salts;
    check.state =
        is_known ? shorten_log(connection, log, acknowledged->frames, check) : State::kUnknown;
  }
  if (check.state == State::kDamaged) {
    mark_damaged(connection);
    check.no_checkpoints = std::move(checkpoint);
  }
  return check;
}

LogReading rewrite_log(sqlite3* connection, int log) {
  LogReading written =
      read_log(log, read_log_index(connection),
               [log](std::string_view bytes, off_t at) { return write_all(log, bytes, at); });
  if (written.state == LogReading::State::kWhole && fdatasync(log) != 0) {
    written = {LogReading::State::kFailed, written.whole, errno};
  }
  return written;
}

}  // namespace counterd
