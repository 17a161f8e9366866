#include "common/store/sqlite_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "common/quote.h"
#include "common/store/sqlite_owner.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

struct FoundFile {
  FileIdentity identity;
  std::uint32_t links = 0;
  std::uint64_t bytes = 0;
};

// Nothing: there is no such file, or it cannot be looked at; errno says which.
//
// Not stat(), which also asks for the times: a file whose change time was asked for gets a new one
// at its next write (Linux 6.13, multigrain timestamps), and on ext4 without a journal each
// fdatasync() then writes a second block, one after the other.
std::optional<FoundFile> look_at(const std::string& path) {
  struct statx found {};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_INO | STATX_NLINK | STATX_SIZE, &found) != 0)
    return std::nullopt;
  return FoundFile{{makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino},
                   found.stx_nlink,
                   found.stx_size};
}

std::optional<FileIdentity> identify(const std::string& path) {
  const std::optional<FoundFile> found = look_at(path);
  return found ? std::optional(found->identity) : std::nullopt;
}

// What a failed system call on the database means: some failures pass by themselves.
Code code_of(int error) {
  const bool passes = is_shortage(error) || error == EIO || error == EINTR;
  return passes ? Code::kUnavailable : Code::kConfig;
}

// Whether the file has been made only just now: a new one gets its mode a moment later. False where
// the file system does not know.
bool is_fresh(const std::string& path) {
  constexpr std::int64_t kFreshMs = 250;
  struct statx found {};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_BTIME, &found) != 0) return false;
  const std::int64_t age =
      unix_now_ms() - found.stx_btime.tv_sec * 1'000 - found.stx_btime.tv_nsec / 1'000'000;
  return age >= 0 && age < kFreshMs;  // not so where there is no time: it is 0
}

// What it means that the system does not let this user use the file.
Code code_of_denial(const std::string& path, int error) {
  return error == EACCES && is_fresh(path) ? Code::kUnavailable : code_of(error);
}

// What to say if a file that SQLite keeps beside the database is not the one in use.
Error part_is_lost(const std::string& path) {
  return {
      Code::kUnavailable,
      "the file " + path +
          ", a part of the database, was removed or replaced while it was in use; stop every "
          "program that uses the database in good order (counterctl stop), which saves what was in "
          "it, unless another file is in its place or the disk has failed; then start again"};
}

struct Location {
  std::string given;  // from the root on, and as it was given otherwise
  std::string path;   // without symbolic links
};

// Where the file is, even if it is yet to be created.
Result<Location> locate(const std::string& path) {
  std::error_code failure;
  // Absolute first: weakly_canonical() leaves a relative path to a missing file relative.
  const std::filesystem::path absolute = std::filesystem::absolute(path, failure);
  const std::filesystem::path resolved =
      failure ? absolute : std::filesystem::weakly_canonical(absolute, failure);
  if (failure) {
    return system_error(code_of(failure.value()), "the database " + path, failure.value());
  }
  const std::string directory = resolved.parent_path();
  struct stat found {};
  if (stat(directory.c_str(), &found) != 0) {
    return system_error(code_of(errno), "the folder " + directory + " of the database", errno);
  }
  if (!S_ISDIR(found.st_mode)) {
    return Error{Code::kConfig, "the database " + path + ": " + directory + " is not a folder"};
  }
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    return system_error(code_of(errno),
                        "the folder " + directory + " of the database must be writable", errno);
  }
  return Location{absolute.string(), resolved.string()};
}

// Whether SQLite could not open the file, or one of those beside it, of which the one that is
// needed to make the database has the longest name.
bool is_too_long(const std::string& path) {
  constexpr std::size_t kLongestPath = 512;  // MAX_PATHNAME of os_unix.c
  const std::string longest = path + "-journal";
  struct stat unused {};
  return longest.size() > kLongestPath ||
         (stat(longest.c_str(), &unused) != 0 && errno == ENAMETOOLONG);
}

