"""The reference pages that are made from the code: the command, the protocol, the configuration, the errors.

    parsers, params, replies, settings, error classes ──▶ docs/reference/*.md

Run: python -m docs.generate [--check]     (`make docs`; `--check` writes nothing and exits 1 if a page is old)

`tests/test_docs.py` holds the pages to what this makes, so a verb without a word of help cannot land.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ctxgc
from ctxgc.config import Config
from ctxgc.core.errors import CtxgcError
from ctxgc.fronts.cli import reference as cli_reference
from ctxgc.fronts.cli.context import EXIT_REFUSED, EXITS
from ctxgc.protocol import limits, messages, wire
from ctxgc.protocol.blocking_client import BadSocketPath, CallFailed, TimedOut, Unreachable
from ctxgc.protocol.messages import CAPABILITIES, VERBS, NewSegment, OneSegment, SegmentIds, WatchAdd
from ctxgc.protocol.params import Mutating, MutatingSession, NoParams, OfSession, Params
from ctxgc.protocol.replies import daemon, heap, segments, sessions, stash
from ctxgc.protocol.replies.reply import Reply

FOLDER = Path(__file__).parent / "reference"
PACKAGE = Path(ctxgc.__file__).parent
SOURCES = Path(__file__).parent / "pages"
"""The hand-written part of each page, in which `{{name}}` stands for what is generated."""


SHARED = (NoParams, OfSession, MutatingSession, OneSegment, SegmentIds, WatchAdd)
"""Params that several verbs take, or that say nothing of the verb."""


def pages() -> dict[str, str]:
    """Every generated page by its file's name."""
    return {
        "cli.md": cli_reference.reference_page(),
        "protocol.md": _filled(
            "protocol.md",
            verbs=_verbs(),
            replies=_replies(),
            limits=_limits(),
            caps=_caps(),
            api=_api(),
            segment=_fields_of(NewSegment),
            usage=_fields_of(wire.Usage),
            sent_cache=_fields_of(wire.SentCache),
            sent_mark=_fields_of(wire.SentMark),
            sent_before=_fields_of(wire.SentBefore),
        ),
        "config.md": _filled("config.md", keys=_keys()),
        "errors.md": _filled("errors.md", daemon=_daemon_errors(), client=_client_errors()),
    }


def _filled(name: str, **parts: str) -> str:
    text = (SOURCES / name).read_text()
    for part, value in parts.items():
        mark = "{{" + part + "}}"
        assert mark in text, f"docs/pages/{name} has no place for {mark}"
        text = text.replace(mark, value.strip())
    title, rest = text.split("\n", 1)
    return f"{title}\n\n<!-- Generated: python -m docs.generate, from docs/pages/{name} and the code -->\n{rest}"


# The protocol


def _verbs() -> str:
    parts = []
    for name, verb in VERBS.items():
        # A model of one verb says more in its docstring than the verb's line of help.
        words = f"{_sentence(verb.help)}." if verb.params in SHARED else _doc_of(verb.params)
        answer = f"Answers [{verb.reply.__name__}](#{verb.reply.__name__.lower()})."
        parts += [f"### `{name}`\n", f"{words}{' *Changes things.*' if verb.mutates else ''} {answer}\n"]
        own = _own_fields(verb.params)
        takes = [words for words, base in (("`session`, `cwd`", OfSession), ("`op_id`, `durability`", Mutating))
                 if issubclass(verb.params, base)]  # fmt: skip
        if takes:
            parts.append(f"Takes {' and '.join(takes)} as above{', and' if own else '.'}\n")
        if own:
            parts.append(_table(("param", "type", "default", "meaning"), own))
        elif not takes:
            parts.append("No params.\n")
    return "\n".join(part for part in parts if part)


def _fields_of(model: type[Params]) -> str:
    return _table(("param", "type", "default", "meaning"), _own_fields(model))


def _doc_of(model: type[Params]) -> str:
    return inspect.cleandoc(model.__doc__ or "").replace("\n", " ")


def _own_fields(model: type[Params]) -> list[tuple[str, str, str, str]]:
    schema = model.model_json_schema()
    shared = {*OfSession.model_fields, *Mutating.model_fields}
    required, defs = set(schema.get("required", ())), schema.get("$defs", {})
    words = _field_docs(model)
    rows = []
    for name, field in schema.get("properties", {}).items():
        # `session.open` has a session of its own kind: the name to give, not one to find.
        if name in shared and (name in Mutating.model_fields or issubclass(model, OfSession)):
            continue
        default = "required" if name in required else f"`{json.dumps(field.get('default'))}`"
        rows.append((f"`{name}`", _type(field, defs), default, words.get(name, "")))
    return rows


