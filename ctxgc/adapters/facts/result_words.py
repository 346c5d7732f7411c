"""A person's words, and instructions of a project, that an agent puts into a tool's result.

    "output\\n\\n<system-reminder>\\nThe user sent a new message …"       a fold: what an agent puts behind the output
    "The user rejected … To tell you how to proceed, the user said:\\n…"   the reason of a refusal
    "output\\n\\n--- Newly Discovered Project Context ---\\n…"             instructions of a folder, behind a file of it
    "… approved your plan …\\n\\n## Approved Plan (edited by user):\\n…"   a proposal as the user changed it
    whatever a tool returns that asks the user                            the answer

An agent that is known to fold, and an unknown agent, have their results split (`host_texts/folds.py`). Of any other
result the whole stays.
"""

from __future__ import annotations

import re

QUESTION_TOOLS = frozenset(
    {"askuserquestion", "ask_user_question", "ask_user", "askuser", "ask_followup_question", "ask_question"}
    | {"ask_human", "question", "request_user_input", "user_input", "elicit", "elicitation", "clarify"}
)
"""Tools whose result is an answer of the user, by their lower-cased name."""

TYPED_STARTS = ("The user sent a new message while you were working:", "The user sent the following message:")
"""How Claude Code begins what the user typed while the model worked. The rule protects more and evicts nothing, and so
counts for all agents."""
REASON = re.compile(
    r"(?:to tell you how to proceed, )?(?:the )?(?:user|human|operator)(?:'s)? "
    r"(?:said|says|wrote|replied|responded|added|feedback|reason|message|comment|remark|instructions?)\s*:"
    r"|(?:with|and (?:gave|provided)) (?:the |this )?(?:following )?(?:feedback|reason|message|comment|context)\s*:"
    r"|(?:the )?(?:user|human|operator) (?:gave|provided) (?:the |this |a )?(?:following )?"
    r"(?:feedback|reason|message|comment|context)(?: for [^\n:]{1,60})?\s*:",
    re.IGNORECASE,
)
"""How agents begin the words of a user who refused a call, or allowed a call with a remark."""
EDITED = re.compile(
    r"^(?:#{1,6} [^\n]{0,80}\((?:edited|modified|changed|revised) by (?:the )?user\):?[ \t\r]*$"
    r"|The user made the following (?:updates|changes|edits) to your \w+:"
    r"|User modified the `\w+` (?:content )?to be:)",
    re.MULTILINE,
)
"""How agents begin a proposal (a plan, a file's text) as the user changed the proposal before accepting it."""
INSTRUCTIONS_START, INSTRUCTIONS_END = "--- Newly Discovered Project Context ---", "--- End Project Context ---"
"""Lines around the instructions of a folder that Gemini CLI puts behind a file's text."""

_OPEN, _CLOSE = "<system-reminder>", "</system-reminder>"
_TYPED = re.compile(rf"(?:^|(?<=\n)){_OPEN}\s*(?:{'|'.join(map(re.escape, TYPED_STARTS))})")
_TOOLS_OWN = re.compile(
    rf"{_OPEN}\s*(?:Whenever you read a file, you should consider|Warning: the file exists but)", re.DOTALL
)
"""A tool's own words behind a file's text: evicted with the text."""
_REFUSAL = (
    r"\s*+(?=[^\n]{0,600}?\b(?:user|human|operator)\b)"
    r"(?=[^\n]{0,600}?(?:\breject|\bdenied\b|\bdeclin|\brefus|\bcancel|\bapprov|n't want|not want))"
)
_REFUSAL_LINE = re.compile(_REFUSAL, re.IGNORECASE)
_REFUSED = re.compile(rf"{_REFUSAL}[^\n]{{0,600}}?({REASON.pattern})\s*\S", re.IGNORECASE)
"""A refusal is the whole result: its first line names the user, says no (or yes, but …), and leads to the reason."""
_REASON_LINE = re.compile(rf"\n({REASON.pattern})\s*\S", re.IGNORECASE)
"""The reason on a line of its own, behind what was refused."""
_ANSWERED = re.compile(
    r"\s*+((?:the )?user has answered your questions?\s*:|your questions? ha(?:s|ve) been answered\s*:)\s*\S",
    re.IGNORECASE,
)
"""An answer says so itself where the name of the tool that asked is unknown."""
_ACCEPTED_CHANGED = re.compile(r"\s*+[^\n]{0,600}?(The user modified your proposed changes)")
"""The first line of an edit that the user changed; the lines behind show the user's text."""
_REMARK = re.compile(rf"(?:^|(?<=\n))(?=[^\n]*\buser\b)[^\n]{{0,200}}?({REASON.pattern})\s*<feedback>", re.IGNORECASE)
_REMARK_END = "</feedback>"
_JSON_REASON = re.compile(r'\s*\{\s*"status"\s*:\s*"\w+"\s*,(?:\s*"message"\s*:\s*"[^"]*"\s*,)?\s*"feedback"\s*:\s*"')
_EDITED_SIGNS = ("by user)", "by the user)", "The user made the following", "User modified the `")
_SIGNS = (
    *(b"<system-reminder>", b"</feedback>", b'"feedback"', INSTRUCTIONS_END.encode()),
    *(sign.encode() for sign in _EDITED_SIGNS),
)
_SPEAKER = re.compile(rb"user|human|operator|been answered", re.IGNORECASE)
_HEAD_BYTES = 2400
"""A first line of 600 characters is no longer."""


