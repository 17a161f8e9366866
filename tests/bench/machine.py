"""What the figures were measured on: the machine, its disk, and the versions of what was run.

By itself (`machine.py probe DIRECTORY`) it prints what fdatasyncs take there, in seconds: a process
of its own, so that one with a preloaded delay measures the slowed disk."""

import glob
import json
import os
import platform
import subprocess
import sys
import time

SYNCS = 200


def probe_disk(directory, environment):
    """Seconds of each of SYNCS fdatasyncs after a write of 4 KiB, in a process with
    `environment`."""
    output = subprocess.run([sys.executable, __file__, "probe", directory], env=environment,
                            stdout=subprocess.PIPE, check=True).stdout
    return json.loads(output)


def time_syncs(directory):
    path = os.path.join(directory, "probe")
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(file, b"x" * 4096 * SYNCS)
        os.fsync(file)
        times = []
        for i in range(SYNCS):
            os.pwrite(file, b"y" * 4096, 4096 * i)
            start = time.perf_counter()
            os.fdatasync(file)
            times.append(time.perf_counter() - start)
    finally:
        os.close(file)
        os.unlink(path)
    return times


def percentile(ordered, share):
    """Of sorted numbers: the one that `share` of them do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def describe():
    """(what, value) for the head of the report."""
    return [
        ("processors", f"{len(os.sched_getaffinity(0))} of {processor_model()}"),
        ("memory", f"{memory_gib():.1f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
    ]


def processor_model():
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def postgres_programs():
    """The folder of the newest PostgreSQL server; Debian has one for each major version."""
    folders = glob.glob("/usr/lib/postgresql/*/bin")
    return max(folders, key=lambda path: int(path.split("/")[4]))


def versions(counterd):
    """(program, version) of all that takes part, as each program reports it."""
    commands = [
        ("counterd", [counterd, "--version"]),
        ("redis", ["redis-server", "--version"]),
        ("PostgreSQL", [postgres_programs() + "/postgres", "--version"]),
        ("sqlite3", ["sqlite3", "--version"]),
        ("h2load", ["h2load", "--version"]),
        ("hyperfine", ["hyperfine", "--version"]),
        ("curl", ["curl", "--version"]),
    ]
    told = [(name, first_line(command)) for name, command in commands]
    # These do not report it: the version of the package.
    packages = [("webdis", "webdis"), ("wrk", "wrk"), ("cpp-httplib", "libcpp-httplib-dev")]
    return told + [(name, package_version(package)) for name, package in packages]


def first_line(command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          check=True).stdout.splitlines()[0]


def package_version(package):
    return first_line(["dpkg-query", "-W", "-f", "${Version}", package])


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "probe":
        sys.exit("usage: machine.py probe DIRECTORY")
    print(json.dumps(time_syncs(sys.argv[2])))
