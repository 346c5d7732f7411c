"""OpenCode's store as its `session.sql.ts` lays it out, filled from an export."""

import json
import sqlite3

TABLES = """
CREATE TABLE session (id TEXT PRIMARY KEY, project_id TEXT NOT NULL, parent_id TEXT, slug TEXT NOT NULL,
  directory TEXT NOT NULL, title TEXT NOT NULL, version TEXT NOT NULL, revert TEXT, model TEXT,
  time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL);
CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, time_created INTEGER NOT NULL,
  time_updated INTEGER NOT NULL, data TEXT NOT NULL);
CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT NOT NULL, session_id TEXT NOT NULL,
  time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, data TEXT NOT NULL);
CREATE TABLE session_message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, type TEXT NOT NULL,
  time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, data TEXT NOT NULL);
"""


class OpenCodeStore:
    """A store that is open for writing, as OpenCode holds it."""

    def __init__(self, path):
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = wal")
        self.db.executescript(TABLES)
        self.now = 1

    def put(self, export):
        """The session of an export, up to date."""
        self.now += 1
        info, now = export["info"], self.now
        row = (info["id"], info.get("projectID", "p"), info.get("parentID"), info.get("slug", "s"))
        row += (info.get("directory", "/w"), info.get("title", "t"), info.get("version", "1"))
        row += (json.dumps(info["revert"]) if "revert" in info else None,)
        row += (json.dumps(info["model"]) if "model" in info else None, 1, now)
        self.db.execute(f"INSERT OR REPLACE INTO session VALUES ({','.join('?' * len(row))})", row)
        for number, message in enumerate(export["messages"]):
            if "info" not in message:
                data = {key: value for key, value in message.items() if key not in ("id", "type")}
                values = (message["id"], info["id"], message["type"], number, now, json.dumps(data))
                self.db.execute("INSERT OR REPLACE INTO session_message VALUES (?, ?, ?, ?, ?, ?)", values)
                continue
            data = {key: value for key, value in message["info"].items() if key not in ("id", "sessionID")}
            values = (message["info"]["id"], info["id"], number, now, json.dumps(data))
            self.db.execute("INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)", values)
            for place, part in enumerate(message["parts"]):
                name = f"{message['info']['id']}-{place:03}"
                data = {key: value for key, value in part.items() if key not in ("id", "sessionID", "messageID")}
                values = (part.get("id", name), message["info"]["id"], info["id"], now, now, json.dumps(data))
                self.db.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?)", values)
