"""ctxgc: a garbage collector for the context of LLM sessions.

For programs: `async with await ctxgc.connect() as client: await client.call("session.list")`.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["CallFailed", "Client", "__version__", "connect"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.protocol.blocking_client import CallFailed
    from ctxgc.protocol.client import Client, connect


def __getattr__(name: str) -> object:
    """Load the clients at their first use: a command that only talks to the daemon must not pay for asyncio."""
    if name in ("Client", "connect"):
        from ctxgc.protocol import client

        return getattr(client, name)
    if name == "CallFailed":
        from ctxgc.protocol import blocking_client

        return blocking_client.CallFailed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
