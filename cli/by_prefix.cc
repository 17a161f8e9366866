#include "cli/by_prefix.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "cli/change.h"
#include "cli/pages.h"
#include "common/counter_name.h"
#include "common/limits.h"

namespace counterd {
namespace {

struct Options {
  std::optional<std::string> prefix;
  bool yes = false;
};

Result<void> check_prefix(const std::string& prefix) {
  // A script's unset variable must not stand for every counter.
  if (prefix.empty()) return Error{Code::kBadName, "--prefix: an empty one is every counter"};
  return check_name_prefix(prefix);
}

ListQuery query_of(const std::string& prefix) {
  return {prefix, "", kMaxListLimit};
}

Result<std::int64_t> count_below(const Globals& globals, const std::string& prefix) {
  std::int64_t count = 0;
  const auto take = [&](const Rows& rows) -> Result<void> {
    count += std::ranges::count_if(
        rows, [&](const ListPage::Row& row) { return is_below(row.name, prefix); });
    return {};
  };
  const Result<void> read = read_pages(globals, query_of(prefix), kAllRows, take);
  if (!read) return read.error();
  return count;
}

Result<void> confirm(const Globals& globals, const std::string& prefix, const Operation& change) {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0) {
    return Error{Code::kUsage, "to " + std::string(word_of(change.kind)) + " " + prefix +
                                   " and all below it, give --yes"};
  }
  const Result<std::int64_t> count = count_below(globals, prefix);
  if (!count) return count.error();
  std::cerr << word_of(change.kind) << ' ' << *count << (*count == 1 ? " counter, " : " counters, ")
            << prefix << " and all below it? [y/N] ";
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "yes") return {};
  return Error{Code::kUsage, "not confirmed; nothing was changed"};
}

class PrefixChange {
 public:
  PrefixChange(const Globals& globals, std::string prefix, Operation change)
      : globals_(globals),
        prefix_(std::move(prefix)),
        change_(std::move(change)),
        changer_(globals) {}

  Result<void> run() {
    const Result<void> changed =
        read_pages(globals_, query_of(prefix_), kAllRows,
                   [this](const Rows& rows) { return change_portion(rows); });
    const std::string count = std::to_string(count_);
    if (!changed) {
      const auto& [code, message] = changed.error();
      const std::string more =
          code == Code::kUnknown
              ? ", and perhaps up to " + std::to_string(kMaxListLimit) + " that follow"
              : "";
      const bool may_repeat = count_ > 0 || code == Code::kUnknown;
      const bool repeats = may_repeat && change_.kind == OperationKind::kReset;
      return Error{count_ > 0 ? code_after_changes(code) : code,
                   message + "; before that, " + count + " counters were changed" + more +
                       "; run it again" + (repeats ? ", which changes them all again" : "")};
    }
    print_line(globals_, globals_.json
                             ? R"({"prefix":")" + prefix_ + R"(",")" +
                                   std::string(word_of(change_.kind)) + "\":" + count + "}"
                             : count);
    const Result<void> written = flush_output();
    if (written) return {};
    return Error{Code::kIo, written.error().message + "; " + count + " counters were changed"};
  }

 private:
  Result<void> change_portion(const Rows& rows) {
    Step group{{OperationKind::kEach}};
    for (const ListPage::Row& row : rows) {
      if (!is_below(row.name, prefix_)) continue;
      group.operation.members.push_back(change_);
      group.operation.members.back().name = row.name;
    }
    if (group.operation.members.empty()) return {};
    if (Result<void> key = set_key(globals_, {}, group.operation); !key) return key;
    const Deadline deadline = std::chrono::steady_clock::now() + globals_.timeout;
    if (Result<void> changed = changer_.change(group, deadline); !changed) return changed;
    count_ += std::ranges::count(group.outcome.members, Code::kOk, &Outcome::code);
    return {};
  }

  const Globals& globals_;
  const std::string prefix_;
  const Operation change_;  // of each counter
  Changer changer_;
  std::int64_t count_ = 0;
};

Result<void> change_below(const Globals& globals, const Options& options, const Operation& change) {
  if (const Result<void> prefix = check_prefix(*options.prefix); !prefix) return prefix.error();
  if (!options.yes) {
    const Result<void> confirmed = confirm(globals, *options.prefix, change);
    if (!confirmed) return confirmed.error();
  }
  return PrefixChange(globals, *options.prefix, change).run();
}

}  // namespace

Run run_one_or_prefix(CLI::App& app, Run one, std::function<Result<Operation>()> read) {
  auto options = std::make_shared<Options>();
  CLI::Option* prefix =
      app.add_option("--prefix", options->prefix,
                     "all counters of this name and below it: web and web:de, not webshop")
          ->type_name("PREFIX")
          ->excludes("name")
          ->excludes("--key");
  app.add_flag("--yes", options->yes, "with --prefix: do not ask")->needs(prefix);
  return [options, one = std::move(one),
          read = std::move(read)](const Globals& globals) -> Result<void> {
    if (!options->prefix) return one(globals);
    const Result<Operation> change = read();
    if (!change) return change.error();
    return change_below(globals, *options, *change);
  };
}

}  // namespace counterd
