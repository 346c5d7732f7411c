"""A session told segment by segment: admitted to heap and indexes as the daemon does it, without daemon or stash."""

import json
from itertools import count

from ctxgc.adapters.facts.tool_facts import Facts, call_facts_without_input
from ctxgc.core.garbage import GarbageIndex, garbage_proof
from ctxgc.core.heap import Heap, Now
from ctxgc.core.heap_entry import SegmentTokens, heap_entry_of
from ctxgc.core.recall_commands import recalled_name
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.roots import ROOTS, find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.segment import LINE_MAX, Access, Kind, PathUse, Piece, Role, Segment, Status

_NUMBERS = count()


def a_segment(text: str = "", *, kind: Kind = Kind.USER, turn: int = 0, **fields) -> Segment:
    role = Role.SYSTEM if kind is Kind.SYSTEM else Role.USER if kind is Kind.USER else Role.ASSISTANT
    body = fields.pop("body", (Piece("text", text.encode()),) if text else ())
    id_ = fields.pop("id", f"s{next(_NUMBERS)}")
    return Segment(id=id_, kind=kind, role=role, place=0, born_turn=turn, body=body, **fields)


def a_call(tool: str, result: str, *paths: PathUse, turn: int = 0, said: dict | None = None, **fields) -> Segment:
    id_ = f"call{next(_NUMBERS)}"
    skeleton = {"call_id": id_, "input": said or {}, "name": tool}
    body = (*fields.pop("more", ()), *((Piece("result", result.encode()),) if result else ()))
    facts = Facts(call=call_facts_without_input(tool, fields.get("command", ""), paths)).with_result(result.encode())
    return a_segment(
        id=id_,
        kind=Kind.TOOL_CALL,
        turn=turn,
        tool=tool,
        paths=paths,
        facts=facts.call,
        body=body,
        skeleton=json.dumps(skeleton, sort_keys=True, separators=(",", ":")).encode(),
        **fields,
    )


def a_read(path: str = "/a.py", first: int = 1, last: int = LINE_MAX, *, result: str | None = None, **fields):
    """A read; what it shows differs from read to read, so that none is a duplicate."""
    text = f"text {next(_NUMBERS)} of it" if result is None else result
    return a_call("Read", text, PathUse(path, Access.READ, first, last), said={"path": path, "at": first}, **fields)


def an_edit(path: str = "/a.py", *old: str, **fields):
    return a_call("Edit", "done", PathUse(path, Access.EDIT), edit_sources=old, **fields)


def a_write(path: str = "/a.py", text: str = "new text", **fields):
    content = Piece("input.content", text.encode())
    return a_call("Write", "written", PathUse(path, Access.WRITE), more=(content,), **fields)


def a_shell(command: str, *paths: PathUse, result: str | None = None, **fields):
    """A shell call; its output differs from call to call."""
    text = f"output {next(_NUMBERS)}" if result is None else result
    return a_call("Bash", text, *paths, command=command, said={"command": command}, **fields)


class Story:
    """Heap and indexes of one session."""

    def __init__(self, *segments: Segment, has_words: bool = False) -> None:
        self.heap = Heap()
        self.index = ReferenceIndex(has_words=has_words)
        self.garbage = GarbageIndex(self.index.paths)
        for segment in segments:
            self.admit(segment)

    def admit(self, segment: Segment) -> int:
        """Admit, or complete what is pending under its id; the slot."""
        slot = self.heap.slot_of.get(segment.id, len(self.heap))
        is_open = segment.status is Status.PENDING
        name = recalled_name(segment)
        recalled = int(name[1:]) if name.startswith("#") else self.heap.slot_of.get(name, -1)
        refs = self.index.derive_references(slot, segment, recalled=recalled)
        found = [] if is_open else self.garbage.prove_garbage(slot, segment)
        tokens = SegmentTokens(5, [(piece.name, len(piece.data)) for piece in segment.body], 0)
        entry = heap_entry_of(segment, tokens, has_evictable_inputs=True)
        admit = self.heap.admit if slot == len(self.heap) else lambda *what: self.heap.complete(slot, *what)
        admit(entry, refs)
        if not is_open:
            self.index.add_paths(slot, segment)
            self.index.add_words(slot, segment)
        for old, proof in found:
            self.heap.record_proof(old, proof)
        return slot

    def edges(self, slot: int) -> list[tuple[int, int]]:
        """(older slot, kind) of a slot's references."""
        return list(self.heap.refs_with_edge_kinds(slot))

    def proofs(self, turn: int = 100, rules: Rules | None = None) -> dict[int, str]:
        """What is proven garbage at a turn, with its reason."""
        held = {slot: garbage_proof(self.heap, slot, Now(turn), rules or Rules()) for slot in self.heap.proofs}
        return {slot: proof.reason for slot, proof in held.items() if proof}

    def roots(self, turn: int, **rules) -> dict[int, str]:
        """What is a root at a turn, and why."""
        found = find_roots(self.heap, self.index.paths, Now(turn), Rules(**rules))
        return {slot: ROOTS[code] for slot, code in enumerate(found) if code}
