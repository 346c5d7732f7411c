"""How fast is a transcript taken in, on one core, and does a longer one take more memory?

Run: python -m perf.bench_import

The transcripts are invented: turns of reads, searches, edits and commands, in the shape of Claude Code's logs.
"""

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
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
    for size_mb in SIZES_MB:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log.jsonl"
            with path.open("wb") as file:
                for line in transcript(size_mb * 10**6, seed=size_mb):
                    file.write(line)
            record(f"import/{size_mb}MB", imported(path))


def imported(path: Path) -> dict[str, int | float | str]:
    """Import a file through a daemon that has one core to itself and to all of its threads."""
    with PrivateDaemon(timeout_s=900) as daemon:
        pid = daemon.client.call("stats")["pid"]
        on_one_core(pid)
        idle_rss_mb = memory_mb(pid, "VmHWM")
        before_s = cpu_s(pid)
        reply = daemon.client.call("import", {"paths": [str(path)]})
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


def transcript(size_bytes: int, seed: int) -> Iterator[bytes]:
    """Lines of sessions of some hundred turns, until there are so many bytes."""
    chance = random.Random(seed)
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(4000)]
    source = code_like(4_000_000, seed).decode()
    written = session = 0
    while written < size_bytes:
        session += 1
        for line in one_session(f"s{seed}-{session}", chance, words, source):
            written += len(line)
            yield line


def one_session(name: str, chance: random.Random, words: list[str], source: str) -> Iterator[bytes]:
    last = None

    def line(kind: str, number: int, message: dict[str, object]) -> bytes:
        nonlocal last
        above, last = last, f"{name}-{kind}-{number}"
        fields = {
            "parentUuid": above,
            "sessionId": name,
            "type": kind,
            "uuid": last,
            "cwd": "/work",
            "message": message,
        }
        return json.dumps(fields).encode() + b"\n"

    yield line("user", 0, {"role": "user", "content": " ".join(chance.choices(words, k=60))})
    for turn in range(1, TURNS_PER_SESSION):
        call_id = f"toolu_{name}_{turn}"
        use = {"type": "tool_use", "id": call_id, **a_call(chance, words)}
        said = {"type": "text", "text": " ".join(chance.choices(words, k=chance.randint(5, 80)))}
        usage = {"input_tokens": 3, "cache_read_input_tokens": 900 * turn, "output_tokens": 200}
        reply = {"id": f"msg_{turn}", "role": "assistant", "model": "m-1", "content": [said, use], "usage": usage}
        yield line("assistant", turn, reply)
        size = min(int(chance.lognormvariate(7.6, 1.1)), 60_000)
        start = chance.randrange(len(source) - size)
        text = source[start : start + size] if chance.random() < 0.7 else " ".join(chance.choices(words, k=size // 7))
        result = {"type": "tool_result", "tool_use_id": call_id, "content": text}
        yield line("user", turn, {"role": "user", "content": [result]})


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
