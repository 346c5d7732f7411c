"""The judge's table: nats by group, and beside the shipped policy's victims, with intervals over sessions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from ctxgc.replay.statistics import COVERAGE, SEED, SESSIONS_MIN
from perf.judge.sampling import SHIPPED, UNUSED, USED, Case

DRAWS = 2000
YOUNG_TURNS = 15
OLD_TURNS = 40
CLIP_NATS = 30.0
"""A body's nats count for at most this in the clipped mean: a reply that copies a whole body saves hundreds, and one
such body moves the plain mean of a group more than all others do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An evaluated case without its texts."""

    group: str
    pair: str
    session: str
    body: str
    """The start of a digest of the body's text."""
    tokens: int
    """Raw tokens of the body."""
    nats: float
    age_turns: int
    is_used: bool
    is_used_later: bool
    is_used_later_by_placebo: bool


def verdict_of(case: Case, nats: float) -> Verdict:
    """A case's verdict."""
    return Verdict(
        case.group,
        case.pair,
        case.body.session,
        case.body.digest.hex()[:16],
        case.body.tokens,
        nats,
        case.age_turns,
        case.is_used,
        case.is_used_later,
        case.is_used_later_by_placebo,
    )


Rows = Sequence[Verdict]
Statistic = Callable[[Rows], float]


def nats_per_body(rows: Rows) -> float:
    """The mean."""
    return sum(row.nats for row in rows) / len(rows)


def clipped_nats(rows: Rows) -> float:
    """The mean with each body's nats held between −`CLIP_NATS` and `CLIP_NATS`."""
    return sum(min(max(row.nats, -CLIP_NATS), CLIP_NATS) for row in rows) / len(rows)


def better_percent(rows: Rows) -> float:
    """The share of bodies that are worth more than their placebos; of bodies that are worth nothing it is a half."""
    return 100 * sum(row.nats > 0 for row in rows) / len(rows)


def nats_per_1000_tokens(rows: Rows) -> float:
    """Nats of all bodies for each thousand of their raw tokens."""
    return 1000 * sum(row.nats for row in rows) / sum(row.tokens for row in rows)


STATISTICS: dict[str, Statistic] = {
    "nats": nats_per_body,
    "nats_clipped": clipped_nats,
    "nats_per_1000": nats_per_1000_tokens,
    "better_percent": better_percent,
}


def interval(samples: Sequence[Rows], statistic: Callable[..., float]) -> tuple[float, float] | None:
    """The 95 % interval of a statistic of one or more samples, sessions drawn whole and for all samples at once.

    None with too few sessions. The same rows give the same interval.
    """
    shelves = [_by_session(rows) for rows in samples]
    sessions = sorted(set().union(*shelves))
    if len(sessions) < SESSIONS_MIN:
        return None
    chance = Random(SEED)
    values = []
    for _ in range(DRAWS):
        draw = chance.choices(sessions, k=len(sessions))
        drawn = [[row for name in draw for row in shelf.get(name, ())] for shelf in shelves]
        if all(drawn):
            values.append(statistic(*drawn))
    values.sort()
    tail, last = (1 - COVERAGE) / 2, len(values) - 1
    return values[round(tail * last)], values[round((1 - tail) * last)]


def _by_session(rows: Rows) -> dict[str, list[Verdict]]:
    shelf: dict[str, list[Verdict]] = defaultdict(list)
    for row in rows:
        shelf[row.session].append(row)
    return shelf


def table(verdicts: Rows) -> dict[str, dict[str, Any]]:
    """Each group's numbers; of the shipped policy's victims, and of any body at a collection, those of an age too."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    counted: set[tuple[str, str]] = set()
    for verdict in verdicts:
        groups[verdict.group].append(verdict)
        if verdict.group == SHIPPED:
            groups[f"shipped, {age_of(verdict)}"].append(verdict)
        # A body that several groups hold is one body here.
        moment = verdict.pair.rpartition("/")[0]
        if verdict.group not in (USED, UNUSED) and (moment, verdict.body) not in counted:
            counted.add((moment, verdict.body))
            groups[f"any, {age_of(verdict)}"].append(verdict)
    return {name: _row(groups[name]) for name in sorted(groups, key=_order)}


def age_of(verdict: Verdict) -> str:
    """The age of a body at the reply: young, middle or old."""
    if verdict.age_turns < YOUNG_TURNS:
        return "young"
    return "middle" if verdict.age_turns <= OLD_TURNS else "old"


def _order(name: str) -> tuple[bool, bool]:
    """Policies and their rows by age behind what a turn used: a sort keeps the order of equals."""
    return name not in (USED, UNUSED), ", " in name


def _row(rows: Rows) -> dict[str, Any]:
    return {
        "bodies": len(rows),
        "sessions": len({row.session for row in rows}),
        "tokens": round(sum(row.tokens for row in rows) / len(rows)),
        "age_turns": round(sum(row.age_turns for row in rows) / len(rows), 1),
        **_numbers([rows], STATISTICS),
    }


def differences(verdicts: Rows) -> dict[str, dict[str, Any]]:
    """Each group less its leading bodies, over the leading bodies that have a match in it: equal sizes, one reply."""
    rows_by_name = {}
    leading = {row.pair: row for row in verdicts if row.group in (SHIPPED, USED)}
    matches: dict[str, list[Verdict]] = defaultdict(list)
    for row in verdicts:
        if row.group not in (SHIPPED, USED):
            matches[row.group].append(row)
    for group, rows in matches.items():
        leads = [leading[row.pair] for row in rows]
        rows_by_name[f"{group} − {leads[0].group}"] = {
            "pairs": len(rows),
            "same_body": sum(
                row.nats == lead.nats and row.tokens == lead.tokens for row, lead in zip(rows, leads, strict=True)
            ),
            **_numbers([rows, leads], {name: _less(statistic) for name, statistic in STATISTICS.items()}),
        }
    return rows_by_name


def _less(statistic: Statistic) -> Callable[[Rows, Rows], float]:
    return lambda rows, leads: statistic(rows) - statistic(leads)


def used_later_percent(rows: Rows) -> float:
    """The share of bodies that the lexical count says some later turn used."""
    return 100 * sum(row.is_used_later for row in rows) / len(rows)


def used_later_by_placebo_percent(rows: Rows) -> float:
    """The same by the outputs of another session."""
    return 100 * sum(row.is_used_later_by_placebo for row in rows) / len(rows)


LEXICAL: dict[str, Statistic] = {
    "used_later_percent": used_later_percent,
    "used_later_by_placebo_percent": used_later_by_placebo_percent,
}


def lexical(cases: Iterable[Case]) -> dict[str, dict[str, Any]]:
    """The lexical count of every drawn case, evaluated or not, by group: the count needs no judge."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(verdict_of(case, 0.0))
    return {name: {"bodies": len(rows), **_numbers([rows], LEXICAL)} for name, rows in groups.items()}


def _numbers(samples: Sequence[Rows], statistics: Mapping[str, Callable[..., float]]) -> dict[str, Any]:
    """Each statistic of the samples, and its interval."""
    numbers: dict[str, Any] = {}
    for name, statistic in statistics.items():
        ends = interval(samples, statistic)
        numbers[name] = round(statistic(*samples), 2)
        numbers[f"{name}_interval"] = [round(end, 2) for end in ends] if ends else None
    return numbers


def evidence(verdicts: Rows) -> dict[str, Any]:
    """All numbers, and each verdict."""
    return {
        "table": table(verdicts),
        "differences": differences(verdicts),
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
