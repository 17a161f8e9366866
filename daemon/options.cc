#include "daemon/options.h"

#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "common/ascii.h"
#include "common/command_line.h"
#include "common/environment.h"
#include "common/limits.h"
#include "common/path.h"
#include "common/quote.h"
#include "common/state_directory.h"
#include "common/store/store_url.h"
#include "common/version.h"
#include "daemon/config_file.h"
#include "daemon/settings.h"

namespace counterd {
namespace {

// At least 1. According to the affinity of the process, which taskset(1) and the cpuset of a
// container limit (std::thread::hardware_concurrency gives the number that the machine has).
int usable_processors() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::string environment_name(const Setting& setting) {
  std::string name = "COUNTERD_" + setting.name;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(c));
  });
  return name;
}

Values split_at_commas(const std::string& text) {
  return CLI::detail::split(text, ',');
}

struct CommandLine {
  std::map<std::string, Values> flags;  // by Setting::name; without a value: not given
  std::optional<std::string> config;
  bool check_only = false;
  std::string text;  // what was asked for in place of a daemon, by --help or --version
};

// Where the values of a setting come from, what they are, and the code of an error in them.
struct Source {
  std::string name;  // for messages
  Values values;
  Code code = Code::kConfig;
};

using Sources = std::map<std::string, Source>;  // by Setting::name

Result<void> read_file(const std::string& path, Sources& sources) {
  Result<std::vector<ConfigSetting>> file = read_config_file(path);
  if (!file) return file.error();
  for (ConfigSetting& setting : *file) {
    const auto known = std::ranges::find(settings(), setting.name, &Setting::name);
    if (known == settings().end() || setting.name == "ready-fd") {
      return Error{Code::kConfig, path + ": line " + std::to_string(setting.line) +
                                      ": unknown setting " + quote_for_people(setting.name)};
    }
    const std::string source = path + ": " + setting.name;
    sources.try_emplace(setting.name, Source{source, std::move(setting.values)});
  }
  return {};
}

// An empty variable is what a script's own one gives that is not set.
Result<void> read_environment(Sources& sources) {
  for (const Setting& setting : settings()) {
    const std::string name = environment_name(setting);
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || sources.contains(setting.name)) continue;
    if (*value == '\0') {
      return Error{Code::kConfig, name + " is empty; give it a value, or unset it"};
    }
    Values values = setting.repeatable ? split_at_commas(value) : Values{value};
    sources.emplace(setting.name, Source{name, std::move(values)});
  }
  return {};
}

// Flag beats environment beats file.
Result<Sources> read_sources(const CommandLine& line) {
  Sources sources;
  for (const auto& [name, values] : line.flags) {
    if (!values.empty()) sources.emplace(name, Source{"--" + name, values, Code::kUsage});
  }
  if (const Result<void> read = read_environment(sources); !read) return read.error();
  const std::string file = line.config.value_or(environment("COUNTERD_CONFIG"));
  if (file.empty()) return sources;
  if (const Result<void> read = read_file(file, sources); !read) return read.error();
  return sources;
}

Result<void> set_all(DaemonOptions& options, const Sources& sources) {
  for (const Setting& setting : settings()) {
    const auto source = sources.find(setting.name);
    if (source == sources.end()) continue;
    const auto& [name, values, code] = source->second;
    if (values.empty() || (values.size() > 1 && !setting.repeatable)) {
      return Error{code, name + " takes one value"};
    }
    for (const std::string& value : values) {
      // A line end would make two lines of one in settings_of().
      if (std::ranges::any_of(value, is_control)) {
        return Error{code, name + ": " + quote_without_secrets(value) + " has a control character"};
      }
      const Result<void> set = setting.set(options, value);
      if (!set) return Error{code, name + ": " + set.error().message};
    }
  }
  return {};
}

// Nothing: it is another store. REQUIRES: parse_store_url() accepts it
std::optional<SqliteLocation> sqlite_location(const std::string& store_url) {
  const StoreLocation location = *parse_store_url(store_url);
  const auto* sqlite = std::get_if<SqliteLocation>(&location);
  return sqlite == nullptr ? std::nullopt : std::optional(*sqlite);
}

// On SQLite the more workers there are, the fewer changes are in each commit.
int default_workers(const std::string& store_url) {
  const int processors = usable_processors();
  if (sqlite_location(store_url)) return std::clamp(processors / 2, 1, 2);
  return std::clamp(processors, 1, kMaxWorkers);
}

// A systemd credential of this name is the password (systemd.exec(5), LoadCredential); also where
// this user may not read it, which the first worker then reports: without it the daemon would be
// another user of the server, or none.
std::string password_credential() {
  const std::string directory = environment("CREDENTIALS_DIRECTORY");
  if (directory.empty()) return {};
  const std::string path = directory + "/redis-password";
  const bool is_missing = access(path.c_str(), F_OK) != 0 && errno == ENOENT;
  return is_missing ? std::string() : path;
}

