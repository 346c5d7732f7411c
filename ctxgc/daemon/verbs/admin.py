"""Verbs on the daemon itself: hello, discover, import, watch, stats, metrics, config, doctor, shutdown."""

from __future__ import annotations

import os
import resource
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ctxgc import __version__
from ctxgc.core.errors import Incompatible
from ctxgc.daemon.feeds.importing import import_paths
from ctxgc.daemon.feeds.watch import Watcher
from ctxgc.daemon.rpc import CallContext, ServerCounts
from ctxgc.daemon.services import Services
from ctxgc.protocol.limits import BAD_LINES_MAX, BATCH_MAX, IN_FLIGHT_MAX, UNSENT_BYTES_MAX
from ctxgc.protocol.messages import CAPABILITIES, PROTOCOL, VERBS, Doctor, Hello, Import, Shutdown, Subscribe, WatchAdd
from ctxgc.protocol.params import NoParams
from ctxgc.protocol.replies.daemon import (
    CheckReply,
    ConfigReply,
    DiscoverReply,
    DoctorReply,
    HelloReply,
    ImportReply,
    LimitsReply,
    MetricsReply,
    PongReply,
    ReloadReply,
    SlowCallReply,
    SlowlogReply,
    StatsReply,
    StoppingReply,
    SubscribedReply,
    VerbReply,
    WatchReply,
)
from ctxgc.stash.health import StashStatus

SLOW_LISTED_MAX = 128


@dataclass(slots=True)
class Control:
    """The daemon's own handles, for its administration verbs."""

    server: ServerCounts
    watcher: Watcher
    socket_path: str
    boot_id: str
    stop: Callable[[], None]
    reload: Callable[[], tuple[list[str], list[str]]]
    """Read the configuration again: (keys in force now, keys that need a restart). Raises `BadParams`."""


def hello(services: Services, control: Control, params: Hello) -> HelloReply:
    """`hello`."""
    missing = [cap for cap in params.need if cap not in CAPABILITIES]
    if missing:
        raise Incompatible(
            f"this daemon has no {', '.join(missing)}", hint=f"it has: {', '.join(CAPABILITIES)}", field="need"
        )
    return HelloReply(
        protocol=PROTOCOL,
        version=__version__,
        build=__version__,
        pid=os.getpid(),
        boot_id=control.boot_id,
        caps=list(CAPABILITIES),
        limits=LimitsReply(
            frame_bytes=services.config.daemon.frame_bytes_max,
            in_flight=IN_FLIGHT_MAX,
            unsent_bytes=UNSENT_BYTES_MAX,
            batch=BATCH_MAX,
            bad_lines=BAD_LINES_MAX,
            clients=control.server.limits.connections_max,
        ),
    )


def ping(params: NoParams) -> PongReply:
    """`ping`."""
    return PongReply(pong=True)


def discover(params: NoParams) -> DiscoverReply:
    """`rpc.discover`."""
    verbs = {
        name: VerbReply(verb.help, verb.mutates, verb.params.model_json_schema(), verb.reply.__name__)
        for name, verb in VERBS.items()
    }
    return DiscoverReply(PROTOCOL, verbs)


async def import_transcripts(services: Services, params: Import, context: CallContext) -> ImportReply:
    """`import`: it ends with its client, unless the client asked not to be waited for."""
    is_background = params.durability == "async"
    return await import_paths(services, params.paths, params.format, lambda: is_background or context.is_answer_wanted)


def subscribe(services: Services, params: Subscribe, context: CallContext) -> SubscribedReply:
    """`subscribe`."""
    context.subscribe(frozenset(params.topics), params.from_seq)
    return SubscribedReply(sorted(params.topics), services.events.next_seq)


def unsubscribe(params: NoParams, context: CallContext) -> SubscribedReply:
    """`unsubscribe`."""
    context.unsubscribe()
    return SubscribedReply([])


async def watch_add(control: Control, params: WatchAdd) -> WatchReply:
    """`watch.add`."""
    is_new = control.watcher.add(params.path)
    sentence = f"{params.path} is {'followed from now on' if is_new else 'followed already'}"
    return WatchReply(control.watcher.watched_replies(), changed=sentence)


def watch_list(control: Control, params: NoParams) -> WatchReply:
    """`watch.list`."""
    return WatchReply(control.watcher.watched_replies())


async def watch_remove(control: Control, params: WatchAdd) -> WatchReply:
    """`watch.remove`."""
    was_there = await control.watcher.remove(params.path)
    verb = "no longer followed" if was_there else "was not followed"
    return WatchReply(control.watcher.watched_replies(), changed=f"{params.path} {verb}; what was read stays")


