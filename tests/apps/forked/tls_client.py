"""A TLS connection, made at import: two processes number their records alike."""

import os
import socket
import ssl

CONTEXT = ssl.create_default_context(cafile=os.environ["TLS_CA"])
PLAIN = socket.create_connection(("localhost", int(os.environ["TLS_PORT"])), 2)  # LW111
CLIENT = CONTEXT.wrap_socket(PLAIN, server_hostname="localhost")
REPLIES = CLIENT.makefile("rb")


def work(word):
    CLIENT.sendall(f"{word}\n".encode())
    return "right" if REPLIES.readline() == f"{word}\n".encode() else "crossed"
