"""How often does redaction take ordinary code for a credential?  Run: python -m perf.redact_corpus [FOLDER…]

Without folders: the standard library of the running Python, and its site-packages. Nothing of them is kept here.
"""

import os
import sys
import sysconfig
import time

from ctxgc.core.redaction.redact import find_secrets
from perf.record import record

SUFFIXES = (".py", ".pyi", ".js", ".ts", ".c", ".h", ".md", ".txt", ".json", ".toml", ".rst", ".sh", ".html", ".css")
FILE_BYTES_MAX = 2_000_000
BEFORE = 40


def main(argv: list[str]) -> None:
    folders = argv or [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
    size = hits = files = 0
    took_s = 0.0
    for path in sorted({path for folder in folders for path in files_below(folder)}):
        with open(path, "rb") as file:
            data = file.read()
        started = time.process_time()
        spans = find_secrets(data)
        took_s += time.process_time() - started
        files, size, hits = files + 1, size + len(data), hits + len(spans)
        for span in spans:
            before = data[max(0, span.start - BEFORE) : span.start]
            print(f"{os.path.basename(path)} {span.kind} {before!r} >> {data[span.start : span.end][:60]!r}")
    numbers = {"files": files, "mb": size / 1e6, "hits": hits, "hits_per_mb": hits / size * 1e6}
    record("redact/corpus", numbers | {"redact_mb_per_cpu_s": size / took_s / 1e6})


def files_below(folder: str) -> list[str]:
    return [
        path
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(SUFFIXES) and os.path.getsize(path := os.path.join(place, name)) <= FILE_BYTES_MAX
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
