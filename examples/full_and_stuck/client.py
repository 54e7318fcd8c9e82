"""Drives one client against a program that is full, stuck and deaf: bare and under leeward.

    make examples NAME=full_and_stuck

The program may open 64 files.  100 clients connect and say nothing; then visitors come.
One asks for a report that blocks the loop, one starts a job in a thread, and at last there
is Ctrl-C.  Exit code 0 when the faults show on the bare program and are gone under leeward.
"""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

PROGRAM = str(Path(__file__).with_name("program.py"))
FILES, SILENT, VISITORS = 64, 100, 5
PATIENCE = 2.5  # seconds that a visitor waits for an answer
WATCHED = 1.0  # seconds in which the processor time is measured
SPINS = 0.2  # of a core, with nothing to do
CTRL_C = 6.0  # seconds in which the program should end; leeward gives it 3


class Seen(NamedTuple):
    answered: int  # of the visitors
    cores: float  # busy while nobody asked for anything
    megabytes: float  # written to the log in a second
    named: bool  # does the log say which handler blocked?
    ended: float  # seconds from Ctrl-C to the end; infinity for never

    @property
    def faults(self) -> int:
        spins = self.cores > SPINS
        deaf = self.ended > CTRL_C
        return (self.answered < VISITORS) + spins + (not self.named) + deaf


def ask(port, method="GET", path="/", timeout=PATIENCE):
    """Was it answered?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as client:
            client.settimeout(timeout)
            head = f"{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
            client.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
            return b" 200 " in client.recv(4096)
    except OSError:
        return False


def cpu_seconds(process):
    """Of `process` and all that descend from it."""
    total, family = 0.0, [process]
    while family:
        pid = family.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            family += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except OSError:
            continue  # it has ended
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def drive(port, program, log):
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(SILENT)]
    before, size = cpu_seconds(program.pid), os.fstat(log).st_size
    time.sleep(WATCHED)  # a measurement takes its time
    cores = (cpu_seconds(program.pid) - before) / WATCHED
    megabytes = (os.fstat(log).st_size - size) / WATCHED / 1e6
    with ThreadPoolExecutor(VISITORS) as visitors:
        answered = sum(visitors.map(ask, [port] * VISITORS))
    for client in silent:
        client.close()
    ask(port, path="/report", timeout=10)
    ask(port, "POST", "/job", timeout=10)
    program.send_signal(signal.SIGINT)
    began = time.monotonic()
    try:
        program.wait(CTRL_C)
        ended = time.monotonic() - began
    except subprocess.TimeoutExpired:
        ended = float("inf")
    said = os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")
    named = re.search(r"program\.py:\d+.*\bget\b", said)
    return Seen(answered, cores, megabytes, named is not None, ended)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def run(command):
    """Starts `command`, drives it once it answers, and ends it."""
    port = free_port()
    words = [word.replace("PORT", str(port)) for word in command]
    with tempfile.TemporaryFile() as log:
        program = subprocess.Popen(
            words, stdout=log, stderr=log, start_new_session=True, preexec_fn=few_files
        )
        try:
            end = time.monotonic() + 10
            while not ask(port):
                if time.monotonic() > end or program.poll() is not None:
                    log.seek(0)
                    sys.exit("it did not start:\n" + log.read().decode(errors="replace"))
                time.sleep(0.05)
            return drive(port, program, log.fileno())
        finally:
            if program.poll() is None:
                # Leeward ends its workers by itself; the bare program is alone in its group.
                os.killpg(program.pid, signal.SIGQUIT if "leeward" in command else signal.SIGKILL)
            program.wait()


def bare():
    return run([sys.executable, PROGRAM, "PORT"])


def under_leeward(*flags):
    serve = [sys.executable, "-m", "leeward", "serve", PROGRAM, "--name", f"full-{os.getpid()}"]
    return run([*serve, *flags, "--", "PORT"])


def main():
    alone, adopted = bare(), under_leeward()
    print(f"{FILES} files, {SILENT} silent clients, {VISITORS} visitors, a blocked loop, Ctrl-C")
    for name, seen in (("bare", alone), ("under leeward", adopted)):
        print(
            f"  {name:14} answered {seen.answered} visitors; {seen.cores:.2f} cores busy and "
            f"{seen.megabytes:.1f} MB/s of log meanwhile;"
        )
        ends = f"in {seen.ended:.1f} s" if seen.ended <= CTRL_C else f"not in {CTRL_C:.0f} s"
        named = "named by file and line" if seen.named else "nobody names"
        print(f"  {'':14} the blocked handler: {named}; Ctrl-C ends it {ends}")
    fault, gone = alone.faults == 4, adopted.faults == 0
    print(f"  the faults {'show' if fault else 'do NOT all show'} on the bare program, ", end="")
    print(f"and are {'gone' if gone else 'NOT all gone'} under leeward")
    return 0 if fault and gone else 1


if __name__ == "__main__":
    sys.exit(main())
