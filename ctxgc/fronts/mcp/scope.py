"""The sessions in reach of one MCP client: sessions of the client's own project, whatever an argument says.

    roots of the client, else the working directory ──▶ projects
    name in an argument ──daemon──▶ session ──project of that session──▶ in a project of these? else: there is none

A refusal names no session outside: the daemon's own words on a name may tell of another project.
"""

from __future__ import annotations

import os
import threading

from ctxgc.fronts.cli.context import SESSION_VARIABLES
from ctxgc.protocol.blocking_client import CallFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from ctxgc.protocol.replies.daemon import ConfigReply
    from ctxgc.protocol.replies.segments import ContentReply
    from ctxgc.protocol.replies.sessions import SessionReply, SessionsReply, ShowReply

    Call = Callable[[str, dict[str, Any]], Any]

ROOTS_MAX = 8
ROOTS_WAIT_S = 2.0
LISTED_MAX = 1000
"""Sessions of a project that can be paged through."""
SESSIONS_TRIED = 20
"""Newest sessions of a project in which an id without a session is looked for."""
_UNKNOWN = ("not_found", "bad_params")


class OutOfScope(Exception):
    """No session or segment of this name lies in the scope; the message is for the model."""


def folder_of_uri(uri: object) -> str:
    """The folder of a `file` URI; empty for any other value."""
    if not isinstance(uri, str):
        return ""
    from urllib.parse import unquote, urlsplit  # Not on the way to the first reply.

    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    path = unquote(parts.path)
    is_local = parts.scheme == "file" and parts.netloc in ("", "localhost")
    return os.path.normpath(path) if is_local and path.startswith("/") and "\0" not in path else ""


