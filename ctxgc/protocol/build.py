"""The build of this installation: by it a command knows whether a running gateway has the code that the command has."""

from __future__ import annotations

import os
from functools import cache
from hashlib import blake2b

from ctxgc import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DIGEST_BYTES = 4


@cache
def build_id() -> str:
    """The version, with a digest of the package's code as it lies on disk at the first call in this process."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for path in _source_paths():
        with open(path, "rb") as source:
            digest.update(source.read())
    return f"{__version__}+{digest.hexdigest()}"


def _source_paths() -> Iterator[str]:
    package = os.path.dirname(os.path.dirname(__file__))
    for folder, folders, names in os.walk(package):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith(".py"))
