"""How fast is a transcript taken in, on one core, and does a longer one take more memory?

Run: python -m perf.bench_import

The transcripts are invented: turns of reads, searches, edits and commands, in the shape of Claude Code's logs, where
the message is three tenths of the bytes. As files of some hundred turns, and as one file of one session.
"""

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from ctxgc.fronts.cli.private_daemon import PrivateDaemon
from perf.record import record
from perf.texts import code_like

SIZES_MB = (20, 100)
SYLLABLES = (
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "ke",
    "li",
    "mo",
    "nu",
    "pa",
    "re",
    "si",
    "to",
    "qua",
    "str",
    "ent",
    "tion",
)
TURNS_PER_SESSION = 400


def main(argv: list[str]) -> None:
    for name, turns in (("sessions", TURNS_PER_SESSION), ("one-session", sys.maxsize)):
        peaks_mb = []
        for size_mb in SIZES_MB:
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), size_mb * 10**6, turns)
                numbers = imported(Path(folder))
            record(f"import/{size_mb}MB/{name}", numbers)
            peaks_mb.append(float(numbers["rss_peak_mb"]))
        record(f"import/memory/{name}", {"peak_of_five_times_the_bytes": peaks_mb[1] / peaks_mb[0]})


def imported(folder: Path) -> dict[str, int | float | str]:
    """Import a folder through a daemon that has one core to itself and to all of its threads."""
    with PrivateDaemon(timeout_s=900) as daemon:
        pid = daemon.client.call("stats")["pid"]
        on_one_core(pid)
        idle_rss_mb = memory_mb(pid, "VmHWM")
        before_s = cpu_s(pid)
        reply = daemon.client.call("import", {"paths": [str(folder)]})
        size_mb = reply["bytes"] / 1e6
        return {
            "mb_per_s": size_mb / reply["seconds"],
            "mb_per_cpu_s": size_mb / (cpu_s(pid) - before_s),
            "segments": sum(session["added"] for session in reply["sessions"]),
            "failed": len(reply["failed"]),
            "rss_peak_mb": memory_mb(pid, "VmHWM"),
            "rss_before_mb": idle_rss_mb,
        }


def on_one_core(pid: int) -> None:
    core = min(os.sched_getaffinity(0))
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def memory_mb(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write(folder: Path, size_bytes: int, turns_max: int) -> None:
    """Files of one session each, until there are so many bytes."""
    chance = random.Random(size_bytes)
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(4000)]
    source = code_like(4_000_000, seed=7).decode()
    written = session = 0
    while written < size_bytes:
        session += 1
        with (folder / f"{session}.jsonl").open("wb") as file:
            for line in islice(one_session(f"s{session}", chance, words, source), min(3 * turns_max, sys.maxsize)):
                written += file.write(line)
                if written >= size_bytes:
                    break


def one_session(name: str, chance: random.Random, words: list[str], source: str) -> Iterator[bytes]:
    last = None

    def line(kind: str, number: int, **more: object) -> bytes:
        nonlocal last
        above, last = last, f"{name}-{kind}-{number}"
        fields = {"parentUuid": above, "sessionId": name, "type": kind, "uuid": last, "cwd": "/work", **more}
        return json.dumps(fields).encode() + b"\n"

    yield line("user", 0, message={"role": "user", "content": " ".join(chance.choices(words, k=60))})
    for turn in count(1):
        call_id = f"toolu_{name}_{turn}"
        use = {"type": "tool_use", "id": call_id, **a_call(chance, words)}
        said = {"type": "text", "text": " ".join(chance.choices(words, k=chance.randint(5, 80)))}
        usage = {"input_tokens": 3, "cache_read_input_tokens": 900 * turn, "output_tokens": 200}
        reply = {"id": f"msg_{turn}", "role": "assistant", "model": "m-1", "content": [said, use], "usage": usage}
        yield line("assistant", turn, message=reply)
        size = min(int(chance.lognormvariate(7.6, 1.1)), 60_000)
        start = chance.randrange(len(source) - size)
        text = source[start : start + size] if chance.random() < 0.7 else " ".join(chance.choices(words, k=size // 7))
        result = {"type": "tool_result", "tool_use_id": call_id, "content": text}
        # As the real logs do: what the screen showed beside what the model got, and the ticks of a running call.
        screen = {"stdout": text, "stderr": "", "interrupted": False}
        yield line("progress", turn, data={"type": "hook_progress", "output": text[: size // 2]})
        yield line("user", turn, message={"role": "user", "content": [result]}, toolUseResult=screen)


def a_call(chance: random.Random, words: list[str]) -> dict[str, object]:
    path = f"/work/{chance.choice(words)}/{chance.choice(words)}.py"
    return chance.choice(
        (
            {"name": "Read", "input": {"file_path": path}},
            {"name": "Bash", "input": {"command": f"grep -rn {chance.choice(words)} {path}"}},
            {"name": "Edit", "input": {"file_path": path, "old_string": " ".join(words[:20]), "new_string": words[3]}},
            {"name": "Grep", "input": {"pattern": chance.choice(words), "path": "/work"}},
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
