"""What does it cost to pack excerpts of sixteen hits into a budget?  Run: python -m perf.bench_excerpts

Counted: characters that the tokenizer reads for each character of the frame, so that little is counted and not shown;
and the tokens by which a frame is above its budget.
"""

import sys

from ctxgc.core.excerpts import ExcerptSource, Packer, pack_matches
from ctxgc.core.line_ranges import query_words, split_pieces_into_lines
from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import load_ranks
from perf.record import best_s, record
from perf.texts import code_like, json_like

HITS = 16
HIT_BYTES = 40_000
QUERY = "refuse the session whose offset has no parent"


def main(argv: list[str]) -> None:
    sources = [source(key) for key in range(HITS)]
    for budget in (1_000, 4_000, 16_000):
        measure(sources, budget)


def source(key: int) -> ExcerptSource:
    text = (code_like if key % 2 else json_like)(HIT_BYTES, seed=key).decode()
    facts = (f"743863814-{key}", "claude_code", "turn 12", "Read src/session.py:1-900")
    return ExcerptSource(
        key=key, title="match", facts=facts, lines=split_pieces_into_lines([text]), tokens=HIT_BYTES // 4
    )


def measure(sources: list[ExcerptSource], budget: int) -> None:
    counter = TokenCounter(lambda: load_ranks({}))
    words = query_words(QUERY)

    def pack() -> Packer:
        packer = Packer(budget, counter.count)
        pack_matches(packer, sources, words)
        return packer

    pack()
    before = counter.encoded_chars
    frame = pack().build_frame()
    encoded = counter.encoded_chars - before
    numbers = {
        "pack_ms": best_s(lambda: pack().build_frame()) * 1e3,
        "frame_tokens": frame.tokens,
        "excerpts": len(frame.choices),
        "encoded_per_char": encoded / len(frame.text),
        "over_budget_tokens": max(0, counter.count(frame.text) - budget),
    }
    record(f"excerpts/{budget}", numbers)


if __name__ == "__main__":
    main(sys.argv[1:])
