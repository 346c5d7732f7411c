"""Texts that a room writes and another room shows: short numbers of tokens, the characters around a match, the trigger
`shadow`."""

SHADOW = "shadow"
"""The trigger of a journal entry without evictions: a collection that shadow decided and did not carry out."""

MATCH_START, MATCH_END = "\x02", "\x03"
"""Around each match in a snippet: control characters, which no text on a screen has."""


def tokens_text(number: float) -> str:
    """Tokens, short, for a screen or a sentence: `950`, `12.3 k`, `4.56 M`."""
    if abs(number) < 1000:
        return str(round(number))
    if abs(number) < 999_950:
        return f"{number / 1e3:.1f} k"
    return f"{number / 1e6:.2f} M"


def compact_tokens_text(tokens: int) -> str:
    """Tokens in the tombstone's short form: `940`, `3.2k`, `41k`."""
    if tokens < 1000:
        return str(tokens)
    return f"{tokens / 1000:.1f}k" if tokens < 9950 else f"{round(tokens / 1000)}k"
