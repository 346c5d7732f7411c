"""`docs/reference/cli.md`, generated from the parsers.

Run: python -m ctxgc.fronts.cli.reference > docs/reference/cli.md
"""

from __future__ import annotations

import argparse
import sys

from ctxgc.fronts.cli import commands

HEAD = """\
# The `ctxgc` command

<!-- Generated: python -m ctxgc.fronts.cli.reference > docs/reference/cli.md -->

`ctxgc COMMAND [ARGUMENTS]` is a thin client of the daemon, which it starts where it is not running. Every command takes

| option | meaning |
|---|---|
| `--json` | print the daemon's reply as one JSON object; a failure is `{"error": {"kind", "message", "hint"}}` |
| `--socket PATH` | the daemon's socket; default: `$CTXGC_SOCKET`, else `ctxgc/ctxgc.sock` in `$XDG_RUNTIME_DIR`, or \
in `~/.local/state` without that, or [where a running daemon says](protocol.md#the-socket) |
| `--timeout SECONDS` | give up waiting for a reply after this long |
| `--no-spawn` | do not start the daemon; `down` and `status` never do |

Where a session is meant, `--session S` names it: `SOURCE:SESSION`, a session id, or a prefix of one. Without it the
newest session of the working directory is meant. A segment is named by its id or a prefix of it; `recall`, `why` and
`show SEGMENT` find a whole id in any session, if one session alone has it, and the address that a tombstone names.

Tokens are billed tokens: as the session's model counts them, and of a window with the system prompt and the tools,
which no transcript shows. Where a page says raw, tokens are o200k tokens; so are tokens in the replies of `--json`,
unless the field or the `unit` says `billed`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | refused; one sentence and the next step are on stderr |
| 2 | the arguments make no sense |
| 69 | the daemon cannot be reached |
| 75 | busy, or no reply in time; try again |
| 78 | the configuration is wrong |

Colour is used on a terminal only, and never where `NO_COLOR` is set.
"""

SHARED = {"--help", "--json", "--socket", "--timeout", "--no-spawn", "--session"}


def reference_page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, group in commands.GROUPS.items():
        parts.append(f"\n## {title}\n")
        parts += [_command_section(name) for name in group]
    return "".join(parts)


def _command_section(name: str) -> str:
    spec = commands.load_command(name)
    actions = commands.build_parser(name, spec)._actions
    own = [action for action in actions if not SHARED & set(action.option_strings)]
    words = [f"ctxgc {name}", *(_argument_usage(action) for action in own)]
    if spec.has_session:
        words.append("[--session S]")
    text = commands.command_help(name)
    lines = [f"\n### `ctxgc {name}`", "", f"{text[0].upper()}{text[1:]}.", "", "```", " ".join(words), "```", ""]
    if own:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [
            f"| `{_argument_spelling(action)}` | {(action.help or '').replace('|', chr(92) + '|')} |" for action in own
        ]
        lines.append("")
    if spec.notes:
        lines += [f"{spec.notes}", ""]
    return "\n".join(lines)


def _argument_spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest)
    value = "" if action.nargs == 0 else f" {_value_placeholder(action)}"
    return f"{action.option_strings[-1]}{value}"


def _value_placeholder(action: argparse.Action) -> str:
    if action.choices:
        return "/".join(str(choice) for choice in action.choices)
    return str(action.metavar or action.dest.upper())


def _argument_usage(action: argparse.Action) -> str:
    many = "…" if action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction) else ""
    if action.option_strings:
        return f"[{_argument_spelling(action)}]{many}"
    name = _value_placeholder(action) + many
    return f"[{name}]" if action.nargs in ("?", "*") else name


if __name__ == "__main__":
    sys.stdout.write(reference_page())
