"""A connection to Redis, made at import: whose is the reply?"""

import os
import socket

CLIENT = socket.create_connection(("127.0.0.1", int(os.environ["REDIS_PORT"])), 2)  # LW110
REPLIES = CLIENT.makefile("rb")


def work(word):
    CLIENT.sendall(f"ECHO {word}\r\n".encode())
    size, reply = REPLIES.readline(), REPLIES.readline()
    return "right" if size.startswith(b"$") and reply == f"{word}\r\n".encode() else "crossed"
