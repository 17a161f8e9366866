#include "tests/faults/power.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "common/unique_fd.h"

namespace counterd::faults {
namespace {

constexpr std::size_t kSector = 512;

std::string read_whole(const std::string& path) {
  std::error_code missing;
  const std::uintmax_t size = std::filesystem::file_size(path, missing);
  std::string bytes(missing ? 0 : size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

}  // namespace

PowerSupply::PowerSupply(const std::string& database, std::string journal)
    : journal_(std::move(journal)) {
  files_[0].path = database;
  files_[1].path = database + "-wal";
  for (File& file : files_) file.durable = read_whole(file.path);
}

void PowerSupply::fail(Random& random) {
  const std::string journal = read_whole(journal_);
  replay(journal, random);
  for (File& file : files_) {
    constexpr int kShares[] = {0, 50, 90, 100};
    lose(file, kShares[random.below(4)], random);
    write_back(file);
  }
  std::filesystem::resize_file(journal_, 0);
  std::filesystem::remove(files_[0].path + "-shm");
}

// A process that is killed while it writes leaves half a record; what it was about to write was not
// written then.
void PowerSupply::replay(std::string_view journal, Random& random) {
  std::size_t at = 0;
  while (at + sizeof(Record) <= journal.size()) {
    Record record;
    std::memcpy(&record, journal.data() + at, sizeof record);
    const std::size_t data = at + sizeof record;
    const bool head = record.begin == kRecordBegin && record.check == check_of(record) &&
                      record.size <= journal.size() - data;
    std::uint64_t end = 0;
    if (head && data + record.size + sizeof end <= journal.size()) {
      std::memcpy(&end, journal.data() + data + record.size, sizeof end);
    }
    if (end == kRecordEnd) {
      note(record, journal.substr(data, record.size), at, random);
      at = data + record.size + sizeof end;
      continue;
    }
    constexpr std::uint64_t kBegin = kRecordBegin;
    const std::string_view mark(reinterpret_cast<const char*>(&kBegin), sizeof kBegin);
    at = journal.find(mark, at + 1);
    if (at == journal.npos) return;
  }
}

void PowerSupply::note(const Record& record, std::string_view data, std::size_t position,
                       Random& random) {
  File& file = files_[record.file];
  if (record.entry == Entry::kWrite || record.entry == Entry::kTruncate) {
    file.pending.push_back({record.entry, record.offset, data, position});
    return;
  }
  const auto covered =
      std::find_if(file.pending.begin(), file.pending.end(), [&](const Change& change) {
        return change.position >= static_cast<std::size_t>(record.offset);
      });
  std::vector<Change> later(covered, file.pending.end());
  file.pending.erase(covered, file.pending.end());
  if (record.entry == Entry::kSync) {
    for (const Change& change : file.pending) apply(file, change);
    file.pending.clear();
  } else {
    // Mostly nothing: those who write it again and again would bring it to the disk bit by bit.
    lose(file, random.one_in(8) ? 50 : 0, random);
  }
  file.pending = std::move(later);
}

void PowerSupply::apply(File& file, const Change& change) {
  const auto offset = static_cast<std::size_t>(change.offset);
  if (change.entry == Entry::kTruncate) {
    file.durable.resize(offset);
    return;
  }
  const std::size_t end = offset + change.data.size();
  if (file.durable.size() < end) file.durable.resize(end);
  file.durable.replace(offset, change.data.size(), change.data);
}

void PowerSupply::apply_some(File& file, const Change& change, int percent, Random& random) {
  const auto offset = static_cast<std::size_t>(change.offset);
  if (change.entry == Entry::kTruncate) {
    if (random.below(100) < percent) apply(file, change);
    return;
  }
  for (std::size_t begin = 0; begin < change.data.size();) {
    const std::size_t size =
        std::min(kSector - (offset + begin) % kSector, change.data.size() - begin);
    if (random.below(100) < percent) {
      apply(file, {Entry::kWrite, static_cast<std::int64_t>(offset + begin),
                   change.data.substr(begin, size), 0});
    }
    begin += size;
  }
}

// Brings `percent` of the pending sectors to the disk.
void PowerSupply::lose(File& file, int percent, Random& random) {
  for (const Change& change : file.pending) {
    const auto offset = static_cast<std::size_t>(change.offset);
    const bool truncated = change.entry == Entry::kTruncate;
    file.touched.emplace_back(offset, truncated ? std::string::npos : change.data.size());
    apply_some(file, change, percent, random);
  }
  file.pending.clear();
}

// Writes only where it may differ: databases are large.
void PowerSupply::write_back(File& file) {
  const UniqueFd out(open(file.path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!out) throw std::runtime_error("cannot write " + file.path);
  for (const auto& [offset, size] : file.touched) {
    if (offset >= file.durable.size()) continue;
    const std::size_t length = std::min(size, file.durable.size() - offset);
    if (pwrite(out.get(), file.durable.data() + offset, length, static_cast<off_t>(offset)) < 0) {
      throw std::runtime_error("cannot write " + file.path);
    }
  }
  if (ftruncate(out.get(), static_cast<off_t>(file.durable.size())) != 0) {
    throw std::runtime_error("cannot shorten " + file.path);
  }
  file.touched.clear();
}

}  // namespace counterd::faults
