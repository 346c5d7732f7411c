"""Every sentence of `why` is true of the plan and of the heap, for any heap: read as words, not as fields.

    random session ──`heap.why`──▶ sentence ──a grammar that leaves no word unread──▶ statements ──▶ plan, heap, paths

The facts are looked up by the longest way round: in the plan that takes everything, in columns, in the uses of a file.
"""

import asyncio
import io
import re
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.collector import LIVE_LAST, plan
from ctxgc.core.display_texts import tokens_text
from ctxgc.core.garbage import REASONS as GARBAGE
from ctxgc.core.heap import ERRORED, EVICTED, OPAQUE, PENDING, PINNED, RESIDENT, Heap, HeapEntry, Now, Proof
from ctxgc.core.liveness import LIVE, find_liveness
from ctxgc.core.paths import PathIndex, is_view
from ctxgc.core.roots import ROOTS, find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.segment import LINE_MAX, NAMING_EDGES, Access, EdgeKind, Kind, PathUse
from ctxgc.daemon.verbs import why as why_module
from ctxgc.fronts.cli.terminal import Page
from ctxgc.fronts.cli.window import print_why
from ctxgc.protocol.messages import HeapWhy
from tests.daemon.transcripts import worked
from tests.effort import effort

PATHS = st.sampled_from(["/a.py", "/b.py"])
LINES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted)
USES = st.one_of(
    st.builds(lambda path, access: PathUse(path, access), PATHS, st.sampled_from(list(Access))),
    st.builds(lambda path, access, lines: PathUse(path, access, *lines), PATHS, st.sampled_from(list(Access)), LINES),
)
SELDOM = st.integers(0, 9).map(lambda number: number == 0)
EDGES = st.sampled_from([*NAMING_EDGES, *NAMING_EDGES, EdgeKind.GIVEN, *EdgeKind])
REASONS = st.sampled_from(["duplicate", "superseded_read", "failed_then_succeeded", "empty"])
RULES = st.builds(
    Rules,
    recent_turns=st.integers(0, 3),
    file_turns=st.integers(0, 12),
    min_gain_tokens=st.integers(0, 60),
    task=st.sampled_from(["", "", "port"]),
    protect_tools=st.sampled_from([(), (), (), ("Edit",)]),
    protect_paths=st.sampled_from([(), (), (), (), (), ("*/a.py", "/a*")]),
    open_paths=st.sampled_from([(), (), ("/b.py",)]),
)


@st.composite
def entries(draw, number):
    """Mostly calls with results that a plan may take: what random heaps seldom have is sentences about victims."""
    return HeapEntry(
        id=f"s{number}",
        kind=draw(st.sampled_from(list(Kind))) if draw(SELDOM) else Kind.TOOL_CALL,
        place=number,
        born_turn=number // 2,
        skeleton_tokens=9,
        body_tokens=draw(st.integers(0, 3000)),
        tombstone_tokens=draw(st.integers(0, 60)),
        tool=draw(st.sampled_from(["Read", "Bash", "Edit"])),
        task="port" if draw(SELDOM) else "",
        flags=draw(st.sampled_from([PINNED, OPAQUE, PENDING, ERRORED])) if draw(SELDOM) else 0,
        traits=draw(st.integers(0, 255)),
        state=draw(st.integers(0, 3)) if draw(SELDOM) else RESIDENT,
    )


