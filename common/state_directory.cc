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

// The directory must be this user's, or others could put links or files in the place of ours: su(1)
// may leave another user's directory in the environment, and in a shared directory somebody else
// may have made it first. (Whoever owns a directory above it still can.)
Result<void> check_owner(const std::string& directory) {
  struct stat itself {};  // perhaps a link
  struct stat target {};
  const bool is_there =
      lstat(directory.c_str(), &itself) == 0 && stat(directory.c_str(), &target) == 0;
  if (!is_there) return system_error(Code::kConfig, "cannot use the directory " + directory, errno);
  const auto is_trusted = [](uid_t owner) { return owner == geteuid() || owner == 0; };
  if (is_trusted(itself.st_uid) && is_trusted(target.st_uid)) return {};
  return Error{Code::kConfig, "the directory " + directory + " belongs to another user" +
                                  kNameAnotherStateDirectory};
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
  std::error_code failure;
  const mode_t mask = umask(077);  // who may write to one above it could put another in its place
  std::filesystem::create_directories(std::filesystem::path(*directory).parent_path(), failure);
  umask(mask);
  if (!failure && mkdir(directory->c_str(), 0700) != 0 && errno != EEXIST) {
    failure.assign(errno, std::generic_category());
  }
  if (failure) {
    return system_error(setup_code(failure.value()), "cannot make the directory " + *directory,
                        failure.value(), kNameAnotherStateDirectory);
  }
  if (const Result<void> ours = check_owner(*directory); !ours) return ours.error();
  return directory;
}

}  // namespace counterd
