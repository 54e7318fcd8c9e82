"""The same by redis-py, which notices a fork only in its pool."""

import os

import redis

CLIENT = redis.Redis(port=int(os.environ["REDIS_PORT"]), single_connection_client=True)  # LW110


def work(word):
    return "right" if CLIENT.echo(word) == word.encode() else "crossed"
