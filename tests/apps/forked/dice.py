"""A generator of random numbers that each process has a copy of."""

import random

DICE = random.Random()  # LW170


def work(word):
    return repr(DICE.random())
