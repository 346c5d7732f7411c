"""The input of a Codex call, and whether the call failed: the log has no field for either."""

from __future__ import annotations

import json
import re
from typing import Any

from ctxgc.adapters.json_values import block_text, content_blocks

HEAD_CHARS = 600
TAIL_CHARS = 300

_EXIT_CODE = re.compile(r"^(?:Process exited with code|Exit code:) (-?\d+)", re.MULTILINE)
_EXIT_FIELD = re.compile(r'"exit_code"\s*:\s*(-?\d+)')
_FAILED = re.compile(
    r"^(?:Script failed|apply_patch verification failed|execution error|failed to parse|unsupported call)"
)


def parse_call_input(payload: dict[str, Any]) -> tuple[object, bool]:
    """A call's input, and whether the input is free text: arguments are JSON in a string, but a model may write any
    text.
    """
    for key in ("input", "arguments", "action"):
        value = payload.get(key)
        if isinstance(value, str):
            return (value, True) if key == "input" else _parse_arguments(value)
        if value is not None:
            return value, False
    return {}, False


def _parse_arguments(arguments: str) -> tuple[object, bool]:
    try:
        value = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return arguments, True
    return (value, False) if isinstance(value, dict) else (arguments, True)


def is_failed_codex_output(output: object) -> bool:
    """Whether an output says that its call failed: by exit code, or in the host's own first words."""
    if isinstance(output, dict):
        return output.get("success") is False
    first = next((text for block in content_blocks(output) if (text := block_text(block))), "")
    head = first[:HEAD_CHARS]
    if _FAILED.match(head):
        return True
    # The header ends where the output begins: what a program prints is not the host's word.
    header = head.partition("\nOutput:")[0]
    code = _EXIT_CODE.search(header)
    if code is None and first.startswith('{"output"'):
        code = _EXIT_FIELD.search(first[-TAIL_CHARS:])
    if code is None and isinstance(output, list) and first.startswith("Script completed"):
        code = _match_script_exit_code(output)
    return code is not None and code[1] != "0"


def _match_script_exit_code(output: list[Any]) -> re.Match[str] | None:
    """A script that prints a command's whole result prints the exit code too."""
    texts = [text for block in output[1:] if (text := block_text(block)) is not None]
    if len(texts) != 1 or not texts[0].startswith('{"chunk_id"'):
        return None
    return _EXIT_FIELD.search(texts[0][:TAIL_CHARS]) or _EXIT_FIELD.search(texts[0][-TAIL_CHARS:])
