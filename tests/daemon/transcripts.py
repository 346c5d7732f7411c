"""Transcripts of invented work, in the shape of Claude Code's logs."""

import json
import random

WORDS = ("ferry", "tide", "harbour", "berth", "crane", "pilot", "buoy", "chart", "engine", "cargo", "signal", "rope")


class Log:
    """Writes records as the host does, each below the one before."""

    def __init__(self, session="a1", seed=1):
        self.session = session
        self.lines = []
        self.last = None
        self._chance = random.Random(seed)
        self._count = 0
        self._turns = 0

    def record(self, kind, *, parent="", **fields):
        self._count += 1
        above = self.last if parent == "" else parent
        self.last = f"{self.session}-{self._count}"
        base = {"type": kind, "uuid": self.last, "parentUuid": above, "sessionId": self.session, "cwd": "/work"}
        self.lines.append(json.dumps(base | fields))
        return self.last

    def user(self, content):
        return self.record("user", message={"role": "user", "content": content})

    def works(self, turns, result_words=120):
        """Turns of one call each, with results of some length and the bills of a growing prompt."""
        for n in range(self._turns, self._turns + turns):
            use = {"type": "tool_use", "id": f"toolu_{n:03}", "name": "Bash", "input": {"command": f"cat log{n}"}}
            usage = {"input_tokens": 3, "cache_read_input_tokens": 900 + 400 * n, "output_tokens": 40}
            message = {"id": f"msg_{n}", "role": "assistant", "model": "m-1", "content": [use], "usage": usage}
            self.record("assistant", message=message)
            text = " ".join(self._chance.choices(WORDS, k=result_words))
            self.user([{"type": "tool_result", "tool_use_id": f"toolu_{n:03}", "content": text}])
        self._turns += turns
        return self

    def compacts(self):
        """The host's own compaction: all before it left the window, a summary stands for it."""
        self.record("system", parent=None, subtype="compact_boundary", compactMetadata={"trigger": "auto"})
        message = {"role": "user", "content": "This session is being continued: the ferry was late."}
        self.record("user", message=message, isCompactSummary=True)
        return self

    @property
    def data(self):
        return "".join(line + "\n" for line in self.lines).encode()


def worked(turns=12, session="a1", seed=1):
    """A user's word and some turns."""
    log = Log(session, seed)
    log.user("why is the ferry late?")
    return log.works(turns)