def is_question_tool(tool: str) -> bool:
    """Whether a tool asks the user.

    Of an MCP server's tool (`mcp__forms__ask_user`) the last name counts, if it names whom it asks: `ask_question` of a
    server asks the server.
    """
    server, _, name = tool.lower().rpartition("__")
    return name in QUESTION_TOOLS and (not server or "user" in name or "human" in name)


def has_protected_words(result: bytes) -> bool:
    """Whether a result holds words that no edit may take: a fold, or a reason as a member of JSON."""
    if not (_SPEAKER.search(result, 0, _HEAD_BYTES) or any(sign in result for sign in _SIGNS)):
        return False
    text = result.decode("utf-8", "replace")
    return find_folds_start(text) >= 0 or _JSON_REASON.match(text) is not None


def find_folds_start(text: str) -> int:
    """The place where the folds of a result begin; -1 without folds.

    The user's words may hold any text, so all text behind such a heading is kept.
    """
    starts = (
        _find_reason(text),
        _find_first_line_notice(text),
        _find_edit_notice(text),
        _find_instructions(text),
        _find_reminders_start(text),
    )
    return min((start for start in starts if start >= 0), default=-1)


def _find_reason(text: str) -> int:
    if refused := _REFUSED.match(text):
        return refused.start(1)
    if _REFUSAL_LINE.match(text) and (reason := _REASON_LINE.search(text)):
        return reason.start(1)
    remark = _REMARK.search(text) if text.rstrip().endswith(_REMARK_END) else None
    return remark.start(1) if remark else -1


def _find_first_line_notice(text: str) -> int:
    head = _ANSWERED.match(text) or _ACCEPTED_CHANGED.match(text)
    return head.start(1) if head else -1


def _find_edit_notice(text: str) -> int:
    # A scan for beginnings of lines costs more than a search for a sign that hardly any result has.
    edited = EDITED.search(text) if any(sign in text for sign in _EDITED_SIGNS) else None
    return edited.start() if edited else -1


def _find_instructions(text: str) -> int:
    if not text.rstrip().endswith(INSTRUCTIONS_END):
        return -1
    return 0 if text.startswith(f"{INSTRUCTIONS_START}\n") else text.find(f"\n{INSTRUCTIONS_START}\n") + 1 or -1


def _find_reminders_start(text: str) -> int:
    if _OPEN not in text:
        return -1
    typed = _TYPED.search(text)
    start = typed.start() if typed else -1
    end = len(text) if start < 0 else start
    while (end := _find_reminder_ending_at(text, end)) >= 0:
        if start >= 0 or not _TOOLS_OWN.match(text, end):
            start = end
    return start


def _find_reminder_ending_at(text: str, end: int) -> int:
    """Where the reminder begins that ends here, with white space apart, on a line of its own; -1 if none does."""
    while end and text[end - 1].isspace():
        end -= 1
    start = text.rfind(_OPEN, 0, end)
    if start < 0 or text.find(_CLOSE, start, end) != end - len(_CLOSE):
        return -1
    before = start
    while before and text[before - 1] in " \t":
        before -= 1
    is_apart = not before or text[before - 1] == "\n" or text.endswith(_CLOSE, 0, before)
    return start if is_apart else -1
