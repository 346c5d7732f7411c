"""The hooks of the OpenCode plugin, in Node, with a host that calls them and a real daemon."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from tests.daemon.harness import DaemonProcess
from tests.e2e.test_opencode_plugin import PLUGIN, STRANGE, answering, node  # noqa: F401 (node is a fixture)

pytestmark = [pytest.mark.npm, pytest.mark.slow]

HOST = PLUGIN.parent.parent.parent / "tests" / "e2e" / "opencode_hooks_host.mjs"
FOLDER = "/work"
STEP_S = 60
HOOK_S = 1.0
"""Far less than a call to the daemon may take, and far more than a hook waits: a busy machine is not what is tried."""
HEAD = "[ctxgc: text of past sessions follows"
LINES = 400


@pytest.fixture
def daemon():
    made = DaemonProcess()
    yield made
    made.close()


@pytest.fixture
def host(node, daemon):  # noqa: F811
    made = Host(node, daemon)
    yield made
    made.close()


class Host:
    """A running OpenCode; the command that its plugin calls says with what words in `calls`."""

    def __init__(self, node, daemon):  # noqa: F811
        self._node, self._daemon = node, daemon
        self._calls = daemon.folder / "calls"
        self.command = daemon.folder / "ctxgc"
        words = f'{sys.executable} -m ctxgc.fronts.cli.main "$@"'
        self.command.write_text(f'#!/bin/sh\necho "$1" >> {self._calls}\n[ "$1" = up ] || exec {words}\n')
        self.command.chmod(stat.S_IRWXU)
        self._host = None

    def start(self, collects=True, **env):
        """Start it anew, with the plugin as it is installed."""
        self.close()
        settings = json.dumps({"collects": collects, "hooks": True, "command": str(self.command)})
        text = PLUGIN.read_text().replace("./ctxgc/notes.ts", "./notes.mjs")
        [line] = [line for line in text.split("\n") if line.startswith("const INSTALLED = ")]
        plugin = self._daemon.folder / "ctxgc.mjs"
        plugin.write_text(text.replace(line, f"const INSTALLED = {settings}"))
        shutil.copy(PLUGIN.parent / "ctxgc" / "notes.ts", self._daemon.folder / "notes.mjs")
        command, pipes = [self._node, HOST, plugin, FOLDER], dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        self._host = subprocess.Popen(command, env=self._daemon.env | env, text=True, **pipes)

    def _do(self, step):
        """Do a step; its answer."""
        ends = threading.Timer(STEP_S, self._host.kill)
        ends.start()
        try:
            self._host.stdin.write(json.dumps(step) + "\n")
            self._host.stdin.flush()
            return json.loads(self._host.stdout.readline())
        finally:
            ends.cancel()

    def create(self, session, **info):
        self._do({"event": {"type": "session.created", "properties": {"info": {"id": session, **info}}}})

    def type(self, message):
        return self._do({"message": [{"sessionID": message["info"]["sessionID"]}, copy_of(message, "message")]})

    def request(self, messages):
        """The notes of the list that is sent, by the number of their message; the rest of the list is as it was."""
        answer = self._do({"list": messages})
        assert answer["ms"] < HOOK_S * 1000
        notes = {}
        for number, (sent, kept) in enumerate(zip(answer["list"], messages, strict=True)):
            assert sent["parts"][: len(kept["parts"])] == kept["parts"]
            for part in sent["parts"][len(kept["parts"]) :]:
                assert number not in notes
                notes[number] = part["text"]
        return notes

    def compact(self, session, messages):
        """OpenCode sums these messages up."""
        self._do({"compacting": session})
        return self.request(messages)

    def tell(self, type, **properties):
        return self._do({"event": {"type": type, "properties": properties}})

    def calls(self):
        return self._calls.read_text().split() if self._calls.exists() else []

    def close(self):
        if self._host is not None:
            self._host.stdin.close()
            self._host.wait(STEP_S)
            self._host.stdout.close()
            self._host = None


def copy_of(message, name):
    return {name: message["info"], "parts": message["parts"]}


def user(session, number, *parts):
    info = {"id": f"msg_{session}_{number}", "role": "user", "sessionID": session, "model": {"modelID": "gpt-5"}}
    parts = parts or (
        {"type": "text", "id": f"prt_{session}_{number}", "text": f"Look at harbour {number} of {session}."},
    )
    return {"info": info, "parts": list(parts)}


def call(session, number):
    """A reply with a tool call whose output has words of its own."""
    info = {"id": f"msg_{session}_{number}", "role": "assistant", "sessionID": session, "modelID": "gpt-5"}
    output = "\n".join(f"{number}.{line} lamp of {session}" for line in range(LINES))
    state = {"status": "completed", "input": {"filePath": f"{FOLDER}/{number}.txt"}, "output": output}
    part = {"type": "tool", "id": f"prt_{session}_{number}", "callID": f"call_{session}_{number}", "tool": "read"}
    return {"info": info, "parts": [part | {"state": state}]}


def summary(session, number):
    info = {"id": f"msg_{session}_{number}", "role": "assistant", "sessionID": session, "summary": True}
    return {"info": info, "parts": [{"type": "text", "id": f"prt_{session}_{number}", "text": "We saw lamps."}]}


def compaction(session, number):
    return user(session, number, {"type": "compaction", "id": f"prt_{session}_{number}", "auto": True})


def known(daemon, session):
    """State of each segment that the daemon has of the session."""
    name = f"opencode:{session}"
    if not any(row["session"] == name for row in daemon.call("session.list")["sessions"]):
        return {}
    return {row["id"]: row["state"] for row in daemon.call("segment.list", session=name, limit=1000)["segments"]}


def until(check):
    gives_up_at = time.monotonic() + STEP_S
    while not check():
        assert time.monotonic() < gives_up_at
        time.sleep(0.02)


def until_noted(host, messages):
    """The notes of the first list that has any: on a busy machine that is the second."""
    for _ in range(3):
        if notes := host.request(messages):
            return notes
        time.sleep(0.2)
    return {}


def work(host, daemon, session, calls=3):
    """A session in which files were read; its messages."""
    messages = [user(session, 0), *(call(session, number) for number in range(1, 1 + calls))]
    host.create(session)
    host.request(messages)
    until(lambda: f"call_{session}_{calls}" in known(daemon, session))
    return messages


def test_a_new_session_has_the_working_set_of_the_last_one_beside_its_first_message_in_each_list(host, daemon):
    daemon.start()
    host.start()
    work(host, daemon, "one")

    host.create("two")
    first = [user("two", 0)]
    notes = until_noted(host, first)

    assert notes[0].startswith(HEAD)
    assert "harbour 0 of one" in notes[0]
    assert host.request([*first, call("two", 1)]) == notes
    assert host.request([*first, call("two", 1), user("two", 2)]) == notes


@pytest.mark.parametrize("kind", ["resumed", "sub-agent", "forked", "switched off"])
def test_a_session_that_has_its_context_or_is_another_sessions_gets_no_working_set(kind, host, daemon):
    daemon.start()
    host.start()
    work(host, daemon, "one")
    host.start(CTXGC_OPENCODE_HOOKS="off" if kind == "switched off" else "")

    if kind != "resumed":
        host.create("two", **({"parentID": "one"} if kind == "sub-agent" else {}))
    messages = [user("two", 0), *([call("two", 1), user("two", 2)] if kind == "forked" else [])]

    assert until_noted(host, messages) == {}


@pytest.mark.parametrize("collects", [True, False])
def test_after_a_compaction_a_session_has_its_own_working_set_and_what_can_be_had_back(collects, host, daemon):
    daemon.start()
    host.start()
    before = work(host, daemon, "one")
    host.start(collects)
    host.compact("one", before)

    after = [compaction("one", 4), summary("one", 5), user("one", 6)]
    notes = until_noted(host, after)

    assert notes[0].startswith(HEAD)
    assert ("left the window" in notes[0].splitlines()[-1]) == collects, "the gateway is told of the list by itself"
    assert host.request([*after, call("one", 7)]) == notes


def test_a_compaction_that_comes_before_the_daemon_knows_the_session_has_its_working_set_too(host, daemon):
    daemon.start()
    host.start()
    work(host, daemon, "zero")  # A daemon that has just begun reads its ranks first.
    after = [user("one", 0), compaction("one", 4), summary("one", 5), user("one", 6)]

    assert until_noted(host, after)[1].startswith(HEAD)


def test_behind_the_gateway_a_branch_that_was_compacted_goes_on_from_its_own_working_set(host, daemon):
    daemon.start()
    host.start()
    work(host, daemon, "one")
    work(host, daemon, "one/2b")
    about = {"format": "openai_chat", "project": FOLDER, "parent": "opencode:one"}
    daemon.call("window.sync", session="opencode:one/2b", **about)
    host.start(collects=False)

    assert "harbour 0 of one/2b" in until_noted(host, [compaction("one", 4), summary("one", 5), user("one", 6)])[0]
    host.create("two")
    assert "harbour 0 of one/2b" in until_noted(host, [user("two", 0)])[0]


def test_a_list_that_is_summed_up_is_kept_whole_and_none_of_it_leaves(host, daemon):
    daemon.start()
    host.start()
    messages = work(host, daemon, "one", calls=6)

    assert host.compact("one", [*messages[:3], call("one", 9)]) == {}
    until(lambda: "call_one_9" in known(daemon, "one"))

    assert set(known(daemon, "one").values()) == {"resident"}
    host.request([compaction("one", 10), summary("one", 11), user("one", 12)])
    until(lambda: known(daemon, "one")["call_one_9"] == "departed")


def test_a_tool_that_ended_and_a_last_reply_are_known_without_another_list(host, daemon):
    daemon.start()
    host.start()
    work(host, daemon, "one")
    reply, [part] = call("one", 8)["info"], call("one", 8)["parts"]
    text = {"type": "text", "id": "prt_last", "text": "All lamps are lit."}

    host.tell("message.updated", info=reply)
    for one in (part | {"state": part["state"] | {"status": "running"}}, part, text, text | {"time": {"end": 1}}):
        host.tell("message.part.updated", part=one | {"sessionID": "one", "messageID": reply["id"]})
    host.tell("message.part.updated", part=text | {"id": "prt_typed", "sessionID": "one", "messageID": "msg_one_0"})

    until(lambda: any(id_.startswith("prt_last") for id_ in known(daemon, "one")))
    ids = known(daemon, "one").keys()
    assert "call_one_8" in ids
    assert not any(id_.startswith("prt_typed") for id_ in ids)
    host.request([*work(host, daemon, "one"), {"info": reply, "parts": [part, text | {"time": {"end": 1}}]}])
    time.sleep(0.2)
    assert known(daemon, "one").keys() == ids, "the list brings the same once more"


def test_segments_worth_recalling_are_named_beside_a_prompt_if_that_was_asked_for(host, daemon):
    daemon.start()
    host.start()
    before = work(host, daemon, "one")
    host.compact("one", before)
    after = [compaction("one", 4), summary("one", 5)]
    host.request(after)
    until(lambda: known(daemon, "one")["call_one_3"] == "departed")
    prompts = [user("one", n, {"type": "text", "id": "p", "text": "where was lamp 3.17 of one"}) for n in range(6, 26)]

    host.type(prompts[0])
    assert 2 not in host.request([*after, prompts[0]])
    host.start(CTXGC_OPENCODE_SUGGEST="on")
    notes = {}
    while not notes:  # On a busy machine a hook gives up.
        prompt = prompts.pop()
        host.type(prompt)
        notes = until_noted(host, [prompt])

    assert "ctxgc recall" in notes[0]
    assert "opencode:one" in notes[0]
    assert "up" not in host.calls()


# A daemon that is not as it should be


def test_a_daemon_that_is_away_is_started_once_and_not_waited_for(host):
    host.start()

    for session in ("one", "two"):
        host.create(session)
        assert host.request([user(session, 0)]) == {}

    until(host.calls)
    assert host.calls() == ["up"]


def test_a_daemon_that_hangs_is_waited_for_by_no_hook(host, daemon):
    daemon.start()
    host.start(CTXGC_OPENCODE_SUGGEST="on")
    before = work(host, daemon, "one")
    daemon.child.send_signal(signal.SIGSTOP)
    try:
        host.create("two")
        assert host.type(user("two", 0))["ms"] < HOOK_S * 1000
        assert host.request([user("two", 0)]) == {}
        assert host.compact("one", before) == {}
        assert host.request([compaction("one", 4), summary("one", 5)]) == {}
    finally:
        daemon.child.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("answer", STRANGE.values(), ids=STRANGE)
def test_whatever_answers_at_the_socket_every_list_passes_as_it_is(answer, host, daemon):
    with answering(daemon.socket, answer):
        host.start(CTXGC_OPENCODE_SUGGEST="on")
        host.create("two")
        host.type(user("two", 0))
        assert host.request([user("two", 0)]) == {}
        host.compact("two", [user("two", 0), call("two", 1)])
        assert until_noted(host, [compaction("two", 4), summary("two", 5)]) == {}


EVENTS = [{}, {"type": "session.created"}, {"type": "message.part.updated", "properties": {}}]
EVENTS += [{"type": "message.updated", "properties": {"info": None}}, {"type": "session.idle", "properties": {}}]


@pytest.mark.parametrize("event", EVENTS, ids=json.dumps)
def test_no_event_makes_a_hook_fail(event, host, daemon):
    daemon.start()
    host.start()

    host._do({"event": event} if event else {"message": [{}, {}]})

    assert host.request([user("one", 0)]) == {}


def test_a_command_that_is_not_there_is_no_matter_of_opencodes(host):
    os.unlink(host.command)
    host.start(CTXGC_OPENCODE_SUGGEST="on")

    host.create("one")
    host.type(user("one", 0))

    assert until_noted(host, [user("one", 0)]) == {}