class Scope:
    """The projects of one client. The reader's thread sets the roots, the worker's thread asks. Mutable."""

    def __init__(self, call: Call, folder: str, environment: Mapping[str, str]) -> None:
        self._call = call
        self._environment = environment
        self._started_in = folder
        self._projects = _path_variants([folder])
        self._has_roots = threading.Event()
        self._has_roots.set()
        self._opens_all: bool | None = None
        """Whether the user's configuration opens all projects; `None` before the daemon was asked."""

    def expect_roots(self) -> None:
        """Have questions wait for the roots, which the client was asked for."""
        self._has_roots.clear()

    def set_roots(self, uris: Iterable[object]) -> None:
        """Take the client's roots as the projects; without a usable root the folder of the start is the project."""
        folders = [folder for folder in map(folder_of_uri, uris) if folder][:ROOTS_MAX]
        self._projects = _path_variants(folders or [self._started_in])
        self._has_roots.set()

    def projects(self) -> tuple[str, ...]:
        """Folders whose sessions are in the scope, once the client has named its roots; `("",)` for all projects.

        Raises `OutOfScope` where no folder tells sessions of two folders apart.
        """
        if self._opens_all is None:
            reply: ConfigReply = self._call("config.get", {})
            self._opens_all = reply.config["mcp"]["projects"] == "all"
        if not self._has_roots.wait(ROOTS_WAIT_S):
            self._has_roots.set()  # A client that does not answer delays one question, not each.
        if self._opens_all:
            return ("",)
        if not (distinct := _unredacted_folders(self._projects)):
            raise OutOfScope(
                "the path of this project has a credential, which ctxgc stores redacted: sessions of another folder"
                " may be stored alike, so no session is shown; rename the folder, or set mcp.projects to all"
            )
        return distinct

    @property
    def first_project_folder(self) -> str:
        """The folder whose project comes first where all projects are open."""
        return self._projects[0]

    def has_project(self, project: str) -> bool:
        """Whether the sessions of this folder are in the scope."""
        projects = self.projects()
        return projects == ("",) or (bool(project) and project in projects)

    def newest_sessions(self, limit: int, offset: int = 0) -> list[SessionReply]:
        """The newest sessions in the scope."""
        found: list[SessionReply] = []
        for project in self.projects():
            # Each project from its first session: pages of several projects would skip what one page left over.
            params = {"limit": min(offset + limit, LISTED_MAX), **({"project": project} if project else {})}
            reply: SessionsReply = self._call("session.list", params)
            found += reply.sessions
        found.sort(key=lambda row: row.updated_s, reverse=True)
        return found[offset : offset + limit]

    def current_session(self) -> str:
        """The agent's own session: by the agent's variable, else the newest session of the project."""
        for source, variable in SESSION_VARIABLES:
            if name := self._environment.get(variable):
                try:
                    return self.resolve_session(f"{source}:{name}")
                except OutOfScope:
                    continue
        # A side chain counts only where its project has nothing else.
        rows = self.newest_sessions(SESSIONS_TRIED)
        row = next((row for row in rows if not row.parent), next(iter(rows), None))
        if row is None:
            raise OutOfScope("ctxgc knows no session of this project yet")
        return row.session

    def resolve_session(self, name: str) -> str:
        """The full name of the session meant by a name. Raises `OutOfScope`."""
        try:
            shown: ShowReply = self._call("session.show", {"session": name})
        except CallFailed as failure:
            if failure.kind not in _UNKNOWN:
                raise
            raise OutOfScope(f"there is no session {name!r} in this project") from None
        if not self._is_in_scope(shown):
            raise OutOfScope(f"there is no session {name!r} in this project")
        return shown.session

    def locate_segment(self, id: str, session: str = "") -> tuple[str, str]:
        """Session and full id of the segment that an id means. Raises `OutOfScope`."""
        self.projects()  # A scope without projects says why, which is more than that nothing was found.
        for name in [self.resolve_session(session)] if session else self._candidate_sessions():
            try:
                found: ContentReply = self._call("segment.get", {"session": name, "id": id, "with_content": False})
            except CallFailed as failure:
                if failure.kind not in _UNKNOWN:
                    raise
                continue
            # An address leads from any session to any other, and is held to the scope like any other name.
            if found.session == name or self.has_session(found.session):
                return found.session, found.id
        where = f"session {session!r}" if session else f"the newest {SESSIONS_TRIED} sessions of this project"
        raise OutOfScope(f"there is no segment {id!r} in {where}; `search` lists ids with their sessions")

    def _candidate_sessions(self) -> Iterator[str]:
        """Sessions in which an id without a session is looked for, the agent's own first."""
        try:
            own = self.current_session()
        except OutOfScope:
            return
        yield own
        for row in self.newest_sessions(SESSIONS_TRIED):
            if row.session != own:
                yield row.session

    def has_session(self, name: str) -> bool:
        """Whether the session of this full name is in the scope."""
        try:
            return self.resolve_session(name) == name
        except OutOfScope:
            return False

    def _is_in_scope(self, shown: ShowReply) -> bool:
        """Whether this session's project is in the scope; a side chain without a project is in its parent's."""
        project = shown.project
        if not project and shown.parent:
            source = shown.session.partition(":")[0]
            try:
                parent: ShowReply = self._call("session.show", {"session": f"{source}:{shown.parent}"})
                project = parent.project
            except CallFailed as failure:
                if failure.kind not in _UNKNOWN:
                    raise
        return self.has_project(project)


def _unredacted_folders(folders: Iterable[str]) -> tuple[str, ...]:
    """The folders whose name is stored as it is: the redaction of a credential is the same in the name of many
    folders."""
    from ctxgc.core.redaction.redact import REDACTION_START, redact_text  # Not on the way to the first reply.

    return tuple(folder for folder in folders if REDACTION_START not in folder and redact_text(folder) == folder)


def _path_variants(folders: Iterable[str]) -> tuple[str, ...]:
    """The folders as they are named and as their links resolve: an agent may write either."""
    return tuple(dict.fromkeys(name for folder in folders for name in (folder, os.path.realpath(folder))))
