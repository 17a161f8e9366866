// What the log says of the store: that it fails, and that it answers again; each once, however
// often it does so by turns.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "common/error.h"
#include "common/store/store.h"

namespace counterd {

class StoreHealth {
 public:
  // Each returns what to log, if anything. `failure` is null if it worked.

  // How a change went, or getting the turn for it.
  std::optional<std::string> note_change(const Error* failure, Deadline now);
  // How reading went. That it works says nothing about changes that have failed.
  std::optional<std::string> note_read(const Error* failure, Deadline now);
  // How a batch went, which has steps. A failing store fails all changes in it together.
  std::optional<std::string> note_batch(std::span<const Step> batch, Deadline now);

 private:
  std::optional<std::string> note_failure(const Error& failure, Deadline now);
  std::optional<std::string> note_success(Deadline now);

  std::vector<std::string> failures_;  // as logged; none while the store answers
  bool changes_failed_ = false;        // and not only reading
  Deadline logged_, latest_;           // when one was logged, and when one was met
};

}  // namespace counterd
