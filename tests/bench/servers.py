"""What is measured: counterd with each of its stores, and its peers. Each server is private: on a
free loopback port or a socket in the temporary folder, with its data there."""

import json
import os
import pwd
import random
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field

import machine
import processes

READY_WITHIN = 60  # seconds
MILLION = 1_000_000

# name: (what it is, flags of counterd, further microseconds of a sync)
COUNTERD = {
    "full": ("counterd, SQLite FULL, 1 worker", ["--workers", "1"], 0),
    "full-w2": ("counterd, SQLite FULL, 2 workers", ["--workers", "2"], 0),
    "full-w4": ("counterd, SQLite FULL, 4 workers", ["--workers", "4"], 0),
    "full-10k": ("counterd, SQLite FULL, 1 worker, beside 10,000 idle connections",
                 ["--workers", "1"], 0),
    "full-unix": ("counterd, SQLite FULL, 1 worker, on a Unix socket, asked by counterctl bench",
                  ["--workers", "1"], 0),
    "full-million": ("counterd, SQLite FULL, 1 worker, 1,000,000 counters exist",
                     ["--workers", "1"], 0),
    "full-1ms": ("counterd, SQLite FULL, 1 worker, syncs take 1 ms more", ["--workers", "1"],
                 1_000),
    "full-5ms": ("counterd, SQLite FULL, 1 worker, syncs take 5 ms more", ["--workers", "1"],
                 5_000),
    "full-w4-5ms": ("counterd, SQLite FULL, 4 workers, syncs take 5 ms more", ["--workers", "4"],
                    5_000),
    "normal": ("counterd, SQLite NORMAL, 1 worker", ["--workers", "1", "--sync", "normal"], 0),
    "normal-w2": ("counterd, SQLite NORMAL, 2 workers", ["--workers", "2", "--sync", "normal"], 0),
    "normal-w4": ("counterd, SQLite NORMAL, 4 workers", ["--workers", "4", "--sync", "normal"], 0),
}
# name: (what it is, the Redis that it uses)
COUNTERD_ON_REDIS = {
    "redis": ("counterd, Redis without persistence, 1 worker", "redis-benchmark"),
    "redis-always": ("counterd, Redis with appendfsync always, 1 worker",
                     "redis-benchmark-always"),
}
WEBDIS = {
    "webdis": ("webdis on the same Redis without persistence", "redis-benchmark"),
    "webdis-always": ("webdis on the same Redis with appendfsync always",
                      "redis-benchmark-always"),
}
# name: (what it is, flags of redis-server, further microseconds of a sync)
REDIS = {
    "redis-benchmark": ("Redis without persistence by itself, INCR", ["--appendonly", "no"], 0),
    "redis-benchmark-always": ("Redis with appendfsync always by itself, INCR",
                               ["--appendonly", "yes", "--appendfsync", "always"], 0),
    "redis-benchmark-5ms": ("Redis with appendfsync always by itself, syncs take 5 ms more",
                            ["--appendonly", "yes", "--appendfsync", "always"], 5_000),
}
# name: (what it is, further microseconds of a sync)
HTTPLIB = {
    "httplib": ("cpp-httplib's own loop over the same engine, SQLite FULL", 0),
    "httplib-5ms": ("cpp-httplib's own loop over the same engine, syncs take 5 ms more", 5_000),
}
POSTGRES = {
    "pgbench": ("PostgreSQL by itself, prepared upsert of one hot row", 0),
    "pgbench-1ms": ("PostgreSQL by itself, syncs take 1 ms more", 1_000),
    "pgbench-5ms": ("PostgreSQL by itself, syncs take 5 ms more", 5_000),
}
DESCRIPTIONS = {name: entry[0]
                for table in (COUNTERD, COUNTERD_ON_REDIS, WEBDIS, REDIS, HTTPLIB, POSTGRES)
                for name, entry in table.items()}


