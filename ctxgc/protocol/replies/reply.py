"""The base of every reply: a verb builds the reply, msgspec writes it, a command reads its fields as attributes.

    verb ──builds──▶ Reply ──msgspec──▶ one line of JSON ──▶ Record (protocol/record.py), read as the same type

Token counts are raw o200k unless the field says `billed`; `unit` in a reply names the unit of its `*_tokens`. Every
reply to a mutation carries `changed` (a sentence) and, where there is a next step, `next`.
"""

from __future__ import annotations

import msgspec


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object of the wire. A field with the default None may be absent there; every other field is always present."""
