#include "common/store/sqlite_frames.h"

#include <endian.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace counterd {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

std::uint32_t word_at(std::string_view bytes, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

// Fills `bytes`; kLost: the file ends before that.
Reading read_at(int file, off_t at, std::string& bytes) {
  const ssize_t size = pread(file, bytes.data(), bytes.size(), at);
  if (size < 0) return Reading::kFailed;
  return size == static_cast<ssize_t>(bytes.size()) ? Reading::kWhole : Reading::kLost;
}

// Adds the frames that `bytes` consists of; false: one of them is not of this log, or not as it was
// written.
bool add_frames(LogChecksum& checksum, const LogIndex& index, std::string_view bytes) {
  const std::size_t size = kFrameHeader + index.page_bytes;
  for (; !bytes.empty(); bytes.remove_prefix(size)) {
    const std::string_view frame = bytes.substr(0, size);
    if (frame.substr(kSaltsOfFrame, kPair) != index.salts) return false;
    checksum.add_frame(frame);
    if (!checksum.is_at(frame, kChecksumOfFrame)) return false;
  }
  return true;
}

}  // namespace

std::uint32_t big_endian_at(std::string_view bytes, std::size_t at) {
  return be32toh(word_at(bytes, at));
}

// The lowest bit of the log's first number says how words are read.
LogChecksum::LogChecksum(std::string_view log) : highest_first_((big_endian_at(log, 0) & 1) != 0) {
  add(log.substr(0, kChecksumOfLog));
}

void LogChecksum::add_frame(std::string_view frame) {
  add(frame.substr(0, kSaltsOfFrame));
  add(frame.substr(kFrameHeader));
}

bool LogChecksum::is_at(std::string_view bytes, std::size_t at) const {
  return big_endian_at(bytes, at) == halves_[0] && big_endian_at(bytes, at + 4) == halves_[1];
}

// A multiple of 8 bytes.
void LogChecksum::add(std::string_view bytes) {
  auto [first, second] = halves_;
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    first += read(bytes, at) + second;
    second += read(bytes, at + 4) + first;
  }
  halves_ = {first, second};
}

std::uint32_t LogChecksum::read(std::string_view bytes, std::size_t at) const {
  const std::uint32_t word = word_at(bytes, at);
  return highest_first_ ? be32toh(word) : le32toh(word);
}

Reading read_log(int file, const LogIndex& index,
                 const std::function<bool(std::string_view bytes, off_t at)>& take) {
  if (index.frames == 0) return Reading::kWhole;
  std::string piece(kLogHeader, '\0');
  if (const Reading read = read_at(file, 0, piece); read != Reading::kWhole) return read;
  LogChecksum checksum(piece);
  const bool is_this_log = big_endian_at(piece, kPageSizeOfLog) == index.page_bytes &&
                           piece.substr(kSaltsOfLog, kPair) == index.salts &&
                           checksum.is_at(piece, kChecksumOfLog);
  if (!is_this_log) return Reading::kLost;
  if (!take(piece, 0)) return Reading::kFailed;
  const std::size_t frame = kFrameHeader + index.page_bytes;
  const std::size_t end = kLogHeader + frame * index.frames;
  const std::size_t most = std::max<std::size_t>(kPieceBytes / frame, 1) * frame;
  for (std::size_t at = kLogHeader; at < end; at += piece.size()) {
    piece.resize(std::min(most, end - at));
    const auto offset = static_cast<off_t>(at);
    if (const Reading read = read_at(file, offset, piece); read != Reading::kWhole) return read;
    if (!add_frames(checksum, index, piece)) return Reading::kLost;
    if (!take(piece, offset)) return Reading::kFailed;
  }
  return checksum == index.checksum ? Reading::kWhole : Reading::kLost;
}

}  // namespace counterd
