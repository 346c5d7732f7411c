"""No way out: from the start of this Python on, no socket leads off the machine, nor is a name of another one asked.

Python loads this by its name in every child that inherits `PYTHONPATH`, and `conftest.py` loads it for the suite. It
hears of sockets that Python opens; uvloop's own and those of other languages pass it by.
"""

import sys

HERE = ("localhost", "::1")
ASKED = {"socket.connect": 1, "socket.bind": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0}
"""The event, and which of its arguments names the other end."""
INET, INET6 = 2, 10


def refuse(event, arguments):
    """An audit hook: raise where an address is neither a path nor of this machine."""
    if event not in ASKED:
        return
    where = arguments[ASKED[event]]
    if ASKED[event] and arguments[0].family not in (INET, INET6):
        return
    host = where[0] if isinstance(where, tuple) else where
    host = host.decode() if isinstance(host, bytes) else host
    if host is not None and host not in HERE and not host.startswith("127."):
        raise RuntimeError(f"a test may not leave this machine: {event} {host}")


sys.addaudithook(refuse)
