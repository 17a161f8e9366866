#include "cli/server_option.h"

#include "common/environment.h"
#include "common/quote.h"

namespace counterd {

std::string server_option(const Endpoint& server) {
  const bool is_default =
      to_string(server) == kDefaultEndpoint && environment("COUNTERCTL_SERVER").empty();
  return is_default ? "" : " --server " + word_for_shell(to_url(server));
}

}  // namespace counterd
