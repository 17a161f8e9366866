// What a request says besides its path: in the query, in a form or in JSON.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/operation_text.h"
#include "daemon/request_head.h"

namespace counterd {

// The parameters of query and body together. kBadParameter: one is not among `known`, is given
// twice or is encoded wrongly; kBadBody, kUnsupportedMediaType: the body cannot be read.
Result<Parameters> read_parameters(const RequestHead& head, std::string_view query,
                                   std::string_view body, std::span<const std::string_view> known);

// The group of operations that a body gives as {"operations":[{"op":…,"name":…,…},…],"atomic":…}.
// Errors as above; those of an operation give its position.
Result<Operation> read_group(const RequestHead& head, std::string_view query,
                             std::string_view body);

// The text that percent-encoding stands for (RFC 3986, 2.1); nothing if a '%' is not followed by
// two hexadecimal digits.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace counterd
