"""The bounds of `ctxgc/1` (I12), advertised by `hello`. Apart from the verbs, so that the codec needs no pydantic."""

from __future__ import annotations

BATCH_MAX = 1000
"""Requests in one batch array, calls in one `tx`."""
IN_FLIGHT_MAX = 256
"""Unanswered requests of one connection before the server stops reading it."""
IN_FLIGHT_BYTES_MAX = 32 * 2**20
"""Bytes of these requests; the first bound that is met counts."""
LONG_REPLIES_MAX = 4
"""Those of the requests whose replies may be as long as a line: more of one client's are started one after another."""
UNSENT_BYTES_MAX = 2**20
"""Output a client has not read before the server stops reading it."""
BATCH_REPLY_BYTES_MAX = 32 * 2**20
"""Answers of one batch before its further reads are refused as `busy`."""
ALL_UNSENT_BYTES_MAX = 128 * 2**20
"""Output that all clients together have not read before those are cut off that read nothing for a while."""
OPERATORS_MAX = 4
"""Connections beyond the greatest number of clients, for the verbs that look after the daemon."""
FRAME_BYTES_DEFAULT = 8 * 2**20
"""One line, without its newline."""
FRAME_BYTES_MAX = 64 * 2**20
"""The longest line that a configuration may allow."""
BAD_LINES_MAX = 16
"""Unparsable lines in a row that close a connection."""
ID_CHARS_MAX = 64
METHOD_CHARS_MAX = 64
DEADLINE_MS_MAX = 24 * 3600 * 1000
EVENTS_MAX = 10_000
"""Events kept for a subscriber that resumes."""
EVENTS_BYTES_MAX = 8 * 2**20
"""Bytes of the kept events; the first bound that is met counts."""

NO_LIMIT_TOKENS = 2**40
"""A window limit of a session that stands for no limit at all, whatever its run or the configuration says."""
RECALL_TOKENS_MAX = 200_000
"""Tokens of a frame of recalled text."""
OFFER_TOKENS_MAX = 80
"""Tokens of the sentence that offers what a host dropped: a hook leaves so much of its budget for the sentence."""