Result<void> make_absolute(std::string& path) {
  Result<std::string> absolute = absolute_path(path);
  if (!absolute) {
    return Error{absolute.error().code, quote_for_people(path) + ": " + absolute.error().message};
  }
  // Of the folder: see set_all().
  if (std::ranges::any_of(*absolute, is_control)) {
    return Error{Code::kConfig, quote_for_people(*absolute) + " has a control character"};
  }
  path = std::move(*absolute);
  return {};
}

// The daemon does not stay in the folder in which it was started.
Result<void> make_absolute(StoreOptions& store) {
  if (auto sqlite = sqlite_location(store.url)) {
    if (Result<void> made = make_absolute(sqlite->path); !made) return made;
    store.url = to_url(*sqlite);
  }
  if (store.redis_password_file.empty()) return {};
  return make_absolute(store.redis_password_file);
}

// Sets what depends on the system. `check_only`: changes nothing else.
Result<void> fill_in_defaults(DaemonOptions& options, bool check_only) {
  if (options.store.url.empty()) {
    const Result<std::string> url = default_store_url();
    if (!url) return url.error();
    options.store.url = *url;
    if (!check_only) {
      if (const auto made = make_state_directory(); !made) return made.error();
    }
  }
  if (options.workers == 0) options.workers = default_workers(options.store.url);
  if (options.listen.empty()) {
    options.listen.push_back(*parse_endpoint(kDefaultEndpoint));
  }
  if (options.store.redis_password_file.empty()) {
    options.store.redis_password_file = password_credential();
  }
  return make_absolute(options.store);
}

// What --check-config prints.
std::string text_of(const DaemonOptions& options) {
  std::string text = "workers = " + std::to_string(options.workers) + "\n";
  for (const std::string& line : settings_of(options)) text += line + "\n";
  return text;
}

// Adds every setting to `app`; the words of those that are given go to `flags`, by Setting::name.
void add_settings(CLI::App& app, std::map<std::string, Values>& flags) {
  for (const Setting& setting : settings()) {
    if (setting.value_name.empty()) {
      app.add_flag_callback(
             "--" + setting.name, [&flags, &setting] { flags[setting.name] = {"true"}; },
             setting.help)
          ->disable_flag_override();  // or --flag=false would be taken for not given
    } else {
      app.add_option("--" + setting.name, flags[setting.name], setting.help)
          ->type_name(setting.value_name)
          ->expected(1)
          ->take_all()
          ->allow_extra_args(false);  // or CLI11 takes the brackets off an address
    }
  }
}

Result<CommandLine> read_command_line(int argc, const char* const* argv) {
  CommandLine line;
  CLI::App app("A counter that many processes share: serves it over HTTP.", "counterd");
  const std::string version = "counterd " + std::string(kVersion);
  app.set_version_flag("--version", version);
  app.add_option("--config", line.config, "file with settings, one NAME = VALUE a line")
      ->type_name("FILE");
  app.add_flag("--check-config", line.check_only, "check and print the settings, then end");
  add_settings(app, line.flags);
  app.allow_extras();
  app.footer(
      "Every setting can also come from the environment, --redis-prefix as "
      "COUNTERD_REDIS_PREFIX, and from the file, without the dashes. See counterd(8).");
  try {
    app.parse(words_for_parser(app, {argv + std::min(argc, 1), argv + argc}));
  } catch (const CLI::CallForHelp&) {
    line.text = app.help();
    return line;
  } catch (const CLI::CallForVersion&) {
    line.text = version + "\n";
    return line;
  } catch (const CLI::ParseError& error) {
    return Error{Code::kUsage, explain(error) + " (see counterd --help)"};
  }
  std::vector<std::string> unknown = app.remaining();
  std::erase(unknown, "--");  // ends the options; there is nothing else
  if (!unknown.empty()) {
    const std::string& word = unknown.front();
    // What is behind the equals sign may be a password.
    const std::string what =
        word.starts_with('-') ? "unknown option " + quote_for_people(word.substr(0, word.find('=')))
                              : "unexpected argument " + quote_without_secrets(word);
    return Error{Code::kUsage, what + " (see counterd --help)"};
  }
  if (line.config && line.config->empty()) {
    return Error{Code::kUsage, "--config: the path is missing"};
  }
  return line;
}

}  // namespace

std::vector<std::string> settings_of(const DaemonOptions& options) {
  std::vector<std::string> lines;
  for (const Setting& setting : settings()) {
    for (const std::string& value : setting.get(options)) {
      lines.push_back(setting.name + " = \"" + value + '"');
    }
  }
  return lines;
}

Result<std::variant<DaemonOptions, std::string>> read_options(int argc, const char* const* argv) {
  using OptionsOrText = std::variant<DaemonOptions, std::string>;
  Result<CommandLine> line = read_command_line(argc, argv);
  if (!line) return line.error();
  if (!line->text.empty()) return OptionsOrText(std::move(line->text));
  const Result<Sources> sources = read_sources(*line);
  if (!sources) return sources.error();
  DaemonOptions options;
  if (const Result<void> set = set_all(options, *sources); !set) return set.error();
  const Result<void> filled = fill_in_defaults(options, line->check_only);
  if (!filled) return filled.error();
  if (line->check_only) return OptionsOrText(text_of(options));
  return OptionsOrText(std::move(options));
}

}  // namespace counterd