// SQLite empties the log of a database that is missing or empty, whatever the log holds. The log is
// looked at first: whoever creates a database writes to it before there is a log.
Result<void> check_not_lost(const std::string& path) {
  struct stat database {};
  struct stat log {};
  const std::string wal_path = path + "-wal";
  if (stat(wal_path.c_str(), &log) != 0 || log.st_size == 0) return {};
  if (stat(path.c_str(), &database) != 0 && errno != ENOENT) return {};  // opening it will tell
  if (database.st_size > 0) return {};
  return Error{Code::kConfig,
               "the database " + path + " is missing or empty, but its log " + wal_path +
                   " is there, with changes of its own: put that very database back; or, to begin "
                   "anew or with a backup, move the log away first"};
}

// Opens or creates the file.
Result<UniqueFd> open_file(const std::string& path, bool create) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  UniqueFd file(open(path.c_str(), kFlags));
  if (!file && errno == ENOENT && create) {
    struct stat folder {};
    const bool known = stat(std::filesystem::path(path).parent_path().c_str(), &folder) == 0;
    // A folder that is everybody's, such as /tmp, says nothing about who shares the file.
    const bool shared = known && (folder.st_mode & S_IWGRP) != 0 && (folder.st_mode & S_IWOTH) == 0;
    const mode_t mode = shared ? 0660 : 0600;
    file = UniqueFd(open(path.c_str(), kFlags | O_CREAT | O_EXCL, mode));
    if (file) fchmod(file.get(), mode);  // the umask may have taken the group away
    if (!file && errno == EEXIST) file = UniqueFd(open(path.c_str(), kFlags));
  }
  if (file) return file;
  const int error = errno;
  return system_error(code_of_denial(path, error), "cannot open the database " + path, error);
}

// Whether another user could have put the file there before this one: in a folder that is
// everybody's, such as /tmp, and not his own. He could still read and change what is in it. Linux
// does not open such a file where fs.protected_regular is set (proc(5)).
bool is_planted(const std::string& path, uid_t owner) {
  if (owner == geteuid()) return false;
  struct stat folder {};
  constexpr mode_t kEverybodys = S_ISVTX | S_IWOTH;
  return stat(std::filesystem::path(path).parent_path().c_str(), &folder) == 0 &&
         (folder.st_mode & kEverybodys) == kEverybodys && owner != folder.st_uid;
}

constexpr const char* kPlanted =
    "belongs to another user, in a folder that every user may write to; name a database in another "
    "folder with --store sqlite:PATH";

