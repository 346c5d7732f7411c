"""The tools at an address: what waits there for the daemon holds up no request of an agent's."""

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor

from ctxgc.gateway.http.tools_endpoint import AT_ONCE_MAX
from tests.gateway.agent import ResponsesAgent
from tests.gateway.stage import OPENAI, RESPONSES, WAIT_S, Stage

WAITING = 4 * AT_ONCE_MAX


def test_an_agents_compressed_request_passes_while_every_tool_call_waits():
    go, began = threading.Event(), threading.Semaphore(0)

    def serve(*message):
        began.release()
        assert go.wait(WAIT_S)
        return 200, b"{}"

    with Stage(serve_tools=serve) as stage, ThreadPoolExecutor(WAITING) as clients:
        calls = [clients.submit(stage.send, "/mcp/word/folder", b"{}", {}) for _ in range(WAITING)]
        try:
            assert all(began.acquire(timeout=WAIT_S) for _ in range(AT_ONCE_MAX))
            body = gzip.compress(ResponsesAgent().body())
            reply = stage.send(RESPONSES, body, OPENAI | {"content-encoding": "gzip"})
            assert reply.status == 200
        finally:
            go.set()

        assert [call.result(WAIT_S).status for call in calls] == [200] * WAITING
