#include "common/store/sqlite_seal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/store/sqlite_owner.h"
#include "common/store/sqlite_wal.h"
#include "common/unique_fd.h"

namespace counterd {
namespace {

// Where the log ends, and the seal that belongs there.
struct Ending {
  std::size_t at;
  std::size_t frames;
  std::string seal;
  bool sealed;
};

// Of the file; empty if it cannot be read.
std::string read_beginning(int file) {
  const off_t all = std::max<off_t>(lseek(file, 0, SEEK_END), 0);
  std::string bytes(std::min(static_cast<std::size_t>(all), kLongestSealedBytes + kFrameHeader),
                    '\0');
  const ssize_t size = pread(file, bytes.data(), bytes.size(), 0);
  if (size != static_cast<ssize_t>(bytes.size())) bytes.clear();
  return bytes;
}

// Where the last commit ends. Nothing: there is none, it ends beyond the bytes, or a frame of the
// same log follows it.
std::optional<std::size_t> end_of_commits(std::string_view wal) {
  const std::size_t page = wal.size() < kWalHeader ? 0 : big_endian_at(wal, kPageSizeOfWal);
  if (!is_page_size(page)) return std::nullopt;
  WalChecksum checksum(wal);
  if (!checksum.is_at(wal, kChecksumOfWal)) return std::nullopt;
  std::optional<std::size_t> end;
  std::size_t at = kWalHeader;
  const auto has_frame = [&] {
    return at + kFrameHeader <= wal.size() &&
           wal.substr(at + kSaltsOfFrame, kPair) == wal.substr(kSaltsOfWal, kPair);
  };
  for (; has_frame(); at += kFrameHeader + page) {
    if (at + kFrameHeader + page > wal.size()) return std::nullopt;
    checksum.add_frame(wal.substr(at, kFrameHeader + page));
    if (!checksum.is_at(wal, at + kChecksumOfFrame)) return std::nullopt;
    end.reset();
    if (big_endian_at(wal, at + kPagesOfFrame) != 0) end = at + kFrameHeader + page;
  }
  while (at + kFrameHeader <= wal.size()) {
    at += kFrameHeader + page;
    if (has_frame()) return std::nullopt;
  }
  return end;
}

// The fingerprint of the file, something that cannot be this log's salts, and the checksum of its
// last frame: as long as the header of a frame.
std::string make_seal(std::uint64_t fingerprint, std::string_view salts,
                      std::string_view checksum) {
  std::string seal(reinterpret_cast<const char*>(&fingerprint), sizeof fingerprint);
  for (const char byte : salts) seal += static_cast<char>(~byte);
  return seal.append(checksum);
}

// Nothing: the log is not one to be sealed.
std::optional<Ending> find_ending(int file) {
  const std::optional<std::uint64_t> fingerprint = fingerprint_of(file);
  const std::string bytes = read_beginning(file);
  const std::string_view wal = bytes;
  const std::optional<std::size_t> end = end_of_commits(wal);
  if (!fingerprint || !end) return std::nullopt;
  const std::size_t frame = kFrameHeader + big_endian_at(wal, kPageSizeOfWal);
  const std::size_t last_frame = *end - frame;
  std::string seal = make_seal(*fingerprint, wal.substr(kSaltsOfWal, kPair),
                               wal.substr(last_frame + kChecksumOfFrame, kPair));
  const bool sealed = wal.substr(*end, kFrameHeader) == seal;
  return Ending{*end, (*end - kWalHeader) / frame, std::move(seal), sealed};
}

}  // namespace

void seal_wal(const std::string& path, std::size_t frames) {
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return;
  const std::optional<Ending> ending = find_ending(file.get());
  if (!ending || ending->frames != frames || ending->sealed) return;
  [[maybe_unused]] const ssize_t written =
      pwrite(file.get(), ending->seal.data(), ending->seal.size(), static_cast<off_t>(ending->at));
}

bool is_sealed(const std::string& path, std::size_t frames) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return false;
  const std::optional<Ending> ending = find_ending(file.get());
  return ending && ending->sealed && ending->frames == frames;
}

}  // namespace counterd