// Whether the file alone is mounted where it is, as into a container: those beside it belong to
// another folder then, and would be lost apart from it.
bool is_mounted_alone(int file) {
  struct statx found {};
  return statx(file, "", AT_EMPTY_PATH, 0, &found) == 0 &&
         (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// Whether the file begins as every database does, or may do so: it is empty, or cannot be read.
bool could_be_database(int file) {
  constexpr std::string_view kMagic("SQLite format 3\0", 16);  // sqlite.org/fileformat2.html
  std::array<char, kMagic.size()> begin{};
  const ssize_t size = pread(file, begin.data(), begin.size(), 0);
  return size <= 0 || std::string_view(begin.data(), begin.size()) == kMagic;
}

Result<FileIdentity> check_kind(const std::string& path, int file) {
  struct stat found {};
  struct statfs system {};
  if (fstat(file, &found) != 0 || fstatfs(file, &system) != 0) {
    return system_error(code_of(errno), "cannot examine the database " + path, errno);
  }
  const auto refuse = [&](const std::string& why) {
    return Error{Code::kConfig, "the database " + path + " " + why};
  };
  if (!S_ISREG(found.st_mode)) return refuse("is not a regular file");
  // Before its mode, which chmod() does not change on some of them.
  if (const std::string_view name = network_file_system(system.f_type); !name.empty()) {
    return refuse("is on a network file system (" + std::string(name) +
                  "), where SQLite cannot share it safely; use a local disk or Redis");
  }
  if (is_planted(path, found.st_uid)) return refuse(kPlanted);
  if (found.st_nlink != 1) {
    return refuse("has " + std::to_string(found.st_nlink) +
                  " hard links, which would split its log; leave one");
  }
  if (is_mounted_alone(file)) {
    return refuse(
        "is mounted by itself, without its log, which would be lost with the folder that it is in; "
        "mount the folder that holds both");
  }
  if ((found.st_mode & S_IRWXO) != 0) {
    // Every user may need to read what is something else, such as /etc/passwd.
    if (!could_be_database(file)) {
      return refuse("is no database; name another file with --store sqlite:PATH");
    }
    return refuse("is open to every user, who could then hold its lock; run: chmod o= " +
                  word_for_shell(path));
  }
  return FileIdentity{found.st_dev, found.st_ino};
}

}  // namespace

SqliteFile::SqliteFile(std::string given, std::string path, const FileIdentity& identity,
                       UniqueFd descriptor)
    : given_(std::move(given)),
      path_(std::move(path)),
      identity_(identity),
      descriptor_(std::move(descriptor)),
      companions_{Companion{path_ + "-wal", Sign::kLog},
                  Companion{path_ + "-shm", Sign::kSharedMemory}} {}

bool SqliteFile::Companion::is_in_place() const {
  return identity && identify(path) == identity;
}

bool SqliteFile::wal_is_empty() const {
  std::error_code failure;
  const std::uintmax_t size = std::filesystem::file_size(wal_path(), failure);
  return failure ? failure == std::errc::no_such_file_or_directory : size == 0;
}

Result<void> SqliteFile::check_access() const {
  for (const auto& [path, sign, identity] : companions_) {
    const std::string what = "cannot use " + path + ", a part of the database";
    const auto refuse = [&](const std::string& why) { return Error{Code::kConfig, what + why}; };
    constexpr unsigned kAsked = STATX_TYPE | STATX_MODE | STATX_UID;
    struct statx found {};
    if (statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, kAsked, &found) != 0) continue;
    if (!S_ISREG(found.stx_mode)) {
      return refuse(": it must be a regular file, not a link to one or anything else");
    }
    if (is_planted(path, found.stx_uid)) return refuse(std::string(": it ") + kPlanted);
    if ((found.stx_mode & S_IRWXO) != 0) {
      return refuse(": it is open to every user, who could hold its locks; run: chmod o= " +
                    word_for_shell(path));
    }
    if (faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) == 0) continue;
    const int error = errno;
    if (error == ENOENT) continue;  // removed since it was looked at
    return system_error(code_of_denial(path, error), what, error,
                        "; to share a database with a group, let its folder pass its group on "
                        "(chmod g+s), and give this file that group (chgrp) and mode 0660");
  }
  return {};
}

