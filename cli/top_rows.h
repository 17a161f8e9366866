// Keeps the rows with the largest values of all that are added: memory is bounded by how many are
// wanted, however many are added.
#pragma once

#include <cstddef>
#include <vector>

#include "common/store/store.h"

namespace counterd {

class TopRows {
 public:
  // REQUIRES: most > 0
  explicit TopRows(std::size_t most) : most_(most) {}

  void add(ListPage::Row row);

  // At most `most` of the added rows: the largest value first, equal values by name, bytewise.
  // Leaves none in it.
  std::vector<ListPage::Row> take();

 private:
  const std::size_t most_;
  std::vector<ListPage::Row> heap_;  // the first to be dropped is at the front
};

}  // namespace counterd
