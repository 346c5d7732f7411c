"""What docs/design/policy.md says: prose with the numbers put in, so that neither outlives the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ctxgc.core.pacing.pacer import TUNED
from perf.policy_prose import (
    AIMS_NOTE,
    BILLS_NOTE,
    BOUNDS_NOTE,
    FOLD_NOTE,
    FRONTIER_NOTE,
    IDEAL_NOTE,
    LAW,
    MADE,
    REREADS,
    STORY,
    TRIED,
)

AGENTS = {"claude_code": "Claude Code", "codex": "Codex", "all": "both"}
Evidence = dict[str, Any]


def page(evidence: Evidence) -> str:
    """The whole page."""
    parts = [
        STORY.format(**facts(evidence)),
        LAW,
        "## By the provider's bill\n\n" + BILLS_NOTE + true_bills(evidence),
        "## What was aimed at, and what came of it\n\n"
        + AIMS_NOTE.format(shipped=at(at_shipped(evidence, "results")["all"]), ideal=ideal_parts(evidence))
        + aims(evidence),
        "## Where the frontier lies\n\n" + FRONTIER_NOTE + pictures(),
        "## Out of fold, by agent\n\n" + out_of_fold(evidence),
        "## How far from perfect\n\n" + bounds(evidence),
        REREADS.format(**reread_facts(evidence)) + rereads(evidence),
        TRIED.format(**gaps(evidence)),
        MADE,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


# Numbers


def fold(evidence: Evidence, profile: str, scope: str) -> dict[str, Any]:
    """The out-of-fold table of a setting, by agent."""
    for one in evidence["settings"]:
        if (one["profile"], one["scope"]) == (profile, scope):
            found: dict[str, Any] = one["table"]
            return found
    raise KeyError((profile, scope))


def played(evidence: Evidence, profile: str, scope: str, agent: str, policy: str = "ctxgc") -> dict[str, Any]:
    """What a replay with the shipped dials says of a policy."""
    found: dict[str, Any] = evidence["replay"][profile]["agents"][agent][scope]["policies"][policy]
    return found


def at(row: dict[str, Any]) -> str:
    """Cost at faults."""
    return f"{row['cost_pct']:.1f} % at {row['faults']:.2f}"


def facts(evidence: Evidence) -> dict[str, Any]:
    """Numbers of the story."""
    agents = evidence["replay"]["cache_5m"]["agents"]
    both, heap = fold(evidence, "cache_5m", "all")["all"], agents["all"]["heap_profile"]
    return {
        "claude_5m": played(evidence, "cache_5m", "all", "claude_code")["cost_pct"],
        "claude_1h": played(evidence, "cache_1h", "all", "claude_code")["cost_pct"],
        "codex": played(evidence, "openai", "all", "codex")["cost_pct"],
        "sessions": evidence["sessions"],
        "turns": f"{agents['all']['turns']:,}",
        "cost": both["cost_pct"],
        "low": both["cost_interval"][0],
        "high": both["cost_interval"][1],
        "faults": both["faults"],
        "lru": played(evidence, "cache_5m", "results", "all", "lru")["cost_pct"],
        "live": heap["live"],
        "drag": heap["drag"],
        "void": heap["void"],
    }


TRUE_PRICES = (("claude_code", "cache_5m"), ("claude_code", "cache_1h"), ("codex", "openai"))
"""Each agent at the prices, and with the cache, of its own provider."""


def true_bills(evidence: Evidence) -> str:
    """What ships beside what a provider's context editing does, each agent at its own provider's prices."""
    rows = []
    for agent, profile in TRUE_PRICES:
        for scope in ("results", "all"):
            for policy, name in (("ctxgc", "ctxgc"), ("clear_100k_keep_3", "clear at 100 k, keep 3")):
                row = played(evidence, profile, scope, agent, policy)
                names = ("cost_pct", "worst_session_cost_pct", "worst_turn_cost_pct")
                cells = [f"{row[key]:.1f}" for key in names]
                rows.append((AGENTS[agent], profile, scope, name, *cells, f"{row['faults_per_100_turns']:.2f}"))
    head = ("agent", "prices", "goes", "policy", "cost %", "worst session", "worst turn", "faults / 100 turns")
    return table(head, rows)


def ideal_parts(evidence: Evidence) -> str:
    """Which numbers of the page were not made again by the provider's bill."""
    profiles = [name for name, replay in evidence["replay"].items() if replay.get("bill") != "true"]
    tuned = [] if evidence.get("tuned_bill") == "true" else ["everything out of fold"]
    parts = tuned + [f"everything at `{name}` prices" for name in profiles]
    return IDEAL_NOTE.format(parts=" and ".join(parts)) if parts else ""


def at_shipped(evidence: Evidence, scope: str) -> dict[str, Any]:
    """A scope with the Φ that ships and a 5-minute cache, out of fold, by agent."""
    thousands = f"{TUNED['cache_5m'].fault_price_tokens / 1000:.0f}"
    told = next(one for one in evidence["settings"] if (one["profile"], one["scope"]) == ("cache_5m", scope))
    found: dict[str, Any] = told["frontier"][thousands]
    return found


