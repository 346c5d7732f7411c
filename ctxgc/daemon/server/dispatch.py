"""From a method's name to its verb: validate the params once, call, and answer.

(method, raw params) ──cached?──▶ bytes, at once
        │ no
        ▼
     pydantic ──▶ verb ──▶ reply | awaitable reply
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from cachetools import LRUCache
from msgspec import Raw
from pydantic import TypeAdapter, ValidationError

from ctxgc.core.errors import BadParams, Busy, UnknownVerb
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.rpc import CallContext
from ctxgc.daemon.rpc_params import decode_and_redact_params, first_validation_problem
from ctxgc.daemon.server.refusals import error_for_client
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.verbs import admin, heap, messages_collect, segments, sessions, stash, window_enter, window_sync
from ctxgc.daemon.verbs.admin import Control
from ctxgc.daemon.verbs.mutation import await_idempotent_reply
from ctxgc.daemon.verbs.rehydrate import rehydrate
from ctxgc.daemon.verbs.tx import transact
from ctxgc.daemon.verbs.why import why
from ctxgc.protocol.messages import VERBS, SegmentGet
from ctxgc.protocol.params import Mutating, Params
from ctxgc.protocol.replies.daemon import BackgroundReply

ANSWERS_BYTES_MAX = 16 * 2**20
BACKGROUND_MAX = 1024
"""Mutations under way without a waiting caller."""

LONG_REPLIES = {
    name for name, verb in VERBS.items() if not verb.mutates or "limit_bytes" in verb.params.model_fields
} | {"messages.collect"}
FOR_OPERATORS = frozenset(
    (
        *("hello", "ping", "stats", "metrics", "slowlog", "config.get", "config.reload", "watch.list", "doctor"),
        *("session.show", "session.list", "shutdown"),
    )
)
"""Verbs that `ctxgc status`, `doctor` and `down` need."""

Handler = Callable[[Any, CallContext], Any]


class ReplyCache:
    """Encoded replies of `segment.get`, each valid for a version of its session.

    A cache of caches: the reply is a function of the params and of a session that has not changed since.
    """

    def __init__(self, bytes_max: int = ANSWERS_BYTES_MAX) -> None:
        self._cache: LRUCache[bytes, tuple[Session, int, bytes]] = LRUCache(
            bytes_max, getsizeof=lambda entry: len(entry[2]) + 500
        )

    def get(self, params: bytes) -> bytes | None:
        """The reply, if the session has not changed since."""
        entry = self._cache.get(params)
        if entry is None or entry[0].version != entry[1]:
            return None
        return entry[2]

    def clear(self) -> None:
        """Keep no reply: a kept reply might quote forgotten content."""
        self._cache.clear()

    def put(self, params: bytes, session: Session, reply: bytes) -> None:
        """Keep a reply; too large replies are not kept."""
        if len(reply) + 500 <= self._cache.maxsize:
            self._cache[params] = (session, session.version, reply)


class Verbs:
    """The `Dispatch` of the daemon: every row of `VERBS`, bound to this daemon's objects."""

    def __init__(
        self, services: Services, control: Control, spawn: Callable[[Coroutine[Any, Any, Any]], object]
    ) -> None:
        self._services = services
        self._spawn = spawn
        self._reply_cache = ReplyCache()
        services.caches.append(self._reply_cache.clear)
        self._background = 0
        self._handlers = handlers_by_method(services, control)
        self._adapters = {name: TypeAdapter(verb.params) for name, verb in VERBS.items()}

    def call(self, method: str, params: Raw, context: CallContext) -> Any:
        """Answer a call; see `rpc.Dispatch`."""
        if method == "segment.get":
            raw = bytes(params)
            cached_reply = self._reply_cache.get(raw)
            return cached_reply if cached_reply is not None else self._answer_segment_get(raw)
        handler = self._handlers.get(method)
        if handler is None:
            raise UnknownVerb(f"no verb {method!r}", hint="`rpc.discover` lists them")
        checked = self._validate_params(method, bytes(params))
        if isinstance(checked, Mutating):
            return self._call_mutation(method, handler, checked, context)
        return handler(checked, context)

    def has_long_reply(self, method: str) -> bool:
        """As `rpc.Dispatch.has_long_reply`."""
        return method in LONG_REPLIES

    def is_for_operators(self, method: str) -> bool:
        """As `rpc.Dispatch.is_for_operators`."""
        return method in FOR_OPERATORS

    def _call_mutation(self, method: str, handler: Handler, params: Mutating, context: CallContext) -> Any:
        is_awaited = params.durability == "commit"
        if not is_awaited and self._background >= BACKGROUND_MAX:
            raise Busy("too many mutations are under way in the background", hint='wait, or use "commit"')
        reply = handler(params, context)
        if params.op_id:
            reply = await_idempotent_reply(reply)
        if is_awaited:
            return reply
        self._background += 1
        self._spawn(self._finish_mutation_in_background(method, reply))
        return BackgroundReply("async", "taken, not durable yet: ask again to see it")

    async def _finish_mutation_in_background(self, method: str, result: Any) -> None:
        """Finish a mutation whose client did not wait: a refusal reaches no client, and must not end the daemon."""
        try:
            if isinstance(result, Awaitable):
                await result
        except Exception as error:
            error_for_client(method, error)  # The log names a bug, as where a client waits; a refusal is none.
        finally:
            self._background -= 1

    def _validate_params(self, method: str, raw: bytes) -> Params:
        try:
            values = decode_and_redact_params(VERBS[method].params, raw, redacts_content=self._services.intake.redacts)
            return self._adapters[method].validate_python(values)
        except ValidationError as error:
            place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
            field = str(place[0]) if place else ""
            raise BadParams(
                first_validation_problem(error), field=field, hint=f"`rpc.discover` shows what {method} takes"
            ) from None

    async def _answer_segment_get(self, raw: bytes) -> bytes:
        checked = self._validate_params("segment.get", raw)
        assert isinstance(checked, SegmentGet)
        source, colon, name = checked.session.partition(":")
        session = self._services.registry.peek(SessionKey(source, name)) if colon else None
        version = session.version if session else 0
        reply = msgspec.json.encode(await segments.get(self._services, checked))
        # Only a full name means the same session tomorrow; and only an unchanged one gives the same reply.
        if session is not None and session.version == version:
            self._reply_cache.put(raw, session, reply)
        return reply


