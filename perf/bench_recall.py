"""Does a search find what answers it as often as it must?  Run: python -m perf.bench_recall

The questions and the gates of `perf.recall`, over the conversations and sessions of CTXGC_CORPUS. Exits 1 below a gate.
"""

import os
import sys
from pathlib import Path

from perf.recall import flat, measure, told_missed
from perf.record import record


def main(argv: list[str]) -> int:
    corpus = os.environ.get("CTXGC_CORPUS", "")
    found = measure(Path(corpus, "locomo"), Path(corpus)) if corpus else {}
    if not any(found.values()):
        record("recall", {"skipped": "CTXGC_CORPUS names no conversations and no recorded sessions"})
        return 0
    record("recall", flat(found))
    return told_missed(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
