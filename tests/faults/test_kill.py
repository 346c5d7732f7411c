"""kill -9 at any instant: what was acknowledged is there, what was not is there wholly or not at all (I1).

    start ─▶ what is there? ─▶ the call in doubt again, with its op_id ─▶ more calls ─▶ SIGKILL in the middle ─┐
      ▲                                                                                                       │
      └───────────────────────────────────────────────────────────────────────────────────────────────────────┘

Two clients write at once, so that their mutations share transactions. Each keeps the log of what was acknowledged.
"""

import contextlib
import random
import sqlite3
import threading
import time

import pytest

from ctxgc.protocol.blocking_client import CallFailed, TimedOut, Unreachable

CYCLES = 55
WRITERS = 2


def text_of(id_):
    return f"{id_} tells of the ferry and the tide\n" * 60


def exchange(id_):
    return {"kind": "tool_call", "id": id_, "tool": "Bash", "text": text_of(id_), "input": {"command": f"cat {id_}"}}


class Ledger:
    """One client's log of what was acknowledged in its session, and the call it has no answer to."""

    def __init__(self, name, seed):
        self.session = {"session": f"client:{name}"}
        self.name = name
        self.states = {}
        """By id: `resident`, `evicted` or `forgotten`."""
        self.pinned = set()
        self.collections = 0
        self.acknowledged = 0
        self.doubt = None
        self._chance = random.Random(seed)
        self._count = 0

    def next_call(self):
        """A mutation that makes sense now."""
        there = [id_ for id_, state in self.states.items() if state != "forgotten"]
        pick = self._chance.sample(there, min(2, len(there)))
        verb = self._chance.choice(("add", "add", "add", "tx", "pin", "unpin", "collect", "recall", "forget", "undo"))
        self._count += 1
        op = {"op_id": f"{self.name}-{self._count}"} | self.session
        fresh = [f"{self.name}-{self._count}-{n}" for n in range(3)]
        if verb == "tx" or not pick:
            calls = [{"method": "segment.add", "params": {"segment": exchange(id_)}} for id_ in fresh]
            return "tx", op | {"calls": [*calls, {"method": "segment.pin", "params": {"ids": fresh[:1]}}]}
        return {
            "add": ("segment.add_many", op | {"segments": [exchange(id_) for id_ in fresh]}),
            "pin": ("segment.pin", op | {"ids": pick}),
            "unpin": ("segment.unpin", op | {"ids": pick}),
            "collect": ("heap.collect", op | {"budget_tokens": self._chance.randrange(3000), "unit": "raw"}),
            "recall": ("stash.recall", op | {"id": pick[0]}),
            "forget": ("stash.forget", op | {"ids": pick[:1] if self._chance.random() < 0.7 else pick}),
            "undo": ("heap.undo", op | {"force": True}),
        }[verb]

    def acknowledge(self, verb, params, client):
        """The daemon said that this is done."""
        if verb in ("tx", "segment.add_many"):
            added = [s["id"] for s in params.get("segments", ())]
            added += [c["params"]["segment"]["id"] for c in params.get("calls", ())[:-1]]
            self.states |= dict.fromkeys(added, "resident")
            self.pinned |= {added[0]} if verb == "tx" else set()
        elif verb == "segment.pin":
            self.pinned |= set(params["ids"])
        elif verb == "segment.unpin":
            self.pinned -= set(params["ids"])
        elif verb == "stash.recall":
            self.states[params["id"]] = "resident"
        elif verb == "stash.forget":
            self.states |= dict.fromkeys(params["ids"], "forgotten")
            self.pinned -= set(params["ids"])
        else:  # Which segments a collection takes is the daemon's to say; that journal and states agree is checked.
            self.states, self.collections = found(client, self.session)[0], journal(client, self.session)
        self.acknowledged += 1
        self.doubt = None

    def check(self, client):
        """What is there is what was acknowledged, and all or nothing of the call in doubt."""
        states, pinned = found(client, self.session)
        collections = journal(client, self.session)
        verb, params = self.doubt or ("", {})
        allowed = [(self.states, self.pinned, self.collections)]
        if verb in ("heap.collect", "heap.undo") and collections == self.collections + 1:
            [record] = client.call("heap.log", {**self.session, "collection": collections})["collections"]
            taken = {victim["id"] for victim in record["victims"]}
            changed = {id_ for id_ in self.states if states[id_] != self.states[id_]}
            assert verb == "heap.undo" or taken == changed, "the journal names other segments than those that left"
            allowed = [(states, self.pinned, collections)]
        elif verb:
            after = Ledger(self.name, 0)
            after.states, after.pinned, after.collections = dict(self.states), set(self.pinned), self.collections
            if verb not in ("heap.collect", "heap.undo"):
                after.acknowledge(verb, params, client)
            allowed.append((after.states, after.pinned, after.collections))
        assert (states, pinned, collections) in allowed, (self.doubt, self.name)