UniqueFd SqliteFile::open_wal(int access) const {
  return UniqueFd(open(wal_path().c_str(), access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

// Not fstat(): see look_at().
bool SqliteFile::is_wal_shorter_than(std::uint64_t bytes) const {
  struct statx found {};
  return statx(log_.get(), "", AT_EMPTY_PATH, STATX_SIZE, &found) == 0 && found.stx_size < bytes;
}

Result<void> SqliteFile::check_database(std::uint64_t least_bytes) const {
  const std::optional<FoundFile> now = look_at(path_);
  if (!now) {
    const bool is_gone = errno == ENOENT || errno == ENOTDIR;
    return system_error(Code::kUnavailable,
                        is_gone ? "the database " + path_ + " is gone (put it back)"
                                : "cannot examine the database " + path_,
                        errno);
  }
  if (now->identity != identity_) {
    return Error{Code::kUnavailable,
                 "the database " + path_ +
                     " was replaced by another file while it was in use; put the first one back, "
                     "or, to use the other one, end all that use the first in good order "
                     "(counterctl stop), then start again; after any other end move " +
                     wal_path() + " away first, which the other one must not be read with"};
  }
  if (now->links != 1) {
    return Error{Code::kUnavailable,
                 "the database " + path_ + " has got a hard link, which would split its log"};
  }
  if (now->bytes < least_bytes) {
    return Error{Code::kUnavailable,
                 "the database " + path_ +
                     " was emptied while it was in use; end all that use it, move " + wal_path() +
                     " away, and put a backup in its place: see FILES in counterd(8)"};
  }
  // Without a link on the way that was the same file, looked at just now.
  if (given_ == path_ || identify(given_) == identity_) return {};
  // As locate() does: behind a folder that is missing, it goes by the words of the path alone.
  std::error_code failure;
  if (std::filesystem::weakly_canonical(given_, failure) == path_) return {};
  return Error{Code::kUnavailable,
               "the database " + given_ + " was " + path_ +
                   " when it was opened, and is so no longer: a symbolic link on the way was "
                   "changed; change it back, or, to use what it leads to now, end all that use the "
                   "first one in good order (counterctl stop), then start again"};
}

Result<void> SqliteFile::check() const {
  if (const Result<void> database = check_database(1); !database) return database.error();
  for (const Companion& companion : companions_) {
    if (!companion.is_in_place()) return part_is_lost(companion.path);
  }
  return {};
}

Result<void> SqliteFile::check_others() const {
  if (const Result<void> database = check_database(0); !database) return database.error();
  for (const Companion& companion : companions_) {
    const std::optional<std::uint64_t> theirs = sign_of_others(descriptor(), companion.sign);
    if (!theirs) continue;
    const std::optional<FileIdentity> found = identify(companion.path);
    if (!found || sign_number(found->inode) != theirs) return part_is_lost(companion.path);
  }
  // For writing: an overlay file system makes its own copy then, which is another file.
  const UniqueFd log = open_wal(O_RDWR);
  if (!log) return {};
  const std::optional<std::uint64_t> theirs = sign_of_others(log.get(), Sign::kDatabase);
  if (theirs == sign_number(identity_.inode)) return {};
  if (!theirs) return check_owner(log.get());
  return Error{Code::kConfig, "the database " + path_ +
                                  " was put in the place of another one that is in use, whose log "
                                  "is still there; end all that use the other one in good order "
                                  "(counterctl stop), then start again"};
}

Result<void> SqliteFile::check_owner(int log) const {
  if (wal_is_empty()) {
    forget_owner(log);  // whoever is killed before be_present() may have written to it
    return {};
  }
  if (!belongs_to_another(log, descriptor())) return {};
  return Error{Code::kConfig,
               "the database " + path_ + " was put in the place of another one, whose log " +
                   wal_path() +
                   " is still there, with changes of its own: put that very database back (or a "
                   "copy, with a copy of its log in a new file: remove this one before); or, to go "
                   "on with this one, move the log away first"};
}

Result<void> SqliteFile::be_present() {
  const auto cannot_examine = [](const std::string& path) {
    return system_error(Code::kUnavailable, "cannot examine " + path + ", a part of the database",
                        errno);
  };
  for (Companion& companion : companions_) {
    companion.identity = identify(companion.path);
    if (!companion.identity) return cannot_examine(companion.path);
    give_sign(descriptor(), companion.sign, companion.identity->inode);
  }
  log_ = open_wal(O_RDONLY);
  if (!log_) return cannot_examine(wal_path());
  give_sign(log_.get(), Sign::kDatabase, identity_.inode);
  note_log();
  return {};
}

// An empty log is nobody's: another program may begin that of another database in it.
void SqliteFile::note_log() const {
  if (is_wal_shorter_than(1)) {
    forget_owner(log_.get());
  } else {
    note_owner(log_.get(), descriptor());
  }
}

void SqliteFile::leave() {
  if (is_wal_shorter_than(1) && !is_another_present()) forget_owner(log_.get());
  log_.reset();
  for (const Companion& companion : companions_) take_back_sign(descriptor(), companion.sign);
}

bool SqliteFile::is_another_present() const {
  return sign_of_others(descriptor(), Sign::kLog).has_value();
}

bool SqliteFile::is_in_memory() const {
  struct statfs system {};
  return fstatfs(descriptor(), &system) == 0 &&
         (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC);
}

bool SqliteFile::is_blank() const {
  struct stat database {};
  return fstat(descriptor(), &database) == 0 && database.st_size == 0;
}

bool SqliteFile::is_deleted() const {
  struct stat database {};
  return fstat(descriptor(), &database) == 0 && database.st_nlink == 0;
}

bool SqliteFile::may_empty_wal() const {
  if (is_another_present() || is_deleted() || is_blank()) return false;
  return std::ranges::all_of(companions_, [](const Companion& companion) {
    const std::optional<FileIdentity> found = identify(companion.path);
    return !found ? errno == ENOENT : found == companion.identity;
  });
}

std::string SqliteFile::set_wal_of_deleted_aside() const {
  const auto& [log, memory] = companions_;
  if (!is_deleted() || is_another_present() || !log.is_in_place()) return {};
  if (memory.is_in_place()) unlink(memory.path.c_str());  // while the log still keeps others out
  std::string aside = log.path + ".of-deleted-" + std::to_string(identity_.inode);
  if (rename(log.path.c_str(), aside.c_str()) != 0) return {};
  if (identify(aside) != log.identity) {  // somebody has just put another one there
    rename(aside.c_str(), log.path.c_str());
    return {};
  }
  return aside;
}

Result<SqliteFile> open_sqlite_file(const std::string& path, bool create) {
  const Result<Location> location = locate(path);
  if (!location) return location.error();
  const auto& [given, resolved] = *location;
  if (is_too_long(resolved)) {
    return Error{Code::kConfig,
                 "the database " + resolved +
                     ": its path or its name is too long for SQLite, which adds to it "
                     "for other files; choose a shorter one"};
  }
  if (const Result<void> there = check_not_lost(resolved); !there) return there.error();
  Result<UniqueFd> descriptor = open_file(resolved, create);
  if (!descriptor) return descriptor.error();
  const Result<FileIdentity> identity = check_kind(resolved, descriptor->get());
  if (!identity) return identity.error();
  return SqliteFile(given, resolved, *identity, std::move(*descriptor));
}

std::string_view network_file_system(long type) {
  struct Known {
    unsigned long type;
    std::string_view name;
  };
  // Those of linux/magic.h, and others from statfs(2) and the file systems' own sources.
  constexpr std::array kKnown = {
      Known{NFS_SUPER_MAGIC, "NFS"},     Known{SMB_SUPER_MAGIC, "SMB"}, Known{0xff534d42, "CIFS"},
      Known{0xfe534d42, "SMB2"},         Known{AFS_SUPER_MAGIC, "AFS"}, Known{0x6b414653, "AFS"},
      Known{CODA_SUPER_MAGIC, "Coda"},   Known{V9FS_MAGIC, "9P"},       Known{0x00c36400, "Ceph"},
      Known{OCFS2_SUPER_MAGIC, "OCFS2"}, Known{0x0bd00bd0, "Lustre"},   Known{0x47504653, "GPFS"},
      Known{0x01161970, "GFS2"},         Known{0x65735546, "FUSE"},     Known{0x19830326, "BeeGFS"},
      Known{0x20030528, "OrangeFS"},     Known{0xaad7aaea, "PanFS"},    Known{0x786f4256, "vboxsf"},
  };
  for (const Known& known : kKnown) {
    if (static_cast<unsigned int>(type) == known.type) return known.name;
  }
  return {};
}

}  // namespace counterd