@dataclass
class Server:
    """Where a load is aimed at."""
    kind: str  # "counterd", "webdis", "httplib", "redis" or "postgres"
    pid: int
    url: str = ""  # of what speaks HTTP
    asked_by: str = ""  # the counterctl whose bench is its load, where wrk cannot be
    port: int = 0  # redis
    socket_folder: str = ""  # postgres
    others: list = field(default_factory=list)  # pids of servers that this one uses

    def __post_init__(self):
        self.fresh_kib = processes.largest_resident_kib(self.pid)


class Servers:
    """Starts each server when it is first asked for; `work` is the folder for all they write."""

    def __init__(self, programs, work):
        self._programs = programs  # the folder of what was built
        self._work = work
        self._processes = processes.Processes()
        self._running = {}
        self._environment = {name: value for name, value in os.environ.items()
                             if not name.startswith(("COUNTERD_", "COUNTERCTL_"))}
        self._environment.update(HOME=work, XDG_RUNTIME_DIR=work, XDG_STATE_HOME=work)
        # A copy, because PostgreSQL's user may not be allowed to look where the build is.
        self._slow_sync = shutil.copy(f"{programs}/libslow_sync.so", work)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._processes.end_all()

    @property
    def counterctl(self):
        return f"{self._programs}/counterctl"

    @property
    def work(self):
        return self._work

    def environment(self, sync_delay_us=0):
        """For a process; with a delay, its syncs take that much longer."""
        if sync_delay_us == 0:
            return self._environment
        return {**self._environment, "LD_PRELOAD": self._slow_sync,
                "BENCH_SYNC_DELAY_US": str(sync_delay_us)}

    def get(self, name):
        if name not in self._running:
            self._running[name] = self._start(name)
        return self._running[name]

    def _start(self, name):
        if name in COUNTERD:
            _, flags, sync_delay_us = COUNTERD[name]
            path = f"{self._work}/{name}.db"
            if name == "full-million":
                shutil.copy(self.million_counters(), path)
            if name == "full-unix":
                return self._start_counterd_on_unix_socket(path, flags)
            return self.start_counterd(path, flags, sync_delay_us)[1]
        if name in COUNTERD_ON_REDIS:
            return self._start_counterd_on_redis(self.get(COUNTERD_ON_REDIS[name][1]))
        if name in WEBDIS:
            return self._start_webdis(name, self.get(WEBDIS[name][1]))
        if name in REDIS:
            return self._start_redis(name, *REDIS[name][1:])
        if name in HTTPLIB:
            return self._start_httplib(name, HTTPLIB[name][1])
        return self._start_postgres(name, POSTGRES[name][1])

    def start_counterd(self, database, flags, sync_delay_us=0):
        """One on a database of its own: (what end() takes, the server)."""
        return self._launch_counterd(["--store", f"sqlite:{database}", *flags], sync_delay_us)

    def end(self, process):
        self._processes.end(process)

    def _start_counterd_on_unix_socket(self, database, flags):
        _, server = self._launch_counterd(["--store", f"sqlite:{database}", *flags],
                                          listen=f"unix:{self._work}/http.sock")
        server.asked_by = self.counterctl
        return server

    def _launch_counterd(self, flags, sync_delay_us=0, listen="127.0.0.1:0"):
        reader, writer = os.pipe()
        with open(reader) as ready:
            try:
                process = self._processes.start(
                    [f"{self._programs}/counterd", "--listen", listen, "--ready-fd", str(writer),
                     *flags],
                    self._log("counterd"), env=self.environment(sync_delay_us), pass_fds=[writer])
            finally:
                os.close(writer)
            return process, Server("counterd", process.pid, url=self._told_url(ready, "counterd"))

    def _start_counterd_on_redis(self, redis):
        _, server = self._launch_counterd(["--workers", "1", "--store",
                                           f"redis://127.0.0.1:{redis.port}"])
        server.others.append(redis.pid)
        return server

    def _start_redis(self, name, flags, sync_delay_us):
        folder = f"{self._work}/{name}"
        os.mkdir(folder)
        port = free_port()
        # A rewrite of the file would fall into whichever row runs then.
        process = self._processes.start(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--auto-aof-rewrite-percentage", "0", "--dir", folder, *flags],
            self._log(name), env=self.environment(sync_delay_us))
        self._await(lambda: accepts(port), name)
        return Server("redis", process.pid, port=port)

    def _start_webdis(self, name, redis):
        # As Debian ships it, but for where it listens, what it talks to and where it logs.
        with open("/etc/webdis/webdis.json") as file:
            settings = json.load(file)
        port = free_port()
        settings.update(http_host="127.0.0.1", http_port=port, redis_port=redis.port,
                        daemonize=False, logfile=self._log(name))
        settings.pop("pidfile", None)
        with open(f"{self._work}/{name}.json", "w") as file:
            json.dump(settings, file)
        process = self._processes.start(["webdis", f"{self._work}/{name}.json"], self._log(name),
                                        env=self._environment)
        self._await(lambda: accepts(port), name)
        return Server("webdis", process.pid, url=f"http://127.0.0.1:{port}", others=[redis.pid])

    def _start_httplib(self, name, sync_delay_us):
        process = self._processes.start(
            [f"{self._programs}/httplib_loop", f"sqlite:{self._work}/{name}.db"], self._log(name),
            env=self.environment(sync_delay_us), text=True, stdout=subprocess.PIPE)
        return Server("httplib", process.pid, url=self._told_url(process.stdout, name))

    def _start_postgres(self, name, sync_delay_us):
        programs = machine.postgres_programs()
        folder = f"{self._work}/{name}"
        os.mkdir(folder)
        owner = {"cwd": folder}
        if os.geteuid() == 0:  # which PostgreSQL refuses
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            owner.update(user=user.pw_uid, group=user.pw_gid, extra_groups=[])
        subprocess.run([f"{programs}/initdb", "-D", f"{folder}/data", "-U", "postgres", "-A",
                        "trust", "--no-sync"], stdout=subprocess.DEVNULL, check=True,
                       env=self._environment, **owner)
        process = self._processes.start(
            [f"{programs}/postgres", "-D", f"{folder}/data", "-k", folder, "-c",
             "listen_addresses=", "-c", "max_connections=200"],
            self._log(name), ends_by=signal.SIGINT, env=self.environment(sync_delay_us), **owner)
        self._await(lambda: succeeds([f"{programs}/pg_isready", "-q", "-h", folder]), name)
        subprocess.run([f"{programs}/psql", "-q", "-h", folder, "-U", "postgres", "-c",
                        "CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL)"],
                       env=self._environment, check=True)
        return Server("postgres", process.pid, socket_folder=folder)

    def million_counters(self):
        """The path of a database with the counters k1 to k1000000, made by the first call."""
        path = f"{self._work}/million.db"
        if os.path.exists(path):
            return path
        self.count_once(path)
        names = sorted(f"k{number}" for number in range(1, MILLION + 1))
        now_ms = int(time.time() * 1000)
        database = sqlite3.connect(path)
        database.execute("PRAGMA synchronous = OFF")
        with database:
            database.executemany("INSERT INTO counters (name, value, created_at, updated_at) "
                                 "VALUES (?, 0, ?, ?)",
                                 ((name, now_ms, now_ms) for name in names))
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return path

    def count_once(self, path):
        """Makes a database, as counterctl does where there is none."""
        subprocess.run([self.counterctl, "-q", "--store", f"sqlite:{path}", "increment", "hot"],
                       env=self._environment, check=True)

    def _log(self, name):
        return f"{self._work}/{name}.log"

    def _told_url(self, file, name):
        """The URL of the line "ready URL", by which a server says that it serves."""
        told, _, _ = select.select([file], [], [], READY_WITHIN)
        words = file.readline().split() if told else []
        if len(words) != 2:
            raise self._failure(name)
        return words[1]

    def _await(self, condition, name):
        deadline = time.monotonic() + READY_WITHIN
        while not condition():
            if time.monotonic() > deadline:
                raise self._failure(name)
            time.sleep(0.02)

    def _failure(self, name):
        with open(self._log(name)) as file:
            return RuntimeError(f"{name} did not start: " + "".join(file.readlines()[-3:]).strip())


def free_port():
    """A port that nothing listens on, below those that the system gives to clients."""
    while True:
        port = random.randrange(11_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False


def succeeds(command):
    return subprocess.run(command, check=False).returncode == 0
