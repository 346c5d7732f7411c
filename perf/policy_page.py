"""The evidence for the shipped policy, as a page.  Run: python -m perf.policy_page [--take TUNE.json|- REPORT.json…]

    perf.tune --json ──┐
                       ├──take──▶ perf/policy.json (numbers only) ──▶ docs/design/policy.md and its drawings
    ctxgc replay --json┘

Without `--take` the page is written again from the numbers that are in the project. With `-` for the tuner's evidence,
and for every price profile without evidence or without a report, the numbers that are in the project stay.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ctxgc.core.pacing.price_profiles import OLDER_NAMES
from ctxgc.core.reuse import SHIPPED
from ctxgc.replay.terms import BILL_TRUE
from perf.policy_plots import Panel, Point, frontier, weights
from perf.policy_words import page
from perf.record import ROOT

EVIDENCE = Path(__file__).parent / "policy.json"
PAGE = ROOT / "docs" / "design" / "policy.md"
PROFILES = {"cache_5m": "5-minute cache", "cache_1h": "1-hour cache", "uncached": "No cache", "subscription": "A plan"}
AGENTS = {"claude_code": "Claude Code", "codex": "Codex"}
SCOPES = {"results": "policies", "all": "policies_with_inputs_and_thinking"}
KEPT = (
    "name",
    "cost_pct",
    "interval",
    "prompt_tokens_pct",
    "faults_per_100_turns",
    "view_faults_per_100_turns",
    "explicit_faults_per_100_turns",
    "strict_faults_per_100_turns",
    "placebo_faults_per_100_turns",
    "faults_vs_lru",
    "median_session_cost_pct",
    "worst_session_cost_pct",
    "worst_turn_cost_pct",
)
OTHERS = {"clear_100k_keep_3": "clear at 100 k", "key_idle_4k": "when idle", "rules_only": "rules only", "lru": "LRU"}
KNOWING = {"liveness": "no fault, no waste", "perfect_pacer": "knowing all"}
WEIGHTS = {
    "sub_agent": "a sub-agent's report",
    "has_path": "names a file",
    "mentions": "only names it, in a command",
    "full_read": "a whole file was read",
    "edits": "edits a file",
    "ranged_read": "part of a file was read",
    "command": "ran a command",
    "thinking": "thinking",
    "current": "the newest view of lines of a file",
    "named": "a root refers to it",
    "searches": "a search",
    "garbage": "proven garbage",
}
STEPS = {
    "size": "twice as large",
    "refs": "twice the references",
    "known": "twice as often named before",
    "age": "twice as old",
    "idle": "twice as long unused",
}
LN_2 = 0.6931


def main(argv: Sequence[str]) -> None:
    """Take evidence in if told to, and write the page."""
    if argv[:1] == ["--take"]:
        EVIDENCE.write_text(json.dumps(taken(*argv[1:]), indent=None, separators=(",", ":")) + "\n")
    evidence = json.loads(EVIDENCE.read_text())
    for profile in PROFILES:
        drawing = frontier(f"{PROFILES[profile]}: cost against faults", panels(evidence, profile), LEGEND)
        PAGE.with_name(f"policy-{profile}.svg").write_text(drawing)
    fitted = evidence["weights"]
    rows = [(name, fitted[key]) for key, name in WEIGHTS.items()]
    rows += [(name, fitted[key] * LN_2) for key, name in STEPS.items()]
    PAGE.with_name("policy-weights.svg").write_text(weights(sorted(rows, key=lambda row: -row[1])))
    PAGE.write_text(page(evidence))


LEGEND = {"a": "tool results", "b": "with tool inputs and thinking"}


def taken(tune: str, *reports: str) -> dict[str, Any]:
    """What the page needs of them: numbers, and no name of a session or a file."""
    evidence: dict[str, Any] = json.loads(EVIDENCE.read_text())
    if tune != "-":
        tuned = json.loads(Path(tune).read_text())
        fresh = {one["profile"] for one in tuned["settings"]}
        kept = [one for one in evidence["settings"] if one["profile"] not in fresh | set(OLDER_NAMES)]
        evidence |= {"settings": tuned["settings"] + kept, "weights": asdict(SHIPPED), "tuned_bill": BILL_TRUE}
    evidence["replay"] = {name: one for name, one in evidence["replay"].items() if name not in OLDER_NAMES}
    for path in reports:
        report = json.loads(Path(path).read_text())
        agents = {}
        for agent, told in report["agents"].items():
            kept = {key: told[key] for key in ("sessions", "turns", "placebo_precision", "host_compactions")}
            kept["heap_profile"] = told["heap_profile"]
            for scope, key in SCOPES.items():
                bounds = told[key.replace("policies", "bounds")]
                kept[scope] = {"bounds": bounds, "policies": {row["name"]: _numbers(row) for row in told[key]}}
            agents[agent] = kept
        us = report["timing"]["policy_us_per_turn"]["ctxgc"]["median"]
        evidence["replay"][report["profile"]] = {"agents": agents, "policy_us": us, "bill": report["bill"]}
    return evidence


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in KEPT[1:]}


def panels(evidence: dict[str, Any], profile: str) -> list[Panel]:
    """One for each agent."""
    told = {one["scope"]: one for one in evidence["settings"] if one["profile"] == profile}
    found = []
    for agent, title in AGENTS.items():
        lines, chosen = {}, {}
        for kind, scope in zip(LEGEND, SCOPES, strict=True):
            rows = [rows[agent] for rows in told[scope]["frontier"].values()]
            lines[kind] = [Point(row["faults"], row["cost_pct"]) for row in rows]
            row = told[scope]["table"][agent]
            chosen[kind] = Point(row["faults"], row["cost_pct"], row["faults_interval"], row["cost_interval"])
        replayed = evidence["replay"][profile]["agents"][agent]["results"]
        found.append(
            Panel(
                f"{title}, {evidence['replay'][profile]['agents'][agent]['sessions']} sessions",
                lines,
                chosen,
                {name: _point(replayed, key) for key, name in OTHERS.items()},
                {name: _point(replayed, key) for key, name in KNOWING.items()},
                replayed["bounds"]["certified_cost_pct"],
            )
        )
    return found


def _point(replayed: dict[str, Any], name: str) -> Point:
    row = replayed["policies"][name]
    return Point(row["faults_per_100_turns"], row["cost_pct"])


if __name__ == "__main__":
    main(sys.argv[1:])
