"""What is not throughput: an idle daemon, system calls, how connections spread over workers, the
start with a long log, and what a command takes as a process."""

import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import time
import urllib.request

import loads
import processes

LOG_BYTES = 2**30


def idle_daemon(servers, seconds):
    """What a daemon of two workers does per minute when left alone after it was used."""
    process, server = servers.start_counterd(f"{servers.work}/idle.db", ["--workers", "2"])
    loads.run_wrk(4, 1, *loads.wrk_arguments(server, "hot"))
    time.sleep(2)  # what the load has left to do
    pids = processes.tree_of(server.pid)
    switches = [processes.context_switches(pid) for pid in pids]
    written = processes.over_trees(processes.written_bytes, [server.pid])
    time.sleep(seconds)
    woken = [processes.context_switches(pid) - before for pid, before in zip(pids, switches)]
    written = processes.over_trees(processes.written_bytes, [server.pid]) - written
    with SystemCalls(pids, servers.work, "fsync,fdatasync") as calls:
        time.sleep(seconds)
    servers.end(process)
    minutes = seconds / 60
    return {"idle syncs": calls.count() / minutes, "idle wake-ups": max(woken) / minutes,
            "idle bytes written": written / minutes}


class SystemCalls:
    """Counts the system calls of processes, of all their threads, by strace."""

    def __init__(self, pids, folder, names="all"):
        self._pids = pids
        self._report = f"{folder}/strace"
        self._names = names
        self._process = None

    def __enter__(self):
        attach = [word for pid in self._pids for word in ("-p", str(pid))]
        self._process = subprocess.Popen(
            ["strace", "-f", "-c", "-e", f"trace={self._names}", "-o", self._report, *attach],
            stderr=subprocess.PIPE, text=True, start_new_session=True)
        for _ in self._pids:
            line = self._process.stderr.readline()
            if "attached" not in line:
                self._end()
                raise loads.LoadError(f"strace: {line.strip()}")
        return self

    def __exit__(self, *_):
        self._end()

    def _end(self):
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()

    def count(self):
        """After the end."""
        with open(self._report) as lines:
            for line in lines:
                if line.rstrip().endswith(" total"):
                    return int(line.split()[3])
        return 0


def system_calls(servers, load, connections, seconds):
    """For each request that the one worker serves while it is traced, and so slowed."""
    server = servers.get("full")
    with SystemCalls(processes.tree_of(server.pid), servers.work) as calls:
        _, requests, _ = loads.generate(server, load, connections, seconds)
    return calls.count() / requests


def requests_of_workers(url, workers):
    """{pid: requests} as each of the workers reports it: a new connection may reach any of them."""
    found = {}
    for _ in range(100 * workers):
        with urllib.request.urlopen(f"{url}/v1/status") as reply:
            worker = json.load(reply)["worker"]
        found[worker["pid"]] = worker["requests"]
        if len(found) == workers:
            return found
    raise loads.LoadError(f"only {len(found)} of {workers} workers have answered")


def busiest_worker(servers, seconds):
    """The requests of the busiest of 4 workers with 64 connections, against the mean."""
    server = servers.get("full-w4")
    before = requests_of_workers(server.url, 4)
    loads.generate(server, "hot", 64, seconds)
    served = [requests - before[pid]
              for pid, requests in requests_of_workers(server.url, 4).items()]
    return max(served) / statistics.mean(served)


def start_with_long_log(servers):
    """Seconds until a daemon is ready whose database has a log of 1 GiB, as a kill leaves one that
    readers kept from being checkpointed."""
    path = f"{servers.work}/long.db"
    shutil.copy(servers.million_counters(), path)
    child = os.fork()
    if child == 0:
        write_long_log(path)
    if os.waitpid(child, 0)[1] != 0:
        raise loads.LoadError("the log could not be written")
    os.sync()  # or the start would wait for what this has left to write
    start = time.monotonic()
    process, _ = servers.start_counterd(path, ["--workers", "2"])
    seconds = time.monotonic() - start
    servers.end(process)
    os.unlink(path)
    return seconds


def write_long_log(path):
    """Ends the process without closing the database: SQLite would shorten the log."""
    status = 1
    try:
        database = sqlite3.connect(path)
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("PRAGMA synchronous = OFF")
        while not os.path.exists(path + "-wal") or os.path.getsize(path + "-wal") < LOG_BYTES:
            with database:  # a counter in ten: some on each page
                database.execute("UPDATE counters SET value = value + 1 WHERE name GLOB '*7'")
        status = 0
    finally:
        os._exit(status)


def commands(servers):
    """The same increment by counterctl and by what else a script would use."""
    url = servers.get("full").url
    redis = servers.get("redis-benchmark")
    ours, theirs = f"{servers.work}/command.db", f"{servers.work}/shell.db"
    for path in (ours, theirs):
        servers.count_once(path)
    upsert = ("PRAGMA synchronous = FULL; "
              "INSERT INTO counters (name, value, created_at, updated_at) VALUES ('hot', 1, 0, 0) "
              "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value;")
    counterctl = servers.counterctl
    return {
        "counterctl": f"{counterctl} --server {url} increment command",
        "redis-cli": f"redis-cli -p {redis.port} INCR command",
        "curl": f"curl -s -X POST {url}/v1/counters/command/increment",
        "counterctl --store": f"{counterctl} --store sqlite:{ours} increment hot",
        "sqlite3": f'sqlite3 {theirs} "{upsert}"',
    }
