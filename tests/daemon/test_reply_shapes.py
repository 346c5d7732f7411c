"""The replies as they are on the wire: members and kinds of values, held to a recorded run of every verb.

`reply_shapes.json` was recorded before replies were types. A reply may gain members; a member that another program
reads does not change its name or its kind. After an intended change: python -m tests.daemon.test_reply_shapes
"""

import asyncio
import json
import tempfile
from pathlib import Path

from ctxgc.stash.sqlite import SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_verbs import call_of_each_verb

RECORDED = Path(__file__).parent / "reply_shapes.json"
TABLES = {"config", "params", "verbs", "skipped", "by_reason", "protected_by", "held_by"}
"""Members whose own members are data: names of settings, verbs, reasons."""


def shape(value, name=""):
    """The kind of a JSON value; of an object its members, of a list the shapes of its elements."""
    if name in TABLES:
        return type(value).__name__
    if isinstance(value, dict):
        return {key: shape(each, key) for key, each in sorted(value.items())}
    if isinstance(value, list):
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    return type(value).__name__


async def replies_of(folder):
    """The shape of each verb's replies, in one run of every verb."""
    met = {}
    async with bench_on(SqliteStash(folder / "state" / "stash.sqlite3", reserve_bytes=0)) as bench:
        for verb, params in [*call_of_each_verb(folder), ("backup", {"path": str(folder / "copy")})]:
            drawn = json.dumps(shape(await bench.call(verb, **params)), sort_keys=True)
            met.setdefault(verb, {})[drawn] = None
    return {verb: [json.loads(drawn) for drawn in shapes] for verb, shapes in met.items()}


async def test_every_reply_has_the_members_and_kinds_of_values_it_was_recorded_with(tmp_path):
    recorded = json.loads(RECORDED.read_text())

    answered = await replies_of(tmp_path)

    assert answered == recorded


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(replies_of(Path(folder)))
    RECORDED.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
