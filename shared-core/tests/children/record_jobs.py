"""What worker processes compute in the tests: they have to find it in a module."""

import multiprocessing
import os
import time

from auscult.core.errors import InputError


def square(number):
    return {"number": number, "square": number * number, "ratio": number / 7}


def slow_square(number):
    time.sleep(0.002 * (number % 5))  # later records overtake earlier ones
    return square(number)


def fail_at_thirteen(number):
    if number == 13:
        raise ValueError(f"{number} is\nan unlucky number")
    return square(number)


def refuse(number):
    raise InputError(f"number is {number}: use another")


def raise_what_cannot_be_pickled(number):
    class LocalError(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} {two}")

    raise LocalError("cannot", "travel")


def return_what_cannot_be_pickled(number):
    return lambda: number


def die(number):
    os._exit(1)


def process_name(number):
    return multiprocessing.current_process().name


class Scaled:
    """A function that carries something."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, number):
        return number * self.factor


def touch_fifo_and_hang(path):
    """Hold a pipe open until this process ends, however it ends."""
    os.write(os.open(path, os.O_WRONLY), b"x")
    time.sleep(120)
