#include "common/operation_text.h"

#include <algorithm>
#include <array>

#include "common/counter_name.h"
#include "common/number.h"
#include "common/quote.h"

namespace counterd {
namespace {

constexpr std::array<std::string_view, 10> kIncrementParameters = {
    "by", "min", "max", "on_limit", "initial", "ttl", "ttl_mode", "per", "timezone", "check"};
constexpr std::array<std::string_view, 2> kResetParameters = {"to", "create"};
// Those whose values are strings in JSON; the others are numbers, true or false.
constexpr std::array<std::string_view, 5> kWordParameters = {"on_limit", "ttl", "ttl_mode", "per",
                                                             "timezone"};

constexpr std::string_view kWord = "op";
constexpr std::string_view kName = "name";

// Reads the parameters of an operation on one counter.
class Reader {
 public:
  Reader(const Parameters& parameters, Spelling spelling)
      : parameters_(parameters), spelling_(spelling) {}

  Result<void> read_increment(Operation& operation) const {
    operation.operand = 1;
    if (auto by = read_number("by", operation.operand); !by) return by;
    if (auto initial = read_number("initial", operation.initial); !initial) return initial;
    if (auto bounds = read_bounds(operation.bounds); !bounds) return bounds;
    if (auto lifetime = read_lifetime(operation.lifetime); !lifetime) return lifetime;
    return read_truth(parameters_, "check", operation.check);
  }

  Result<void> read_reset(Operation& operation) const {
    if (auto to = read_number("to", operation.operand); !to) return to;
    return read_truth(parameters_, "create", operation.create);
  }

 private:
  Result<void> read_bounds(Bounds& bounds) const {
    if (auto min = read_number("min", bounds.min); !min) return min;
    if (auto max = read_number("max", bounds.max); !max) return max;
    if (auto limit = read_choice("on_limit", "refuse", "clamp", bounds.clamp); !limit) return limit;
    return check_bounds(bounds);
  }

  Result<void> read_lifetime(Lifetime& lifetime) const {
    if (auto window = read_window(lifetime.window); !window) return window;
    if (const std::string* text = find("ttl")) {
      if (lifetime.window) {
        return wrong(spell("ttl") + " and " + spell("per") + " exclude each other");
      }
      const Result<std::chrono::milliseconds> ttl = parse_duration(*text, spell("ttl"));
      if (!ttl) return ttl.error();
      lifetime.ttl = *ttl;
    }
    if (auto mode = read_choice("ttl_mode", "create", "renew", lifetime.renew); !mode) return mode;
    if (find("ttl_mode") != nullptr && !lifetime.ttl) {
      return wrong(spell("ttl_mode") + " needs " + spell("ttl"));
    }
    return {};
  }

  Result<void> read_window(std::optional<Window>& window) const {
    const std::string* per = find("per");
    const std::string* timezone = find("timezone");
    if (per == nullptr) {
      if (timezone == nullptr) return {};
      return wrong(spell("timezone") + " needs " + spell("per"));
    }
    const Result<Period> period = parse_period(*per);
    if (!period) return Error{period.error().code, spell("per") + " " + period.error().message};
    window = Window{*period};
    if (timezone == nullptr) return {};
    if (const Result<void> form = check_timezone_form(*timezone); !form) {
      return Error{form.error().code, spell("timezone") + " " + form.error().message};
    }
    window->timezone = *timezone;
    return {};
  }

  // Into `number`, which stays as it is if the parameter is not given.
  template <class Number>
  Result<void> read_number(std::string_view name, Number& number) const {
    const std::string* text = find(name);
    if (text == nullptr) return {};
    const Result<std::int64_t> read = parse_int64(*text, spell(name));
    if (!read) return read.error();
    number = *read;
    return {};
  }

  // Whether the parameter is the second of two words; if it is not given, it is the first.
  Result<void> read_choice(std::string_view name, std::string_view first, std::string_view second,
                           bool& is_second) const {
    const std::string* text = find(name);
    if (text == nullptr) return {};
    is_second = *text == second;
    if (is_second || *text == first) return {};
    return wrong(spell(name) + " " + quote_for_people(*text) + " is neither " + std::string(first) +
                 " nor " + std::string(second));
  }

  const std::string* find(std::string_view name) const {
    return parameters_.empty() ? nullptr : find_parameter(parameters_, name);
  }

  std::string spell(std::string_view name) const {
    if (spelling_ == Spelling::kParameter) return std::string(name);
    std::string flag = "--" + std::string(name);
    std::ranges::replace(flag, '_', '-');
    return flag;
  }

  static Error wrong(const std::string& message) { return {Code::kBadParameter, message}; }

