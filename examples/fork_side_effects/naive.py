"""The client as it is found in the wild: one connection, made at once, and no idea of processes."""

import re
import socket

from dubbo import DubboError, parse, request

END = re.compile(rb"\r\nelapsed: \d+ ms\.\r\ndubbo>")


class NaiveDubbo:
    def __init__(self, host, port, encoding="utf-8", patience=5.0):
        self.socket = socket.create_connection((host, port), timeout=patience)
        self.encoding = encoding

    def invoke(self, path, *args):
        self.socket.sendall(f"{request(path, args)}\r\n".encode(self.encoding))
        reply = b""
        while not (end := END.search(reply)):
            data = self.socket.recv(4096)
            if not data:
                raise DubboError("the provider has gone")
            reply += data
        return parse(reply[: end.start()].decode(self.encoding))
