#include "common/operation_text.h"

#include <algorithm>
#include <array>

#include "common/counter_name.h"
#include "common/json.h"
#include "common/number.h"

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
constexpr std::array<std::string_view, 4> kWords = {"increment", "reset", "delete",
                                                    "report"};  // in the order of OperationKind

Result<std::int64_t> read_number(const Parameters& parameters, std::string_view name,
                                 std::int64_t otherwise) {
  const std::string* text = find_parameter(parameters, name);
  return text == nullptr ? otherwise : parse_int64(*text, name);
}

Result<void> read_bound(const Parameters& parameters, std::string_view name,
                        std::optional<std::int64_t>& bound) {
  const std::string* text = find_parameter(parameters, name);
  if (text == nullptr) return {};
  const Result<std::int64_t> number = parse_int64(*text, name);
  if (!number) return number.error();
  bound = *number;
  return {};
}

Result<Bounds> read_bounds(const Parameters& parameters) {
  Bounds bounds;
  if (const auto min = read_bound(parameters, "min", bounds.min); !min) return min.error();
  if (const auto max = read_bound(parameters, "max", bounds.max); !max) return max.error();
  if (const std::string* on_limit = find_parameter(parameters, "on_limit")) {
    bounds.clamp = *on_limit == "clamp";
    if (!bounds.clamp && *on_limit != "refuse") {
      return Error{Code::kBadParameter,
                   "on_limit " + quote_for_people(*on_limit) + " is neither refuse nor clamp"};
    }
  }
  if (const Result<void> checked = check_bounds(bounds); !checked) return checked.error();
  return bounds;
}

Result<std::optional<Window>> read_window(const Parameters& parameters) {
  const std::string* per = find_parameter(parameters, "per");
  const std::string* timezone = find_parameter(parameters, "timezone");
  if (per == nullptr) {
    if (timezone == nullptr) return std::optional<Window>();
    return Error{Code::kBadParameter, "timezone needs per"};
  }
  const Result<Period> period = parse_period(*per);
  if (!period) return Error{period.error().code, "per " + period.error().message};
  if (timezone == nullptr) return std::optional(Window{*period});
  if (const Result<void> form = check_timezone_form(*timezone); !form) return form.error();
  return std::optional(Window{*period, *timezone});
}

Result<Lifetime> read_lifetime(const Parameters& parameters) {
  Lifetime lifetime;
  Result<std::optional<Window>> window = read_window(parameters);
  if (!window) return window.error();
  lifetime.window = std::move(*window);
  if (const std::string* text = find_parameter(parameters, "ttl")) {
    const Result<std::chrono::milliseconds> ttl = parse_duration(*text, "ttl");
    if (!ttl) return ttl.error();
    if (lifetime.window) return Error{Code::kBadParameter, "ttl and per exclude each other"};
    lifetime.ttl = *ttl;
  }
  const std::string* mode = find_parameter(parameters, "ttl_mode");
  if (mode == nullptr) return lifetime;
  lifetime.renew = *mode == "renew";
  if (!lifetime.renew && *mode != "create") {
    return Error{Code::kBadParameter,
                 "ttl_mode " + quote_for_people(*mode) + " is neither create nor renew"};
  }
  if (!lifetime.ttl) return Error{Code::kBadParameter, "ttl_mode needs a ttl"};
  return lifetime;
}

// Takes the member `name` out of `members`; nothing: there is none.
std::optional<std::string> take_member(Parameters& members, std::string_view name) {
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const auto& member) { return member.first == name; });
  if (found == members.end()) return std::nullopt;
  std::string text = std::move(found->second);
  members.erase(found);
  return text;
}

Result<OperationKind> read_word(Parameters& members) {
  const std::optional<std::string> word = take_member(members, kWord);
  const auto found = std::find(kWords.begin(), kWords.end(), word.value_or(""));
  if (found != kWords.end()) return static_cast<OperationKind>(found - kWords.begin());
  return Error{Code::kBadParameter, "op " + quote_for_people(word.value_or("")) +
                                        " is none of increment, reset, delete, report"};
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
  for (const auto& [key, value] : parameters) {
    if (key == name) return &value;
  }
  return nullptr;
}

