"""Fixed texts that resemble what sessions hold: code with secrets' names but no secrets, and JSON of tools."""

import json
import random

WORDS = """get set token secret password key value path config user session request reply error index count list
state client server socket buffer offset window segment result message parse render collect evict recall""".split()  # noqa: SIM905 -- thirty lines of one word each say no more


def code_like(size_bytes: int, seed: int) -> bytes:
    """Source code, as dense in `token = …` and `password` as a real authentication module."""
    chance = random.Random(seed)
    lines: list[str] = []
    total = 0
    while total < size_bytes:
        name, other, third = (_identifier(chance) for _ in range(3))
        line = chance.choice(
            (
                f"def {name}(self, {other}: str, {third}: int = {chance.randrange(9999)}) -> None:",
                f"    {name} = self.{other}({third}, '{chance.choice(WORDS)}')",
                f"    if {name} is not None and {other} != {chance.randrange(99)}:",
                f'        raise ValueError(f"no {name} in {{{other}}}, see https://example.org/{third}")',
                f"    # The {chance.choice(WORDS)} of {' '.join(chance.choices(WORDS, k=6))}.",
                f"    return {name}[{other} : {third}] + {{'{chance.choice(WORDS)}': {other}}}",
                "",
            )
        )
        lines.append(line)
        total += len(line) + 1
    return "\n".join(lines).encode()[:size_bytes]


def json_like(size_bytes: int, seed: int) -> bytes:
    """A tool's answer: objects with names, numbers, digests and paths."""
    chance = random.Random(seed)
    lines: list[str] = []
    total = 0
    while total < size_bytes:
        entry = {
            "path": "/".join(chance.choices(WORDS, k=4)) + ".py",
            "sha": f"{chance.getrandbits(160):040x}",
            "size": chance.randrange(10**6),
            "max_tokens": chance.randrange(10**5),
            "text": " ".join(chance.choices(WORDS, k=12)),
        }
        lines.append(json.dumps(entry))
        total += len(lines[-1]) + 1
    return "\n".join(lines).encode()[:size_bytes]


def _identifier(chance: random.Random) -> str:
    words = chance.choices(WORDS, k=chance.randint(1, 3))
    return "_".join(words) if chance.random() < 0.7 else words[0] + "".join(map(str.title, words[1:]))
