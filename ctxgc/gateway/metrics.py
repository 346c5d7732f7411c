"""What the gateway did, as numbers: how many calls were edited, and why the others were not.

call ──▶ edited | untouched (nothing is evicted in its session) | passed unedited, by reason
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why a call to a model went upstream as it came, although it might have been edited."""

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


@dataclass(slots=True)
class Counters:
    """Counters since the gateway started. Mutable, owned by the gateway's loop."""

    calls: int = 0
    """Calls to a model in a format we know."""
    others: int = 0
    """Every other request."""
    edited: int = 0
    """Sent on edited; one that was refused and sent again as it came stands under its reason too."""
    untouched: int = 0
    edited_from_prefix: int = 0
    """Edited without parsing: the request began with the bytes of the one before."""
    kept_out_bytes: int = 0
    """Bytes that edited requests were shorter by, in all."""
    upstream_faults: int = 0
    syncs: int = 0
    sync_failures: int = 0
    replaced_syncs: int = 0
    """Syncs that a newer request made superfluous before they began."""
    conflicts: int = 0
    """Contents that came under an id that the stash knows for another: stored aside, and never evicted."""
    without_usage: int = 0
    """Replies of which nobody could read what they cost."""
    collections: int = 0
    would_free_tokens: int = 0
    """What the newest plan of each shadowed session would have freed, added up."""
    recalls: int = 0
    """Calls of the recall tool that were answered in here."""
    recalls_failed: int = 0
    recall_rounds: int = 0
    """Requests of our own that carried their results on."""
    recall_left_out: int = 0
    """Requests that went without the tool although their session has it: we were late, or at fault."""
    recall_tokens: int = 0
    """What those requests and the replies to them were billed as."""
    passed_unedited: Counter[str] = field(default_factory=Counter)

    def count_unedited(self, reason: Reason) -> None:
        """A call goes upstream as it came."""
        self.passed_unedited[reason.value] += 1

    def report(self) -> dict[str, Any]:
        """Every number, as JSON has it."""
        numbers = {name: getattr(self, name) for name in self.__slots__ if name != "passed_unedited"}
        return numbers | {"passed_unedited": dict(self.passed_unedited)}