Result<bool> read_truth(const Parameters& parameters, std::string_view name, bool otherwise) {
  const std::string* text = find_parameter(parameters, name);
  if (text == nullptr) return otherwise;
  if (*text == "true" || *text == "false") return *text == "true";
  return Error{Code::kBadParameter,
               std::string(name) + " " + quote_for_people(*text) + " is neither true nor false"};
}

std::span<const std::string_view> parameters_of(OperationKind kind) {
  if (kind == OperationKind::kIncrement) return kIncrementParameters;
  if (kind == OperationKind::kReset) return kResetParameters;
  return {};
}

Result<void> check_parameters(const Parameters& parameters,
                              std::span<const std::string_view> known) {
  for (auto each = parameters.begin(); each != parameters.end(); ++each) {
    const std::string& name = each->first;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return Error{Code::kBadParameter, "unknown parameter " + quote_for_people(name)};
    }
    const auto same = [&](const auto& other) { return other.first == name; };
    if (std::any_of(parameters.begin(), each, same)) {
      return Error{Code::kBadParameter, "parameter " + quote_for_people(name) + " is given twice"};
    }
  }
  return {};
}

Result<Operation> read_operation(OperationKind kind, std::string name,
                                 const Parameters& parameters) {
  Operation operation;
  operation.kind = kind;
  operation.name = std::move(name);
  const bool increments = kind == OperationKind::kIncrement;
  if (!increments && kind != OperationKind::kReset) return operation;
  const Result<std::int64_t> operand =
      read_number(parameters, increments ? "by" : "to", increments ? 1 : 0);
  if (!operand) return operand.error();
  operation.operand = *operand;
  if (!increments) {
    const Result<bool> create = read_truth(parameters, "create", true);
    if (!create) return create.error();
    operation.create = *create;
    return operation;
  }
  const Result<std::int64_t> initial = read_number(parameters, "initial", 0);
  if (!initial) return initial.error();
  operation.initial = *initial;
  const Result<Bounds> bounds = read_bounds(parameters);
  if (!bounds) return bounds.error();
  operation.bounds = *bounds;
  const Result<Lifetime> lifetime = read_lifetime(parameters);
  if (!lifetime) return lifetime.error();
  operation.lifetime = *lifetime;
  const Result<bool> check = read_truth(parameters, "check", false);
  if (!check) return check.error();
  operation.check = *check;
  return operation;
}

Result<Operation> read_operation(Parameters members) {
  const Result<OperationKind> kind = read_word(members);
  if (!kind) return kind.error();
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
  const auto add = [&](const char* name, std::int64_t number) {
    parameters.emplace_back(name, std::to_string(number));
  };
  if (operation.kind == OperationKind::kReset) add("to", operation.operand);
  if (!operation.create) parameters.emplace_back("create", "false");
  if (operation.kind != OperationKind::kIncrement) return parameters;
  add("by", operation.operand);
  if (operation.initial != 0) add("initial", operation.initial);
  const auto& [min, max, clamp] = operation.bounds;
  if (min) add("min", *min);
  if (max) add("max", *max);
  if (clamp) parameters.emplace_back("on_limit", "clamp");
  if (const auto& ttl = operation.lifetime.ttl) {
    parameters.emplace_back("ttl", std::to_string(ttl->count()) + "ms");
  }
  if (operation.lifetime.renew) parameters.emplace_back("ttl_mode", "renew");
  if (const auto& window = operation.lifetime.window) {
    parameters.emplace_back("per", word_of(window->period));
    if (!window->timezone.empty()) parameters.emplace_back("timezone", window->timezone);
  }
  if (operation.check) parameters.emplace_back("check", "true");
  return parameters;
}

std::string to_json(const Operation& operation) {
  if (is_group(operation)) return group_to_json(operation);
  std::string text = R"({"op":")";
  text += kWords.at(static_cast<std::size_t>(operation.kind));
  text.append(R"(","name":")").append(operation.name).append("\"");
  for (const auto& [name, value] : write_parameters(operation)) {
    const bool is_word =
        std::find(kWordParameters.begin(), kWordParameters.end(), name) != kWordParameters.end();
    text.append(",\"").append(name).append(is_word ? "\":\"" : "\":").append(value);
    if (is_word) text += '"';
  }
  return text + "}";
}

}  // namespace counterd
