"""What was measured, and how good it must be."""

from dataclasses import dataclass
from statistics import median
from typing import Callable

from machine import percentile


class NotMeasured(Exception):
    pass


class Figures:
    """All that was measured. Asking for anything else raises NotMeasured."""

    def __init__(self):
        self.syncs = {}  # {further microseconds of each: [seconds of an fdatasync]}
        self.rounds = {}  # {name of the row: [Sample]}
        self.latencies = {}  # {name: (rate, sorted seconds)}
        self.commands = {}  # {name: [seconds]}
        self.others = {}  # {name: [number]}
        self.failures = []  # what could not be measured, and why

    def rounds_of(self, row):
        if row not in self.rounds:
            raise NotMeasured
        return self.rounds[row]

    def median(self, row, figure="rate"):
        return median(getattr(sample, figure) for sample in self.rounds_of(row))

    def ratio(self, row, peer):
        return self.median(row) / self.median(peer)

    def latency(self, name, share):
        if name not in self.latencies:
            raise NotMeasured
        return percentile(self.latencies[name][1], share)

    def command(self, name):
        if name not in self.commands:
            raise NotMeasured
        return median(self.commands[name])

    def other(self, name):
        if name not in self.others:
            raise NotMeasured
        return median(self.others[name])


@dataclass(frozen=True)
class Target:
    what: str
    bound: float
    value: Callable  # of Figures
    at_least: bool = True  # else at most

    def is_met(self, value):
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound, what, value):
    return Target(what, bound, value)


def at_most(bound, what, value):
    return Target(what, bound, value, at_least=False)


def ratio(bound, row, peer):
    return at_least(bound, f"{row} against {peer}", lambda figures: figures.ratio(row, peer))


def of_slow_disk(connections):
    """The rate, as a share of one in which each connection has one increment in each sync."""
    def value(figures):
        sync = median(figures.syncs[5_000])
        return figures.median(f"full-5ms hot {connections}") * sync / connections
    return at_least(0.9, f"full-5ms hot {connections} against {connections} / fdatasync", value)


def command(bound, name, peer):
    return at_most(bound, f"{name} as a process against {peer}",
                   lambda figures: figures.command(name) / figures.command(peer))


def other(bound, what, name):
    return at_most(bound, what, lambda figures: figures.other(name))


# Counting is not quite repeatable: batches differ from run to run.
NO_MORE = 1.05

TARGETS = [
    ratio(1.2, "full hot 32", "webdis hot 32"),
    ratio(1.2, "full hot 128", "webdis hot 128"),
    ratio(0.9, "full-w4 hot 32", "webdis hot 32"),
    ratio(0.9, "full-w4 hot 128", "webdis hot 128"),
    ratio(0.9, "full-w4 hot 32", "full hot 32"),
    ratio(0.9, "full-w4 hot 128", "full hot 128"),
    ratio(12, "full hot 32", "pgbench hot 32"),
    ratio(1.8, "full hot 32", "httplib hot 32"),
    ratio(2.2, "full hot 128", "httplib hot 128"),
    of_slow_disk(32),
    of_slow_disk(1000),
    ratio(1.3, "redis hot 32", "webdis hot 32"),
    ratio(1.3, "redis hot 128", "webdis hot 128"),
    ratio(0.8, "redis-always hot 32", "redis-benchmark-always hot 32"),
    ratio(2.0, "full nothing 32", "httplib nothing 32"),
    ratio(0.8, "full 1000 32", "full hot 32"),
    ratio(0.5, "full-million million 32", "full hot 32"),
    at_most(3, "full-million million 32: p99 against that of full hot 32",
            lambda figures: figures.latency("full-million million", 0.99)
            / figures.latency("full hot", 0.99)),
    ratio(0.9, "full-10k hot 32", "full hot 32"),
    at_most(3, "full-10k hot 32: KiB resident for each idle connection",
            lambda figures: figures.rounds_of("full-10k hot 32")[0].idle_kib),
    other(2, "64 connections over 4 workers: the busiest against the mean", "busiest worker"),
    at_most(4, "full hot 32 at half of its rate: p99 against p50",
            lambda figures: figures.latency("full hot", 0.99) / figures.latency("full hot", 0.5)),
    at_most(20, "full hot 32 at half of its rate: p99.9, ms",
            lambda figures: figures.latency("full hot", 0.999) * 1000),
    at_most(100, "full hot 32 at half of its rate: the slowest, ms",
            lambda figures: figures.latency("full hot", 1) * 1000),
    command(1.3, "counterctl", "redis-cli"),
    command(0.8, "counterctl", "curl"),
    command(1.5, "counterctl --store", "sqlite3"),
    at_most(NO_MORE, "system calls for a request: 10,000 counters against 1",
            lambda figures: figures.other("calls, 10,000 counters")
            / figures.other("calls, 1 counter")),
    at_most(NO_MORE, "system calls for a request: 1,000 connections against 10",
            lambda figures: figures.other("calls, 1,000 connections")
            / figures.other("calls, 1 counter")),
    other(0, "an idle daemon: syncs a minute", "idle syncs"),
    other(120, "an idle daemon: wake-ups a minute of the process with most", "idle wake-ups"),
    other(10, "start with a log of 1 GiB: seconds until ready", "long log"),
]
