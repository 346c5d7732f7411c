"""Files of instructions, shown beside a prompt, stay: no collection takes such a file out of a window (I16)."""

import pytest

from ctxgc.adapters.host_texts.claude_code import ClaudeTexts
from ctxgc.adapters.host_texts.opencode import OpenCodeTexts
from ctxgc.core.segment import Kind
from tests.contracts.test_user_words import claude_log
from tests.contracts.test_wire_corpus import windows_of

INSTRUCTION_FILES = (
    "CLAUDE.md",
    "sub/CLAUDE.local.md",
    ".claude/rules/tests.md",
    "AGENTS.md",
    "GEMINI.md",
    ".cursorrules",
)
SHOWN = (
    "<system-reminder>\nNote: {} was modified, either by the user or by a linter.\n{}\n</system-reminder>",
    '<system-reminder>\nCalled the Read tool with the following input: {{"file_path":"{}"}}\n</system-reminder>'
    "<system-reminder>\nResult of calling the Read tool: {}\n</system-reminder>",
)


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("path", INSTRUCTION_FILES)
def test_a_file_of_instructions_that_is_shown_beside_a_prompt_is_an_instruction_I16(path, shown):
    text = shown.format(f"/w/{path}", "Never push.")

    readings = [
        ClaudeTexts().read_user_text(text).kind,
        ClaudeTexts().read_user_text(text.replace(path, "docs/a.md")).kind,
    ]

    assert readings == [Kind.SYSTEM, Kind.ATTACHMENT]


@pytest.mark.parametrize("path", INSTRUCTION_FILES)
def test_a_file_of_instructions_in_a_log_is_an_instruction_I16(path):
    file = {"file": {"content": "Never push."}}
    shown = [
        {"type": "file", "filename": f"/w/{path}", "content": file},
        {"type": "edited_text_file", "filename": f"/w/{path}", "snippet": "Never push!"},
        {"type": "edited_text_file", "filename": "/w/docs/a.md", "snippet": "Push."},
    ]

    window = windows_of("claude_code", claude_log(*({"type": "attachment", "attachment": one} for one in shown)))["s"]

    assert [s.kind for s in window] == [Kind.SYSTEM, Kind.SYSTEM, Kind.ATTACHMENT]


@pytest.mark.parametrize(
    ("path", "behind"), [("AGENTS.md", ""), ("a.md", "\n\n<system-reminder>\nNever push.\n</system-reminder>")]
)
def test_instructions_in_a_file_that_opencode_shows_are_an_instruction_I16(path, behind):
    texts_of = OpenCodeTexts()
    texts_of.read_user_text(f'Called the Read tool with the following input: {{"filePath":"/w/{path}"}}')

    assert texts_of.read_user_text(f"<path>/w/{path}</path>\nNever push.{behind}").kind is Kind.SYSTEM
