"""A client for the telnet of Dubbo providers, on `leeward.LineClient`.

    dubbo = Dubbo("10.0.0.7:20880", encoding="gb18030")
    stock = await dubbo.com.acme.StockService.find("widget", 3)

What a provider answers to `invoke com.acme.StockService.find("widget",3)\\r\\n`:

    {"left": 12}\\r\\nelapsed: 3 ms.\\r\\ndubbo>                                  up to 2.7.0
    Use default service com.acme.StockService.\\r\\nresult: {"left": 12}\\r\\n
        elapsed: 3 ms.\\r\\ndubbo>                                              from 2.7.1
    No such service com.acme.StockService\\r\\ndubbo>                          an error

A result may hold `dubbo>`, as it may hold anything, so that the prompt alone ends nothing;
but its line breaks are escaped, as it is JSON, and so `elapsed: …` on a line of its own,
with the prompt, is the end.  Errors have no such line: they are known by how they begin,
and end at a prompt with nothing behind it.  An error's text may hold that too, so that its
end is a guess: its connection is not used again.

A provider that hangs accepts connections all the same, as the kernel does it.  An empty line
is answered by a bare prompt, in all versions, and does nothing: a connection that is new or
was idle is asked that before anything is invoked on it.
"""

import json
import re

from leeward import LineClient
from leeward.lineclient import Ended

PROMPT = b"\r\ndubbo>"
END = re.compile(rb"\r\nelapsed: \d+ ms\.\r\ndubbo>")
LONGEST = 60  # bytes that END may have
CHECK = {"check": b"", "check_end": b"dubbo>", "check_reply": b""}
DEFAULT = re.compile(rb"Use default service [^\r\n]*\.\r\n")
ERRORS = (
    b"No such service ",
    b"No such method ",
    b"Failed to invoke method ",
    b"Invalid parameters, format:",
    b"Invalid json argument, cause:",
    b"Please input method name",
    b"Unsupported command:",
    b"Command: ",
    b"Methods:\r\n",  # it is overloaded, and one should be chosen
)


class DubboError(Exception):
    """What the provider said in place of a result."""


def end_of_reply(buffer, seen):
    """For LineClient: looks at each byte about once, however the reply is fragmented."""
    end = END.search(buffer, max(seen - LONGEST, 0))
    if end:
        return Ended(end.start(), end.end())
    if buffer.endswith(PROMPT):
        beginning = DEFAULT.sub(b"", bytes(buffer[:512]).lstrip(), count=1).lstrip()
        if beginning.startswith(ERRORS):
            return Ended(len(buffer) - len(PROMPT), len(buffer), clear=False)
    return None


def parse(reply):
    """The result of a reply, in its old or its new form.  Raises DubboError."""
    text = re.sub(r"^Use default service [^\r\n]*\.\r\n", "", reply.lstrip(), count=1).lstrip()
    if text.startswith(tuple(error.decode() for error in ERRORS)):
        raise DubboError(text)
    try:
        return json.loads(text.removeprefix("result: "))
    except ValueError:
        raise DubboError(f"not a result: {text[:200]}") from None


class Dubbo:
    """`await dubbo.service.method(args)`; the service's name may have dots."""

    def __init__(self, address, encoding="utf-8", **options):
        self.line = LineClient(address, end=end_of_reply, encoding=encoding, **{**CHECK, **options})

    def __getattr__(self, name):
        if name.startswith("_"):  # Python asks for such names itself
            raise AttributeError(name)
        return _Path(self.line, name)


class _Path:
    def __init__(self, line, path):
        self._line, self._path = line, path

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return _Path(self._line, f"{self._path}.{name}")

    async def __call__(self, *args):
        return parse(await self._line.call(request(self._path, args)))


def request(path, args):
    """One line; line breaks in arguments are escaped, as they are JSON."""
    words = ",".join(json.dumps(arg, ensure_ascii=False, separators=(",", ":")) for arg in args)
    # Providers look for options anywhere in the line: "--no-prompt" would leave us without
    # a prompt, and "-p" begins the classes of the parameters (2.7.0).
    words = words.replace("--", "\\u002d\\u002d").replace("-p", "\\u002dp")
    return f"invoke {path}({words})"