  const Parameters& parameters_;
  const Spelling spelling_;
};

void write_increment(const Operation& operation, Parameters& parameters) {
  const auto add = [&](const char* name, std::int64_t number) {
    parameters.emplace_back(name, std::to_string(number));
  };
  add("by", operation.operand);
  if (operation.initial != 0) add("initial", operation.initial);
  const auto& [min, max, clamp] = operation.bounds;
  if (min) add("min", *min);
  if (max) add("max", *max);
  if (clamp) parameters.emplace_back("on_limit", "clamp");
  const auto& [ttl, renew, window] = operation.lifetime;
  if (ttl) parameters.emplace_back("ttl", std::to_string(ttl->count()) + "ms");
  if (renew) parameters.emplace_back("ttl_mode", "renew");
  if (window) {
    parameters.emplace_back("per", word_of(window->period));
    if (!window->timezone.empty()) parameters.emplace_back("timezone", window->timezone);
  }
  if (operation.check) parameters.emplace_back("check", "true");
}

void write_reset(const Operation& operation, Parameters& parameters) {
  parameters.emplace_back("to", std::to_string(operation.operand));
  if (!operation.create) parameters.emplace_back("create", "false");
}

// What is particular to the operations of one kind, on one counter.
struct KindInfo {
  OperationKind kind;
  std::string_view word;
  std::span<const std::string_view> parameters = {};  // read and written by these:
  Result<void> (Reader::*read)(Operation& operation) const = nullptr;
  void (*write)(const Operation& operation, Parameters& parameters) = nullptr;
};
constexpr std::array kKinds = {
    KindInfo{OperationKind::kIncrement, "increment", kIncrementParameters, &Reader::read_increment,
             write_increment},
    KindInfo{OperationKind::kReset, "reset", kResetParameters, &Reader::read_reset, write_reset},
    KindInfo{OperationKind::kDelete, "delete"},
    KindInfo{OperationKind::kReport, "report"},
};

constexpr bool table_is_in_order() {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (static_cast<std::size_t>(kKinds[i].kind) != i) return false;
  }
  return kKinds.size() == static_cast<std::size_t>(OperationKind::kEach);  // the first group
}
static_assert(table_is_in_order(), "info_of() finds a row by its place");

const KindInfo& info_of(OperationKind kind) {
  return kKinds.at(static_cast<std::size_t>(kind));
}

// Takes the member `name` out of `members`; nothing: there is none.
std::optional<std::string> take_member(Parameters& members, std::string_view name) {
  const auto found = std::ranges::find(members, name, &Parameters::value_type::first);
  if (found == members.end()) return std::nullopt;
  std::string text = std::move(found->second);
  members.erase(found);
  return text;
}

std::string group_to_json(const Operation& group) {
  std::string text = "{";
  if (group.kind == OperationKind::kAll) {
    text.append("\"").append(kAtomicMember).append("\":true,");
  }
  text.append("\"").append(kOperationsMember).append("\":[");
  for (const Operation& member : group.members) {
    if (&member != &group.members.front()) text += ',';
    text += to_json(member);
  }
  return text + "]}";
}

}  // namespace

const std::string* find_parameter(const Parameters& parameters, std::string_view name) {
  const auto found = std::ranges::find(parameters, name, &Parameters::value_type::first);
  return found == parameters.end() ? nullptr : &found->second;
}

Result<void> read_truth(const Parameters& parameters, std::string_view name, bool& truth) {
  const std::string* text = find_parameter(parameters, name);
  if (text == nullptr) return {};
  truth = *text == "true";
  if (truth || *text == "false") return {};
  return Error{Code::kBadParameter,
               std::string(name) + " " + quote_for_people(*text) + " is neither true nor false"};
}

Result<OperationKind> parse_kind(std::string_view word) {
  const auto found = std::ranges::find(kKinds, word, &KindInfo::word);
  if (found != kKinds.end()) return found->kind;
  std::string words;
  for (const KindInfo& info : kKinds) words.append(words.empty() ? "" : ", ").append(info.word);
  return Error{Code::kBadParameter, quote_for_people(word) + " is none of " + words};
}

std::string_view word_of(OperationKind kind) {
  return info_of(kind).word;
}

std::span<const std::string_view> parameters_of(OperationKind kind) {
  return info_of(kind).parameters;
}

Result<void> check_parameters(const Parameters& parameters,
                              std::span<const std::string_view> known) {
  for (auto each = parameters.begin(); each != parameters.end(); ++each) {
    const std::string& name = each->first;
    if (std::ranges::find(known, name) == known.end()) {
      return Error{Code::kBadParameter, "unknown parameter " + quote_for_people(name)};
    }
    const auto same = [&](const auto& other) { return other.first == name; };
    if (std::any_of(parameters.begin(), each, same)) {
      return Error{Code::kBadParameter, "parameter " + quote_for_people(name) + " is given twice"};
    }
  }
  return {};
}

Result<Operation> read_operation(OperationKind kind, std::string name, const Parameters& parameters,
                                 Spelling spelling) {
  Operation operation;
  operation.kind = kind;
  operation.name = std::move(name);
  const auto read = info_of(kind).read;
  if (read == nullptr) return operation;
  const Reader reader(parameters, spelling);
  if (const Result<void> done = (reader.*read)(operation); !done) return done.error();
  return operation;
}

Result<Operation> read_operation(Parameters members) {
  const Result<OperationKind> kind = parse_kind(take_member(members, kWord).value_or(""));
  if (!kind) return Error{kind.error().code, "op " + kind.error().message};
  std::optional<std::string> name = take_member(members, kName);
  if (!name) return Error{Code::kBadParameter, "the name of a counter is missing"};
  if (const Result<void> checked = check_counter_name(*name); !checked) return checked.error();
  if (const Result<void> known = check_parameters(members, parameters_of(*kind)); !known) {
    return known.error();
  }
  return read_operation(*kind, std::move(*name), members);
}

Parameters write_parameters(const Operation& operation) {
  Parameters parameters;
  const KindInfo& info = info_of(operation.kind);
  if (info.write != nullptr) info.write(operation, parameters);
  return parameters;
}

std::string to_json(const Operation& operation) {
  if (is_group(operation)) return group_to_json(operation);
  std::string text = R"({"op":")";
  text += word_of(operation.kind);
  text.append(R"(","name":")").append(operation.name).append("\"");
  for (const auto& [name, value] : write_parameters(operation)) {
    const bool is_word = std::ranges::find(kWordParameters, name) != kWordParameters.end();
    text.append(",\"").append(name).append(is_word ? "\":\"" : "\":").append(value);
    if (is_word) text += '"';
  }
  return text + "}";
}

}  // namespace counterd
