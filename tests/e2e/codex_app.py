"""Codex's app server as an editor drives it: lines of JSON on stdin and stdout, one thread at a time.

initialize ─▶ thread/start | thread/resume ─▶ turn/start ─▶ turn/steer, while the turn runs ─▶ turn/completed
"""

import itertools
import json
import queue
import threading

WAIT_S = 300
PLACE = {"approvalPolicy": "never", "sandbox": "danger-full-access"}


class CodexApp:
    """A running app server. Answers and events come in the order in which the server writes them."""

    def __init__(self, process, folder):
        self._process = process
        self._lines = queue.Queue()
        self._numbers = itertools.count(1)
        threading.Thread(target=self._read, daemon=True).start()
        self.thread = ""
        self._turn = ""
        self._folder = str(folder)
        self._call("initialize", clientInfo={"name": "tests", "title": "Tests", "version": "1"})
        self._write({"method": "initialized"})

    def begin(self, thread=""):
        """Start a thread, or go on with one."""
        way = {"threadId": thread} if thread else {"cwd": self._folder}
        self.thread = self._call("thread/resume" if thread else "thread/start", **way, **PLACE)["thread"]["id"]

    def type(self, words):
        """Type words: into the turn that runs, or as a turn of their own."""
        text = {"threadId": self.thread, "input": [{"type": "text", "text": words}]}
        if self._turn:
            self._call("turn/steer", **text, expectedTurnId=self._turn)
        else:
            self._turn = self._call("turn/start", **text)["turn"]["id"]

    def compact(self):
        """Have the thread summed up."""
        self._call("thread/compact/start", threadId=self.thread)
        self.finish()

    def finish(self):
        """Read until the turn is over. Turns of sub-agents have threads of their own."""
        self._wait_for(
            lambda said: said.get("method") == "turn/completed" and said["params"]["threadId"] == self.thread
        )
        self._turn = ""

    def _call(self, method, **params):
        number = next(self._numbers)
        self._write({"id": number, "method": method, "params": params})
        answer = self._wait_for(lambda said: said.get("id") == number and "method" not in said)
        assert "result" in answer, answer
        return answer["result"]

    def _write(self, message):
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _wait_for(self, is_wanted):
        while True:
            said = self._lines.get(timeout=WAIT_S)
            assert said is not None, "the app server has gone"
            if is_wanted(said):
                return said

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)
