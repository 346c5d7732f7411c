"""`redact.enabled`: content is redacted or is not, and a lookup finds it either way."""

import json

import pytest

from ctxgc.config import Config
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.core.made_secrets import issued
from tests.daemon.harness import bench_on

SECRET = issued(11)["github"]
PATH, TASK = f"/p/{SECRET}/a.py", f"task {SECRET}"
FIELDS = {"task": TASK, "tags": [SECRET], "paths": [PATH], "tool": "Read", "input": {"file_path": PATH}}


async def imported(bench, folder):
    log = folder / "log.jsonl"
    head = {"format": "ctxgc-segments", "version": 1, "session": f"of {SECRET}", "source": "client"}
    record = {"kind": "tool_call", "text": f"needle {SECRET}", "id": f"id {SECRET}"} | FIELDS
    log.write_text("\n".join(map(json.dumps, (head, record))) + "\n")
    await bench.call("import", paths=[str(log)])


async def added(bench, folder):
    await bench.call("session.open", session=f"of {SECRET}")
    segment = {"kind": "tool_call", "text": f"needle {SECRET}", "id": f"id {SECRET}"} | FIELDS
    await bench.call("segment.add", session=f"client:of {SECRET}", segment=segment)


LOOKUPS = {
    "path": {"query": "needle", "path": PATH},
    "task": {"query": "needle", "task": TASK},
    "tag": {"query": "needle", "tags": [SECRET]},
    "session": {"query": "needle", "session": f"client:of {SECRET}"},
    "word": {"query": SECRET},
    "filter for a path": {"query": f"needle path:{PATH}"},
    "filter for a tag": {"query": f"needle tag:{SECRET}"},
}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("arrive", [imported, added])
async def test_a_name_or_a_word_with_a_credential_finds_what_came_in_under_it(tmp_path, enabled, arrive):
    config = Config.model_validate({"redact": {"enabled": enabled}})
    async with bench_on(SqliteStash(MEMORY), config=config) as bench:
        await arrive(bench, tmp_path)
        found = {name: len((await bench.call("stash.search", **call))["hits"]) for name, call in LOOKUPS.items()}
        shown = await bench.call("segment.get", session=f"client:of {SECRET}", id=f"id {SECRET}")

    assert found == dict.fromkeys(LOOKUPS, 1)
    assert (SECRET in json.dumps(shown["pieces"])) == (not enabled)
    assert SECRET not in json.dumps([shown[name] for name in ("id", "session", "label") if name in shown])