def found(client, session):
    """(state by id, pinned ids) of a session."""
    segments = client.call("segment.list", {**session, "limit": 10_000})["segments"]
    return {s["id"]: s["state"] for s in segments}, {s["id"] for s in segments if s["is_pinned"]}


def journal(client, session):
    """The number of the newest collection."""
    return max((c["collection"] for c in client.call("heap.log", session)["collections"]), default=0)


def acknowledged(ledgers):
    return sum(ledger.acknowledged for ledger in ledgers)


def write_until_killed(home, ledger, trouble):
    try:
        with home.client(20) as client:
            ledger.check(client)
            while True:
                verb, params = ledger.doubt or ledger.next_call()
                ledger.doubt = verb, params
                try:
                    client.call(verb, params)
                except (Unreachable, TimedOut):
                    return
                except CallFailed as refused:
                    if refused.kind not in ("conflict", "not_found"):
                        raise
                    ledger.doubt = None
                else:
                    ledger.acknowledge(verb, params, client)
    except Unreachable:
        return
    except BaseException as error:
        trouble.append(error)


@pytest.mark.slow
def test_i1_whenever_the_daemon_is_killed_what_it_acknowledged_is_there_and_nothing_is_half_done(home):
    chance = random.Random(2)
    ledgers = [Ledger(f"writer{n}", seed=n) for n in range(WRITERS)]
    home.start()
    for ledger in ledgers:
        home.call("session.open", session=ledger.name)
    home.kill()
    trouble = []

    for cycle in range(CYCLES):
        home.start()
        writers = [threading.Thread(target=write_until_killed, args=(home, each, trouble)) for each in ledgers]
        for writer in writers:
            writer.start()
        # Counted in answers and not in time alone: on a busy machine a daemon would never come to answer.
        enough = acknowledged(ledgers) + chance.randrange(14)
        gives_up_at = time.monotonic() + 20
        while acknowledged(ledgers) < enough and not trouble and time.monotonic() < gives_up_at:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        home.kill()
        for writer in writers:
            writer.join()
        assert trouble == [], f"cycle {cycle}"
        with contextlib.closing(sqlite3.connect(f"file:{home.stash_path}?mode=ro", uri=True)) as db:
            assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]

    assert acknowledged(ledgers) > 4 * CYCLES
    home.start()
    for ledger in ledgers:
        with home.client() as client:
            ledger.check(client)
            for id_ in [id_ for id_, state in ledger.states.items() if state != "forgotten"]:
                pieces = client.call("segment.get", {**ledger.session, "id": id_})["pieces"]
                assert pieces[-1]["text"] == text_of(id_)
    assert home.stop() == 0
    assert home.run("--check")[0] == 0


@pytest.mark.slow
def test_a_daemon_that_is_killed_while_it_starts_starts_the_next_time(home):
    chance = random.Random(3)

    for _ in range(12):
        home.spawn()
        time.sleep(chance.uniform(0.1, 0.6))
        home.kill()

    home.start()
    assert home.call("ping") == {"pong": True}
