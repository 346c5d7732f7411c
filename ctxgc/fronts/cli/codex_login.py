"""Codex's login, by files: an API key, or ChatGPT tokens, which OpenAI serves at another address.

    CODEX_API_KEY (`codex exec`) ──▶ key          $CODEX_HOME/auth.json ──▶ key | tokens of ChatGPT

The file is read for the kind of its login alone: no key and no token is kept or shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

AUTH_BYTES_MAX = 2**20


def has_chatgpt_login(environment: Mapping[str, str]) -> bool:
    """Whether Codex, in this environment, asks with ChatGPT tokens. A login that a keyring holds is not seen."""
    if environment.get("CODEX_API_KEY"):
        return False
    home = environment.get("CODEX_HOME") or os.path.join(environment.get("HOME") or os.path.expanduser("~"), ".codex")
    try:
        with open(os.path.join(home, "auth.json"), "rb") as file:
            login = json.loads(file.read(AUTH_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(login, dict):
        return False
    if isinstance(mode := login.get("auth_mode"), str):
        return mode.lower().startswith("chatgpt")
    # Codex itself prefers a key where both are there.
    return bool(login.get("tokens")) and not login.get("OPENAI_API_KEY")
