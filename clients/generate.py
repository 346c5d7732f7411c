"""Writes what other languages take from the protocol's schema.  Run: python -m clients.generate [--check]

VERBS ──JSON Schema──▶ clients/typescript/src/protocol.d.ts       params and replies of every verb
clients/typescript/src/connection.js ──verbatim──▶ agents/opencode/ctxgc.ts, which is one file on purpose
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ctxgc.protocol.messages import PROTOCOL, VERBS

ROOT = Path(__file__).parent.parent
TYPES = ROOT / "clients" / "typescript" / "src" / "protocol.d.ts"
CONNECTION = ROOT / "clients" / "typescript" / "src" / "connection.js"
PLUGIN = ROOT / "agents" / "opencode" / "ctxgc.ts"
BEGINS, ENDS = "// The connection of clients/typescript, verbatim.\n", "// The end of the connection.\n"
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def main(argv: Sequence[str]) -> int:
    """Write every file, or with `--check` say which are old."""
    old = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in old:
        print(f"{path.relative_to(ROOT)}{' is old: run `make docs`' if '--check' in argv else ''}")
        if "--check" not in argv:
            path.write_text(files()[path])
    return 1 if old and "--check" in argv else 0


def files() -> dict[Path, str]:
    """Every generated file and its text."""
    return {TYPES: protocol_types(), PLUGIN: plugin_text()}


def plugin_text() -> str:
    """The plugin with the connection as the package has it, without its imports and exports."""
    connection = CONNECTION.read_text().partition(BEGINS)[2].partition(ENDS)[0]
    before, begins, rest = PLUGIN.read_text().partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    assert connection, f"{CONNECTION} lacks its marks"
    assert begins, f"{PLUGIN} lacks its marks"
    assert ends, f"{PLUGIN} lacks its marks"
    return before + begins + connection.replace("export ", "") + ends + after


def protocol_types() -> str:
    """The types of all params and replies, and two maps from a verb's name to its params and its reply."""
    named: dict[str, Any] = {}
    params: dict[str, str] = {}
    for method, verb in VERBS.items():
        schema = verb.params.model_json_schema(ref_template="{model}")
        named |= schema.pop("$defs", {}) | {verb.params.__name__: schema}
        params[method] = verb.params.__name__
    structs = {verb.reply.__name__: verb.reply for verb in VERBS.values()}
    _, components = msgspec.json.schema_components(structs.values(), ref_template="{name}")
    replies = {method: verb.reply.__name__ for method, verb in VERBS.items()}
    parts = [
        f"// Generated: python -m clients.generate, from the schema of ctxgc/{PROTOCOL}. Do not edit.",
        *(_declaration(name, schema, is_reply=False) for name, schema in sorted(named.items())),
        *(_declaration(name, schema, is_reply=True) for name, schema in sorted(components.items())),
        _map("Params", params),
        _map("Replies", replies),
        "/** The name of a verb. */\nexport type Method = keyof Params",
    ]
    return "\n\n".join(parts) + "\n"


def _declaration(name: str, schema: Mapping[str, Any], *, is_reply: bool) -> str:
    comment = _comment(schema.get("description", ""))
    if "properties" not in schema and schema.get("type") != "object":
        return f"{comment}export type {name} = {_type_of(schema)}"
    required = set(schema.get("required", ()))
    rows = [
        f"  {_key(field)}{'' if (is_reply and field in required) or field in required else '?'}: {_type_of(of)}"
        for field, of in schema.get("properties", {}).items()
    ]
    body = "\n".join(rows) if rows else "  [key: string]: never"
    return f"{comment}export interface {name} {{\n{body}\n}}"


def _comment(text: str) -> str:
    words = " ".join(text.split()).replace("*/", "* /")
    return f"/** {words} */\n" if words else ""


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"'


def _map(name: str, of: Mapping[str, str]) -> str:
    rows = "\n".join(f'  "{method}": {type_}' for method, type_ in sorted(of.items()))
    return f"export interface {name} {{\n{rows}\n}}"


def _type_of(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"])
    if "enum" in schema or "const" in schema:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value).lower() for value in _values(schema))
    if union := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " | ".join(dict.fromkeys(map(_type_of, union)))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_PLAIN[each] for each in kind)
    if kind == "array":
        items = _type_of(schema.get("items", {}))
        return f"({items})[]" if " " in items else f"{items}[]"
    if kind == "object":
        more = schema.get("additionalProperties")
        return f"Record<string, {_type_of(more) if isinstance(more, dict) else 'unknown'}>"
    return _PLAIN.get(str(kind), "unknown")


def _values(schema: Mapping[str, Any]) -> Sequence[Any]:
    return schema["enum"] if "enum" in schema else [schema["const"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
