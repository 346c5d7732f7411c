"""Reading a project's file as it is on the disk, for a session that changed the file: bounded, and never outside.

A transcript may name any path. Only a plain file inside the session's own project is opened, no link and no pipe leads
out of the project, and a file that changed after the session's own change is not read.
"""

from __future__ import annotations

import os
import stat

FILE_BYTES_MAX = 2**20
CLOCK_SLACK_S = 2.0
"""A file's time may be this much later than the record of the call that wrote the file."""


def read_unchanged_file(path: str, project: str, until_s: float) -> bytes | None:
    """The content of a project's file without a change since `until_s`, else `None`. Blocks; raises no error."""
    root, real = os.path.realpath(project), os.path.realpath(path)
    if not (project and until_s > 0 and os.path.isabs(path) and real.startswith(root.rstrip("/") + "/")):
        return None
    try:
        # A pipe would block the open, and a link that appeared since would lead out of the project.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        is_plain = stat.S_ISREG(facts.st_mode) and facts.st_size <= FILE_BYTES_MAX
        if not is_plain or facts.st_mtime > until_s + CLOCK_SLACK_S:
            return None
        try:
            return file.read(FILE_BYTES_MAX)
        except OSError:
            return None
