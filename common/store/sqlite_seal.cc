#include "common/store/sqlite_seal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "common/unique_fd.h"

namespace counterd {
namespace {

// What the format says, in bytes: where in the header of the log the size of a page is, as four
// bytes with the highest first; where there, and in the header of each frame, the two salts are,
// which tell the frames from those of an older log; and where in the latter the checksum is.
constexpr std::size_t kLogHeader = 32;
constexpr std::size_t kPageSizeOfLog = 8;
constexpr std::size_t kSaltsOfLog = 16;
constexpr std::size_t kFrameHeader = 24;
constexpr std::size_t kSaltsOfFrame = 8;
constexpr std::size_t kChecksumOfFrame = 16;
constexpr std::size_t kSalts = 8;

// As long as the header of a frame: the seal has other salts where a frame would have the log's.
constexpr std::string_view kMagic = "counterd";
static_assert(kMagic.size() == kSaltsOfFrame);

struct Ending {
  std::size_t at;    // behind the last frame
  std::string seal;  // that belongs there
  bool sealed;
};

std::string read_beginning(int file) {
  const off_t all = std::max<off_t>(lseek(file, 0, SEEK_END), 0);
  std::string bytes(std::min(static_cast<std::size_t>(all), kLongestSealedLog + kFrameHeader),
                    '\0');
  const ssize_t size = pread(file, bytes.data(), bytes.size(), 0);
  bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return bytes;
}

std::size_t page_size(std::string_view log) {
  std::size_t size = 0;
  for (const char byte : log.substr(kPageSizeOfLog, 4)) {
    size = size << 8 | static_cast<unsigned char>(byte);
  }
  return size;
}

std::string make_seal(std::string_view salts, std::string_view last_frame) {
  std::string seal(kMagic);
  std::transform(salts.begin(), salts.end(), std::back_inserter(seal),
                 [](char byte) { return static_cast<char>(~byte); });
  seal += last_frame.substr(kChecksumOfFrame, kFrameHeader - kChecksumOfFrame);
  return seal;
}

// Nothing: the log has no frame, is longer than kLongestSealedLog, or ends amid a frame.
std::optional<Ending> find_ending(int file) {
  const std::string bytes = read_beginning(file);
  const std::string_view log = bytes;
  if (log.size() < kLogHeader) return std::nullopt;
  const std::string_view salts = log.substr(kSaltsOfLog, kSalts);
  const std::size_t frame = kFrameHeader + page_size(log);
  const auto is_frame = [&](std::size_t at) {
    return at + kFrameHeader <= log.size() && log.substr(at + kSaltsOfFrame, kSalts) == salts;
  };
  std::size_t at = kLogHeader;
  while (is_frame(at)) at += frame;
  if (at == kLogHeader || at > std::min(log.size(), kLongestSealedLog)) return std::nullopt;
  std::string seal = make_seal(salts, log.substr(at - frame, kFrameHeader));
  const bool sealed = log.substr(at, kFrameHeader) == seal;
  return Ending{at, std::move(seal), sealed};
}

}  // namespace

void seal_log(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return;
  const std::optional<Ending> ending = find_ending(file.get());
  if (!ending || ending->sealed) return;
  const ssize_t written =
      pwrite(file.get(), ending->seal.data(), ending->seal.size(), static_cast<off_t>(ending->at));
  static_cast<void>(written);
}

bool is_sealed(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  const std::optional<Ending> ending = find_ending(file.get());
  return ending && ending->sealed;
}

}  // namespace counterd
