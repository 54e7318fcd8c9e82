"""Drives the same requests against the program, bare and under leeward.

    make examples NAME=fork_side_effects

`ab -n 20 -c 10`, five times, against four processes whose client of a Dubbo provider was
made before the fork.  How many requests were answered with somebody else's reply, or with
none, is the figure.  Exit code 0 when the fault shows with the client in the wild on the
bare program, and is gone under leeward and with `leeward.LineClient`.
"""

import collections
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS, REQUESTS, AT_ONCE = 5, 20, 10
#: Seconds for replies that somebody else has read already, and so never come.
IN_VAIN = "0.4"
AB = shutil.which("ab")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def ask(port):
    """The status of GET /find."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/find")
        return connection.getresponse().status
    finally:
        connection.close()


def ab(port):
    """Requests that were not answered by 200, of one `ab -n 20 -c 10`."""
    if not AB:  # Debian: apache2-utils
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return sum(status != 200 for status in pool.map(ask, [port] * REQUESTS))
    command = [AB, "-n", str(REQUESTS), "-c", str(AT_ONCE), "-s", "20"]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/find"], capture_output=True, text=True, check=False
    ).stdout
    complete = re.search(r"Complete requests:\s+(\d+)", said)
    other = re.search(r"Non-2xx responses:\s+(\d+)", said)
    lost = REQUESTS - int(complete[1]) if complete else REQUESTS
    return lost + (int(other[1]) if other else 0)


def start(command, ready):
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if ready in line:
            # What it says from now on must not fill the pipe.
            rest = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)
            rest.start()
            return process, rest, said
    sys.exit("it did not start:\n" + "".join(said))


def end(process, rest, number):
    os.killpg(process.pid, number)
    process.wait()
    rest.join(10)
    process.stdout.close()


def run(client, leeward, encoding, form, rounds=ROUNDS):
    """(not answered by 200, of these somebody else's reply) requests."""
    options = ["--encoding", encoding]
    provider, silent, said = start(
        [HERE / "provider.py", "--port", "0", "--form", form, "--seed", "7", *options], "listening"
    )
    try:
        port = free_port()
        program = [HERE / "program.py"]
        arguments = ["--client", client, *options, port, said[-1].split()[1]]
        if leeward:
            name = f"side-effects-{os.getpid()}"
            flags = ["--name", name, "--log-level", "warning"]
            command = ["-m", "leeward", "serve", *program, *flags, "--", *arguments]
            served, rest, said = start(command, "  next ")
        else:
            patience = ["--patience", IN_VAIN] if client == "naive" else []
            served, rest, said = start([*program, *patience, *arguments], "listening")
        try:
            bad = sum(ab(port) for _ in range(rounds))
        finally:
            # Leeward ends its workers by itself; of the bare program all are in the group.
            end(served, rest, signal.SIGQUIT if leeward else signal.SIGKILL)
        return bad, sum(line.count("crossed") for line in said)
    finally:
        end(provider, silent, signal.SIGKILL)


CASES = [
    ("naive", False, "utf-8", "old"),
    ("naive", True, "utf-8", "old"),
    ("line", False, "gb2312", "old"),
    ("line", True, "utf-8", "new"),
]


def main():
    tool = "ab" if AB else "20 requests, 10 at once (no ab here)"
    print(f"{ROUNDS} × {tool} -n {REQUESTS} -c {AT_ONCE}, 4 processes, client made before the fork")
    wrong, fault = collections.Counter(), False
    for client, leeward, encoding, form in CASES:
        bad, crossed = run(client, leeward, encoding, form)
        wrong[client, leeward] += bad
        what = "the client in the wild" if client == "naive" else "leeward.LineClient"
        where = "under leeward" if leeward else "fork_processes"
        print(
            f"  {what:22} {where:14} {crossed:3} of {ROUNDS * REQUESTS} got another's reply, "
            f"{bad - crossed} none",
            flush=True,
        )
        fault = fault or crossed > 0
    gone = sum(wrong.values()) == wrong["naive", False]
    print(f"  the fault {'shows' if fault else 'does NOT show'} on the bare program, ", end="")
    print(f"and is {'gone' if gone else 'NOT gone'} under leeward and with LineClient")
    return 0 if fault and gone else 1


if __name__ == "__main__":
    sys.exit(main())