@st.composite
def sessions(draw):
    """A session as `why` sees it; two segments may be joined by references of several kinds."""
    heap, paths, now = Heap(), PathIndex(), Now(draw(st.integers(4, 20)))
    for number in range(draw(st.integers(4, 20))):
        refs = [
            (draw(st.integers(0, number - 1)), draw(EDGES)) for _ in range(draw(st.integers(0, 3)) if number else 0)
        ]
        refs += [(target, draw(EDGES)) for target, _ in refs[: draw(st.integers(0, 1))]]
        # A stash returns references in the order of their targets and kinds.
        slot = heap.admit(draw(entries(number)), sorted(set(refs)))
        if draw(st.booleans()):
            paths.record_use(draw(USES), slot, number // 2)
        if number and draw(SELDOM):
            old, reason = draw(st.integers(0, number - 1)), draw(REASONS)
            heap.record_proof(old, Proof(reason, -1 if reason == "empty" else slot))
        if draw(SELDOM):
            heap.grace.grant(slot, draw(st.integers(0, 40)))
    paths.set_slots_outside([slot for slot in range(len(heap)) if heap.state[slot] > EVICTED], is_outside=True)
    return SimpleNamespace(
        key="test:random",
        heap=heap,
        slot=heap.slot_of.__getitem__,
        reference_index=SimpleNamespace(paths=paths),
        indexes=SimpleNamespace(elisions={}, changed=set()),
        rules=draw(RULES),
        now=lambda: now,
    )


def label_of(heap, slot):
    return f"label {slot}"


def ask_all(session):
    """The reply of `why` for every slot."""

    async def requested(services, params, name):
        return session

    async def labels(services, of, slots):
        return {slot: label_of(of.heap, slot) for slot in slots}

    async def verdict_outside(services, of, slot):
        return why_module._Verdict(of.heap.state_of(slot).value, "out of the window")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(why_module, "session_with_segment", requested)
        patch.setattr(why_module, "read_labels", labels)
        patch.setattr(why_module, "_verdict_outside_window", verdict_outside)

        async def ask():
            return [await why_module.why(None, HeapWhy(id=id_)) for id_ in session.heap.ids]

        return asyncio.run(ask())


class Facts:
    """What is so: the plan that takes everything, the roots, and the uses of files."""

    def __init__(self, session):
        self.session, self.heap, self.now, self.rules = session, session.heap, session.now(), session.rules
        self.paths = session.reference_index.paths
        self.roots = find_roots(self.heap, self.paths, self.now, self.rules)
        self.liveness = find_liveness(self.heap, self.paths, self.roots)
        self.victims = plan(self.heap, self.paths, -1, self.now, self.rules).victims
        self.order = [victim.slot for victim in self.victims]

    def slot_of_label(self, label):
        return int(label.removeprefix("label "))

    def newest_viewer(self, path, line):
        """The newest slot in the window that shows a line."""
        uses = self.uses_inside(path)
        return max((u.slot for u in uses if is_view(u) and u.first_line <= line <= u.last_line), default=-1)

    def uses_inside(self, path):
        return [use for use in self.paths.histories[path].uses if self.heap.state[use.slot] <= EVICTED]

    def naming_roots(self, slot):
        """The roots that name a slot, with the kinds by which they do."""
        return [
            source
            for source in range(slot + 1, len(self.heap))
            if self.roots[source]
            and any(t == slot and k in NAMING_EDGES for t, k in self.heap.refs_with_edge_kinds(source))
        ]

    def is_edit_unseen(self, slot, path):
        uses = self.uses_inside(path)
        edits = [use for use in uses if use.slot == slot and use.access is Access.EDIT and not is_view(use)]
        return bool(edits) and not any(use.slot > slot and is_view(use) for use in uses)

    def is_garbage(self, slot, words):
        """Whether a proof of that reason holds now."""
        proof = self.heap.proofs[slot]
        is_late = self.heap.born[slot] < self.now.turn - self.rules.error_turns
        assert proof.reason.replace("_", " ") == words
        assert proof.by < 0 or self.heap.state[proof.by] <= EVICTED
        return proof.reason != "failed_then_succeeded" or is_late


ROUNDING = 0.15
"""Keys are printed to a tenth, and summed up of terms to a hundredth."""
ROOT_FACTS = {
    "it is a system prompt": lambda f, s: f.heap.kind_of(s) is Kind.SYSTEM,
    "it is what the user said": lambda f, s: f.heap.kind_of(s) is Kind.USER,
    "it is pinned": lambda f, s: f.heap.has_flag(s, PINNED),
    "the segment is among the newest turns": lambda f, s: f.heap.born[s] >= f.now.turn - max(f.rules.recent_turns, 1),
    "the call has no result yet": lambda f, s: f.heap.has_flag(s, PENDING),
    "it is the newest plan": lambda f, s: s == newest_of_kind(f.heap, Kind.PLAN),
    "it is the newest summary": lambda f, s: s == newest_of_kind(f.heap, Kind.SUMMARY),
    "it is the newest read of a file in use": lambda f, s: any(
        s == newest_read(f, path) and f.paths.histories[path].touched_turn >= f.now.turn - f.rules.file_turns
        for path in f.paths.histories
    ),
    "its file is open in front of the user": lambda f, s: any(s == newest_read(f, p) for p in f.rules.open_paths),
    "the segment belongs to the current task": lambda f, s: (
        f.rules.task != "" and f.heap.tasks[f.heap.task[s]] == f.rules.task
    ),
    "the configuration protects it": lambda f, s: (
        f.heap.tool_name(s) in f.rules.protect_tools
        or any(use.slot == s for use in (f.paths.histories["/a.py"].uses if f.rules.protect_paths else ()))
    ),
    "the segment was recalled a moment ago": lambda f, s: f.heap.grace.last_turn(s) >= f.now.turn,
}
"""What a root's sentence says, and whether it is so; `pointed` needs pointers, which random heaps have none of."""


def newest_of_kind(heap, kind):
    return max(slot for slot in range(len(heap)) if heap.kind_of(slot) is kind and heap.state[slot] <= EVICTED)


def newest_read(facts, path):
    history = facts.paths.histories.get(path)
    reads = [use.slot for use in facts.uses_inside(path) if use.access is Access.READ] if history else []
    return max(reads, default=-1)


def check_root(facts, slot, said, reply):
    assert facts.roots[slot]
    assert ROOTS[facts.roots[slot]] == reply.root
    assert ROOT_FACTS[said["cause"]](facts, slot)
    assert slot not in facts.order
    assert said["proof"] is None or facts.is_garbage(slot, said["proof"])


def check_protected(facts, slot, said, reply):
    heap = facts.heap
    assert not facts.roots[slot]
    assert slot not in facts.order
    if said["kind"]:
        assert said["kind"] == heap.kind_of(slot).value
        assert not heap.has_evictable_kind(slot)
    elif said["why"].startswith("evicting"):
        assert heap.freed[slot] < max(facts.rules.min_gain_tokens, 1)
    else:
        assert heap.has_flag(slot, OPAQUE)


def check_garbage(facts, slot, said, reply):
    victim = check_turn(facts, slot, said)
    assert facts.is_garbage(slot, said["proof"])
    assert victim.reason.replace("_", " ") == said["proof"]
    assert victim.by == (facts.heap.slot_of[said["by"]] if said["by"] else -1)
    assert said["by"] is None or facts.slot_of_label(said["label"]) == victim.by


def check_unproven(facts, slot, said, reply):
    victim = check_turn(facts, slot, said)
    assert reply.verdict == victim.reason
    read = [check_clause(facts, slot, clause, reply) for clause in said["clauses"].split("; ")]
    assert len(set(read)) == len(read)
    assert ("last" in read) == (victim.reason == LIVE_LAST)
    assert ("named" in read) == (victim.reason == "named")
    assert {"view", "edit"} & set(read) or victim.reason != "current"
    assert ("cold" in read) == (victim.reason == "cold")


def check_turn(facts, slot, said):
    """`Nth of M to go`: M bodies can go, and the plan takes the slot as the Nth."""
    number, ending = re.fullmatch(r"(\d+)(\D+)", said["rank"]).groups()
    assert ending == {"1": "st", "2": "nd", "3": "rd"}.get(number[-1] if number[-2:-1] != "1" else "", "th")
    assert int(said["ranked"]) == len(facts.victims)
    victim = facts.victims[int(number) - 1]
    assert victim.slot == slot
    return victim


def check_clause(facts, slot, clause, reply):
    """Read a clause, whole, and hold it against the facts; its name."""
    name, said = next((name, m.groupdict()) for name, p in CLAUSES.items() if (m := p.fullmatch(clause)))
    if name == "last":
        check_last(facts, slot, said, reply)
    elif name == "view":
        views = list(re.finditer(r"(/\w+\.py)(:[\d–end, ]+)?(?:, |$)", said["lines"]))
        assert "".join(view[0] for view in views) == said["lines"], said
        for path, ranges in (view.groups() for view in views):
            for first, last in re.findall(r"(\d+)–(\d+|end)", ranges or "") or [("1", "end")]:
                for line in (int(first), LINE_MAX if last == "end" else int(last)):
                    assert facts.newest_viewer(path, line) == slot
    elif name == "edit":
        assert all(facts.is_edit_unseen(slot, path) for path in said["paths"].split(", "))
    elif name == "named":
        namer = facts.heap.slot_of[said["id"]]
        assert namer == facts.slot_of_label(said["label"]) == max(facts.naming_roots(slot))
        assert facts.heap.born[namer] == int(said["turn"])
        assert [step.id for step in reply.path] == [said["id"], facts.heap.ids[slot]]
        assert EdgeKind[reply.path[1].edge.upper()] in NAMING_EDGES
    else:
        assert not facts.naming_roots(slot)
        for path in facts.paths.histories:
            lines = {use.first_line for use in facts.uses_inside(path)} | {1}
            assert all(facts.newest_viewer(path, line) != slot for line in lines)
            assert not facts.is_edit_unseen(slot, path)
    return name


def check_last(facts, slot, said, reply):
    """A path of what was said joins a root to the body, and everything that is not live goes before the body."""
    trail = [facts.heap.slot_of[step.id] for step in reply.path]
    assert trail[0] == facts.slot_of_label(said["label"])
    assert trail[-1] == slot
    assert facts.roots[trail[0]]
    assert len(trail) - 2 == int(said["between"] or 0)
    is_by_pin = len(trail) == 2 and facts.heap.has_flag(trail[0], PINNED)
    for (source, target), step in zip(pairwise(trail), reply.path[1:], strict=True):
        kind = EdgeKind[step.edge.upper()]
        assert (target, kind) in list(facts.heap.refs_with_edge_kinds(source))
        assert kind is EdgeKind.GIVEN or (is_by_pin and kind in NAMING_EDGES)
    behind = facts.order[facts.order.index(slot) :]
    assert all(facts.liveness[other] & LIVE for other in behind)


TURN = r"; (?P<rank>\d+\w+) of (?P<ranked>\d+) to go when room is needed"
SENTENCES = [
    (
        re.compile(
            r"in the window, and kept: (?P<cause>[^;]+)"
            r"(?:; the body looks like garbage \((?P<proof>[\w ]+)\), but a root is never evicted)?"
        ),
        "root",
        check_root,
    ),
    (
        re.compile(
            r"in the window, and kept: (?:no collection takes a segment of kind (?P<kind>\w+)|(?P<why>"
            r"evicting the body would free next to nothing"
            r"|the body holds an image or a document, or the host's list cannot be edited there))"
        ),
        "protected",
        check_protected,
    ),
    (
        re.compile(
            r"in the window, but garbage: (?P<proof>[\w ]+?)(?: because of (?P<label>label \d+) \((?P<by>\w+)\))?"
            + TURN
        ),
        "garbage",
        check_garbage,
    ),
    (re.compile(r"in the window; (?P<clauses>.+)" + TURN), "", check_unproven),
]
"""The sentences of a segment in the window, the verdict of each, and what holds the sentence against the facts."""
CLAUSES = {
    "last": re.compile(
        r"(?P<label>label \d+) refers to the body(?:, (?P<between>\d+) between)?, so a collection takes the body last"
    ),
    "view": re.compile(r"the current view of (?P<lines>.+)"),
    "edit": re.compile(r"an edit of (?P<paths>/\w+\.py(?:, /\w+\.py)*) that no later view shows"),
    "named": re.compile(r"named by (?P<label>label \d+) \((?P<id>\w+)\) at turn (?P<turn>-?\d+)"),
    "cold": re.compile(r"cold: no root names the body, and no file is as the body shows"),
}


@given(sessions())
@effort(80)
def test_no_sentence_of_why_is_contradicted_by_the_plan_or_the_heap(session):
    facts = Facts(session)

    for slot, reply in enumerate(ask_all(session)):
        if session.heap.state[slot] != RESIDENT and reply.explanation == "out of the window":
            assert slot not in facts.order
            continue
        read = [(m, verdict, check) for p, verdict, check in SENTENCES if (m := p.fullmatch(reply.explanation))]
        fitting = [row for row in read if row[1] in ("", reply.verdict)]
        assert len(fitting) == 1, reply.explanation
        match, _, check = fitting[0]
        check(facts, slot, match.groupdict(), reply)


@given(sessions())
@effort(40)
def test_a_verdict_is_of_the_list_and_who_is_a_root_or_a_victim_has_the_verdict_of_one(session):
    facts = Facts(session)
    reasons = {victim.slot: ("garbage" if victim.reason in GARBAGE else victim.reason) for victim in facts.victims}

    for slot, reply in enumerate(ask_all(session)):
        assert reply.verdict in why_module.VERDICTS
        if session.heap.state[slot] == RESIDENT:
            assert (reply.verdict == "root") == bool(facts.roots[slot])
            assert (reply.verdict == reasons[slot]) if slot in reasons else reply.verdict in ("root", "protected")


@given(sessions())
@effort(40)
def test_the_printed_key_says_who_goes_first_among_those_who_print_the_same_words(session):
    printed = {}
    for reply in ask_all(session):
        page = Page(io.TextIOWrapper(io.BytesIO(), "utf-8"), {})
        print_why(page, reply)
        page.stream.seek(0)
        lines = page.stream.read().splitlines()
        assert lines[1] == reply.explanation
        assert [line.split("└─ ")[-1].split(" → ")[0] for line in lines if "└─" in line] == [
            step.edge for step in reply.path[1:]
        ]
        for match in filter(None, (re.fullmatch(r"key (-?[\d.]+): .*; (.*)", line) for line in lines)):
            printed.setdefault(match[2], []).append((reply.rank, float(match[1])))

    for ranks in printed.values():
        keys = [key for _, key in sorted(ranks)]
        assert all(later >= key - ROUNDING for key, later in pairwise(keys)), printed


async def test_why_and_dry_runs_of_the_same_session_agree_through_the_protocol(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(40).data)
    await bench.call("import", paths=[str(path)])
    session = {"session": "claude_code:a1"}
    listed = (await bench.call("segment.list", **session))["segments"]
    ranks = {}
    for id_ in (segment["id"] for segment in listed):
        reply = await bench.call("heap.why", **session, id=id_)
        if match := re.search(r"(\d+)\w\w of (\d+) to go when room is needed$", reply["explanation"]):
            ranks[id_] = int(match[1])

    assert sorted(ranks.values()) == list(range(1, len(ranks) + 1))
    assert len(ranks) > 10
    for budget in range(1, 12_000, 800):
        plan_reply = await bench.call("heap.plan", **session, budget_tokens=budget, unit="raw")
        taken = sorted(ranks[victim["id"]] for victim in plan_reply["victims"])
        assert taken == list(range(1, plan_reply["evicted"] + 1))


async def test_why_says_of_an_evicted_segment_what_the_collection_said_of_its_victim(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(40).data)
    await bench.call("import", paths=[str(path)])
    session = {"session": "claude_code:a1"}
    collection = await bench.call("heap.collect", **session, budget_tokens=6_000)

    assert len(collection["victims"]) > 2
    for victim in collection["victims"]:
        reply = await bench.call("heap.why", **session, id=victim["id"])
        assert (reply["verdict"], reply["rank"], reply["reason"]) == ("evicted", 0, victim["reason"])
        assert re.fullmatch(
            rf"evicted by collection {collection['collection']} at turn \d+: {victim['reason']}, "
            rf"freed {tokens_text(victim['freed_tokens'])} tokens; `ctxgc recall {victim['id']}` brings it back",
            reply["explanation"],
        )


@pytest.mark.parametrize("number", [1, 2, 3, 4, 11, 12, 13, 21, 101, 111, 112, 123])
def test_a_place_in_the_order_reads_as_english(number):
    ending = {1: "1st", 2: "2nd", 3: "3rd", 21: "21st", 101: "101st", 123: "123rd"}.get(number, f"{number}th")

    assert why_module._ordinal(number) == ending
