#include "common/state_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "common/environment.h"

namespace counterd {
namespace {

constexpr std::string_view kNoPlace =
    "no place for the state (the database where --store names none, and what spawn writes)";

// Root must not be led by what su(1) or sudo(8) has left in the environment: its files would be in
// that user's way, and whatever links the user has made there would be followed.
Result<void> check_owner(std::filesystem::path directory) {
  if (geteuid() != 0) return {};
  struct stat found {};
  while (lstat(directory.c_str(), &found) != 0 && directory != directory.root_path()) {
    directory = directory.parent_path();  // that it will be made in
  }
  if (found.st_uid == 0) return {};
  return Error{Code::kConfig, "the directory " + directory.string() +
                                  " for the state belongs to another user; set HOME or "
                                  "XDG_STATE_HOME to root's, or STATE_DIRECTORY"};
}

}  // namespace

Result<std::string> state_directory() {
  const std::string by_systemd = environment("STATE_DIRECTORY");
  if (!by_systemd.empty()) return by_systemd.substr(0, by_systemd.find(':'));
  std::string base = environment("XDG_STATE_HOME");
  if (!base.starts_with('/')) {  // the specification says to ignore relative paths
    const std::string home = environment("HOME");
    if (!home.starts_with('/')) {
      return Error{Code::kConfig, std::string(kNoPlace) +
                                      ": set STATE_DIRECTORY, XDG_STATE_HOME or HOME to an "
                                      "absolute path"};
    }
    std::error_code failure;
    if (!std::filesystem::is_directory(home, failure)) {  // as for users of the system
      return Error{Code::kConfig, std::string(kNoPlace) + ": HOME, which is " + home +
                                      ", is no directory; set STATE_DIRECTORY or XDG_STATE_HOME"};
    }
    base = home + "/.local/state";
  }
  return base + "/counterd";
}

Result<std::string> make_state_directory() {
  Result<std::string> directory = state_directory();
  if (!directory || !environment("STATE_DIRECTORY").empty()) return directory;
  if (const Result<void> ours = check_owner(*directory); !ours) return ours.error();
  std::error_code failure;
  std::filesystem::create_directories(std::filesystem::path(*directory).parent_path(), failure);
  if (!failure && mkdir(directory->c_str(), 0700) != 0 && errno != EEXIST) {
    failure.assign(errno, std::generic_category());
  }
  if (failure) {
    return system_error(Code::kConfig, "cannot make the directory " + *directory, failure.value());
  }
  return directory;
}

}  // namespace counterd