def rss_bytes() -> int:
    """Resident memory of this process now."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


async def stats(services: Services, control: Control, params: NoParams) -> StatsReply:
    """`stats`."""
    status = await services.stash.status()
    traffic = control.server.traffic
    counter = services.intake.counter
    awake = services.registry.awake_sessions
    return StatsReply(
        version=__version__,
        pid=os.getpid(),
        boot_id=control.boot_id,
        uptime_s=round(services.clock() - services.started_s, 3),
        socket=control.socket_path,
        state_folder=str(services.config.daemon.lock_dir),
        sessions=status.sessions,
        heaps_loaded=len(awake),
        heap_segments=sum(len(session.heap) for session in awake),
        text_cache_bytes=services.contents.size_bytes,
        segments=status.segments,
        stash_bytes=status.bytes_on_disk,
        stash_bytes_max=services.config.stash.bytes_max,
        read_only=status.read_only_reason if status.is_read_only else "",
        erasures_pending=status.erasures_pending,
        connections=traffic.connections,
        requests=traffic.requests,
        errors=traffic.errors,
        collections=services.counts["collections"],
        faults=services.counts["faults"],
        shortening_saved_tokens=services.counts["shortening_saved_tokens"],
        shortening_asked_back_tokens=services.counts["shortening_asked_back_tokens"],
        tokens_estimated=counter.is_loaded and counter.is_estimated,
        rss_bytes=rss_bytes(),
        watched=len(control.watcher),
    )


async def metrics(services: Services, control: Control, params: NoParams) -> MetricsReply:
    """`metrics`: the numbers of `stats` as Prometheus text."""
    lines = []
    for name, value in msgspec.structs.asdict(await stats(services, control, params)).items():
        if isinstance(value, bool | int | float):
            lines += [f"# TYPE ctxgc_{name} gauge", f"ctxgc_{name} {+value}"]
    return MetricsReply("\n".join(lines) + "\n")


def slowlog(control: Control, params: NoParams) -> SlowlogReply:
    """`slowlog`."""
    calls = control.server.slowest_calls()[:SLOW_LISTED_MAX]
    return SlowlogReply(
        [SlowCallReply(round(call.seconds * 1000, 2), call.method, call.connection_id, call.at_s) for call in calls]
    )


def config_get(services: Services, params: NoParams) -> ConfigReply:
    """`config.get`."""
    return ConfigReply(services.config.model_dump(mode="json"))


def config_reload(control: Control, params: NoParams) -> ReloadReply:
    """`config.reload`."""
    changed, waiting = control.reload()
    hint = f"restart the daemon for {', '.join(waiting)}" if waiting else None
    return ReloadReply(f"{', '.join(changed) or 'nothing'} in force now", hint)


def shutdown(control: Control, params: Shutdown) -> StoppingReply:
    """`shutdown`."""
    control.stop()
    return StoppingReply("the daemon stops after the requests in flight")


async def doctor(services: Services, control: Control, params: Doctor) -> DoctorReply:
    """`doctor`: checks of the daemon, each with its next step."""
    status = await services.stash.status()
    counter = services.intake.counter
    skew_s = time.time() - services.clock()
    checks = [
        _check_state_folder(str(services.config.daemon.lock_dir)),
        _build_check_reply(
            "socket", _is_private_path(control.socket_path), control.socket_path or "inherited", "restart the daemon"
        ),
        _build_check_reply(
            "stash", not status.is_read_only, status.read_only_reason or status.path, status.read_only_hint
        ),
        _build_check_reply("schema", True, f"version {status.schema_version}", ""),
        await _check_stash_content(services, params),
        await _check_stash_size(services, status),
        _build_check_reply(
            "upkeep", not status.maintenance_error, status.maintenance_error or "on time", "it is tried again"
        ),
        _build_check_reply(
            "erasures", status.erasures_pending == 0, f"{status.erasures_pending} pending", "wait a moment"
        ),
        _build_check_reply(
            "tokens", not counter.is_estimated, "o200k ranks read", "reinstall the package: its ranks are damaged"
        ),
        _build_check_reply("clock", abs(skew_s) < 5, f"skew {abs(skew_s):.1f} s", "check the system clock"),
    ]
    return DoctorReply(all(check.ok for check in checks), checks)


def _check_state_folder(path: str) -> CheckReply:
    try:
        mode = f"mode {stat.S_IMODE(os.stat(path).st_mode):04o}"
    except OSError as error:
        return _build_check_reply(
            "state folder", False, f"{path}: {error.strerror}", "`ctxgc down`, then `ctxgc up` makes one"
        )
    is_private = _is_private_path(path)
    return _build_check_reply(
        "state folder", is_private, f"{mode}, ours" if is_private else f"{path}: {mode}", "chmod 700 it"
    )


async def _check_stash_content(services: Services, params: Doctor) -> CheckReply:
    """Pages and bodies, read now: a status alone reads no page."""
    seen = await services.stash.examine(is_deep=params.deep)
    detail = "; ".join(seen.troubles) if seen.troubles else f"{seen.bodies} bodies read, as they were admitted"
    if seen.bodies_damaged > 1:
        detail = f"{seen.bodies_damaged} of {seen.bodies} bodies read are damaged; {detail}"
    if seen.skipped:
        detail += f"; {seen.skipped}: `ctxgc doctor --deep` reads all"
    return _build_check_reply(
        "content", seen.is_sound, detail, "`ctxgc doctor --repair` keeps a copy and saves what can be read"
    )


async def _check_stash_size(services: Services, status: StashStatus) -> CheckReply:
    """A stash that is too large forgets no session: the check names the longest unused session."""
    used, limit = status.bytes_on_disk, services.config.stash.bytes_max
    detail = f"{used / 2**20:.1f} MB" + (f" of {limit / 2**20:.1f} MB (`stash.bytes_max`)" if limit else "")
    is_over = limit and used > limit
    oldest = await services.stash.sessions(limit=1, offset=max(status.sessions - 1, 0)) if is_over else []
    which = f" --session {oldest[0].key}" if oldest else ""
    hint = f"`ctxgc forget --whole-session{which}` erases what was unused longest; or raise the limit"
    return _build_check_reply("size", not is_over, detail, hint)


def _build_check_reply(name: str, ok: bool, detail: str, hint: str) -> CheckReply:
    return CheckReply(name, ok, detail, "" if ok else hint)


def _is_private_path(path: str) -> bool:
    if not path:
        return True
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return info.st_uid == os.geteuid() and not info.st_mode & 0o077
