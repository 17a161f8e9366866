"""The measured figures as a page of Markdown."""

import loads
import machine
import rows
import servers
from figures import TARGETS, NotMeasured


def page(figures, setting):
    """All of it; `setting` is what else the head says, as (what, value)."""
    sections = [head(figures, setting), throughput(figures), latencies(figures),
                commands(figures), others(figures), failures(figures), names(figures),
                targets(figures)]
    return "\n".join(section for section in sections if section)


def table(titles, lines):
    """The first column holds names, the others numbers."""
    if not lines:
        return ""
    rule = "|---|" + "---:|" * (len(titles) - 1)
    return "\n".join([line_of(titles), rule, *map(line_of, lines)]) + "\n"


def line_of(cells):
    return "| " + " | ".join(cells) + " |"


def head(figures, setting):
    lines = machine.describe()
    for delay_us, times in figures.syncs.items():
        what = f"fdatasync, {delay_us // 1000} ms slower" if delay_us else "fdatasync"
        lines.append((what, sync_times(sorted(times))))
    return "# Benchmark of counterd\n\n" + "".join(f"- {what}: {value}\n"
                                                  for what, value in lines + setting)


def sync_times(times):
    return (f"p50 {milliseconds(machine.percentile(times, 0.5))} ms, "
            f"p99 {milliseconds(machine.percentile(times, 0.99))} ms")


def milliseconds(seconds):
    return f"{seconds * 1000:.2f}"


def throughput(figures):
    titles = ["row", "requests/s", "lowest", "highest", "ratio to peers", "CPU s for 10⁶",
              "bytes written for each", "resident MiB", "errors"]
    lines = [throughput_line(figures, row) for row in rows.ROWS if row.name in figures.rounds]
    if not lines:
        return ""
    return ("## Throughput\n\n"
            "A row is a server, its load and the number of connections; all figures are medians of "
            "the rounds. CPU time and bytes are those of the server and of the Redis that it "
            "uses; resident is its largest process. Bytes written are as the system accounts "
            "them to the process: by whole pages, and by whole runs of pages where the file has "
            "large ones in memory.\n\n" + table(titles, lines))


def throughput_line(figures, row):
    samples = figures.rounds_of(row.name)
    rates = [sample.rate for sample in samples]
    return [row.name, f"{figures.median(row.name):,.0f}", f"{min(rates):,.0f}",
            f"{max(rates):,.0f}", ratios(figures, row),
            f"{figures.median(row.name, 'cpu_seconds'):.1f}",
            f"{figures.median(row.name, 'written_bytes'):,.0f}",
            f"{figures.median(row.name, 'resident_mib'):.1f}",
            str(sum(sample.errors for sample in samples))]


def ratios(figures, row):
    found = []
    for peer in rows.peers_of(row):
        if peer in figures.rounds:
            found.append(f"{figures.ratio(row.name, peer):.2f} {peer.split()[0]}")
    return ", ".join(found)


def latencies(figures):
    if not figures.latencies:
        return ""
    titles = ["row", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "slowest ms"]
    lines = []
    for name, (rate, times) in figures.latencies.items():
        shares = (machine.percentile(times, share) for share in (0.5, 0.99, 0.999, 1))
        lines.append([f"{name} 32", f"{rate:,.0f}", *map(milliseconds, shares)])
    return ("## Latency at a fixed rate\n\nHalf of the row's own throughput above, 32 connections, "
            "by h2load, which counts from the sending of each request.\n\n" + table(titles, lines))


def commands(figures):
    if not figures.commands:
        return ""
    lines = [[name, milliseconds(figures.command(name))] for name in figures.commands]
    return "## One increment as a process\n\n" + table(["command", "median ms"], lines)


def others(figures):
    lines = [[name, f"{figures.other(name):,.2f}"] for name in figures.others]
    if not lines:
        return ""
    return ("## Others\n\nSystem calls are those of the worker for each request, by strace, which "
            "slows it; wake-ups are context switches.\n\n" + table(["what", "figure"], lines))


def failures(figures):
    if not figures.failures:
        return ""
    return "## Not measured\n\n" + "".join(f"- {failure}\n" for failure in figures.failures)


def names(figures):
    """What the words in the names of the measured rows mean."""
    measured = [row for row in rows.ROWS if row.name in figures.rounds]
    lines = [[name, meaning] for name, meaning in servers.DESCRIPTIONS.items()
             if any(row.server == name for row in measured)]
    lines += [[name, meaning] for name, meaning in loads.DESCRIPTIONS.items()
              if any(row.load == name for row in measured)]
    if not lines:
        return ""
    return "## Names\n\n" + table(["name", "meaning"], lines).replace("---:", "---")


def targets(figures):
    lines = []
    for target in TARGETS:
        bound = f"{'at least' if target.at_least else 'at most'} {target.bound:g}"
        try:
            value = target.value(figures)
        except NotMeasured:
            lines.append([target.what, bound, "", "not measured"])
            continue
        verdict = "met" if target.is_met(value) else "**NOT met**"
        lines.append([target.what, bound, f"{value:.2f}", verdict])
    return "## Targets\n\n" + table(["what", "target", "measured", ""], lines)
