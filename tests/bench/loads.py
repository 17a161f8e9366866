"""What a server is loaded with, and what was seen of it."""

import csv
import io
import json
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass

import machine
import processes

HERE = os.path.dirname(os.path.abspath(__file__))
IDLE_CONNECTIONS = 10_000

DESCRIPTIONS = {
    "hot": "increments of one counter",
    "1000": "increments of 1,000 counters, at random",
    "million": "increments of 1,000,000 counters that exist, at random",
    "report": "reports of one counter",
    "mix": "nine increments of one counter to one report of it",
    "nothing": "a route that does nothing",
}


class LoadError(Exception):
    """A load generator has failed, or a server has not answered as it should."""


@dataclass
class Sample:
    """One run of a row."""
    rate: float  # requests a second
    errors: int
    cpu_seconds: float  # of the server and those it uses, for a million requests
    written_bytes: float  # by them, for one request
    resident_mib: float  # of its largest process
    idle_kib: float = 0  # resident, for each idle connection


def measure(server, load, connections, seconds, idle_connections=0):
    """A Sample of `load` on `server`."""
    idle = open_idle(server.url, idle_connections) if idle_connections else []
    try:
        idle_kib = 0.0
        if idle:
            grown = processes.largest_resident_kib(server.pid) - server.fresh_kib
            idle_kib = grown / idle_connections
        trees = [server.pid, *server.others]
        cpu = processes.over_trees(processes.cpu_seconds, trees)
        written = processes.over_trees(processes.written_bytes, trees)
        rate, requests, errors = generate(server, load, connections, seconds)
        return Sample(
            rate, errors,
            (processes.over_trees(processes.cpu_seconds, trees) - cpu) / requests * 1e6,
            (processes.over_trees(processes.written_bytes, trees) - written) / requests,
            processes.largest_resident_kib(server.pid) / 1024, idle_kib)
    finally:
        for connection in idle:
            connection.close()


def generate(server, load, connections, seconds):
    """(requests a second, requests, errors)."""
    if server.kind == "redis":
        seen = run_redis_benchmark(server, connections, seconds)
    elif server.kind == "postgres":
        seen = run_pgbench(server, connections, seconds)
    elif server.asked_by:
        seen = run_counterctl_bench(server, connections, seconds)
    else:
        seen = run_wrk(connections, seconds, *wrk_arguments(server, load))
    if seen[1] == 0:
        raise LoadError(f"the {server.kind} server has answered nothing")
    return seen


def wrk_arguments(server, load):
    """(script or none, URL, arguments of the script)."""
    if server.kind == "webdis":  # which takes each command by GET
        return None, f"{server.url}/{'GET' if load == 'report' else 'INCR'}/hot", []
    counters = f"{server.url}/v1/counters"
    return {
        "hot": ("increment.lua", f"{counters}/hot/increment", []),
        "1000": ("spread.lua", server.url, ["1000"]),
        "10000": ("spread.lua", server.url, ["10000"]),
        "million": ("spread.lua", server.url, ["1000000"]),
        "report": (None, f"{counters}/hot", []),
        "mix": ("mix.lua", f"{counters}/hot", []),
        "nothing": (None, f"{server.url}/livez", []),
    }[load]


def run(command, **options):
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, check=False, **options)
    if done.returncode != 0:
        raise LoadError(f"{' '.join(command)}: status {done.returncode}: "
                        f"{(done.stderr or done.stdout).strip()}")
    return done.stdout


def number_behind(pattern, text):
    found = re.search(pattern + r"\s*([0-9.]+)", text)
    return float(found.group(1)) if found else 0.0


def run_wrk(connections, seconds, script, url, arguments):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    if script:
        command += ["-s", f"{HERE}/{script}"]
    output = run([*command, url, "--", *arguments])
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    errors = int(number_behind("Non-2xx or 3xx responses:", output))
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                        output)
    if sockets:
        errors += sum(map(int, sockets.groups()))
    return number_behind("Requests/sec:", output), requests, errors


def run_redis_benchmark(server, connections, seconds):
    # It takes a number of requests, not a time: a short run shows how many.
    first = 100 * connections
    then = int(redis_benchmark_rate(server, connections, first) * seconds)
    return redis_benchmark_rate(server, connections, then), first + then, 0


