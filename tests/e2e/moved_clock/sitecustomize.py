"""Clocks that a test moves, in every Python process of a run: `time.time` and `time.monotonic` plus a stored offset.

Python imports this module by itself where its folder is on PYTHONPATH. The offset lies in the file CTXGC_TEST_CLOCK as
one float of eight bytes, which each call of a clock reads: a pause is over as soon as the test has written it.
"""

import mmap
import os
import struct
import time


def _move_clocks(path):
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    for name in ("time", "monotonic"):
        clock = getattr(time, name)
        setattr(time, name, lambda clock=clock: clock() + struct.unpack_from("d", offset)[0])


if path := os.environ.get("CTXGC_TEST_CLOCK"):
    _move_clocks(path)
