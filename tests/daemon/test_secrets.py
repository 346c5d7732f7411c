"""No byte of a credential reaches a file of the stash, by whichever verb, field, feed or wire format it comes."""

import contextlib
import itertools
import json
import re
import sqlite3
from pathlib import Path

import pytest

from ctxgc.core.errors import CtxgcError
from ctxgc.protocol.messages import VERBS
from ctxgc.stash import body_codec
from tests.core.made_secrets import issued, longest_part, named

FIXTURES = Path(__file__).parent.parent / "fixtures" / "transcripts"
LEFT_OUT = frozenset({"shutdown", "backup", "export"})
"""Verbs that end the bench, or write a file that the caller names."""
VALID = {
    "session": "client:s",
    "id": "seg",
    "ids": ["seg"],
    "refs": [],
    "kind": "user",
    "source": "client",
    "method": "segment.add",
    "digests": [],
    "edited": [],
}


def secret_texts(seed):
    """(secret, text that holds it), every kind and every way, for ever."""
    made = [(secret, f"see {secret} there") for secret in issued(seed).values()]
    made += [(secret, context.format(secret)) for context, secret in named(seed).values()]
    return itertools.cycle(made)


def leaves(schema, definitions, path=()):
    """(path to it, whether it takes any text) of each string of a verb's params."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for option in schema.get("anyOf", ()):
        yield from leaves(option, definitions, path)
    if schema.get("type") == "string" and not {"enum", "pattern", "const"} & schema.keys():
        yield path
    if schema.get("type") == "array":
        yield from leaves(schema["items"], definitions, (*path, 0))
    for name, part in schema.get("properties", {}).items():
        yield from leaves(part, definitions, (*path, name))
    if schema.get("type") == "object" and "properties" not in schema:
        yield from ((*path, "input"), (*path, "a key", "of an object"), (*path, None))


def params_with(schema, path, text):
    """Params that a verb takes, with `text` at the path; None in a path stands for a name of an object."""
    definitions = schema.get("$defs", {})

    def fill(part, path):
        part = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        part = next((option for option in part.get("anyOf", ()) if option.get("type") != "null"), part)
        kind = part.get("type")
        if path == ():
            return text
        if kind == "array":
            return [fill(part["items"], path[1:])]
        if kind == "object" and "properties" in part:
            filled = {
                name: VALID.get(name, minimum(inner))
                for name, inner in part["properties"].items()
                if name in part.get("required", ())
            }
            filled[path[0]] = fill(part["properties"][path[0]], path[1:])
            return filled
        value = text
        for name in reversed(path):
            value = {text: "of a name"} if name is None else {name: value}
        return value

    def minimum(part):
        part = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        if part.get("type") == "object":
            return {
                n: VALID.get(n, minimum(p))
                for n, p in part.get("properties", {}).items()
                if n in part.get("required", ())
            }
        if part.get("type") == "array":
            return [minimum(part["items"])]
        return part.get("enum", [part.get("default", part.get("minimum", "plain"))])[0]

    filled = fill(schema, path)
    if "session" in schema["properties"]:
        filled.setdefault("session", "client:s")
    return filled


def kept_on_disk(folder):
    """All bytes of the files of a stash: as they are, each row's values, and each body unpacked."""
    parts = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    decompress = body_codec.make_decompressor()
    with contextlib.closing(sqlite3.connect(folder / "stash.sqlite3")) as db:
        for skeleton, body in (
            body_codec.decode_content(blob, decompress) for (blob,) in db.execute("SELECT frame FROM body")
        ):
            parts += [skeleton, *(part for piece in body for part in (piece.name.encode(), piece.data))]
    return b"\0".join(parts)


