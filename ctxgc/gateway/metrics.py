"""The gateway's counters: calls that were edited, and the reasons of unedited calls.

call ──▶ edited | untouched (no tombstone is in force in its session) | passed unedited, by reason
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ctxgc.core.bounded_dict import drop_oldest_entries

NOT_FOLLOWED_MAX = 64


class Reason(StrEnum):
    """Why a call to a model went upstream unedited, although an edit might have been due."""

    NO_IDENTITY = "no_identity"
    MODE_OFF = "mode_off"
    NOT_UNDERSTOOD = "not_understood"
    ENCODED = "encoded"
    TOO_LARGE = "too_large"
    CONTEXT_MANAGEMENT = "context_management"
    HOST_SUMMARY = "compaction_item"
    PREVIOUS_RESPONSE = "previous_response_id"
    DAEMON_LATE = "daemon_late"
    DAEMON_GONE = "daemon_gone"
    DAEMON_FAILED = "daemon_failed"
    OWN_LATE = "own_late"
    OWN_FAULT = "own_fault"
    REFUSED = "refused"
    SIDE_CALL = "side_call"


@dataclass(slots=True)
class Counters:
    """Counters since the gateway started. Mutable, owned by the gateway's loop."""

    calls: int = 0
    """Calls to a model in a known format."""
    others: int = 0
    """Every other request."""
    edited: int = 0
    """Calls sent edited; a call that was refused and sent again as it came stands under its reason too."""
    untouched: int = 0
    """Calls that were read, and had nothing to edit."""
    edited_from_prefix: int = 0
    """Calls edited without parsing: the request began with the bytes of the one before."""
    pointers: int = 0
    """Runs of lines of new results that went upstream as a pointer."""
    late_entries: int = 0
    """Requests whose new results went upstream whole, because the daemon was late or gone."""
    kept_out_bytes: int = 0
    """Bytes by which edits shortened requests, in all."""
    upstream_faults: int = 0
    syncs: int = 0
    sync_failures: int = 0
    replaced_syncs: int = 0
    """Syncs that a newer request replaced before they began."""
    conflicts: int = 0
    """Contents under an id that the stash has for another content: stored aside, and never evicted."""
    without_usage: int = 0
    """Replies whose bill could not be read."""
    collections: int = 0
    would_free_tokens: int = 0
    """Tokens that plans of sessions in shadow would have freed."""
    passed_unedited: Counter[str] = field(default_factory=Counter)
    not_followed: dict[str, str] = field(default_factory=dict)
    """By session, why the daemon did not get its last request: such a session stands still in the daemon."""

    def record_sync_outcome(self, session: str, reason: Reason | None) -> None:
        """Note why the daemon did not get the last request of a session; `None` after the daemon got a request."""
        self.not_followed.pop(session, None)
        if reason is not None:
            self.not_followed[session] = reason.value
            drop_oldest_entries(self.not_followed, NOT_FOLLOWED_MAX)

    def count_unedited_call(self, reason: Reason) -> None:
        """Count a call that goes upstream unedited."""
        self.passed_unedited[reason.value] += 1

    def recount_untouched_call(self, reason: Reason) -> None:
        """Count under its reason a call that was counted as having nothing to edit before the call was read."""
        self.untouched -= 1
        self.count_unedited_call(reason)

    def status_fields(self) -> dict[str, Any]:
        """Every number, in JSON's form."""
        numbers = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("passed_unedited", "not_followed")
        }
        return numbers | {"passed_unedited": dict(self.passed_unedited), "not_followed": dict(self.not_followed)}
