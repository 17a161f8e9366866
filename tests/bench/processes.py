"""Processes that the benchmark starts and ends, and what the system has counted of them."""

import os
import signal
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")


class Processes:
    """Ends all that it has started, the latest first, by their pids."""

    def __init__(self):
        self._started = []  # (process, the signal that ends it)

    def start(self, command, log, ends_by=signal.SIGTERM, **options):
        """`log` gets the output that goes nowhere else."""
        with open(log, "a") as file:
            # In a session of its own: Ctrl-C on the terminal reaches the benchmark alone, which
            # then ends them in order.
            process = subprocess.Popen(command, **{
                "stdin": subprocess.DEVNULL, "stdout": file, "stderr": file,
                "start_new_session": True, **options})
        self._started.append((process, ends_by))
        return process

    def end(self, process):
        for started in self._started:
            if started[0] is process:
                self._started.remove(started)
                end_process(*started)
                return

    def end_all(self):
        while self._started:
            end_process(*self._started.pop())


def end_process(process, ends_by):
    if process.poll() is None:
        process.send_signal(ends_by)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tree_of(pid):
    """The process and all that descend from it."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children = file.read().split()
        except FileNotFoundError:  # a thread that has ended since
            continue
        for child in children:
            try:
                found += tree_of(int(child))
            except FileNotFoundError:
                continue
    return found


def over_trees(figure, roots):
    """The sum of figure(pid) over all processes of the trees."""
    total = 0
    for root in roots:
        for pid in tree_of(root):
            try:
                total += figure(pid)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended; the figures of one that nobody waited for are not ours
    return total


def cpu_seconds(pid):
    """Of all threads, and of children that have ended."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def written_bytes(pid):
    """What the process, and its children that have ended, made the system write to disks."""
    with open(f"/proc/{pid}/io") as file:
        for line in file:
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    return 0


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0  # a kernel thread or a zombie has none


def largest_resident_kib(root):
    """The memory of the largest process in the tree: a worker, if there is one."""
    largest = 0
    for pid in tree_of(root):
        try:
            largest = max(largest, resident_kib(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return largest


def context_switches(pid):
    """Of all threads: how often one began to wait, or was made to."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as file:
            total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    return total
