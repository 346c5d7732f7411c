"""A daemon of canned replies: a thread that speaks `ctxgc/1` and remembers what it was asked."""

import json
import socket
import threading

from tests.fronts.replies import reply_to


class Refusal(Exception):
    """Reply with this error instead."""

    def __init__(self, kind, message, hint=""):
        super().__init__(message)
        self.error = {"code": -32000, "message": message, "data": {"kind": kind, "retryable": False, "hint": hint}}


class FakeDaemon:
    """Replies by method: the members that matter, a `Refusal`, or a function of the params."""

    def __init__(self, path, replies):
        self.path = str(path)
        self.replies = replies
        self.calls = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def params(self, method):
        """The params of the only call of this method."""
        [params] = [params for name, params in self.calls if name == method]
        return params

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                self.calls.append((request["method"], request["params"]))
                answer = {"jsonrpc": "2.0", "id": request["id"], **self._answer(request)}
                try:
                    connection.sendall(json.dumps(answer).encode() + b"\n")
                except BrokenPipeError:  # The client that hung up is what a test of it is about.
                    return

    def _answer(self, request):
        try:
            return {"result": self.reply(request["method"], request["params"])}
        except Refusal as refusal:
            return {"error": refusal.error}

    def reply(self, method, params=None):
        """What it answers: the whole reply, of which it was given the members that matter."""
        given = self.replies.get(method, Refusal("unknown_verb", f"no method {method}"))
        if callable(given):
            given = given(params)
        if isinstance(given, Refusal):
            raise given
        return reply_to(method, given)
