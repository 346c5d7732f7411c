"""A reply's two ends: what the daemon builds as a type, a command reads as that type without building it."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import fields

from ctxgc.protocol.messages import VERBS
from ctxgc.protocol.record import Record, json_members
from ctxgc.protocol.replies.reply import Reply
from ctxgc.protocol.replies.segments import PieceReply

FRONTS = Path(__file__).parents[2] / "ctxgc" / "fronts"
READERS = sorted([*FRONTS.glob("cli/*.py"), *FRONTS.glob("mcp/*.py")])
CALLERS = {"call", "_call"}
"""Methods that send a verb's name with its params."""


def every_reply():
    """Each type of the wire, those inside others too."""
    known, waiting = set(), [Reply]
    while waiting:
        found = waiting.pop().__subclasses__()
        waiting += found
        known |= set(found)
    return sorted(known, key=lambda shape: shape.__name__)


def verbs_read(source):
    """(the type that a command says a reply has, the verb it called), for each reply that is given a name."""
    for node in ast.walk(ast.parse(source)):
        is_named = isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
        call = node.value if is_named else None
        name = getattr(call.func, "attr", getattr(call.func, "id", "")) if call else ""
        verb = call.args[0].value if name in CALLERS and isinstance(call.args[0], ast.Constant) else None
        if verb is not None:
            shape = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else None
            if shape == "BackgroundReply" and "'durability': 'async'" in ast.unparse(call):
                continue  # Every verb that mutates answers so.
            yield shape and shape.removesuffix(" | None"), verb


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
def test_a_command_reads_each_reply_as_the_type_that_the_verbs_row_names(path):
    for shape, verb in verbs_read(path.read_text()):
        assert shape == VERBS[verb].reply.__name__ or (shape is None and verb in ASSIGNED_BEFORE), f"{verb} as {shape}"


ASSIGNED_BEFORE = {"watch.list", "heap.why", "stash.search"}
"""Verbs whose reply goes to a variable or attribute that has its type already."""


@pytest.mark.parametrize(("line", "read"), [
    ('reply: PlanReply = shell.call("heap.plan", {})', [("PlanReply", "heap.plan")]),
    ('reply = shell.call("heap.plan", {})', [(None, "heap.plan")]),
    ('window: ShowReply | None = self.client.call("session.show", {})', [("ShowReply", "session.show")]),
    ("x = sum(1)", []),
])  # fmt: skip
def test_a_reply_without_a_type_is_seen(line, read):
    assert list(verbs_read(line)) == read


def test_a_record_reads_as_the_reply_that_was_sent():
    piece = PieceReply(name="result", bytes=2, tokens=1, next_offset=-1, text="hi")

    record = json.loads(msgspec.json.encode(piece), object_hook=Record)

    assert all(getattr(record, field.name) == getattr(piece, field.name) for field in fields(PieceReply))
    assert json_members(record) == {"name": "result", "bytes": 2, "tokens": 1, "next_offset": -1, "text": "hi"}


@pytest.mark.parametrize("shape", every_reply(), ids=lambda shape: shape.__name__)
def test_no_member_of_a_reply_hides_behind_a_dicts_own_and_one_that_may_be_absent_reads_as_none(shape):
    for field in fields(shape):
        assert not hasattr(dict, field.encode_name)
        assert field.encode_name == field.name
        assert field.required or field.default is None


def test_reading_a_reply_as_a_type_loads_neither_the_types_nor_their_library():
    look = "import sys, ctxgc.fronts.cli.{}; print([n for n in sys.modules if n.startswith(('msgspec', 'pydantic'))])"

    for module in ("status", "sessions", "window", "recall", "lifecycle"):
        ran = subprocess.run([sys.executable, "-c", look.format(module)], capture_output=True, text=True, check=True)
        assert ran.stdout == "[]\n", module
