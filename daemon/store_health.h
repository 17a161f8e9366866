// Logs when the store fails and when it answers again, once each.
#pragma once

#include <span>
#include <string>

#include "common/error.h"
#include "common/store/store.h"

namespace counterd {

class StoreHealth {
 public:
  // How a change went, or getting the turn for it. `failure`: null, if it worked.
  void note_change(const Error* failure);
  // How reading went. While there is no room for changes it goes on, and says nothing about them.
  void note_look(const Error* failure);
  // How a batch went, which has steps. A failing store fails all changes in it together.
  void note_batch(std::span<const Step> batch);

 private:
  std::string failure_;  // as logged; empty while the store answers
  Code code_ = Code::kOk;
};

}  // namespace counterd
