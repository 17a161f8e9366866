// A change that a command makes: counted once, however often it must be asked for.
#pragma once

#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/operations.h"

namespace counterd {

// Makes changes, and asks again under the same key, with growing pauses, as long as nothing
// answers, the store is away or nobody knows the outcome.
class Changer {
 public:
  // REQUIRES: `globals` outlives it
  explicit Changer(const Globals& globals) : globals_(globals) {}

  // Makes the change, which has a key, by `deadline`. Fills in the outcome; an Error unless it is
  // kOk: kUnavailable says that nothing was applied, kUnknown that it may have been.
  Result<void> change(Step& step, Deadline deadline);

 private:
  void try_once(Step& step, Deadline deadline);

  const Globals& globals_;
  std::unique_ptr<Counters> counters_;
};

// Gives the operation the key `given`, or one that nobody has used, which is known for a while.
// kUsage: what is given is no key; kIo: the system gives no random bits.
Result<void> set_key(const Globals& globals, const std::optional<std::string>& given,
                     Operation& operation);

// " --key KEY", as a shell takes it.
std::string key_option(const std::string& key);

// The option --key of a command that changes something.
void add_key_option(CLI::App& app, std::optional<std::string>& key);

// Makes one change under `key`, or under a fresh one, within the time of `globals`. Where nobody
// knows the outcome, the Error tells the key to ask again with.
Result<void> change_counter(const Globals& globals, Step& step,
                            const std::optional<std::string>& key);

// What a command does that is one change: makes it and prints the outcome. Adds --key to `app`.
Run run_change(const OperationWords& words, CLI::App& app);

}  // namespace counterd
