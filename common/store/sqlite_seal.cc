#include "common/store/sqlite_seal.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "common/unique_fd.h"

namespace counterd {
namespace {

// Where things are in the log, in bytes; numbers are big-endian.
constexpr std::size_t kLogHeader = 32;
constexpr std::size_t kPageSizeOfLog = 8;
constexpr std::size_t kSaltsOfLog = 16;  // which tell its frames from those of an older log
constexpr std::size_t kChecksumOfLog = 24;

constexpr std::size_t kFrameHeader = 24;
constexpr std::size_t kPagesOfFrame = 4;  // of the database after a commit; 0: no commit
constexpr std::size_t kSaltsOfFrame = 8;
constexpr std::size_t kChecksumOfFrame = 16;

constexpr std::size_t kPair = 8;  // the salts, and the two halves of a checksum

constexpr std::uint32_t kSmallestPage = 512;
constexpr std::uint32_t kLargestPage = 65'536;

// REQUIRES: there are 4 bytes
std::uint32_t word_at(std::string_view bytes, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

std::uint32_t number_at(std::string_view bytes, std::size_t at) {
  return be32toh(word_at(bytes, at));
}

// Of the log up to a frame, including everything before it.
class Checksum {
 public:
  // The lowest bit of the log's first number says how words are read.
  explicit Checksum(std::string_view log) : highest_first_((number_at(log, 0) & 1) != 0) {
    add(log.substr(0, kChecksumOfLog));
  }
  // REQUIRES: a multiple of 8 bytes
  void add(std::string_view bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
      first_ += read(word_at(bytes, at)) + second_;
      second_ += read(word_at(bytes, at + 4)) + first_;
    }
  }
  bool is_at(std::string_view bytes, std::size_t at) const {
    return number_at(bytes, at) == first_ && number_at(bytes, at + 4) == second_;
  }

 private:
  std::uint32_t read(std::uint32_t word) const {
    return highest_first_ ? be32toh(word) : le32toh(word);
  }

  bool highest_first_;
  std::uint32_t first_ = 0;
  std::uint32_t second_ = 0;
};

// Where the log ends, and the seal that belongs there.
struct Ending {
  std::size_t at;
  std::size_t frames;
  std::string seal;
  bool sealed;
};

// Of the file; empty if it cannot be read.
std::string read_beginning(int file, std::size_t longest) {
  const off_t all = std::max<off_t>(lseek(file, 0, SEEK_END), 0);
  std::string bytes(std::min(static_cast<std::size_t>(all), longest + kFrameHeader), '\0');
  const ssize_t size = pread(file, bytes.data(), bytes.size(), 0);
  if (size != static_cast<ssize_t>(bytes.size())) bytes.clear();
  return bytes;
}

// What tells the file from any other, even one that has since got its number; nothing: not known.
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

// Where the last commit ends. Nothing: there is none, it ends beyond the bytes, or a frame of the
// same log follows it.
std::optional<std::size_t> end_of_commits(std::string_view log) {
  const std::size_t page = log.size() < kLogHeader ? 0 : number_at(log, kPageSizeOfLog);
  if (page < kSmallestPage || page > kLargestPage || page % 8 != 0) return std::nullopt;
  Checksum checksum(log);
  if (!checksum.is_at(log, kChecksumOfLog)) return std::nullopt;
  std::optional<std::size_t> end;
  std::size_t at = kLogHeader;
  const auto has_frame = [&] {
    return at + kFrameHeader <= log.size() &&
           log.substr(at + kSaltsOfFrame, kPair) == log.substr(kSaltsOfLog, kPair);
  };
  for (; has_frame(); at += kFrameHeader + page) {
    if (at + kFrameHeader + page > log.size()) return std::nullopt;
    checksum.add(log.substr(at, kSaltsOfFrame));
    checksum.add(log.substr(at + kFrameHeader, page));
    if (!checksum.is_at(log, at + kChecksumOfFrame)) return std::nullopt;
    end.reset();
    if (number_at(log, at + kPagesOfFrame) != 0) end = at + kFrameHeader + page;
  }
  while (at + kFrameHeader <= log.size()) {
    at += kFrameHeader + page;
    if (has_frame()) return std::nullopt;
  }
  return end;
}

// What identifies the file, something that cannot be this log's salts, and the checksum of its last
// frame: as long as the header of a frame.
std::string make_seal(std::uint64_t file, std::string_view salts, std::string_view checksum) {
  std::string seal(reinterpret_cast<const char*>(&file), sizeof file);
  for (const char byte : salts) seal += static_cast<char>(~byte);
  return seal.append(checksum);
}

// Nothing: the log is not one to be sealed.
std::optional<Ending> find_ending(int file, std::size_t longest) {
  const std::optional<std::uint64_t> identity = identify(file);
  const std::string bytes = read_beginning(file, longest);
  const std::string_view log = bytes;
  const std::optional<std::size_t> end = end_of_commits(log);
  if (!identity || !end) return std::nullopt;
  const std::size_t frame = kFrameHeader + number_at(log, kPageSizeOfLog);
  const std::size_t last_frame = *end - frame;
  std::string seal = make_seal(*identity, log.substr(kSaltsOfLog, kPair),
                               log.substr(last_frame + kChecksumOfFrame, kPair));
  const bool sealed = log.substr(*end, kFrameHeader) == seal;
  return Ending{*end, (*end - kLogHeader) / frame, std::move(seal), sealed};
}

}  // namespace

void seal_log(const std::string& path, std::size_t frames, std::size_t longest) {
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return;
  const std::optional<Ending> ending = find_ending(file.get(), longest);
  if (!ending || ending->frames != frames || ending->sealed) return;
  const ssize_t written =
      pwrite(file.get(), ending->seal.data(), ending->seal.size(), static_cast<off_t>(ending->at));
  static_cast<void>(written);
}

bool is_sealed(const std::string& path, std::size_t longest) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  const std::optional<Ending> ending = find_ending(file.get(), longest);
  return ending && ending->sealed;
}

}  // namespace counterd