def verdict(is_reached: bool) -> str:
    """One word."""
    return "reached" if is_reached else "**missed**"


def aims(evidence: Evidence) -> str:
    """Every target, with what both agents and each of them came to."""
    rows = []
    for what, profile, scope, cost_max, faults_max in (
        ("5-minute cache, tool results", "cache_5m", "results", 81, 1.5),
        ("… with tool inputs and old thinking", "cache_5m", "all", 78, 1.6),
        ("1-hour cache, all three", "cache_1h", "all", 87, 1.6),
        ("no cache, all three", "uncached", "all", 75, 1.6),
    ):
        told = fold(evidence, profile, scope)
        good = [told[a]["cost_pct"] <= cost_max and told[a]["faults"] <= faults_max for a in AGENTS]
        cells = [at(told[agent]) for agent in AGENTS]
        rows.append((what, f"≤ {cost_max} % at ≤ {faults_max}", *cells, _which(good)))
    rows += [_views(evidence), _explicit(evidence)]
    rows += [_clearing(evidence, "results", "tool results"), _clearing(evidence, "all", "what ships")]
    rows += [_recorded(evidence, "cache_5m", 86.5), _recorded(evidence, "cache_1h", 94.0)]
    rows += [_worst(evidence), _victims(evidence)]
    us, uncached = (evidence["replay"][profile]["policy_us"] for profile in ("cache_5m", "uncached"))
    rows.append(
        (
            "time of a turn, median",
            "≤ 50 µs; ≤ 1 ms at 10 k",
            "",
            "",
            f"{us:.0f} µs; 6 µs",
            TIMES.format(uncached=uncached),
        )
    )
    return table(("what", "reach", *AGENTS.values(), ""), rows)


TIMES = "reached; without a cache every turn looks ({uncached:.0f} µs); a look at 10 k bodies takes 7 ms"


def _which(good: Sequence[bool]) -> str:
    names = list(AGENTS.values())
    missed = [name for name, is_good in zip(names[:2], good, strict=False) if not is_good]
    return verdict(good[2]) + (f"; not by {' and '.join(missed)} alone" if missed and good[2] else "")


def _views(evidence: Evidence) -> tuple[str, ...]:
    at_phi, folds = at_shipped(evidence, "all"), fold(evidence, "cache_5m", "all")
    found = [at_phi[agent]["views"] for agent in AGENTS]
    said = f"{verdict(found[2] <= 0.95)}; by the folds' own Φ {folds['all']['views']:.2f}"
    return "reads whose newest view is out, all three", "≤ 0.95", *(f"{one:.2f}" for one in found), said


def _explicit(evidence: Evidence) -> tuple[str, ...]:
    at_phi = at_shipped(evidence, "results")
    same, found = at_phi["all"]["same"], [at_phi[agent]["explicit"] for agent in AGENTS]
    said = f"{verdict(found[2] <= 0.3)}; the very same lines {same:.2f}; see below"
    return "the same, an edit counted as a view, tool results", "≤ 0.3", *(f"{one:.2f}" for one in found), said


def _clearing(evidence: Evidence, scope: str, what: str) -> tuple[str, ...]:
    cells, good = [], []
    for agent in AGENTS:
        own = played(evidence, "cache_5m", scope, agent)
        clear = played(evidence, "cache_5m", scope, agent, "clear_100k_keep_3")
        cells.append(
            f"{own['cost_pct']:.1f} at {own['faults_per_100_turns']:.2f}, not "
            f"{clear['cost_pct']:.1f} at {clear['faults_per_100_turns']:.2f}"
        )
        good.append(own["cost_pct"] < clear["cost_pct"] and own["faults_per_100_turns"] < clear["faults_per_100_turns"])
    return f'against "clear at 100 k, keep 3", {what}', "cheaper, and fewer faults", *cells, _which(good)


def _recorded(evidence: Evidence, profile: str, most: float) -> tuple[str, ...]:
    cost = round(played(evidence, profile, "results", "claude_code")["cost_pct"], 1)
    what = {"cache_5m": "5-minute cache", "cache_1h": "1-hour cache"}[profile]
    return (
        f"{what}, tool results, what ships",
        f"Claude Code ≤ {most:g} %",
        f"{cost:.1f} %",
        "",
        "",
        verdict(cost <= most),
    )


def _worst(evidence: Evidence) -> tuple[str, ...]:
    found = []
    for agent in AGENTS:
        profiles = [name for name, replay in evidence["replay"].items() if agent in replay["agents"]]
        rows = [played(evidence, profile, scope, agent) for profile in profiles for scope in ("results", "all")]
        found.append(max(row["worst_session_cost_pct"] for row in rows))
    cells = (f"{one:.1f} %" for one in found)
    return "worst session at any price", "≤ 101 % of nothing", *cells, verdict(found[2] <= 101)


