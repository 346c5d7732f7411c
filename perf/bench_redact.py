"""What does redaction cost on text that holds no secret, by size of segment?  Run: python -m perf.bench_redact"""

import random
import sys

from ctxgc.core.redaction.redact import redact
from perf.record import best_s, record
from perf.texts import code_like, json_like

TEXT_BYTES = 4_000_000
SECRET = b"gh" + b"p_" + b"aB3" * 12


def main(argv: list[str]) -> None:
    for segment_bytes in (500, 2_000, 8_000, TEXT_BYTES):
        clean("code", code_like(TEXT_BYTES, seed=1), segment_bytes)
        clean("json", json_like(TEXT_BYTES, seed=2), segment_bytes)
    found()


def clean(name: str, text: bytes, segment_bytes: int) -> None:
    segments = [text[at : at + segment_bytes] for at in range(0, len(text), segment_bytes)]
    took_s = best_s(lambda: [redact(segment) for segment in segments], repeats=3)
    false_positives = sum(redact(segment)[1] for segment in segments)
    numbers = {"redact_mb_per_s": len(text) / took_s / 1e6, "false_positives": false_positives}
    record(f"redact/{name}/{segment_bytes}", numbers)


def found() -> None:
    """A secret in one segment of ten: how many are missed?"""
    chance = random.Random(5)
    segments = [code_like(2_000, seed=n) for n in range(1000)]
    places = chance.sample(range(1000), 100)
    for place in places:
        at = chance.randrange(2_000)
        segments[place] = segments[place][:at] + b"\n" + SECRET + b"\n" + segments[place][at:]
    took_s = best_s(lambda: [redact(segment) for segment in segments], repeats=3)
    missed = sum(SECRET in redact(segment)[0] for segment in segments)
    record("redact/found", {"redact_mb_per_s": sum(map(len, segments)) / took_s / 1e6, "missed": missed})


if __name__ == "__main__":
    main(sys.argv[1:])
