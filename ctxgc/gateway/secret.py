"""The gateway's secret: a word in the path of a base URL, by which a request shows its sender to be the gateway's user.

    state folder/gateway.secret, 0600 ◀─makes, once─ gateway, `ctxgc run`, `ctxgc env`
                     └──▶ http://127.0.0.1:8787/k/SECRET/anthropic

The file outlives restarts, because base URLs stand in files of agents. The gateway compares the secret, and neither
logs the secret nor sends it upstream. Standard library only: `ctxgc status` imports this module.
"""

from __future__ import annotations

SECRET_FILE = "gateway.secret"  # noqa: S105 (a file's name)
"""The name of the secret's file in the state folder."""
PATH_PREFIX = "/k/"
"""The beginning of a path that holds the secret."""
