"""Results at entry, with the real agents: pointers in every request, nothing refused, every byte within reach.

Installed by `install_agents.sh`, at test time if CTXGC_AGENTS=1; without them every test here is skipped.
"""

import json
import re

import pytest

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.daemon.sessions.entry_index import result_text
from tests.e2e.agent_model import AgentModel, command_call
from tests.e2e.agent_run import AGENTS, Through, straight
from tests.e2e.test_agents import changes, installed  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.e2e_agents, pytest.mark.slow, pytest.mark.xdist_group("agents")]

TURNS, FILE_BYTES = 64, 6000
POINTER = re.compile(r"^\[ctxgc: lines (\d+)-(\d+) unchanged, see .*\]$", re.M)
COST_MAX = 0.7
WORK = (
    "cat part000.txt",
    "cat part001.txt",
    "sed -n 20,60p part000.txt",
    "sed -i 30s/^/changed-/ part000.txt && echo ok",
    "cat part000.txt",
    "diff -u part001.txt part000.txt",
    "head -40 part001.txt; tail -20 part002.txt",
    "cat part002.txt part001.txt",
)


class WorkingModel(AgentModel):
    """Has an agent read, change and read again, as an agent does that works on a few files."""

    def next_call(self, wire, asked, done):
        return command_call(wire, asked, done, WORK[done % len(WORK)]) if done < self.turns else None


@pytest.fixture(scope="module", params=list(AGENTS))
def entered(request, installed):  # noqa: F811
    """A long session of one agent through the gateway with references, and the same work straight to the model."""
    alone = straight(AGENTS[request.param], TURNS, FILE_BYTES, model_class=WorkingModel)
    agent = AGENTS[request.param]
    with Through(agent, TURNS, FILE_BYTES, model_class=WorkingModel, CTXGC_ENTRY__REFERENCES="true") as through:
        yield through, alone


def test_not_one_request_with_pointers_is_refused(entered):
    through, alone = entered

    assert alone.refused == through.model.refused == []
    assert len(through.model.requests) == len(alone.requests) > TURNS


def results_of(wire, body):
    return {
        one.id: text for one in WIRE_FORMATS[wire].parse(body).segments if (text := result_text(one.body)) is not None
    }


def test_most_of_the_work_goes_up_as_pointers_and_each_stands_for_lines_that_the_request_shows(entered):
    through, _ = entered
    pointers = 0
    for request, (sent, arrived) in zip(through.model.requests, through.pairs(), strict=True):
        own, shown = results_of(request.wire, sent), results_of(request.wire, arrived)
        literal = [POINTER.sub("", text).split("\n") for text in shown.values()]
        seen = {line for lines in literal for line in lines}
        for id_, text in shown.items():
            if not POINTER.search(text):
                continue
            pointers += 1
            hidden = set(own[id_].split("\n")) - set(text.split("\n"))
            tombstones = "[evicted by ctxgc: lines" in text
            assert tombstones or hidden <= seen, "a pointer leads to what the request does not show"
    assert pointers > TURNS


def test_a_result_goes_up_in_every_request_as_it_went_up_first_while_nothing_is_collected(entered):
    through, _ = entered
    before = {}
    for request, (_, arrived) in zip(through.model.requests, through.pairs(), strict=True):
        shown = results_of(request.wire, arrived)
        out = {id_ for id_, text in shown.items() if "[evicted by ctxgc" in text}
        known = before.setdefault(request.thread, {})
        assert {id_: text for id_, text in shown.items() if id_ in known and id_ not in out} == {
            id_: text for id_, text in known.items() if id_ in shown and id_ not in out
        }
        known.update(shown)


def test_the_bill_with_pointers_is_far_lower_than_without(entered, capsys):
    through, alone = entered
    with_, without = (sum(bill.cost for bill in model.bills.values()) for model in (through.model, alone))
    pointers = len(POINTER.findall(through.model.requests[-1].body.decode().replace("\\n", "\n")))

    with capsys.disabled():
        print(
            f"\n{through.agent.name} with pointers: {len(through.model.requests)} requests, 0 refused, {pointers} "
            f"pointers in the last; cost {with_:,.0f} with, {without:,.0f} without ({with_ / without - 1:+.1%})"
        )
    assert with_ < COST_MAX * without


def test_a_request_differs_from_what_the_agent_sent_in_stand_ins_and_one_cache_breakpoint_alone(entered):
    through, _ = entered
    for sent, arrived in through.pairs():
        if sent != arrived:
            found = [one for one in changes(json.loads(sent), json.loads(arrived)) if one == "something else"]
            assert len(found) <= arrived.count(b"[ctxgc: lines ") + arrived.count(b"[evicted by ctxgc: lines ")