def redis_benchmark_rate(server, connections, requests):
    output = run(["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "-c",
                  str(connections), "-n", str(requests), "--csv", "INCR", "hot"])
    rows = list(csv.DictReader(io.StringIO(output[output.index('"test"'):])))
    return float(rows[0]["rps"])


def run_pgbench(server, connections, seconds):
    output = run([f"{machine.postgres_programs()}/pgbench", "-h", server.socket_folder, "-U",
                  "postgres", "-n", "-M", "prepared", "-c", str(connections), "-j", "1", "-T",
                  str(max(1, round(seconds))), "-f", f"{HERE}/upsert.sql", "postgres"])
    time.sleep(0.3)  # its servers end, and what they used is counted with their parent
    requests = int(number_behind("transactions actually processed:", output))
    errors = int(number_behind("number of failed transactions:", output))
    return number_behind("tps =", output), requests, errors


def run_counterctl_bench(server, connections, seconds):
    """Increments of one counter."""
    duration = f"{round(seconds * 1000)}ms"
    output = json.loads(run([server.asked_by, "--server", server.url, "--json", "bench",
                             "--connections", str(connections), "--duration", duration]))
    errors = output["failed"] + output["lost"] + output["unanswered"]
    return output["per_second"], output["requests"], errors


def open_idle(url, count):
    """Connections that were served once and stay open. They are idle for less than the 130 s after
    which counterd would close them."""
    host, port = url.removeprefix("http://").split(":")
    request = f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    connections = []
    for _ in range(count):
        connection = socket.create_connection((host, int(port)), 10)
        connections.append(connection)
        connection.sendall(request)
        if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
            raise LoadError("an idle connection was refused")
    return connections


def measure_latency(server, load, rate, seconds, folder):
    """Seconds from each request to its answer, sorted: 32 connections at a fixed rate."""
    connections = 32
    # The connections of one h2load ask for the same URLs at the same time.
    generators = 1 if load == "hot" else connections
    running = [start_h2load(server, load, rate / generators, connections // generators, seconds,
                            f"{folder}/latencies{number}", number)
               for number in range(generators)]
    # All have ended before one of them is judged: none still runs during what is measured next.
    outputs = [generator.communicate()[0] for generator, _ in running]
    times = []
    for (generator, log), output in zip(running, outputs):
        if generator.returncode != 0:
            raise LoadError(f"h2load failed:\n{output}")
        times += read_latencies(log)
    return sorted(times)


def start_h2load(server, load, rate, connections, seconds, log, number):
    """One of the generators of a load: (the process, its log)."""
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-n{int(rate * seconds)}",
               f"--rps={rate / connections:.3f}", f"--log-file={log}"]
    if server.kind == "webdis":
        command.append(f"{server.url}/INCR/hot")
    else:
        # A body makes h2load send POST.
        body = f"{log}.body"
        with open(body, "w") as file:
            file.write("by=1")
        command += ["-d", body, "-H", "content-type: application/x-www-form-urlencoded",
                    *latency_urls(server, load, f"{log}.urls", number)]
    if os.path.exists(log):
        os.unlink(log)  # h2load appends
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True), log


def read_latencies(log):
    times = []
    with open(log) as lines:
        for line in lines:
            _, status, microseconds = line.split()[:3]
            if status != "200":
                raise LoadError(f"h2load saw status {status}")
            times.append(int(microseconds) / 1e6)
    return times


def latency_urls(server, load, path, number):
    """Arguments of h2load, which takes one URL after another from a file."""
    if load == "hot":
        return [f"{server.url}/v1/counters/hot/increment"]
    with open(path, "w") as file:
        # A step that is prime to a million visits counters far apart, each once.
        for step in range(number * 10_000, (number + 1) * 10_000):
            counter = step * 617_983 % 1_000_000 + 1
            file.write(f"{server.url}/v1/counters/k{counter}/increment\n")
    return ["-i", path]


def measure_commands(commands, runs, folder):
    """Seconds of each run of each command, by its name."""
    report = f"{folder}/hyperfine.json"
    words = []
    for name, command in commands.items():
        words += ["-n", name, command]
    run(["hyperfine", "-N", "--style", "none", "--warmup", "3", "--runs", str(runs),
         "--export-json", report, *words])
    with open(report) as file:
        return {result["command"]: result["times"] for result in json.load(file)["results"]}
