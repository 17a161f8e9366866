#include "common/store/sqlite_owner.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

namespace counterd {
namespace {

constexpr const char* kAttribute = "user.counterd.owner";

struct Owner {
  std::uint64_t wal = 0;
  std::uint64_t database = 0;  // when it was made: its number may change on an overlay file system

  bool operator==(const Owner&) const = default;
};

constexpr unsigned kMade = STATX_INO | STATX_BTIME;

// Nothing: not known.
std::optional<struct statx> look_at(int file) {
  struct statx found {};
  // Not fstat(), which asks for the other times too: see look_at() in sqlite_file.cc.
  if (statx(file, "", AT_EMPTY_PATH, kMade, &found) != 0) return std::nullopt;
  return (found.stx_mask & kMade) == kMade ? std::optional(found) : std::nullopt;
}

std::uint64_t time_made(const struct statx& found) {
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  return static_cast<std::uint64_t>(found.stx_btime.tv_sec) * kNsPerSecond +
         found.stx_btime.tv_nsec;
}

// What there is to note.
std::optional<Owner> owner_of(int wal, int database) {
  const std::optional<std::uint64_t> log = fingerprint_of(wal);
  const std::optional<struct statx> owner = look_at(database);
  if (!log || !owner) return std::nullopt;
  return Owner{*log, time_made(*owner)};
}

std::optional<Owner> noted_owner(int wal) {
  Owner noted;
  const ssize_t size = fgetxattr(wal, kAttribute, &noted, sizeof noted);
  return size == ssize_t{sizeof noted} ? std::optional(noted) : std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> fingerprint_of(int file) {
  const std::optional<struct statx> found = look_at(file);
  return found ? std::optional(found->stx_ino ^ time_made(*found)) : std::nullopt;
}

void note_owner(int wal, int database) {
  const std::optional<Owner> owner = owner_of(wal, database);
  if (owner && noted_owner(wal) != owner) fsetxattr(wal, kAttribute, &*owner, sizeof *owner, 0);
}

void forget_owner(int wal) {
  fremovexattr(wal, kAttribute);
}

bool belongs_to_another(int wal, int database) {
  const std::optional<Owner> noted = noted_owner(wal);
  if (!noted) return false;
  const std::optional<Owner> now = owner_of(wal, database);
  return now && noted->wal == now->wal && noted->database != now->database;
}

}  // namespace counterd
