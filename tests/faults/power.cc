#include "tests/faults/power.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <thread>

#include "common/unique_fd.h"

namespace counterd::faults {
namespace {

constexpr std::size_t kSector = 512;
constexpr int kPatienceMs = 10'000;

// What the file has from `begin` on.
std::string read_from(const std::string& path, std::size_t begin) {
  std::error_code missing;
  const std::uintmax_t size = std::filesystem::file_size(path, missing);
  std::string bytes(missing ? 0 : size - begin, '\0');
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(begin));
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

UniqueFd open_to_write(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) throw std::runtime_error("cannot write " + path);
  return file;
}

void write_at(const UniqueFd& file, std::string_view bytes, std::size_t offset) {
  if (pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) < 0) {
    throw std::runtime_error("cannot write a file of the database");
  }
}

}  // namespace

PowerSupply::PowerSupply(const std::string& database, std::string journal)
    : journal_(std::move(journal)) {
  files_[0].path = database;
  files_[1].path = database + "-wal";
  for (File& file : files_) file.durable = read_from(file.path, 0);
}

void PowerSupply::fail(Random& random) {
  replay(random);
  for (File& file : files_) {
    constexpr int kShares[] = {0, 50, 90, 100};
    lose(file, kShares[random.below(4)], random);
    write_back(file);
  }
  std::filesystem::resize_file(journal_, 0);
  replayed_ = 0;
  std::filesystem::remove(files_[0].path + "-shm");
}

void PowerSupply::forget(Random& random) {
  const UniqueFd journal = open_to_write(journal_);
  for (int i = 0; flock(journal.get(), LOCK_EX | LOCK_NB) != 0; ++i) {  // see disk.cc
    if (i == kPatienceMs) throw std::runtime_error("a process that is stopped is writing");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  replay(random);
  for (const File& file : files_) restore(file);
}

// Of each sector that may differ from what the disk has, unless it was written again and is yet to
// be synced.
void PowerSupply::restore(const File& file) {
  std::set<std::size_t> dirty;
  const auto each_sector = [](std::size_t offset, std::size_t end, const auto& act) {
    for (std::size_t at = offset / kSector * kSector; at < end; at += kSector) act(at);
  };
  for (const Change& change : file.pending) {
    const auto offset = static_cast<std::size_t>(change.offset);
    each_sector(offset, offset + change.data.size(), [&](std::size_t at) { dirty.insert(at); });
  }
  const UniqueFd out = open_to_write(file.path);
  const auto size = static_cast<std::size_t>(lseek(out.get(), 0, SEEK_END));
  for (const auto& [offset, length] : file.touched) {
    const std::size_t end = length < size - std::min(offset, size) ? offset + length : size;
    each_sector(offset, end, [&](std::size_t at) {
      if (dirty.contains(at)) return;
      std::string sector = at < file.durable.size() ? file.durable.substr(at, kSector) : "";
      sector.resize(std::min(kSector, size - at));
      write_at(out, sector, at);
    });
  }
}

// A process that is killed while it writes leaves half a record; what it was about to write was not
// written then.
void PowerSupply::replay(Random& random) {
  const std::size_t begin = replayed_;
  const std::string bytes = read_from(journal_, begin);
  const std::string_view journal = bytes;
  replayed_ += journal.size();
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
      note(record, journal.substr(data, record.size), begin + at, random);
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
    file.pending.push_back({record.entry, record.offset, std::string(data), position});
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
  const UniqueFd out = open_to_write(file.path);
  for (const auto& [offset, size] : file.touched) {
    if (offset < file.durable.size()) {
      write_at(out, std::string_view(file.durable).substr(offset, size), offset);
    }
  }
  if (ftruncate(out.get(), static_cast<off_t>(file.durable.size())) != 0) {
    throw std::runtime_error("cannot shorten " + file.path);
  }
  file.touched.clear();
}

}  // namespace counterd::faults
