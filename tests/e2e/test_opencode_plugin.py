"""The OpenCode plugin, in Node, with a host that keeps a session and a real daemon."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.daemon.harness import DaemonProcess

pytestmark = [pytest.mark.npm, pytest.mark.slow]

PATIENT_MS = 5000
"""As long as a machine under load needs: what is late is for other tests."""
PLUGIN = Path(__file__).parent.parent.parent / "agents" / "opencode" / "ctxgc.ts"
HOST = Path(__file__).parent / "opencode_host.mjs"
SESSION = "opencode:ses_0000000000000000000001"
TURNS, FILE_CHARS = 70, 8000
HOST_S = 60
PAUSE_AT_5 = {5: {"pause": True}}


@pytest.fixture(scope="module")
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("NO node: the OpenCode plugin is not tried")
    return found


@pytest.fixture
def daemon():
    # The host shows the same files again and again: with pointers nothing would be left to collect.
    made = DaemonProcess(CTXGC_ENTRY__REFERENCES="false")
    yield made
    made.close()


@pytest.fixture
def pointing_daemon():
    made = DaemonProcess()
    yield made
    made.close()


def hosted(node, daemon, turns=TURNS, *, steps=None, at_pause=None, enter_ms=50, **env):
    """What a session came to; at each pause of its steps, `at_pause` is done first."""
    # Node takes it for what it is, plain JavaScript, under another name.
    plugin, waits = daemon.folder / "ctxgc.mjs", "const ENTER_MS = 50\n"
    assert waits in PLUGIN.read_text()
    plugin.write_text(PLUGIN.read_text().replace(waits, f"const ENTER_MS = {enter_ms}\n"))
    command = [node, HOST, plugin, str(turns), str(FILE_CHARS), json.dumps(steps or {})]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=daemon.env | env, text=True, **pipes) as host:
        ends = threading.Timer(HOST_S, host.kill)
        ends.start()
        try:
            for _ in range(sum("pause" in step for step in (steps or {}).values())):
                assert int(host.stderr.readline() or -1) in steps, "it has ended before"
                at_pause()
                host.stdin.write("\n")
                host.stdin.flush()
            out, err = host.communicate()
        finally:
            ends.cancel()
    assert host.returncode == 0, err
    return json.loads(out)


def until_known(daemon, id_):
    """Wait until the daemon has this segment of the session: what the plugin tells in passing may be under way."""
    gives_up_at = time.monotonic() + HOST_S
    while id_ not in segments(daemon):
        assert time.monotonic() < gives_up_at
        time.sleep(0.05)


def segments(daemon):
    """What the daemon knows of the session, by id."""
    if not any(session["session"] == SESSION for session in daemon.call("session.list")["sessions"]):
        return {}
    return {row["id"]: row for row in daemon.call("segment.list", session=SESSION, limit=1000)["segments"]}


def out_at(said):
    """Ids that were out, turn by turn."""
    return [{id_ for id_, _ in turn} for turn in said["edited"]]


def test_outputs_leave_the_list_stay_out_and_are_recalled(node, daemon):
    daemon.start()

    said = hosted(node, daemon, CTXGC_OPENCODE_MODE="on")

    ids = out_at(said)
    assert all(before <= after for before, after in pairwise(ids)), "between collections only more"
    texts = {(id_, text) for turn in said["edited"] for id_, text in turn}
    assert len(texts) == len(ids[-1]) > 10, "a tombstone never changes"
    for id_ in ids[-1]:
        recalled = daemon.call("stash.recall", session=SESSION, id=id_)["recalled"][0]
        assert recalled["pieces"][-1]["text"] == said["files"][int(id_.removeprefix("call_")) % 3]


def test_an_output_that_the_list_shows_already_goes_up_as_a_pointer_from_its_first_list_on(node, pointing_daemon):
    pointing_daemon.start()

    said = hosted(node, pointing_daemon, 24, enter_ms=PATIENT_MS, CTXGC_OPENCODE_MODE="on")

    shown = [dict(turn) for turn in said["edited"]]
    assert len(shown[-1]) > 15
    assert all(text.startswith("[ctxgc: lines 1-") for text in shown[-1].values())
    for before, after in pairwise(shown):
        assert before.items() <= after.items(), "what went up as a pointer stays one"
    first_at = {id_: next(at for at, turn in enumerate(shown) if id_ in turn) for id_ in shown[-1]}
    assert all(at == int(id_.removeprefix("call_")) + 1 for id_, at in first_at.items()), "in its first list"
    elided = {id_ for id_, row in segments(pointing_daemon).items() if row.get("elided")}
    assert elided >= set(shown[-2])


def test_lines_whose_target_the_host_has_cleared_stand_themselves(node, pointing_daemon):
    pointing_daemon.start()
    cleared = {15: {"outputs": {"call_0": "[Old tool result content cleared]"}}}

    said = hosted(node, pointing_daemon, 24, steps=cleared, enter_ms=PATIENT_MS, CTXGC_OPENCODE_MODE="on")

    shown = [dict(turn) for turn in said["edited"]]
    of_the_same_file = {f"call_{number}" for number in range(3, 15, 3)} & shown[14].keys()
    assert len(of_the_same_file) >= 2
    assert not any(of_the_same_file & turn.keys() for turn in shown[15:])


def test_in_shadow_nothing_is_edited_and_the_daemon_knows_the_session(node, daemon):
    daemon.start()

    said = hosted(node, daemon, 12, steps=PAUSE_AT_5, at_pause=lambda: until_known(daemon, "call_0"))

    assert not any(said["edited"])
    assert daemon.call("session.show", session=SESSION)["rendered_by"] == "agent"


def test_another_output_of_the_same_length_under_an_id_that_is_out_is_sent_and_stored(node, daemon):
    daemon.start()
    changed = "x" * len(file_of(0))

    said = hosted(node, daemon, steps={60: {"outputs": {"call_0": changed}}}, CTXGC_OPENCODE_MODE="on")

    ids = out_at(said)
    assert "call_0" in ids[59]
    assert not any("call_0" in turn for turn in ids[60:])
    stored = [id_ for id_ in segments(daemon) if id_.partition("~")[0] == "call_0"]
    recalled = [daemon.call("stash.recall", session=SESSION, id=id_)["recalled"][0] for id_ in stored]
    assert [one["pieces"][-1]["text"] for one in recalled] == [said["files"][0], changed]


def test_what_a_restarted_daemon_cannot_know_any_more_is_not_evicted_by_its_id(node, daemon):
    daemon.start()
    steps = {8: {"pause": True}, 9: {"outputs": {"call_0": "x" * len(file_of(0))}}, 12: {"pause": True}}
    doings = iter([lambda: until_known(daemon, "call_0"), lambda: restart(daemon)])

    said = hosted(node, daemon, steps=steps, at_pause=lambda: next(doings)(), CTXGC_OPENCODE_MODE="on")

    ids = out_at(said)
    assert len(ids[-1]) > 10
    assert not any("call_0" in turn for turn in ids)


def test_what_opencode_has_cleared_departs_and_is_recalled(node, daemon):
    daemon.start()

    steps = {6: {"pause": True}, 7: {"cleared": ["call_0", "call_1"]}, 12: {"pause": True}}
    told = iter(["call_1", "call_8"])

    said = hosted(
        node, daemon, 13, steps=steps, at_pause=lambda: until_known(daemon, next(told)), CTXGC_OPENCODE_MODE="on"
    )

    rows = segments(daemon)
    assert [rows[id_]["state"] for id_ in ("call_0", "call_1", "call_2")] == ["departed", "departed", "resident"]
    recalled = daemon.call("stash.recall", session=SESSION, id="call_0")["recalled"][0]
    assert recalled["pieces"][-1]["text"] == said["files"][0]


def test_a_call_that_opencode_has_cleared_gives_its_name_to_no_later_one_of_its_id(node, daemon):
    daemon.start()
    steps = {6: {"pause": True}, 7: {"cleared": ["prt_t0"]}, 12: {"pause": True}}
    told = iter(["call~4", "call~9"])

    hosted(node, daemon, 13, steps=steps, at_pause=lambda: until_known(daemon, next(told)), HOST_CALL_ID="call")

    rows = {id_: row["state"] for id_, row in segments(daemon).items() if row["kind"] == "tool_call"}
    assert rows["call"] == "departed"
    assert rows.keys() <= {"call", *(f"call~{n}" for n in range(2, 14))}, "nothing was taken for another"


def test_a_list_that_waits_for_what_is_out_does_not_say_that_nothing_is(node, daemon):
    with answering(daemon.socket, b"") as heard:
        hosted(node, daemon, turns=1, CTXGC_OPENCODE_MODE="on")

    params = json.loads(heard[0])["params"]
    assert len(params["ids"]) == len(params["digests"]) == len(params["new"]) == 1
    assert "edited" not in params, "whatever is in force stands in it"


# A daemon that is not as it should be


def file_of(number):
    lines = range(-(-FILE_CHARS // 40))
    return "\n".join(f"{number}.{n} harbour lamp {n * 7919 % 1000} ferry" for n in lines)


def restart(daemon):
    daemon.kill()
    daemon.start()


def test_without_a_daemon_every_list_passes_as_it_is(node, daemon):
    said = hosted(node, daemon, turns=12, CTXGC_OPENCODE_MODE="on")

    assert not any(said["edited"])


def test_a_daemon_that_is_killed_and_started_again_changes_no_list_and_goes_on(node, daemon):
    daemon.start()
    outages = iter([daemon.kill, daemon.start])
    steps = {70: {"pause": True}, 78: {"pause": True}}

    said = hosted(node, daemon, 150, steps=steps, at_pause=lambda: next(outages)(), CTXGC_OPENCODE_MODE="on")

    ids = out_at(said)
    assert all(before <= after for before, after in pairwise(ids)), "what was out stays out while it is gone"
    assert ids[70] == ids[78] != set()
    assert len(ids[-1]) > len(ids[78])
    assert len({(id_, text) for turn in said["edited"] for id_, text in turn}) == len(ids[-1])


def test_a_daemon_that_hangs_is_not_waited_for(node, daemon):
    daemon.start()
    daemon.child.send_signal(signal.SIGSTOP)
    try:
        said = hosted(node, daemon, turns=12, CTXGC_OPENCODE_MODE="on")  # Each call would wait half a minute.
    finally:
        daemon.child.send_signal(signal.SIGCONT)

    assert not any(said["edited"])


@contextmanager
def answering(path, answer):
    """Something else than a daemon listens there: each line is answered with this."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    heard = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    heard.append(line)
                    try:
                        connection.sendall(answer)
                    except OSError:
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


