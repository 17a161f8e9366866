// A change that a command makes: counted once, however often it must be asked for.
#pragma once

#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/operations.h"

namespace counterd {

// Makes changes, and asks again under the same key, with growing pauses, as long as there is no
// answer, the store is unavailable or the outcome is unknown.
class Changer {
 public:
  // REQUIRES: `globals` outlives it
  explicit Changer(const Globals& globals) : globals_(globals) {}

  // Makes the change, which has a key, by `deadline`. Fills in the outcome; returns an Error unless
  // it is kOk: kUnavailable says that nothing was applied, kUnknown that it may have been.
  Result<void> change(Step& step, Deadline deadline);

 private:
  void try_once(Step& step, Deadline deadline);

  const Globals& globals_;
  std::unique_ptr<Counters> counters_;
};

// Gives the operation the key `given`, or a fresh one, which is remembered for a while. kUsage:
// `given` is not a key; kIo: the system gives no random bits.
Result<void> set_key(const Globals& globals, const std::optional<std::string>& given,
                     Operation& operation);

// The code of an error that came after some changes: not one whose exit status says that nothing
// was applied.
Code code_after_changes(Code code);

// Until when a change that is sent for the first time now may be asked for again, for a message.
// " by 2026-01-31T23:59:59.123Z" if its key is a fresh one with `key_lifetime`: after half of that,
// so that the other half is left for asking. (A daemon whose --key-lifetime is shorter forgets the
// key earlier.) " as long as the key is known" if the key was given and `key_lifetime` is 0:
// perhaps an earlier message has named it, and has told the time.
std::string latest_retry(std::chrono::milliseconds key_lifetime);

// " --key KEY", quoted for a shell, or " --key=KEY" if it would be taken for another option.
std::string key_option(const std::string& key);

// "; nothing was applied", for a message: after an error by which nothing was. Under a key that was
// given that is true of this command only: an earlier one may have been told that nobody knows.
std::string nothing_applied(bool key_given);

// The option --key of a command that changes something.
void add_key_option(CLI::App& app, std::optional<std::string>& key);

// Makes one change under `key`, or under a fresh one, within the timeout of `globals`. If the
// outcome is unknown, the Error gives the key to ask again with.
Result<void> change_counter(const Globals& globals, Step& step,
                            const std::optional<std::string>& key);

// The action of a command that is one change: makes it and prints the outcome. Adds --key to `app`.
Run run_change(const OperationWords& words, CLI::App& app);

}  // namespace counterd
