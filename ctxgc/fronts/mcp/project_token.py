"""The word in the URL of a folder's tools: it opens the sessions of that folder, and of no other.

A model may read its client's settings, and with them the URL. The secret behind the words is the MCP server's own, and
stands in no URL: neither the word of one folder nor the gateway's secret makes the word of another.
"""

from __future__ import annotations

import hmac

SECRET_NAME = "mcp.secret"  # noqa: S105 (a file's name)
TOKEN_CHARS = 32


def project_token(secret: str, folder: str) -> str:
    """The word of a folder."""
    return hmac.new(secret.encode(), folder.encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:TOKEN_CHARS]


def is_project_token(word: str, secret: str, folder: str) -> bool:
    """Whether the word is this folder's; never where there is no secret."""
    token = project_token(secret, folder)
    return bool(secret) and hmac.compare_digest(word.encode("utf-8", "surrogateescape"), token.encode())
