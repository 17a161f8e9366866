#include "daemon/sender.h"

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "common/ascii.h"
#include "common/quote.h"

namespace counterd {
namespace {

bool is_address(const std::string& host) {
  in6_addr unused{};
  const std::string v6 = host.substr(0, host.find('%'));  // without its scope
  return inet_pton(AF_INET, host.c_str(), &unused) == 1 ||
         inet_pton(AF_INET6, v6.c_str(), &unused) == 1;
}

// Whether what host_of() returned could be the name or the address of any host (RFC 3986, 3.2.2).
bool could_be_host(std::string_view host) {
  constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:";
  return !host.empty() && host.find_first_not_of(kCharacters) == std::string_view::npos;
}

bool is_wildcard(const Endpoint& endpoint) {
  return endpoint.host == "0.0.0.0" || endpoint.host == "::";
}

// A URL includes the scope of an IPv6 address, but the Host of a request may lack it (RFC 6874, 4).
void add_address(std::vector<std::string>& hosts, const std::string& address) {
  const std::size_t scope = address.find('%');
  hosts.push_back(lower_case(address));
  if (scope != std::string::npos) hosts.push_back(lower_case(address.substr(0, scope)));
}

}  // namespace

SenderRules sender_rules(std::vector<std::string> allowed, const std::vector<Endpoint>& named,
                         const std::vector<Endpoint>& resolved) {
  SenderRules rules{std::move(allowed)};
  rules.hosts.emplace_back("localhost");
  for (const Endpoint& endpoint : named) {
    if (!endpoint.is_unix()) add_address(rules.hosts, endpoint.host);
  }
  for (const Endpoint& endpoint : resolved) {
    if (!endpoint.is_unix()) add_address(rules.hosts, endpoint.host);
    rules.any_address = rules.any_address || is_wildcard(endpoint);
  }
  return rules;
}

Result<void> check_sender(const RequestHead& head, const SenderRules& rules,
                          bool changes_something) {
  const std::string host = host_of(head.host);
  // No browser speaks HTTP/1.0; what checks the health of a server may, and names no host.
  const bool known = (head.http_1_0 && head.host.empty()) ||
                     std::ranges::find(rules.hosts, host) != rules.hosts.end() ||
                     (rules.any_address && is_address(host));
  if (!known && !head.host.empty() && !could_be_host(host)) {
    return Error{Code::kBadRequest,
                 "Host " + quote_for_people(head.host) + " is neither a host name nor an address"};
  }
  if (!known) {
    return Error{Code::kForbidden, "Host " + quote_for_people(host) +
                                       " is no address of this daemon; --allow-host allows a name"};
  }
  if (!changes_something) return {};
  const std::string_view site = head.sec_fetch_site;
  if (head.has_origin || site == "cross-site" || site == "same-site") {
    return Error{Code::kForbidden, "a web page in a browser may not change counters"};
  }
  return {};
}

std::string host_of(std::string_view field_value) {
  const bool has_brackets = field_value.starts_with('[');
  const std::size_t end = std::min(field_value.find(has_brackets ? ']' : ':'), field_value.size());
  std::string_view host = field_value.substr(0, end);
  std::string_view port = field_value.substr(end);
  if (has_brackets) {
    if (!port.starts_with(']')) return {};
    host.remove_prefix(1);
    port.remove_prefix(1);
  }
  const bool has_port = !port.empty();
  if (has_port && (port.front() != ':' || !std::ranges::all_of(port.substr(1), is_digit))) {
    return {};
  }
  return lower_case(host);
}

}  // namespace counterd