STRANGE = {
    "no json": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "null": b"null\n",
    "a number": b"7\n",
    "no result": b'{"id": 1}\n',
    "half a result": b'{"id": 1, "result": {}}\n',
    "without end": b"x" * 100_000,
}


@pytest.mark.parametrize("answer", STRANGE.values(), ids=STRANGE)
def test_whatever_answers_at_the_socket_opencode_goes_on(node, daemon, answer):
    with answering(daemon.socket, answer) as heard:
        said = hosted(node, daemon, turns=12, CTXGC_OPENCODE_MODE="on")

    assert heard
    assert len(said["edited"]) == 12
    assert not any(said["edited"])


def test_a_daemon_is_found_by_what_it_wrote_into_its_lock(node, daemon):
    daemon.start()
    elsewhere = {"CTXGC_SOCKET": "", "XDG_RUNTIME_DIR": str(daemon.folder / "other")}

    said = hosted(node, daemon, 6, steps=PAUSE_AT_5, at_pause=lambda: until_known(daemon, "call_0"), **elsewhere)

    assert len(said["edited"]) == 6


def test_the_socket_of_another_user_is_told_nothing(node, daemon):
    with answering(daemon.socket, b"") as heard:
        hosted(node, daemon, turns=6, CTXGC_OPENCODE_MODE="on", HOST_UID_OFFSET="1")

    assert heard == []
