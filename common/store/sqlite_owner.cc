#include "common/store/sqlite_owner.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

namespace counterd {
namespace {

constexpr const char* kAttribute = "user.counterd.owner";

struct Owner {
  std::uint64_t wal = 0;
  std::uint64_t database = 0;

  bool operator==(const Owner&) const = default;
};

// What there is to note.
std::optional<Owner> owner_of(int wal, int database) {
  const std::optional<std::uint64_t> log = identify(wal);
  const std::optional<std::uint64_t> owner = identify(database);
  if (!log || !owner) return std::nullopt;
  return Owner{*log, *owner};
}

std::optional<Owner> noted_owner(int wal) {
  Owner noted;
  const ssize_t size = fgetxattr(wal, kAttribute, &noted, sizeof noted);
  return size == ssize_t{sizeof noted} ? std::optional(noted) : std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> identify(int file) {
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  // Not fstat(), which asks for the other times too: see look_at() in sqlite_file.cc.
  struct statx found {};
  constexpr unsigned kWanted = STATX_INO | STATX_BTIME;
  if (statx(file, "", AT_EMPTY_PATH, kWanted, &found) != 0) return std::nullopt;
  if ((found.stx_mask & kWanted) != kWanted) return std::nullopt;
  const auto seconds = static_cast<std::uint64_t>(found.stx_btime.tv_sec);
  return found.stx_ino ^ (seconds * kNsPerSecond + found.stx_btime.tv_nsec);
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