def _type(field: dict[str, Any], defs: dict[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        kinds = [_type(kind, defs) for kind in field["anyOf"] if kind.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "any")
    if kind == "array":
        least = f", at least {field['minItems']}" if field.get("minItems") else ""
        most = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"list of {_type(field.get('items', {}), defs)}{least}{most}"
    if kind == "string":
        pattern = f" like `{field['pattern']}`" if "pattern" in field else ""
        return f"text{pattern}" + (f", at most {field['maxLength']} characters" if "maxLength" in field else "")
    if kind in ("integer", "number"):
        return f"{kind}{_range(field)}"
    return {"boolean": "true or false", "object": "object"}.get(kind, kind)


def _range(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    return f" from {_number(low)}" if low is not None else ""


def _number(value: float) -> str:
    whole = int(value)
    is_power = whole > 4096 and whole & (whole - 1) == 0
    return f"2^{whole.bit_length() - 1}" if is_power else f"{value:g}" if value != whole else str(whole)


def _field_docs(model: type) -> dict[str, str]:
    """Field to the string that stands below it, for a class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base.__module__.startswith("ctxgc."):
            found |= _docs_in(base)
    return found


def _docs_in(model: type) -> dict[str, str]:
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        is_field = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if is_field and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[node.target.id] = inspect.cleandoc(str(after.value.value)).replace("\n", " ")  # type: ignore[union-attr]
    return found


def _replies() -> str:
    parts = []
    for module in (sessions, segments, heap, stash, daemon, wire):
        for name, shape in vars(module).items():
            if isinstance(shape, type) and issubclass(shape, Reply) and shape.__module__ == module.__name__:
                words = _docs_in(shape)
                rows = [(f"`{key}`", type_, words.get(key, "")) for key, type_ in _fields_in(shape)]
                parts += [f"### {name}\n", inspect.cleandoc(shape.__doc__ or "").replace("\n", " ") + "\n"]
                base = shape.__bases__[0].__name__
                if base != Reply.__name__:
                    parts.append(f"All of [{base}](#{base.lower()}), and\n")
                parts.append(_table(("field", "type", "meaning"), rows))
    return "\n".join(parts)


def _fields_in(shape: type) -> Iterator[tuple[str, str]]:
    (tree,) = ast.parse(inspect.getsource(shape)).body
    assert isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotation = ast.unparse(node.annotation)
            if node.value is None:
                yield node.target.id, f"`{annotation}`"
            else:
                yield node.target.id, f"`{annotation.removesuffix(' | None')}`, may be absent"


def _limits() -> str:
    tree = ast.parse(inspect.getsource(limits)).body
    rows = []
    for node, after in zip(tree, [*tree[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            words = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
            rows.append((f"`{name}`", f"{getattr(limits, name):,}", words))
    return _table(("bound", "value", "meaning"), rows)


def _caps() -> str:
    return ", ".join(f"`{cap}`" for cap in CAPABILITIES)


def _api() -> str:
    """The verbs that no front of ours calls: there for other people's programs."""
    ours = "".join(path.read_text() for room in ("fronts", "gateway") for path in (PACKAGE / room).rglob("*.py"))
    return ", ".join(f"[`{verb}`](#{_anchor(verb)})" for verb in VERBS if f'"{verb}"' not in ours)


def _anchor(verb: str) -> str:
    return verb.replace(".", "")


# The configuration


def _keys() -> str:
    parts = []
    for name, section in Config.model_fields.items():
        model: Any = section.annotation
        schema = model.model_json_schema()
        title = inspect.cleandoc(model.__doc__ or "").partition(": ")[2]
        parts += [f"## `[{name}]`\n", f"{_sentence(title)}\n"]
        rows = []
        for key, field in model.model_fields.items():
            described = (field.description or "").replace("\n", " ")
            type_ = _type(schema["properties"][key], schema.get("$defs", {}))
            rows.append((f"`{key}`", type_, _default(schema["properties"][key], field), described))
        parts.append(_table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def _default(schema: dict[str, Any], field: Any) -> str:
    # A default that is computed names folders of the machine that generates the page; its description says it.
    if field.default_factory is not None or field.default is None:
        return "see right"
    return f"`{json.dumps(schema.get('default'))}`"


# The errors


def error_classes() -> list[type[CtxgcError]]:
    """Every error of the package, each module imported first, by number and kind."""
    for module in pkgutil.walk_packages(ctxgc.__path__, "ctxgc."):
        if not module.name.startswith("ctxgc.integrations."):  # Each needs its framework, and has no error of its own.
            importlib.import_module(module.name)
    found, waiting = set(), [CtxgcError]
    while waiting:
        waiting += (known := waiting.pop()).__subclasses__()
        if "kind" in vars(known):  # A class without a kind of its own is its parent to a client.
            found.add(known)
    return sorted((c for c in found if c.__module__.startswith("ctxgc.")), key=lambda c: (-c.number, c.kind))


def _daemon_errors() -> str:
    rows = []
    for error in error_classes():
        again = "yes" if error.is_retryable else "no"
        rows.append((f"`{error.kind}`", str(error.number), again, str(_exit(error.kind)), _why(error)))
    return _table(("kind", "number", "try again", "exit code", "meaning"), rows)


def _why(error: type[Exception]) -> str:
    text = inspect.cleandoc(error.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return "A bug in ctxgc: its message names no text of a session." if error is CtxgcError else text


def _client_errors() -> str:
    rows = []
    for error in (Unreachable, TimedOut, BadSocketPath):
        made: CallFailed = error("x")
        rows.append((f"`{made.kind}`", f"`{error.__name__}`", str(_exit(made.kind)), _why(error), made.hint))
    return _table(("kind", "raised as", "exit code", "meaning", "next step"), rows)


def _exit(kind: str) -> int:
    return EXITS.get(kind, EXIT_REFUSED)


# Words


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def main(argv: Sequence[str]) -> int:
    """Write every page, or with `--check` say which are old."""
    assert messages.PROTOCOL == 1, "docs/pages/protocol.md describes version 1"
    old = [name for name, text in pages().items() if _read(FOLDER / name) != text]
    for name in old:
        print(f"docs/reference/{name}{' is old: run `make docs`' if '--check' in argv else ''}")
        if "--check" not in argv:
            (FOLDER / name).write_text(pages()[name])
    return 1 if old and "--check" in argv else 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