def handlers_by_method(services: Services, control: Control) -> dict[str, Handler]:
    """Method to handler; a test holds the keys equal to the keys of `VERBS`."""

    def bind_handler(function: Callable[..., Any], *bound: object) -> Handler:
        return lambda params, context: function(*bound, params)

    return {
        "hello": bind_handler(admin.hello, services, control),
        "ping": bind_handler(admin.ping),
        "rpc.discover": bind_handler(admin.discover),
        "session.open": bind_handler(sessions.open_session, services),
        "session.list": bind_handler(sessions.list_sessions, services),
        "session.show": bind_handler(sessions.show_session, services),
        "session.set": bind_handler(sessions.set_session, services),
        "session.close": bind_handler(sessions.close_session, services),
        "session.rehydrate": bind_handler(rehydrate, services),
        "session.render": bind_handler(sessions.render_session, services),
        "segment.add": bind_handler(segments.add, services),
        "segment.add_many": bind_handler(segments.add_many, services),
        "segment.add_file": bind_handler(segments.add_file, services),
        "segment.get": bind_handler(segments.get, services),
        "segment.list": bind_handler(segments.list_segments, services),
        "segment.pin": bind_handler(segments.pin, services),
        "segment.unpin": bind_handler(segments.unpin, services),
        "segment.touch": bind_handler(segments.touch, services),
        "segment.tag": bind_handler(segments.tag, services),
        "segment.ref": bind_handler(segments.ref, services),
        "segment.evict": bind_handler(segments.evict, services),
        "heap.plan": bind_handler(heap.plan, services),
        "heap.collect": bind_handler(heap.collect_now, services),
        "heap.why": bind_handler(why, services),
        "heap.refs": bind_handler(heap.refs, services),
        "heap.path": bind_handler(heap.path, services),
        "heap.undo": bind_handler(heap.undo_collection, services),
        "heap.log": bind_handler(heap.log, services),
        "stash.search": bind_handler(stash.search, services),
        "stash.recall": bind_handler(stash.recall_content, services),
        "stash.forget": bind_handler(stash.forget, services),
        "stash.tiers": bind_handler(stash.tiers, services),
        "messages.collect": bind_handler(messages_collect.collect_list, services),
        "window.enter": bind_handler(window_enter.enter, services),
        "window.sync": bind_handler(window_sync.sync, services),
        "import": lambda params, context: admin.import_transcripts(services, params, context),
        "export": bind_handler(stash.export, services),
        "backup": bind_handler(stash.backup, services),
        "watch.add": bind_handler(admin.watch_add, control),
        "watch.list": bind_handler(admin.watch_list, control),
        "watch.remove": bind_handler(admin.watch_remove, control),
        "subscribe": lambda params, context: admin.subscribe(services, params, context),
        "unsubscribe": lambda params, context: admin.unsubscribe(params, context),
        "tx": bind_handler(transact, services),
        "stats": bind_handler(admin.stats, services, control),
        "metrics": bind_handler(admin.metrics, services, control),
        "slowlog": bind_handler(admin.slowlog, control),
        "config.get": bind_handler(admin.config_get, services),
        "config.reload": bind_handler(admin.config_reload, control),
        "doctor": bind_handler(admin.doctor, services, control),
        "shutdown": bind_handler(admin.shutdown, control),
    }
