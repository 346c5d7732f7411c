"""Sessions made for tests: an agent that reads files, comes back to old ones, edits, and once takes a long break."""

import json
from itertools import count
from random import Random

LINES = 200
BREAK_S = 4000


def claude_session(path, session, *, seed=0, turns=30, names="part"):
    """Write one Claude Code transcript; each read shows names of its own, and some turns speak of old ones."""
    chance = Random(seed)
    records, known = [], []
    clock, serial = 0, count()
    records.append(_record(session, serial, clock, "user", {"role": "user", "content": "Look through the parts."}))
    for turn in range(turns):
        clock += BREAK_S if turn == turns // 2 else 20
        lines = [f"{names}_{seed}_{turn}_{line} = measure_{names}_{seed}_{turn}({line})" for line in range(LINES)]
        blocks = [{"type": "text", "text": _speech(chance, known)}]
        edit = _edit(chance, known, turn) if turn % 5 == 4 else None
        read = {"file_path": f"/srv/{names}/{seed}/{turn % 20}.py"}
        blocks.append(edit or {"type": "tool_use", "id": f"call_{turn}", "name": "Read", "input": read})
        usage = {"input_tokens": 5, "cache_read_input_tokens": 9000, "output_tokens": 30}
        message = {"role": "assistant", "id": f"m{turn}", "model": "some-model", "content": blocks, "usage": usage}
        records.append(_record(session, serial, clock, "assistant", message))
        text = "done" if edit else "\n".join(lines)
        result = {"type": "tool_result", "tool_use_id": f"call_{turn}", "content": text}
        records.append(_record(session, serial, clock, "user", {"role": "user", "content": [result]}))
        if not edit:
            known.append(lines)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def _speech(chance, known):
    if not known or chance.random() < 0.4:
        return "On to the next one."
    lines = chance.choice(known)
    first, second = chance.sample(lines, 2)
    return f"Now {first.split()[0]} and {second.split()[0]} matter again."


def _edit(chance, known, turn):
    line = chance.choice(chance.choice(known))
    edit = {"file_path": "/srv/edited.py", "old_string": line, "new_string": "gone"}
    return {"type": "tool_use", "id": f"call_{turn}", "name": "Edit", "input": edit}


def _record(session, serial, clock, kind, message):
    number = next(serial)
    stamp = f"2026-03-02T{9 + clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}.000Z"
    return {
        "parentUuid": f"u{number - 1}" if number else None,
        "isSidechain": False,
        "cwd": "/srv",
        "sessionId": session,
        "version": "9.9.9",
        "uuid": f"u{number}",
        "timestamp": stamp,
        "type": kind,
        "message": message,
    }
