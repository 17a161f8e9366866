#include "common/store/file_signs.h"

#include <fcntl.h>

namespace counterd {
namespace {

// Beyond what SQLite locks (PENDING_BYTE, 1 GiB), and beyond any database or log.
constexpr off_t kFirstByte = off_t{1} << 61;
constexpr off_t kNumbers = off_t{1} << 56;

struct flock bytes_of(Sign sign, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = kFirstByte + static_cast<off_t>(sign) * kNumbers;
  lock.l_len = kNumbers;
  return lock;
}

}  // namespace

void give_sign(int file, Sign sign, std::uint64_t number) {
  struct flock lock = bytes_of(sign, F_RDLCK);
  lock.l_start += static_cast<off_t>(sign_number(number));
  lock.l_len = 1;
  fcntl(file, F_OFD_SETLK, &lock);
}

void take_back_sign(int file, Sign sign) {
  struct flock lock = bytes_of(sign, F_UNLCK);
  fcntl(file, F_OFD_SETLK, &lock);
}

std::optional<std::uint64_t> sign_of_others(int file, Sign sign) {
  struct flock lock = bytes_of(sign, F_WRLCK);
  const off_t first = lock.l_start;
  if (fcntl(file, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
  return static_cast<std::uint64_t>(lock.l_start - first);
}

std::uint64_t sign_number(std::uint64_t number) {
  return number % static_cast<std::uint64_t>(kNumbers);
}

}  // namespace counterd