def _victims(evidence: Evidence) -> tuple[str, ...]:
    lru = played(evidence, "cache_5m", "results", "all", "lru")
    lru_turns = evidence["replay"]["cache_5m"]["agents"]["all"]["turns"]
    found = [played(evidence, "cache_5m", "results", agent, "key_just_enough")["faults_vs_lru"] for agent in AGENTS]
    return (
        "victims alone at 34 k raw, faults against LRU",
        "≤ 0.75",
        *(f"{one:.2f}" for one in found),
        FEW.format(verdict=verdict(found[2] <= 0.75), faults=round(lru["faults_per_100_turns"] * lru_turns / 100)),
    )


FEW = "{verdict}; {faults} faults of LRU in all"


def out_of_fold(evidence: Evidence) -> str:
    """Every setting by agent."""
    rows = []
    for one in evidence["settings"]:
        for agent, name in AGENTS.items():
            row = one["table"][agent]
            rows.append(
                (
                    one["profile"],
                    one["scope"],
                    name,
                    f"{row['cost_pct']:.1f} {_between(row['cost_interval'], 1)}",
                    f"{row['faults']:.2f} {_between(row['faults_interval'], 2)}",
                    f"{row['prompt_pct']:.0f}",
                    f"{row['median_session_pct']:.1f}",
                    f"{row['worst_session_pct']:.1f}",
                    ", ".join(map(str, one["chosen"])) if agent == "claude_code" else "",
                )
            )
    head = ("prices", "goes", "agent", "cost %", "faults / 100 turns", "prompt %", "median", "worst", "Φ by fold, k")
    return FOLD_NOTE + table(head, rows)


def _between(interval: Sequence[float], digits: int) -> str:
    return f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def bounds(evidence: Evidence) -> str:
    """The shipped dials beside what perfect knowledge gives."""
    rows = []
    for profile in ("cache_5m", "cache_1h", "uncached"):
        for scope in ("results", "all"):
            for agent, name in AGENTS.items():
                cells = [f"{played(evidence, profile, scope, agent, policy)['cost_pct']:.1f}" for policy in KNOWING]
                bound = evidence["replay"][profile]["agents"][agent][scope]["bounds"]["certified_cost_pct"]
                rows.append((profile, scope, name, *cells, f"{bound:.1f}"))
    head = ("prices", "goes", "agent", "ctxgc", "this pacer, knowing all", "no fault, no waste", "certified")
    return BOUNDS_NOTE + table(head, rows)


KNOWING = ("ctxgc", "perfect_pacer", "liveness")


def gaps(evidence: Evidence) -> dict[str, float | str]:
    """What perfect knowledge would save, in points."""

    def cost(profile: str, policy: str) -> float:
        found: float = played(evidence, profile, "all", "all", policy)["cost_pct"]
        return found

    schedule = cost("cache_5m", "perfect_pacer") - cost("cache_5m", "liveness")
    return {
        "prediction": cost("cache_5m", "ctxgc") - cost("cache_5m", "perfect_pacer"),
        "schedule": abs(schedule),
        "beyond": "below" if schedule > 0 else "above",
        "uncached": cost("uncached", "ctxgc") - cost("uncached", "perfect_pacer"),
    }


def reread_facts(evidence: Evidence) -> dict[str, Any]:
    """Numbers of the paragraph on explicit faults."""
    row = at_shipped(evidence, "results")["all"]
    liveness = played(evidence, "cache_5m", "results", "all", "liveness")["explicit_faults_per_100_turns"]
    return {
        "rereads": row["rereads"],
        "explicit": row["explicit"],
        "views": row["views"],
        "same": row["same"],
        "part": 100 * row["explicit"] / row["rereads"],
        "blind": row["blind"],
        "liveness": liveness,
    }


def rereads(evidence: Evidence) -> str:
    """The table beside it."""
    told = at_shipped(evidence, "results")
    rows = [
        (
            name,
            f"{told[agent]['rereads']:.2f}",
            f"{told[agent]['views']:.2f}",
            f"{told[agent]['explicit']:.2f}",
            f"{100 * told[agent]['explicit'] / told[agent]['rereads']:.1f} %",
            f"{told[agent]['blind']:.2f}",
            f"{played(evidence, 'cache_5m', 'results', agent, 'liveness')['explicit_faults_per_100_turns']:.2f}",
        )
        for agent, name in AGENTS.items()
    ]
    head = (
        "per 100 turns",
        "read again what was in view",
        "newest view evicted",
        "the same, an edit counted as a view",
        "part",
        "no read of the file left",
        RIGHT,
    )
    return "\n\n" + table(head, rows)


RIGHT = "under a policy that is never wrong"


def pictures() -> str:
    """The drawings."""
    names = {"cache_5m": "5-minute cache", "cache_1h": "1-hour cache", "uncached": "no cache", "subscription": "a plan"}
    return "\n\n".join(f"![Cost against faults, {name}](policy-{profile}.svg)" for profile, name in names.items())
