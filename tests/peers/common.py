"""What the measurements share: programs started and watched, the processor, sections of the page."""
import datetime
import json
import os
import platform
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failed(SystemExit):
    """A program did not end well. Of a peer, that leaves out a row; else it ends the measurement."""


def call(*command, env=None, limit=None):
    """Standard output of a program, which must end well, within `limit` seconds."""
    command = [str(c) for c in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)} took longer than {limit} s")
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def watched(*command):
    """Seconds from the start of a program to its end, and its peak RSS in MiB."""
    begin = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{' '.join(str(c) for c in command)} ended with {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def script(name, *arguments, env=None, limit=None):
    """What a script of this folder says, which is one JSON object on its last line."""
    return json.loads(call(sys.executable, os.path.join(HERE, name), *arguments, env=env, limit=limit).strip().split("\n")[-1])


class Machine:
    def __init__(self, threads):
        with open("/proc/cpuinfo") as lines:
            facts = dict(line.split(":", 1) for line in lines.read().split("\n\n")[0].split("\n") if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        self.name, self.flags = facts.get("model name", platform.machine()), facts.get("flags", "").split()
        self.threads = threads
        self.bf16 = "avx512_bf16" in self.flags or "amx_bf16" in self.flags
        self.vnni = "avx512_vnni" in self.flags or "avx_vnni" in self.flags

    def __str__(self):
        special = [f for f in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8") if f in self.flags]
        return f"{self.name} ({', '.join(special)}), {self.threads} threads, load {os.getloadavg()[0]:.1f}"


def rows_of(heads, rows):
    """A table in Markdown."""
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *("| " + " | ".join(row) + " |" for row in rows)]


def write_section(name, text):
    """Puts the text between a section's marks in docs/performance.md; a new section goes to the end of all."""
    path = os.path.join(ROOT, "docs/performance.md")
    begin, end, last = f"<!-- peers {name}: begin -->", f"<!-- peers {name}: end -->", "<!-- peers: end -->"
    with open(path) as page:
        old = page.read()
    if begin not in old:
        old = old.replace("Not measured on this version yet.\n", "").replace(last, f"{begin}\n{end}\n\n{last}")
    head, rest = old.split(begin)
    with open(path, "w") as page:
        page.write(head + begin + "\n" + text + "\n" + end + rest.split(end)[1])


def stamp(args, machine):
    """Where, with what and when."""
    return f"{machine}; {call(args.atrous, '--version').strip()}; {datetime.date.today()}"