def found_on_disk(folder, secrets):
    """The secrets of which a part is on disk, in any case of its letters."""
    kept = re.sub(rb"\0{8,}", b"\0", kept_on_disk(folder).lower())
    return [secret for secret in secrets if longest_part(secret).encode().lower() in kept]


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_no_field_of_any_verb_takes_a_credential_to_disk(kept_bench, tmp_path, seed):
    made, used = secret_texts(seed), []
    await kept_bench.call("session.open", session="s", rendered_by="client")
    await kept_bench.call("segment.add", session="client:s", segment={"id": "seg", "kind": "user", "text": "plain"})

    answered = 0
    for method, verb in VERBS.items():
        schema = verb.params.model_json_schema()
        for path in leaves(schema, schema.get("$defs", {})) if method not in LEFT_OUT else ():
            for _ in range(3):
                secret, text = next(made)
                used.append(secret)
                with contextlib.suppress(CtxgcError):
                    params = params_with(schema, path, text) | (
                        {"op_id": f"op {text}"[:128]} if verb.mutates and method != "messages.collect" else {}
                    )
                    if "op_id" not in schema["properties"]:
                        params.pop("op_id", None)
                    await kept_bench.call_raw(method, json.dumps(params).encode())
                    answered += 1

    assert answered > len(VERBS)
    assert found_on_disk(tmp_path / "state", used) == []


async def test_no_credential_of_any_kind_is_kept_of_a_segment(kept_bench, tmp_path):
    secrets = {name: (secret, f"see {secret} there") for name, secret in issued(3).items()}
    secrets |= {name: (secret, context.format(secret)) for name, (context, secret) in named(3).items()}
    for number, (name, (secret, text)) in enumerate(secrets.items()):
        session = await add_everywhere(kept_bench, text, number)
        shown = await kept_bench.call("segment.get", session=session, id=text[:500])

        assert secret not in json.dumps(shown, ensure_ascii=False), name

    assert found_on_disk(tmp_path / "state", [secret for secret, _ in secrets.values()]) == []


async def add_everywhere(bench, text, number):
    """The session of this number, with the text in every field of the session and of a segment; the session's name."""
    call = {
        "id": text[:500],
        "kind": "tool_call",
        "tool": text[:500],
        "text": text,
        "input": {
            "command": text,
            text: [text, {"env": text}],
            "large": text + " x" * 500,
            text + " large": "y " * 500,
        },
        "paths": [f"/p/{text}"],
        "task": text[:500],
        "tags": [text[:500]],
    }
    name = f"{text[:400]} {number}"
    session = f"client:{name}"
    await bench.call("session.open", session=name, title=text[:500], task=text[:500], project=text)
    added = await bench.call("segment.add", session=session, segment=call, op_id=text[:128])
    await bench.call("segment.add", session=session, segment={"kind": "user", "text": "b", "refs": [text[:500]]})
    assert added["added"] == 1
    return session


def strings_of(value, path=()):
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings_of(part, (*path, key))


def with_text_at(value, path, text):
    if not path:
        return f"{value} {text}"
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = with_text_at(value[path[0]], path[1:], text)
    return changed


def logs():
    return [path for path in sorted(FIXTURES.rglob("*.jsonl")) if path.stat().st_size < 200_000]


@pytest.mark.parametrize("log", logs(), ids=lambda path: f"{path.parent.name}/{path.name}")
async def test_no_string_of_any_record_of_a_transcript_takes_a_credential_to_disk(kept_bench, tmp_path, log):
    made, used = secret_texts(len(log.name)), []
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.strip()][:60]
    damaged = []
    for record in lines:
        changed = record
        for path in itertools.islice(strings_of(record), 40):
            if path[-1] not in (
                "type",
                "role",
                "format",
                "kind",
                "status",
                "uuid",
                "parentUuid",
                "timestamp",
                "version",
            ):
                secret, text = next(made)
                used.append(secret)
                changed = with_text_at(changed, path, text)
        damaged.append(changed)
    copy = tmp_path / "log.jsonl"
    copy.write_text("\n".join(map(json.dumps, damaged)) + "\n")

    with contextlib.suppress(CtxgcError):
        await kept_bench.call("import", paths=[str(copy)])

    assert used
    assert found_on_disk(tmp_path / "state", used) == []
