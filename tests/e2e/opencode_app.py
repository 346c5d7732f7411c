"""OpenCode's server as its screens drive it: over HTTP, one session at a time.

POST /session ─▶ POST /session/ID/prompt_async, also while a turn runs ─▶ GET /session/status: idle
"""

import json
import re
import threading
import time
import urllib.request

WAIT_S = 300
POLL_S = 0.05


class OpenCodeApp:
    """A running server."""

    def __init__(self, process):
        self._process = process
        self._url = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        threading.Thread(target=process.stdout.read, daemon=True).start()
        self.session = ""

    def begin(self, session=""):
        """Start a session, or go on with one."""
        self.session = session or self.ask("POST", "/session", {})["id"]

    def type(self, words):
        """Type words: they wait where a turn runs."""
        self.ask("POST", f"/session/{self.session}/prompt_async", {"parts": [{"type": "text", "text": words}]})
        self._until(lambda status: status == "busy")

    def compact(self, provider, model):
        """Have the session summed up."""
        self.ask("POST", f"/session/{self.session}/summarize", {"providerID": provider, "modelID": model})
        self.finish()

    def finish(self):
        """Wait until the session is idle."""
        self._until(lambda status: status == "idle")

    def _until(self, is_wanted):
        gives_up_at = time.monotonic() + WAIT_S
        while not is_wanted(self.ask("GET", "/session/status").get(self.session, {"type": "idle"})["type"]):
            assert time.monotonic() < gives_up_at, "the session goes on for ever"
            time.sleep(POLL_S)

    def ask(self, method, path, value=None):
        """The server's answer."""
        body = None if value is None else json.dumps(value).encode()
        asked = urllib.request.Request(self._url + path, body, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
            return json.loads(answer.read() or b"null")
