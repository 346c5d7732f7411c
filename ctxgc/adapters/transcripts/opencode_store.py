"""OpenCode's own SQLite store, read live and never written: each session as the document that `opencode export` gives.

    session, message, part                 ──▶ {info, messages[{info, parts[]}]}       OpenCode 1
    session, session_message               ──▶ {info, messages[{type, …}]}             OpenCode 2, where no message is
    session's and parts' last updates      ──▶ a stamp, by which a reader sees what has changed

The tables are those of `session.sql.ts` in OpenCode's repository. OpenCode goes on writing meanwhile: one read
transaction holds a session together.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from ctxgc.core.errors import BadTranscript, UnknownFormat

MAGIC = b"SQLite format 3\0"
WAL_SUFFIX = "-wal"
"""What SQLite appends to the name of a store for the file that its changes come into first."""

BUSY_S = 2.0
"""Patience while OpenCode changes the layout of its store."""

TABLES = frozenset({"session", "message", "part"})


class StoredSession(NamedTuple):
    """A session of a store."""

    id: str
    stamp: bytes
    """Changes whenever the session does."""


def is_sqlite_file(head: bytes) -> bool:
    """Whether a file is an SQLite database."""
    return head.startswith(MAGIC)


def is_store_name(name: str) -> bool:
    """Whether a file in a folder is worth a look: OpenCode's stores, one a release channel."""
    return name.startswith("opencode") and name.endswith(".db")


def list_sessions(path: str) -> list[StoredSession]:
    """The sessions of a store, the newest first. Raises `UnknownFormat` for another database, `BadTranscript`."""
    with closing(open_store(path)) as db, _name_store_in_errors(path):
        tables = {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= TABLES:
            raise UnknownFormat("a database, and not OpenCode's", hint="`ctxgc import` reads OpenCode's `opencode.db`")
        stamps: dict[str, Any] = {}
        for table in sorted(tables & {"message", "part", "session_message"}):
            query = f"SELECT session_id, count(*), max(time_updated) FROM {table} GROUP BY session_id"  # noqa: S608
            for session, *stamp in db.execute(query):
                stamps.setdefault(session, []).append((table, *stamp))
        found = db.execute("SELECT id, time_updated FROM session ORDER BY time_updated DESC, id").fetchall()
        return [
            StoredSession(row["id"], _digest_of_json([row["time_updated"], stamps.get(row["id"])])) for row in found
        ]


def session_document(path: str, session: str) -> bytes:
    """The document of a session. Raises `BadTranscript`."""
    with closing(open_store(path)) as db, _name_store_in_errors(path):
        db.execute("BEGIN")
        row = db.execute("SELECT * FROM session WHERE id = ?", (session,)).fetchone()
        if row is None:
            raise BadTranscript(f"session {session} has left the store", hint="import the store again")
        messages = list(_messages_of_version_1(db, session)) or list(_messages_of_version_2(db, session))
        return json.dumps({"info": _session_info(dict(row)), "messages": messages}).encode()


def open_store(path: str) -> sqlite3.Connection:
    """A connection that cannot write. Raises `BadTranscript`."""
    try:
        db = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
    except sqlite3.Error as error:
        raise BadTranscript(f"{path}: {error}", hint="check its permissions") from None
    db.row_factory = sqlite3.Row
    return db


@contextmanager
def _name_store_in_errors(path: str) -> Iterator[None]:
    """Names the store in SQLite's errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise BadTranscript(f"{path}: {error}", hint="close OpenCode, or export the session") from None


def _messages_of_version_1(db: sqlite3.Connection, session: str) -> Iterator[dict[str, Any]]:
    """Messages of version 1 with their parts. Either table keeps the ids beside the JSON."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in db.execute("SELECT id, message_id, data FROM part WHERE session_id = ? ORDER BY id", (session,)):
        ids = {"id": row["id"], "messageID": row["message_id"], "sessionID": session}
        parts.setdefault(row["message_id"], []).append(_decode_object(row["data"]) | ids)
    query = "SELECT id, data FROM message WHERE session_id = ? ORDER BY time_created, id"
    for row in db.execute(query, (session,)):
        info = _decode_object(row["data"]) | {"id": row["id"], "sessionID": session}
        yield {"info": info, "parts": parts.get(row["id"], [])}


def _messages_of_version_2(db: sqlite3.Connection, session: str) -> Iterator[dict[str, Any]]:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'session_message'").fetchone():
        return
    query = "SELECT id, type, data FROM session_message WHERE session_id = ? ORDER BY time_created, id"
    for row in db.execute(query, (session,)):
        yield _decode_object(row["data"]) | {"id": row["id"], "type": row["type"]}


def _session_info(row: dict[str, Any]) -> dict[str, Any]:
    """The session's row as `opencode export` spells it; columns that a version lacks are left out."""
    names = {"id": "id", "slug": "slug", "project_id": "projectID", "directory": "directory", "parent_id": "parentID",
             "title": "title", "version": "version"}  # fmt: skip
    info = {name: row[column] for column, name in names.items() if row.get(column) is not None}
    packed = {key: _decode_object(row[key]) for key in ("revert", "model") if row.get(key)}
    return info | {"time": {"created": row.get("time_created"), "updated": row.get("time_updated")}} | packed


def _decode_object(text: object) -> dict[str, Any]:
    try:
        value = json.loads(text) if isinstance(text, str | bytes) else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _digest_of_json(value: object) -> bytes:
    return blake2b(json.dumps(value).encode(), digest_size=16).digest()
