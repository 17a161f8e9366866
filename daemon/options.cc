#include "daemon/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "common/json.h"
#include "common/letter_case.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/state_directory.h"
#include "common/store/store_url.h"
#include "common/version.h"
#include "daemon/config_file.h"
#include "daemon/processors.h"

namespace counterd {
namespace {

using Values = std::vector<std::string>;

// One setting, whatever it is set by: its words are interpreted here, strictly, and in the same way
// for every source.
struct Setting {
  std::string name;        // --name, COUNTERD_NAME, name = in a file
  std::string value_name;  // empty: a flag
  std::string help;
  Result<void> (*set)(DaemonOptions& options, const std::string& value);
  bool repeatable = false;
};

Result<void> set_workers(DaemonOptions& options, const std::string& value) {
  const Result<int> workers = parse_workers(value, "number of workers");
  if (!workers) return workers.error();
  options.workers = *workers;
  return {};
}

Result<void> set_listen(DaemonOptions& options, const std::string& value) {
  Result<Endpoint> endpoint = parse_endpoint(value);
  if (!endpoint) return endpoint.error();
  if (options.listen.size() == kMaxListenAddresses) {
    return Error{Code::kConfig, "more than " + std::to_string(kMaxListenAddresses) + " addresses"};
  }
  options.listen.push_back(std::move(*endpoint));
  return {};
}

Result<void> set_store(DaemonOptions& options, const std::string& value) {
  if (const auto location = parse_store_url(value); !location) return location.error();
  options.store.url = value;
  return {};
}

Result<void> set_sync(DaemonOptions& options, const std::string& value) {
  if (value != "full" && value != "normal") {
    return Error{Code::kConfig, quote_for_people(value) + " is neither full nor normal"};
  }
  options.store.sync = value == "full" ? Sync::kFull : Sync::kNormal;
  return {};
}

Result<void> set_redis_prefix(DaemonOptions& options, const std::string& value) {
  if (const Result<void> checked = check_redis_prefix(value); !checked) return checked.error();
  options.store.redis_prefix = value;
  return {};
}

Result<void> set_redis_password_file(DaemonOptions& options, const std::string& value) {
  options.store.redis_password_file = value;
  return {};
}

Result<void> set_flag(bool& flag, const std::string& value) {
  const bool on = value == "true" || value == "1" || value == "yes" || value == "on";
  const bool off = value == "false" || value == "0" || value == "no" || value == "off";
  if (!on && !off) {
    return Error{Code::kConfig, quote_for_people(value) + " is neither true nor false"};
  }
  flag = on;
  return {};
}

Result<void> set_require_durable(DaemonOptions& options, const std::string& value) {
  return set_flag(options.store.require_durable, value);
}

Result<void> set_allow_get_writes(DaemonOptions& options, const std::string& value) {
  return set_flag(options.allow_get_writes, value);
}

Result<void> set_allow_host(DaemonOptions& options, const std::string& value) {
  if (value.empty() || value.find_first_of(":/ ,") != std::string::npos) {
    return Error{Code::kConfig, quote_for_people(value) + " is not a host name without a port"};
  }
  options.allowed_hosts.push_back(lower_case(value));
  return {};
}

Result<void> set_max_connections(DaemonOptions& options, const std::string& value) {
  const auto number = parse_int64_within(value, "number of connections", 1, 1'000'000);
  if (!number) return number.error();
  options.max_connections = static_cast<int>(*number);
  return {};
}

Result<void> set_store_timeout(DaemonOptions& options, const std::string& value) {
  const auto duration = parse_duration(value, "timeout");
  if (!duration) return duration.error();
  if (*duration > kMaxStoreTimeout) {
    return Error{Code::kConfig,
                 "the longest store timeout is 15m, a quarter of the time for "
                 "which Redis knows a batch"};
  }
  options.store.timeout = *duration;
  return {};
}

Result<void> set_key_lifetime(DaemonOptions& options, const std::string& value) {
  const auto duration = parse_duration(value, "lifetime");
  if (!duration) return duration.error();
  if (*duration > kMaxKeyLifetime) {
    return Error{Code::kConfig, "the longest lifetime of a key is 365d"};
  }
  options.store.key_lifetime = *duration;
  return {};
}

Result<void> set_max_keys(DaemonOptions& options, const std::string& value) {
  const auto number = parse_int64_within(value, "number of keys", 0, 1'000'000'000);
  if (!number) return number.error();
  options.store.max_keys = static_cast<std::size_t>(*number);
  return {};
}

Result<void> set_drain_timeout(DaemonOptions& options, const std::string& value) {
  const auto duration = parse_duration(value, "timeout");
  if (!duration) return duration.error();
  options.drain_timeout = *duration;
  return {};
}

Result<void> set_ready_fd(DaemonOptions& options, const std::string& value) {
  // Lower ones are standard input, output and error.
  const auto number = parse_int64_within(value, "descriptor", 3, 65'535);
  if (!number) return number.error();
  options.ready_fd = static_cast<int>(*number);
  return {};
}

const std::vector<Setting>& settings() {
  static const std::vector<Setting> table = {
      {"workers", "N",
       "worker processes, 1 to 256 (default: the CPUs; on sqlite half of them, at most 2)",
       set_workers},
      {"listen", "ADDRESS",
       "HOST:PORT, [IPv6]:PORT or unix:PATH; may be repeated (default: 127.0.0.1:4747)", set_listen,
       true},
      {"store", "URL",
       "sqlite:PATH, redis://[user@]host[:port][/db] or redis+unix://[user@]PATH[?db=N] "
       "(default: sqlite: in the state directory)",
       set_store},
      {"sync", "full|normal",
       "sqlite: sync every change to the disk, or survive process crashes only (default: full)",
       set_sync},
      {"redis-prefix", "TEXT", "redis: begins every key (default: counterd:)", set_redis_prefix},
      {"redis-password-file", "FILE", "redis: file whose first line is the password",
       set_redis_password_file},
      {"require-durable", "", "refuse a store that could lose an acknowledged change",
       set_require_durable},
      {"store-timeout", "TIME", "longest work on a batch, at most 15m (default: 5s)",
       set_store_timeout},
      {"key-lifetime", "TIME", "how long idempotency keys are known (default: 24h)",
       set_key_lifetime},
      {"max-keys", "N", "idempotency keys that are known at once (default: 10000000)",
       set_max_keys},
      {"drain-timeout", "TIME", "longest wait for requests at the end (default: 10s)",
       set_drain_timeout},
      {"max-connections", "N", "connections of each worker (default: 16000)", set_max_connections},
      {"allow-host", "NAME", "a name that the Host of requests may have; may be repeated",
       set_allow_host, true},
      {"allow-get-writes", "", "let GET /increment and GET /reset change the default counter",
       set_allow_get_writes},
      {"ready-fd", "FD", "descriptor that gets a line when the daemon is ready", set_ready_fd},
  };
  return table;
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

// Where the values of a setting come from, for messages, and what they are.
struct Source {
  std::string name;
  Values values;
};

using Sources = std::map<std::string, Source>;  // by Setting::name

Result<void> read_file(const std::string& path, Sources& sources) {
  Result<std::vector<ConfigSetting>> file = read_config_file(path);
  if (!file) return file.error();
  for (ConfigSetting& setting : *file) {
    const auto known = std::find_if(settings().begin(), settings().end(),
                                    [&](const Setting& it) { return it.name == setting.name; });
    if (known == settings().end() || setting.name == "ready-fd") {
      return Error{Code::kConfig, path + ": unknown setting " + quote_for_people(setting.name)};
    }
    const std::string source = path + ": " + setting.name;
    sources.try_emplace(setting.name, Source{source, std::move(setting.values)});
  }
  return {};
}

void read_environment(Sources& sources) {
  for (const Setting& setting : settings()) {
    const std::string name = environment_name(setting);
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) continue;
    const Values values = setting.repeatable ? split_at_commas(value) : Values{value};
    sources.try_emplace(setting.name, Source{name, values});
  }
}

Result<void> set_all(DaemonOptions& options, const Sources& sources) {
  for (const Setting& setting : settings()) {
    const auto source = sources.find(setting.name);
    if (source == sources.end()) continue;
    const auto& [name, values] = source->second;
    const Code code = name.starts_with("--") ? Code::kUsage : Code::kConfig;
    if (values.empty() || (values.size() > 1 && !setting.repeatable)) {
      return Error{code, name + " takes one value"};
    }
    for (const std::string& value : values) {
      const Result<void> set = setting.set(options, value);
      if (!set) return Error{code, name + ": " + set.error().message};
    }
  }
  return {};
}

// On SQLite the more workers there are, the fewer changes are in each commit.
int default_workers(const std::string& store_url) {
  const int processors = usable_processors();
  if (store_url.starts_with("sqlite:")) return std::clamp(processors / 2, 1, 2);
  return std::clamp(processors, 1, kMaxWorkers);
}

// A systemd credential of this name is the password (systemd.exec(5), LoadCredential).
std::string password_credential() {
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
  if (directory == nullptr) return {};
  const std::string path = std::string(directory) + "/redis-password";
  return access(path.c_str(), R_OK) == 0 ? path : std::string();
}

Values lines_of(const DaemonOptions& options) {
  Values lines;
  const auto add = [&](const char* name, const std::string& value) {
    lines.push_back(std::string(name) + " = \"" + value + '"');
  };
  const auto add_time = [&](const char* name, std::chrono::milliseconds time) {
    add(name, std::to_string(time.count()) + "ms");
  };
  const auto add_flag = [&](const char* name, bool on) { add(name, on ? "true" : "false"); };
  const StoreOptions& store = options.store;
  for (const Endpoint& endpoint : options.listen) add("listen", to_string(endpoint));
  add("store", store.url);
  add("sync", store.sync == Sync::kFull ? "full" : "normal");
  add("redis-prefix", store.redis_prefix);
  if (!store.redis_password_file.empty()) add("redis-password-file", store.redis_password_file);
  add_flag("require-durable", store.require_durable);
  add_time("store-timeout", store.timeout);
  add_time("key-lifetime", store.key_lifetime);
  add("max-keys", std::to_string(store.max_keys));
  add_time("drain-timeout", options.drain_timeout);
  add("max-connections", std::to_string(options.max_connections));
  for (const std::string& host : options.allowed_hosts) add("allow-host", host);
  add_flag("allow-get-writes", options.allow_get_writes);
  return lines;
}

// The daemon does not stay in the folder in which it was started.
void make_absolute(StoreOptions& store) {
  constexpr std::string_view kSqlite = "sqlite:";
  const auto absolute = [](const std::string& path) {
    return std::filesystem::absolute(path).string();
  };
  if (store.url.starts_with(kSqlite)) {
    store.url = std::string(kSqlite) + absolute(store.url.substr(kSqlite.size()));
  }
  if (!store.redis_password_file.empty()) {
    store.redis_password_file = absolute(store.redis_password_file);
  }
}

Result<void> fill_in_defaults(DaemonOptions& options) {
  if (options.store.url.empty()) {
    const Result<std::string> url = default_store_url();
    if (!url) return url.error();
    options.store.url = *url;
    // Checking changes nothing.
    if (!options.check_only) {
      if (const auto made = make_state_directory(); !made) return made.error();
    }
  }
  if (options.workers == 0) options.workers = default_workers(options.store.url);
  if (options.listen.empty()) {
    options.listen.push_back(parse_endpoint(kDefaultEndpoint).value());
  }
  if (options.max_connections == 0) {
    options.max_connections = static_cast<int>(kDefaultMaxConnections);
  }
  if (options.drain_timeout.count() == 0) options.drain_timeout = std::chrono::seconds(10);
  if (options.store.redis_password_file.empty()) {
    options.store.redis_password_file = password_credential();
  }
  make_absolute(options.store);
  options.settings = lines_of(options);
  return {};
}

// The file to read: flag beats environment.
std::string config_path(const std::string& flag) {
  const char* variable = std::getenv("COUNTERD_CONFIG");
  return flag.empty() && variable != nullptr ? variable : flag;
}

}  // namespace

Result<std::variant<DaemonOptions, Finished>> read_options(int argc, const char* const* argv) {
  DaemonOptions options;
  CLI::App app("A counter that many processes share: serves it over HTTP.", "counterd");
  app.set_version_flag("--version", "counterd " + std::string(kVersion));
  std::string config;
  app.add_option("--config", config, "file with settings, one NAME = VALUE a line")
      ->type_name("FILE");
  app.add_flag("--check-config", options.check_only, "check the settings, then end");
  std::map<std::string, Values> flags;
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
  app.footer(
      "Every setting can also come from the environment, --redis-prefix as "
      "COUNTERD_REDIS_PREFIX, and from the file, without the dashes. See counterd(8).");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return std::variant<DaemonOptions, Finished>(Finished{app.help(), 0});
  } catch (const CLI::CallForVersion&) {
    return std::variant<DaemonOptions, Finished>(
        Finished{"counterd " + std::string(kVersion) + "\n", 0});
  } catch (const CLI::ParseError& error) {
    return Error{Code::kUsage, std::string(error.what()) + " (see counterd --help)"};
  }
  Sources sources;
  for (const auto& [name, values] : flags) {
    if (!values.empty()) sources.emplace(name, Source{"--" + name, values});
  }
  read_environment(sources);
  if (const std::string path = config_path(config); !path.empty()) {
    if (const Result<void> read = read_file(path, sources); !read) return read.error();
  }
  if (const Result<void> set = set_all(options, sources); !set) return set.error();
  if (const Result<void> filled = fill_in_defaults(options); !filled) return filled.error();
  return std::variant<DaemonOptions, Finished>(std::move(options));
}

}  // namespace counterd
