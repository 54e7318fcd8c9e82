"""Drives one client against the wrong program, bare and under leeward.

    make examples NAME=wrong_start

The client asks a few times for a page, posts a long report and leaves in the middle of
it, and asks a few times more.  What it got, and the processor time that the program used
in the second after the client had left, are the figures.  Exit code 0 when the fault
shows on the bare program and is gone under leeward.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = str(Path(__file__).with_name("program.py"))
REQUESTS = 12
PATIENCE = 0.5  # seconds that an answer may take where most never come
LONG = 10.0  # seconds where all come, on a machine that has other things to do
WATCHED = 1.0  # seconds in which the processor time is measured
SPINS = 0.1  # of a core: nothing is left to do, and an idle program uses 0.01


def ask(port, timeout):
    """The process that answered, or "": refused, reset, or no answer in time."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as client:
            client.settimeout(timeout)
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := client.recv(4096):
                answer += part
    except OSError:
        return ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode().split()[-1] if b" 200 " in head.split(b"\r\n")[0] else ""


def post_and_leave(port, timeout):
    with socket.create_connection(("127.0.0.1", port), timeout) as client:
        client.sendall(b"POST /report HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n")
        ask(port, timeout)  # by now it is being worked on


def drive(port, process, timeout):
    """(answered, processes that answered, cores used after the client had left)"""
    answers = [ask(port, timeout) for _ in range(REQUESTS // 2)]
    post_and_leave(port, timeout)
    before = cpu_seconds(process)
    time.sleep(WATCHED)  # a measurement takes its time
    cores = (cpu_seconds(process) - before) / WATCHED
    answers += [ask(port, timeout) for _ in range(REQUESTS // 2)]
    return sum(map(bool, answers)), len(set(filter(None, answers))), cores


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


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def run(command, ready, timeout):
    """Starts `command`, drives it once it has said `ready`, and ends it."""
    port = free_port()
    with subprocess.Popen(
        [word.replace("PORT", str(port)) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as program:
        said = []
        try:
            for line in program.stdout:
                said.append(line)
                if ready in line:
                    break
            else:
                sys.exit("it did not start:\n" + "".join(said))
            return drive(port, program.pid, timeout)
        finally:
            # Leeward ends its workers by itself; of the bare program all are in the group.
            os.killpg(program.pid, signal.SIGQUIT if "leeward" in command else signal.SIGKILL)
            program.stdout.read()


def bare():
    return run([sys.executable, PROGRAM, "PORT"], "listening", PATIENCE)


def under_leeward(*flags):
    serve = [sys.executable, "-m", "leeward", "serve", PROGRAM, "--name", f"wrong-{os.getpid()}"]
    return run([*serve, *flags, "--", "PORT"], "  next ", LONG)


def shows(answered, processes, cores):
    """Is it the fault: nobody is answered (3.12 and newer), or a process spins (3.11)?"""
    return answered < REQUESTS or cores > SPINS


def main():
    alone, adopted = bare(), under_leeward()
    version = ".".join(map(str, sys.version_info[:2]))
    print(f"Python {version}: listen() + start(2), one client that leaves in the middle")
    for name, (answered, processes, cores) in (("bare", alone), ("under leeward", adopted)):
        print(
            f"  {name:14} answered {answered} of {REQUESTS}, by {processes} processes; "
            f"{cores:.2f} cores busy after the client had left"
        )
    fault, gone = shows(*alone), not shows(*adopted)
    print(f"  the fault {'shows' if fault else 'does NOT show'} on the bare program, ", end="")
    print(f"and is {'gone' if gone else 'NOT gone'} under leeward")
    return 0 if fault and gone else 1


if __name__ == "__main__":
    sys.exit(main())
