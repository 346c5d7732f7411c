"""Lessons of faults: a session whose bodies are asked back more often than expected is cut less, until it calms.

    a collection ──▶ faults that the estimate expects      a recall, a read of an evicted view ──▶ faults observed
    factor = (observed + TRUSTED) / (expected + TRUSTED), at least 1
    odds of a body = the estimate's odds · factor of the session · factor of the body's tool in the session

All sums fade. A session that asks back all bodies raises the odds with each fault, until no body is worth evicting; a
session that faults as expected is cut as before. Faults of one tool weigh twice on that tool's bodies.

Source: a Poisson rate with a gamma prior; measured against a bound on what may be out on trial, docs/decisions/0048.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

TRUSTED = 1.0
"""The weight of the estimate, in faults: with none expected, so many observed double the odds."""
FADE_TURNS = 120
"""Turns after which half of a fault counts no more."""
REREAD_WEIGHT = 0.5
"""What a read again weighs beside a recall: agents also read again what they still see."""
TOOLS_MAX = 64
"""Tools of a session with lessons of their own: the tool with the fewest faults, as they still count, makes room."""


class FaultCounts(NamedTuple):
    """Faults that the estimate expected, and faults that came."""

    expected: float = 0.0
    observed: float = 0.0

    @property
    def odds_factor(self) -> float:
        """What the odds of reuse are multiplied by, at least 1."""
        return max((self.observed + TRUSTED) / (self.expected + TRUSTED), 1.0)

    def with_faults(self, expected: float, observed: float) -> FaultCounts:
        """The counts with more of each."""
        return FaultCounts(self.expected + expected, self.observed + observed)

    def after_turns(self, turns: int) -> FaultCounts:
        """The counts so many turns later."""
        fade = 0.5 ** (turns / FADE_TURNS)
        return FaultCounts(self.expected * fade, self.observed * fade)


NO_COUNTS = FaultCounts()


class FaultLessons(NamedTuple):
    """A session's faults, of all bodies and by the tool of the body; a body of no tool has the tool ""."""

    session: FaultCounts = NO_COUNTS
    by_tool: Mapping[str, FaultCounts] = MappingProxyType({})

    def after_turns(self, turns: int) -> FaultLessons:
        """The lessons so many turns later."""
        if turns <= 0:
            return self
        return FaultLessons(
            self.session.after_turns(turns), {tool: counts.after_turns(turns) for tool, counts in self.by_tool.items()}
        )

    def after_collection(self, expected: Mapping[str, float]) -> FaultLessons:
        """The lessons once bodies left of which the estimate expects so many of each tool to be asked back."""
        return self._with_faults_by_tool({tool: FaultCounts(faults, 0.0) for tool, faults in expected.items()})

    def after_fault(self, tool: str) -> FaultLessons:
        """The lessons once a body of this tool was asked back."""
        return self._with_faults_by_tool({tool: FaultCounts(0.0, 1.0)})

    def after_reread(self, tool: str) -> FaultLessons:
        """The lessons once a host read again what an evicted body of this tool shows."""
        return self._with_faults_by_tool({tool: FaultCounts(0.0, REREAD_WEIGHT)})

    def _with_faults_by_tool(self, more: Mapping[str, FaultCounts]) -> FaultLessons:
        session, by_tool = self.session, dict(self.by_tool)
        for tool, counts in more.items():
            session = session.with_faults(*counts)
            by_tool[tool] = by_tool.get(tool, NO_COUNTS).with_faults(*counts)
            if len(by_tool) > TOOLS_MAX:
                del by_tool[min((other for other in by_tool if other != tool), key=lambda other: sum(by_tool[other]))]
        return FaultLessons(session, by_tool)

    def of_tools(self, tools: Collection[str]) -> FaultLessons:
        """The lessons without what other tools' bodies taught of those tools."""
        return FaultLessons(self.session, {tool: self.by_tool[tool] for tool in self.by_tool if tool in tools})

    @property
    def strongest_lesson(self) -> tuple[str, float]:
        """The tool whose bodies' odds the faults raise most, and the factor; of a session without tools "" and the
        session's."""
        return max(((tool, self.tool_odds_factor(tool)) for tool in ("", *self.by_tool)), key=lambda pair: pair[1])

    def tool_odds_factor(self, tool: str) -> float:
        """What the odds of reuse of this tool's bodies are multiplied by, at least 1."""
        return self.session.odds_factor * self.by_tool.get(tool, NO_COUNTS).odds_factor

    def correct_chances(self, chances: Sequence[float], tools: Iterable[int], names: Sequence[str]) -> Sequence[float]:
        """The chances of reuse by the session's own odds; `tools` gives of each body the place of its tool in
        `names`. O(chances), and O(names) where no fault has taught.
        """
        factors = [self.tool_odds_factor(name) for name in names]
        if max(factors) == 1.0:
            return chances
        each = [factors[tool] for tool in tools]
        return [by * chance / (1.0 + (by - 1.0) * chance) for by, chance in zip(each, chances, strict=True)]
