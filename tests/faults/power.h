// Power loss: what a disk may hold of an SQLite database when the power fails at this moment, made
// from the journal of all writes (disk.h).
//
// Of each file the disk holds what was written before its last successful sync began. Of what was
// written later it holds any part: whole sectors, in any order. What a failed sync was to make
// durable counts as written by the kernel from then on: a later sync does not bring it to the disk,
// only another write does. The kernel may also forget it, while the power stays on.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/faults/disk.h"
#include "tests/faults/random.h"

namespace counterd::faults {

class PowerSupply {
 public:
  // The database is on the disk as it is now. REQUIRES: no process uses it
  PowerSupply(const std::string& database, std::string journal);

  // Replaces the files by what the disk holds; starts a new journal. REQUIRES: no process uses them
  void fail(Random& random);

  // The files have, of what failed syncs were to make durable, what the disk has. REQUIRES: no
  // process that uses them is stopped
  void forget(Random& random);

 private:
  struct Change {
    Entry entry;
    std::int64_t offset;
    std::string data;
    std::size_t position;  // in the journal
  };
  struct File {
    std::string path;
    std::string durable;
    std::vector<Change> pending;
    std::vector<std::pair<std::size_t, std::size_t>> touched;  // may differ from the file itself
  };

  void replay(Random& random);
  void note(const Record& record, std::string_view data, std::size_t position, Random& random);
  static void apply(File& file, const Change& change);
  static void apply_some(File& file, const Change& change, int percent, Random& random);
  static void lose(File& file, int percent, Random& random);
  static void write_back(File& file);
  static void restore(const File& file);

  std::array<File, 2> files_;
  const std::string journal_;
  std::size_t replayed_ = 0;  // how much of it
};

}  // namespace counterd::faults
