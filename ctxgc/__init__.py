"""ctxgc: a garbage collector for the context of LLM sessions.

For programs: `session = ctxgc.Client().session("my-agent")`, then `session.collect(messages).messages` before each call
of the model; `AsyncClient` for asyncio. `ctxgc.connect()` speaks the daemon's protocol itself.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "AsyncClientSession",
    "CallFailed",
    "Client",
    "ClientSession",
    "CollectedList",
    "DaemonConnection",
    "EvictedContent",
    "__version__",
    "connect",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.client.async_client import AsyncClient, AsyncClientSession
    from ctxgc.client.client import Client, ClientSession
    from ctxgc.client.collected_list import CollectedList, EvictedContent
    from ctxgc.protocol.blocking_client import CallFailed
    from ctxgc.protocol.connection import DaemonConnection, connect

_HOMES = {
    "AsyncClient": "ctxgc.client.async_client",
    "AsyncClientSession": "ctxgc.client.async_client",
    "CallFailed": "ctxgc.protocol.blocking_client",
    "Client": "ctxgc.client.client",
    "CollectedList": "ctxgc.client.collected_list",
    "DaemonConnection": "ctxgc.protocol.connection",
    "EvictedContent": "ctxgc.client.collected_list",
    "ClientSession": "ctxgc.client.client",
    "connect": "ctxgc.protocol.connection",
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use: a command that only talks to the daemon must not pay for the clients."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
