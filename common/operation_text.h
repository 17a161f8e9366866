// Operations as requests and lines of JSON write them: what is done, a counter's name, and
// parameters, each a name and a text.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/json.h"
#include "common/operation.h"

namespace counterd {

using Parameters = FlatObject;  // a JSON object's members are read as they are

// The text of the parameter `name`; null if it is not given.
const std::string* find_parameter(const Parameters& parameters, std::string_view name);

// Reads the parameter `name`, true or false, into `truth`, which stays as it is if the parameter is
// not given. kBadParameter: it is neither.
Result<void> read_truth(const Parameters& parameters, std::string_view name, bool& truth);

// The operation that a word stands for: increment, reset, delete or report. kBadParameter: none.
Result<OperationKind> parse_kind(std::string_view word);

// That word. REQUIRES: it is of one counter
std::string_view word_of(OperationKind kind);

// Which parameters such an operation may have. REQUIRES: it is of one counter
std::span<const std::string_view> parameters_of(OperationKind kind);

// kBadParameter: one is not among `known`, or is given twice.
Result<void> check_parameters(const Parameters& parameters,
                              std::span<const std::string_view> known);

// How messages name a parameter: "ttl_mode", or as an option of the command line, "--ttl-mode".
enum class Spelling : unsigned char { kParameter, kOption };

// kBadNumber, kBadParameter: a parameter cannot have its value. A time zone is taken as it is: the
// process that has the store decides whether there is one of that name (resolve_timezones() of
// operation.h). REQUIRES: check_parameters() accepts them for `kind`
Result<Operation> read_operation(OperationKind kind, std::string name, const Parameters& parameters,
                                 Spelling spelling = Spelling::kParameter);

// The operation that the members of a JSON object describe: "op" (a word of parse_kind()),
// "name", and the parameters. The error as above, or kBadName.
Result<Operation> read_operation(Parameters members);

// The parameters that read_operation() makes `operation` from, without those that may be omitted.
Parameters write_parameters(const Operation& operation);

// The members of the JSON object that describes a group: its operations, each as the object of
// read_operation(), and whether it is a kAll.
inline constexpr std::string_view kOperationsMember = "operations";
inline constexpr std::string_view kAtomicMember = "atomic";

// The operation, or the group, as a JSON object.
std::string to_json(const Operation& operation);

}  // namespace counterd
