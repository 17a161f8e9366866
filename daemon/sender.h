// Who may send requests: keeps other sites' pages in a browser of this host from reaching the
// daemon.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/endpoint.h"
#include "common/error.h"
#include "daemon/request_head.h"

namespace counterd {

struct SenderRules {
  std::vector<std::string> hosts;  // names allowed in Host: lower case, without a port
  bool any_address = false;        // Host may also name any IP address
};

// Of a daemon that listens at these endpoints, as they were named and as they were resolved:
// requests may come by any of them, by localhost, and by the names in `allowed`, in lower case.
SenderRules sender_rules(std::vector<std::string> allowed, const std::vector<Endpoint>& named,
                         const std::vector<Endpoint>& resolved);

// kBadRequest: Host is malformed (RFC 9112, 3.2). kForbidden: the request came by a name that
// somebody has pointed at our address (Host), or it changes something and a browser sends it for a
// site (Origin, Sec-Fetch-Site).
Result<void> check_sender(const RequestHead& head, const SenderRules& rules,
                          bool changes_something);

// The host part of a Host field's value in lower case, without brackets; empty if malformed.
std::string host_of(std::string_view field_value);

}  // namespace counterd
