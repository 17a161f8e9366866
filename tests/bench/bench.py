"""Measures counterd side by side with its peers; scripts/bench runs it. All rows are run in turn,
then all of them again, so that a change of the machine's speed falls on each of them."""

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import loads
import machine
import report
import rows
import special
from figures import Figures, NotMeasured
from servers import Servers

# Rows whose latencies are measured, by server and load.
LATENCIES = [("full", "hot"), ("webdis", "hot"), ("full-million", "million"), ("full-w4", "hot"),
             ("httplib", "hot"), ("normal", "hot"), ("redis", "hot")]
QUICK_LATENCIES = LATENCIES[:1]

# Descriptors of the benchmark itself besides those of idle connections.
OTHER_DESCRIPTORS = 200


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")  # like our other scripts, not 2


def read_arguments():
    parser = Parser(
        prog="scripts/bench", description="Measures counterd side by side with its peers.")
    parser.add_argument("--quick", action="store_true",
                        help="the main rows, in under three minutes")
    parser.add_argument("--rounds", metavar="N", type=positive,
                        help="how often each row runs (5; quick: 3)")
    parser.add_argument("--seconds", metavar="S", type=positive,
                        help="that each row runs in a round (4; quick: 1)")
    parser.add_argument("--only", metavar="PATTERN", type=re.compile,
                        help="rows and other figures whose names have this regular expression")
    parser.add_argument("--output", metavar="FILE", default="build/bench.md",
                        help="where the page is written (build/bench.md)")
    parser.add_argument("--programs", metavar="DIRECTORY", required=True,
                        help=argparse.SUPPRESS)  # set by scripts/bench
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 4)
    return arguments


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, arguments, servers):
        self._arguments = arguments
        self._servers = servers
        self._figures = Figures()

    def run(self):
        self._run_rows()
        self._run_latencies()
        self._run_commands()
        self._run_others()
        return self._figures

    def _wanted(self, name):
        only = self._arguments.only
        return only is None or only.search(name) is not None

    def _attempt(self, name, measure):
        """What measure() returns; nothing if that fails: the other figures are kept."""
        try:
            return measure()
        except (loads.LoadError, OSError, RuntimeError, subprocess.SubprocessError) as failure:
            say(f"bench: {name}: {failure}")
            self._figures.failures.append(f"{name}: {failure}")
            return None

    def _run_rows(self):
        quick, rounds = self._arguments.quick, self._arguments.rounds
        chosen = [row for row in rows.ROWS
                  if self._wanted(row.name) and (not quick or row.name in rows.QUICK)]
        for row in chosen:  # so that no start falls into another row
            self._attempt(row.name, lambda row=row: self._servers.get(row.server))
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            self._probe_disk()
            for row in chosen:
                self._run_row(row)

    def _probe_disk(self):
        for delay_us in (0, 1_000, 5_000):
            times = machine.probe_disk(self._servers.work, self._servers.environment(delay_us))
            self._figures.syncs.setdefault(delay_us, []).extend(times)

    def _run_row(self, row):
        os.sync()  # what the previous row has left to write
        sample = self._attempt(row.name, lambda: loads.measure(
            self._servers.get(row.server), row.load, row.connections, self._arguments.seconds,
            row.idle_connections))
        if sample is not None:
            self._figures.rounds.setdefault(row.name, []).append(sample)
            say(f"  {row.name}: {sample.rate:,.0f}")

    def _run_latencies(self):
        seconds = 5 if self._arguments.quick else 60
        for server, load in QUICK_LATENCIES if self._arguments.quick else LATENCIES:
            name = f"{server} {load}"
            try:
                rate = self._figures.median(f"{name} 32") / 2
            except NotMeasured:
                continue
            if not self._wanted(f"{name} latency"):
                continue
            say(f"latency of {name}, {seconds} s")
            times = self._attempt(name, lambda: loads.measure_latency(
                self._servers.get(server), load, rate, seconds, self._servers.work))
            if times:
                self._figures.latencies[name] = (rate, times)

    def _run_commands(self):
        if not self._wanted("commands"):
            return
        say("commands")
        commands = self._attempt("commands", lambda: special.commands(self._servers))
        if commands is None:
            return
        for _ in range(self._arguments.rounds):
            measured = self._attempt("commands", lambda: loads.measure_commands(
                commands, 12 if self._arguments.quick else 50, self._servers.work))
            for name, times in (measured or {}).items():
                self._figures.commands.setdefault(name, []).extend(times)

    def _run_others(self):
        servers, seconds = self._servers, self._arguments.seconds
        for _ in range(self._arguments.rounds):
            self._other("busiest worker", lambda: special.busiest_worker(servers, seconds))
            if self._arguments.quick:
                continue
            self._other("calls, 1 counter",
                        lambda: special.system_calls(servers, "hot", 10, seconds))
            self._other("calls, 10,000 counters",
                        lambda: special.system_calls(servers, "10000", 10, seconds))
            self._other("calls, 1,000 connections",
                        lambda: special.system_calls(servers, "hot", 1000, seconds))
        if not self._arguments.quick:
            self._other("long log", lambda: special.start_with_long_log(servers))
        self._other_idle(5 if self._arguments.quick else 60)

    def _other(self, name, measure):
        if not self._wanted(name):
            return
        say(name)
        value = self._attempt(name, measure)
        if value is not None:
            self._figures.others.setdefault(name, []).append(value)

    def _other_idle(self, seconds):
        if not self._wanted("idle"):
            return
        say(f"idle, {2 * seconds} s")
        found = self._attempt("idle", lambda: special.idle_daemon(self._servers, seconds))
        for name, value in (found or {}).items():
            self._figures.others[name] = [value]


def settings_of(arguments):
    return (f"{'quick, ' if arguments.quick else ''}{arguments.rounds} rounds of "
            f"{arguments.seconds} s for each row, wrk with one thread; Redis, webdis and "
            f"PostgreSQL as Debian ships them, without Redis rewriting its file")


def main():
    arguments = read_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < loads.IDLE_CONNECTIONS + OTHER_DESCRIPTORS:
        say(f"bench: the limit of {most} open files is too low for the row full-10k")
    begin = time.monotonic()
    others = f"{os.getloadavg()[0]:.2f}"
    work = tempfile.mkdtemp(prefix="counterd-bench-")
    try:
        os.chmod(work, 0o711)  # for PostgreSQL's user
        with Servers(arguments.programs, work) as servers:
            figures = Bench(arguments, servers).run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    minutes = (time.monotonic() - begin) / 60
    page = report.page(figures, [
        ("load average before", others),
        ("settings", f"{settings_of(arguments)}; {minutes:.0f} min in all"),
        *machine.versions(f"{arguments.programs}/counterd")])
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page)
    print(page)
    print(f"Stored in {output.resolve()}")


if __name__ == "__main__":
    main()
