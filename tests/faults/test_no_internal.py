"""No input of any verb is answered `internal`: a refusal has a kind, a sentence and a next step, and costs nobody else.

    BadInputs ─▶ lines ─▶ a real daemon's socket ─▶ one answer each ─▶ never `internal`
                          a bystander's session ─▶ the same before and after, and after a restart

The seed is in every failure. `CTXGC_FUZZ_SEED` sets the seed, `CTXGC_FUZZ_INPUTS` the count of drawn inputs.
"""

import itertools
import json
import os
import random
import socket
import threading

import pytest

from ctxgc.core import errors
from tests.faults.bad_inputs import SESSIONS, TEXT, BadInputs, line_of

WINDOW = 12
"""Requests in flight: fewer than the bad lines in a row that close a connection."""
FAST_INPUTS = 1_000
SLOW_INPUTS = 100_000
ANSWER_S = 120.0
KINDS = {error.kind for error in vars(errors).values() if isinstance(error, type)} - {"internal"}


def bad_places(home):
    """Paths that a verb may meet: sound files and folders, and what is no file at all."""
    folder = home.folder / "places"
    folder.mkdir()
    (folder / "text").write_text(TEXT)
    (folder / "log.jsonl").write_text('{"type":"user","message":{"role":"user","content":"hello"}}\n' * 3)
    (folder / "garbage.json").write_bytes(bytes(range(256)) * 40)
    (folder / "empty").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo.jsonl")
    (folder / "dangling").symlink_to(folder / "nowhere" / "file")
    (folder / "loop").symlink_to(folder / "loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    ours = ("text", "log.jsonl", "garbage.json", "empty", "folder", "fifo.jsonl", "dangling", "loop", "socket", "new")
    devices = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/stdin", "/proc/kmsg")
    return {
        **{name: str(folder / name) for name in ours},
        **{name: name for name in (*devices, "/proc/self/mem", "/proc/self/fd", "/proc/1/environ", "/sys/kernel")},
        "below a file": str(folder / "text" / "file"),
        "no folder": str(folder / "nowhere" / "file"),
        "long name": str(folder / ("n" * 256)),
        "long path": "/" + "d/" * 2040,
        "folder with a slash": f"{folder}/folder/",
        "dots": f"{folder}/folder/../../places/text",
    }


class Wire:
    """A connection that carries any bytes, and waits for as many answers as lines were sent."""

    def __init__(self, home):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect(home.socket)
        self._file = self._socket.makefile("rb")

    def answers(self, lines):
        """One answer a line, in the order of arrival; events are passed over."""
        sender = threading.Thread(target=self._socket.sendall, args=(b"".join(lines),))
        sender.start()
        answers = []
        while len(answers) < len(lines):
            line = self._file.readline()
            assert line, "the daemon hung up"
            answer = json.loads(line)
            if "method" not in answer:
                answers.append(answer)
        sender.join()
        return answers

    def close(self):
        self._file.close()
        self._socket.close()


def batches(items):
    """Lists of at most `WINDOW` items."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, WINDOW)):
        yield batch


def furnish(home):
    """Sessions for inputs to spoil, and one that no input names; the latter's texts by id."""
    with home.client() as client:
        client.call("session.open", {"session": "bystander"})
        kept = {f"kept{n}": f"what the bystander keeps, {n}\n" * 50 for n in range(20)}
        items = [{"kind": "tool_call", "tool": "Bash", "id": id_, "text": text} for id_, text in kept.items()]
        client.call("segment.add_many", {"session": "client:bystander", "segments": items})
        for number in range(SESSIONS):
            client.call("session.open", {"session": f"prey{number}"})
            prey = [{"kind": "tool_call", "tool": "Bash", "id": f"s{n}", "text": TEXT * 60} for n in range(12)]
            client.call("segment.add_many", {"session": f"client:prey{number}", "segments": prey})
    return kept


def bystander_of(home):
    """(text by id, what `segment.list` says) of the session that no input names."""
    with home.client() as client:
        listed = client.call("segment.list", {"session": "client:bystander"})["segments"]
        ids = [segment["id"] for segment in listed]
        got = client.call_many(("segment.get", {"session": "client:bystander", "id": id_}) for id_ in ids)
        return {id_: content["pieces"][-1]["text"] for id_, content in zip(ids, got, strict=True)}, listed


def records_of(home):
    """Segments as the daemon itself writes them."""
    path = home.folder / "exported"
    home.call("export", session="client:prey0", path=str(path))
    return [record for line in path.read_text().splitlines() if "kind" in (record := json.loads(line))]


def faults_in(answers):
    """The errors that no answer may be: `internal`, or a refusal without a kind, a sentence or a next step."""
    for answer in answers:
        if error := answer.get("error"):
            data = error["data"]
            if data["kind"] not in KINDS or not error["message"] or not data.get("hint"):
                yield answer["id"], data["kind"], error["message"][:100]


def run_inputs(home, kept, inputs):
    """Send every input; one failing line for each sort of fault."""
    before = bystander_of(home)
    faults = {}
    wire = Wire(home)
    for batch in batches(enumerate(inputs)):
        lines = {number: line_of(number, *item) for number, item in batch}
        for id_, kind, message in faults_in(wire.answers([*lines.values(), line_of("end", "ping", {})])):
            faults.setdefault((kind, message), lines.get(id_, b"".join(lines.values()))[:1000])
    wire.close()
    assert bystander_of(home) == before
    assert before[0] == kept
    return faults


def check_inputs(home, seed, choose):
    print(f"CTXGC_FUZZ_SEED={seed}")
    kept = furnish(home)
    inputs = BadInputs(home.call("rpc.discover")["verbs"], bad_places(home), records_of(home), seed)
    faults = run_inputs(home, kept, choose(inputs))
    assert faults == {}, f"CTXGC_FUZZ_SEED={seed}: {faults}"
    assert home.stop() == 0
    assert home.log == ""
    assert home.run("--check")[0] == 0


def seed_of_run():
    return int(os.environ.get("CTXGC_FUZZ_SEED") or random.SystemRandom().randrange(10**6))


def test_no_input_of_any_verb_is_answered_internal(running_daemon):
    count = int(os.environ.get("CTXGC_FUZZ_INPUTS", FAST_INPUTS))
    check_inputs(running_daemon, seed_of_run(), lambda inputs: map(inputs.drawn, range(count)))


@pytest.mark.slow
def test_no_bad_value_in_any_field_of_any_verb_is_answered_internal(running_daemon):
    def choose(inputs):
        drawn = map(inputs.drawn, itertools.count())
        return itertools.islice(itertools.chain(inputs.swept(), drawn), SLOW_INPUTS)

    check_inputs(running_daemon, seed_of_run(), choose)
