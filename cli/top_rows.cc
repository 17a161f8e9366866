#include "cli/top_rows.h"

#include <algorithm>
#include <utility>

namespace counterd {
namespace {

bool comes_before(const ListPage::Row& a, const ListPage::Row& b) {
  return a.value != b.value ? a.value > b.value : a.name < b.name;
}

}  // namespace

void TopRows::add(ListPage::Row row) {
  if (heap_.size() == most_) {
    if (!comes_before(row, heap_.front())) return;
    std::pop_heap(heap_.begin(), heap_.end(), comes_before);
    heap_.pop_back();
  }
  heap_.push_back(std::move(row));
  std::push_heap(heap_.begin(), heap_.end(), comes_before);
}

std::vector<ListPage::Row> TopRows::take() {
  std::sort_heap(heap_.begin(), heap_.end(), comes_before);
  return std::exchange(heap_, {});
}

}  // namespace counterd
