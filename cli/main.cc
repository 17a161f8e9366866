#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iostream>
#include <optional>
#include <span>

#include "cli/command.h"
#include "common/command_line.h"
#include "common/counter_name.h"
#include "common/environment.h"
#include "common/number.h"
#include "common/process.h"
#include "common/quote.h"
#include "common/store/store_url.h"
#include "common/version.h"

namespace counterd {
namespace {

struct Command {
  const char* name;
  const char* help;
  Run (*add)(CLI::App& app);
  bool asks_daemon = false;  // and never a store
};

constexpr std::array kCommands = {
    Command{"increment", "add to a counter and print its new value", add_increment},
    Command{"next", "reserve the next numbers of a counter and print them", add_next},
    Command{"report", "print the value of counters", add_report},
    Command{"reset", "set a counter and print the value before", add_reset},
    Command{"delete", "delete a counter and print its value", add_delete},
    Command{"batch", "apply many operations, a line each, and print their values", add_batch},
    Command{"list", "print all counters, sorted by name or by value", add_list},
    Command{"status", "print what serves, which store, how durable", add_status},
    Command{"bench", "measure how many requests a daemon serves", add_bench, true},
    Command{"spawn", "start a daemon in the background, or more workers of one", add_spawn, true},
    Command{"workers", "print the workers of this host's daemon", add_workers, true},
    Command{"scale", "set the number of workers of this host's daemon", add_scale, true},
    Command{"stop", "end this host's daemon in good order", add_stop, true},
};

// A global option with a value, as it is given, before it is checked.
struct Word {
  std::string source;  // the option or, if it comes from the environment, the variable
  std::optional<std::string> text = {};
};

struct Words {
  Word server{"--server"}, store{"--store"}, timeout{"--timeout"}, sync{"--sync"},
      redis_prefix{"--redis-prefix"}, redis_password_file{"--redis-password-file"};
  bool require_durable = false;
};

void add_globals(CLI::App& app, Words& words, Globals& globals) {
  app.add_option("--server", words.server.text,
                 "http://HOST:PORT or unix:PATH (default: http://127.0.0.1:4747)")
      ->type_name("URL");
  app.add_option("--store", words.store.text, "work without a daemon: " + std::string(kStoreForms))
      ->type_name("URL")
      ->excludes("--server");
  app.add_option("--timeout", words.timeout.text,
                 "longest wait, such as 500ms or 2m (default: 5s; stop: 30s)")
      ->type_name("TIME");
  app.add_option("--sync", words.sync.text, "with --store sqlite: full or normal (default: full)")
      ->type_name("full|normal");
  app.add_option("--redis-prefix", words.redis_prefix.text,
                 "with --store redis: begins every key (default: counterd:)")
      ->type_name("TEXT");
  app.add_option("--redis-password-file", words.redis_password_file.text,
                 "with --store redis: file whose first line is the password")
      ->type_name("FILE");
  app.add_flag("--require-durable", words.require_durable,
               "with --store: refuse one that could lose an acknowledged change");
  app.add_flag("--json", globals.json, "print JSON, one object a line");
  app.add_flag("-q,--quiet", globals.quiet, "print nothing but errors");
  app.set_version_flag("--version", "counterctl " + std::string(kVersion));
}

// The first option that only a store has a use for; empty if there is none.
std::string option_of_store(const Words& words) {
  for (const Word* word : {&words.sync, &words.redis_prefix, &words.redis_password_file}) {
    if (word->text) return word->source;
  }
  return words.require_durable ? "--require-durable" : "";
}

// What the flags leave open comes from the environment. A server or a store on the command line
// beats both in the environment, where a store beats a server, unless the command asks a daemon.
void read_environment(Words& words, bool asks_daemon) {
  const auto take = [](Word& word, const char* name) {
    const std::string value = environment(name);
    if (!word.text && !value.empty()) word = {name, value};
  };
  if (!words.server.text && !asks_daemon) take(words.store, "COUNTERCTL_STORE");
  if (!words.store.text) take(words.server, "COUNTERCTL_SERVER");
  take(words.timeout, "COUNTERCTL_TIMEOUT");
  take(words.sync, "COUNTERCTL_SYNC");
  take(words.redis_prefix, "COUNTERCTL_REDIS_PREFIX");
  take(words.redis_password_file, "COUNTERCTL_REDIS_PASSWORD_FILE");
}

Result<void> check_store(const Words& words, Globals& globals) {
  const Result<Sync> sync = words.sync.text ? parse_sync(*words.sync.text) : Sync::kFull;
  if (!sync) return Error{Code::kUsage, words.sync.source + ": " + sync.error().message};
  const std::string prefix = words.redis_prefix.text.value_or(globals.store.redis_prefix);
  if (const Result<void> checked = check_redis_prefix(prefix); !checked) {
    return Error{Code::kUsage, words.redis_prefix.source + ": " + checked.error().message};
  }
  if (!words.store.text) return {};
  if (const auto location = parse_store_url(*words.store.text); !location) {
    return Error{Code::kUsage, words.store.source + ": " + location.error().message};
  }
  globals.store.url = *words.store.text;
  globals.store.sync = *sync;
  globals.store.redis_prefix = prefix;
  globals.store.redis_password_file = words.redis_password_file.text.value_or("");
  globals.store.require_durable = words.require_durable;
  return {};
}

// Reads the environment too; refuses options on the command line that would be ignored.
Result<void> check_globals(Words& words, bool asks_daemon, Globals& globals) {
  if (asks_daemon && words.store.text) {
    return Error{Code::kUsage,
                 "--store is for commands that count; name a daemon with --server (and the store "
                 "of a new one after --, as in: counterctl spawn -- --store URL)"};
  }
  const std::string ignored = option_of_store(words);
  read_environment(words, asks_daemon);
  if (!words.store.text && !ignored.empty()) {
    return Error{Code::kUsage, ignored +
                                   " is for --store alone: a daemon has its own settings (those of "
                                   "a new one come after --: counterctl spawn -- FLAG...)"};
  }
  globals.server_given = words.server.text.has_value();
  const Result<Endpoint> server =
      parse_server(words.server.text.value_or(std::string(kDefaultEndpoint)));
  if (!server) return Error{Code::kUsage, words.server.source + ": " + server.error().message};
  globals.server = *server;
  if (words.timeout.text) {
    const auto timeout = parse_duration(*words.timeout.text, words.timeout.source);
    if (!timeout) return timeout.error();
    globals.timeout = *timeout;
    globals.timeout_given = true;
  }
  globals.deadline = std::chrono::steady_clock::now() + globals.timeout;
  return check_store(words, globals);
}

// Null: no command was given.
const CLI::App* command_of(const CLI::App& app) {
  const std::vector<CLI::App*> given = app.get_subcommands();
  return given.empty() ? nullptr : given.front();
}

// `words`: where the command is looked for if `app` does not know it yet.
std::string way_to_help(const CLI::App& app, std::span<const char* const> words = {}) {
  const CLI::App* const command = command_of(app);
  const auto named = std::ranges::find_if(words, [](std::string_view word) {
    return std::ranges::find(kCommands, word, &Command::name) != kCommands.end();
  });
  const std::string name = command != nullptr     ? command->get_name() + " "
                           : named != words.end() ? *named + std::string(" ")
                                                  : "";
  return " (see counterctl " + name + "--help)";
}

// The command that was perhaps meant by a word that is none: the beginning of one, one with more
// behind it, as a plural has, or the usual word of other programs.
std::string hint_for_command(std::string_view word) {
  constexpr std::array<std::pair<std::string_view, const char*>, 12> kOtherWords = {
      {{"add", "increment"},
       {"incrby", "increment"},
       {"decr", "increment --by -1"},
       {"decrement", "increment --by -1"},
       {"get", "report"},
       {"read", "report"},
       {"show", "report"},
       {"set", "reset"},
       {"rm", "delete"},
       {"remove", "delete"},
       {"ls", "list"},
       {"start", "spawn"}}};
  std::vector<std::string> meant;
  for (const Command& command : kCommands) {
    const std::string_view name = command.name;
    if (name.starts_with(word) || word.starts_with(name)) meant.emplace_back(name);
  }
  for (const auto& [other, name] : kOtherWords) {
    if (other == word) meant.emplace_back(name);
  }
  return meant.size() == 1 ? "; did you mean " + meant.front() + "?" : "";
}

// The option whose value was perhaps meant by a word alone.
std::string hint_for_value(const std::string& command, const std::string& word) {
  if (command == "list" && check_counter_name(word)) {
    return "; for the names that begin with it: --prefix " + word;
  }
  const Result<std::int64_t> number = parse_int64(word, "");
  if (!number) return "";
  if (command == "increment") return "; to add it: --by " + word;
  if (command == "reset") return "; to set the counter to it: --to " + word;
  if (command == "next" && *number > 0) return "; to reserve so many: --count " + word;
  return "";
}

// What was perhaps meant by a word that the command, if any, does not know.
std::string hint_for(const CLI::App* command, const std::string& word) {
  if (command == nullptr) return hint_for_command(word);
  const std::string& name = command->get_name();
  if (std::string hint = hint_for_value(name, word); !hint.empty()) return hint;
  if (!word.starts_with('-')) return "";
  const CLI::Option* const option = command->get_option_no_throw(word.substr(0, word.find('=')));
  if (option != nullptr) return "; it has to stand after " + name + ", before any --";
  return name == "spawn" ? "; it takes its own options, then -- and flags of counterd" : "";
}

// Reports what CLI11 would report as "A subcommand is required" or not at all.
Result<void> check_words(const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining();
  const CLI::App* const command = command_of(app);
  if (unknown.empty() && command != nullptr) return {};
  if (unknown.empty()) return Error{Code::kUsage, "a command is missing" + way_to_help(app)};
  const std::string& word = unknown.front();
  const bool is_option = word.starts_with('-');
  const std::string what = is_option            ? "unknown option "
                           : command == nullptr ? "unknown command "
                                                : "unexpected argument ";
  // What is behind the equals sign may be a password.
  const std::string shown = is_option ? word.substr(0, word.find('=')) : word;
  return Error{Code::kUsage,
               what + quote_for_people(shown) + hint_for(command, word) + way_to_help(app)};
}

// CLI11 has meanings of its own for some words: ++ ends those of a command, and where several words
// are allowed, one in brackets is a list of them and (from CLI11 2.2 on) {} an empty list.
Result<void> check_odd_words(const CLI::App& command, std::span<const char* const> words) {
  const std::vector<const CLI::Option*> options = command.get_options();
  const bool takes_several = std::ranges::any_of(options, &CLI::Option::get_allow_extra_args);
  for (const std::string_view word : words) {
    const bool is_list = word == "{}" || (word.starts_with('[') && word.ends_with(']'));
    if (word != "++" && !(is_list && takes_several)) continue;
    return Error{Code::kUsage, "unexpected argument " + quote_for_people(word) +
                                   " (as the value of an option it stands after =)"};
  }
  return {};
}

int fail(const Error& error) {
  if (!error.message.empty()) print_message(error.message);
  return code_info(error.code).exit_status;
}

// Success, or one of the answers 1 and 2, only if all output has arrived: a full disk or a closed
// pipe must not look like one.
int end_with(const Result<void>& result) {
  constexpr int kLastAnswer = 2;
  const Result<void> written = flush_output();
  const int status = result ? 0 : fail(result.error());
  return written || status > kLastAnswer ? status : fail(written.error());
}

// A command, as its app has been set up.
struct Added {
  const Command& command;
  CLI::App& app;
  Run run;
};

std::vector<Added> add_commands(CLI::App& app) {
  std::vector<Added> added;
  for (const Command& command : kCommands) {
    CLI::App& sub = *app.add_subcommand(command.name, command.help);
    sub.footer("The options of counterctl itself may stand here too; see counterctl --help.");
    added.push_back({command, sub, command.add(sub)});
  }
  return added;
}

// Checks what CLI11 has parsed, and runs the command.
Result<void> run_command(const CLI::App& app, const std::vector<Added>& commands, Words& words,
                         Globals& globals, std::span<const char* const> given) {
  if (Result<void> checked = check_words(app); !checked) return checked;
  const auto chosen =
      std::ranges::find_if(commands, [](const Added& added) { return added.app.parsed(); });
  if (Result<void> checked = check_odd_words(chosen->app, given); !checked) return checked;
  const bool asks_daemon = chosen->command.asks_daemon;
  if (Result<void> checked = check_globals(words, asks_daemon, globals); !checked) {
    return checked;
  }
  return chosen->run(globals);
}

int run(int argc, const char* const* argv) {
  Globals globals;
  Words words;
  CLI::App app("Counts, for shell scripts and systemd units: exact, durable, shared.",
               "counterctl");
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.allow_extras();
  app.footer(
      "Exit status: 0 done, 1 refused by a limit, 2 no such counter, 64 usage, 65 bad data,\n"
      "69 nothing was applied, 74 input or output failed, 75 unknown, 77 not allowed,\n"
      "78 configuration.\nEvery option above with a value can also come from the environment, "
      "--server as COUNTERCTL_SERVER.\nSee counterctl(1).");
  add_globals(app, words, globals);
  const std::vector<Added> commands = add_commands(app);
  const std::span<const char* const> given(argv, static_cast<std::size_t>(argc));
  try {
    app.parse(words_for_parser(app, {argv + std::min(argc, 1), argv + argc}));
  } catch (const CLI::Success& wish) {  // --help, --version
    app.exit(wish, std::cout, std::cerr);
    return end_with({});
  } catch (const CLI::ParseError& error) {
    return fail({Code::kUsage, explain(error) + way_to_help(app, given)});
  }
  return end_with(run_command(app, commands, words, globals, given));
}

}  // namespace
}  // namespace counterd

int main(int argc, char** argv) {
  counterd::set_up_process();
  std::ios::sync_with_stdio(false);  // else a read that fails looks like the end of the input
  try {
    return counterd::run(argc, argv);
  } catch (const std::exception& exception) {
    // Can only be out of memory: nobody knows what has been done by then.
    counterd::print_message(exception.what());
    return counterd::code_info(counterd::Code::kUnknown).exit_status;
  }
}
