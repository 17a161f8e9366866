"""Which rows are measured, and what each is compared with."""

from dataclasses import dataclass

import loads


@dataclass(frozen=True)
class Row:
    server: str  # a name of servers.py
    load: str  # a name of loads.py
    connections: int

    @property
    def name(self):
        return f"{self.server} {self.load} {self.connections}"

    @property
    def idle_connections(self):
        return loads.IDLE_CONNECTIONS if self.server == "full-10k" else 0


# Peers are measured next to those that are compared with them: what changes on the machine during a
# round changes both.
ROWS = [Row(server, load, connections) for server, load, connections in (
    ("full", "hot", 1), ("normal", "hot", 1), ("redis", "hot", 1), ("webdis", "hot", 1),
    ("httplib", "hot", 1), ("pgbench", "hot", 1), ("redis-benchmark", "hot", 1),

    ("full", "hot", 32), ("webdis", "hot", 32), ("full-unix", "hot", 32), ("full-w2", "hot", 32),
    ("full-w4", "hot", 32), ("httplib", "hot", 32), ("pgbench", "hot", 32), ("full", "1000", 32),
    ("full-million", "million", 32), ("full-10k", "hot", 32), ("normal", "hot", 32),
    ("normal-w2", "hot", 32), ("normal-w4", "hot", 32), ("redis", "hot", 32),
    ("redis-benchmark", "hot", 32), ("redis-always", "hot", 32),
    ("redis-benchmark-always", "hot", 32), ("webdis-always", "hot", 32),
    ("full", "nothing", 32), ("httplib", "nothing", 32), ("full", "report", 32),
    ("webdis", "report", 32), ("full", "mix", 32), ("normal", "mix", 32), ("redis", "mix", 32),

    ("full", "hot", 128), ("webdis", "hot", 128), ("full-unix", "hot", 128),
    ("full-w2", "hot", 128), ("full-w4", "hot", 128), ("httplib", "hot", 128),
    ("pgbench", "hot", 128), ("full", "1000", 128), ("full-million", "million", 128),
    ("normal", "hot", 128), ("normal-w2", "hot", 128), ("normal-w4", "hot", 128),
    ("redis", "hot", 128), ("redis-benchmark", "hot", 128), ("redis-always", "hot", 128),
    ("redis-benchmark-always", "hot", 128), ("full", "nothing", 128), ("httplib", "nothing", 128),

    ("full", "hot", 1000), ("webdis", "hot", 1000), ("full-w4", "hot", 1000),
    ("httplib", "hot", 1000), ("normal", "hot", 1000), ("redis", "hot", 1000),
    ("redis-benchmark", "hot", 1000),

    ("full-1ms", "hot", 32), ("pgbench-1ms", "hot", 32), ("full-1ms", "hot", 128),
    ("full-5ms", "hot", 32), ("httplib-5ms", "hot", 32), ("pgbench-5ms", "hot", 32),
    ("redis-benchmark-5ms", "hot", 32), ("full-5ms", "hot", 128), ("full-w4-5ms", "hot", 128),
    ("full-5ms", "hot", 1000),
)]

# The rows of --quick.
QUICK = {
    "full hot 32", "webdis hot 32", "full-w4 hot 32", "httplib hot 32", "pgbench hot 32",
    "full 1000 32", "full-million million 32", "normal hot 32", "redis hot 32",
    "redis-benchmark hot 32", "redis-always hot 32", "redis-benchmark-always hot 32",
    "full nothing 32", "httplib nothing 32", "full hot 128", "webdis hot 128", "full-w4 hot 128",
    "httplib hot 128", "redis hot 128", "full-5ms hot 32",
}

# server: those that it is compared with under the same load and connections.
PEERS = {
    "full": ["webdis", "httplib", "pgbench", "redis-benchmark"],
    "full-w2": ["full", "webdis", "pgbench"],
    "full-w4": ["full", "webdis", "pgbench"],
    "full-10k": ["full"],
    "full-unix": ["full", "webdis"],
    "normal": ["webdis", "redis-benchmark"],
    "normal-w2": ["normal", "webdis"],
    "normal-w4": ["normal", "webdis"],
    "full-1ms": ["pgbench-1ms"],
    "full-5ms": ["httplib-5ms", "pgbench-5ms", "redis-benchmark-5ms"],
    "full-w4-5ms": ["full-5ms"],
    "redis": ["webdis", "redis-benchmark"],
    "redis-always": ["webdis-always", "redis-benchmark-always"],
}


def peers_of(row):
    """Names of the rows that it is compared with."""
    if row.load in ("1000", "million"):
        return [f"full hot {row.connections}"]
    return [f"{peer} {row.load} {row.connections}" for peer in PEERS.get(row.server, [])]
