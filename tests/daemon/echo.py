"""A daemon without a heap: verbs that answer, wait, fail or flood, behind the real server on a real socket."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ctxgc.core.errors import Cancelled, NotFound
from ctxgc.daemon.rpc import CallContext, Limits
from ctxgc.daemon.server.single_instance import Instance
from ctxgc.daemon.server.socket_server import Server


class EchoDispatch:
    """`executed` is what was called, in order; `hold` verbs wait until `released` is set."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.released = asyncio.Event()

    def call(self, method: str, params: msgspec.Raw, context: CallContext) -> Any:
        given = msgspec.json.decode(params)
        self.executed.append(given.get("name", method))
        match method:
            case "echo":
                return given
            case "encoded":
                return bytes(params)
            case "big":
                return "x" * given["bytes"]
            case "hold":
                return self._hold(given, context)
            case "long":
                return self._long(given["bytes"])
            case "missing":
                raise NotFound("no such thing", hint="look elsewhere")
            case "bug":
                raise RuntimeError(given["text"])
            case "unsendable":
                return {"a": object()}
            case "subscribe":
                context.subscribe(frozenset(given["topics"]), given.get("from_seq"))
                return {}
            case "whoami":
                return {"connection": context.connection_id, "uid": context.client_uid}
        raise NotFound(method)

    def has_long_reply(self, method: str) -> bool:
        return method == "long"

    def is_for_operators(self, method: str) -> bool:
        return method == "whoami"

    async def _long(self, size: int) -> str:
        await asyncio.sleep(0)
        return "x" * size

    async def _hold(self, given: dict[str, Any], context: CallContext) -> Any:
        await self.released.wait()
        if given.get("checks") and not context.is_answer_wanted:
            raise Cancelled("nobody waits for the answer")
        return given


class Wire:
    """The client's end, line by line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *lines: Any) -> None:
        """Bytes as they are, everything else as a line of JSON."""
        for line in lines:
            self.writer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")

    async def receive(self) -> Any:
        """The next line; None at the end of the stream."""
        line = await asyncio.wait_for(self.reader.readline(), 5)
        return json.loads(line) if line else None

    async def ask(self, *lines: Any) -> Any:
        self.send(*lines)
        return await self.receive()


class Daemon:
    """A running server and everything a test looks at."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = str(folder / "s" / "ctxgc.sock")
        self.dispatch = EchoDispatch()
        self.instance = Instance(str(folder / "s"))
        self.server = Server(self.dispatch, **options)
        self._wires: list[Wire] = []

    async def connect(self) -> Wire:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=2**24)
        self._wires.append(Wire(reader, writer))
        return self._wires[-1]

    async def close(self) -> None:
        self.dispatch.released.set()
        for wire in self._wires:
            wire.writer.close()
        await self.server.stop()
        self.instance.close()


@asynccontextmanager
async def serving(folder: Path, **options: Any):
    """A server with quick limits; `options` go to `Server`."""
    options.setdefault("limits", Limits(linger_s=0.2, stop_s=1))
    daemon = Daemon(folder, **options)
    await daemon.server.start(daemon.instance.listen(daemon.path))
    try:
        yield daemon
    finally:
        await daemon.close()


def call(id: Any, method: str = "echo", **params: Any) -> dict[str, Any]:
    """A request."""
    return {"id": id, "method": method, "params": params}
