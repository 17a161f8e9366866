// What every command has in common: the options before it, what it works on, how it answers.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/counters.h"
#include "common/endpoint.h"
#include "common/error.h"
#include "common/store/store.h"

namespace CLI {
class App;
}

namespace counterd {

// The options that every command takes.
struct Globals {
  Endpoint server;
  StoreOptions store;         // if its url is empty, the server is used
  bool server_given = false;  // by flag or environment
  std::chrono::milliseconds timeout{5'000};
  bool timeout_given = false;
  // `timeout` from the start of the command: one deadline for all that it waits for.
  Deadline deadline;
  bool json = false;
  bool quiet = false;
};

// The counters of the server or store that `globals` name; a store is opened by `deadline`.
Result<std::unique_ptr<Counters>> open_counters(const Globals& globals, Deadline deadline);

// A command that has been read from the command line: prints to standard output; an Error's code
// gives the exit status. An Error without a message has been reported by the command itself.
using Run = std::function<Result<void>(const Globals& globals)>;

// Adds the command's own options to `app`; returns what the command does. One function per command,
// each in a file of its own.
Run add_increment(CLI::App& app);
Run add_next(CLI::App& app);
Run add_report(CLI::App& app);
Run add_reset(CLI::App& app);
Run add_delete(CLI::App& app);
Run add_batch(CLI::App& app);
Run add_list(CLI::App& app);
Run add_spawn(CLI::App& app);
Run add_workers(CLI::App& app);
Run add_scale(CLI::App& app);
Run add_stop(CLI::App& app);
Run add_status(CLI::App& app);
Run add_bench(CLI::App& app);

// The name that a command was given, checked; kDefaultCounter if none was. An empty name is
// refused: it is what a script's unset variable gives, and must not count something else.
Result<std::string> name_or_default(const std::optional<std::string>& given);

// The Error for an outcome other than kOk.
Error error_of(const Step& step);

// Writes one line of output, unless -q was given.
void print_line(const Globals& globals, const std::string& line);

// Whether standard error is a terminal on which a line may show the progress of a command.
bool shows_progress(const Globals& globals);

// Clears the line that the cursor of such a terminal is in.
inline constexpr const char* kClearLine = "\r\x1b[K";

// Writes a line for people to standard error, at once, so that those of several processes stay
// whole.
void print_message(const std::string& message);

// Flushes what has been printed so far. kIo: some of it, or of what was printed before, cannot be
// written; then nothing more ever can, and there is no use in going on.
Result<void> flush_output();

}  // namespace counterd
