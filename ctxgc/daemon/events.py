"""Events: a ring for all subscribers, each with a place in the ring.

    publish ──▶ ring [oldest … newest] ◀── cursor of each subscriber, moved on as it reads

No event is queued for a subscriber, so a subscriber that does not read costs nothing; a subscriber that falls out of
the ring is told the lost events' numbers (`event.gap`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ctxgc.protocol.codec import encode_event, encode_gap
from ctxgc.protocol.limits import EVENTS_BYTES_MAX, EVENTS_MAX


class PublishedEvent(NamedTuple):
    """An event, encoded once for all of its subscribers."""

    seq: int
    topic: str
    line: bytes


class Events:
    """The last events of the daemon, and their subscribers.

    `first_seq` must lie above every sequence number of an earlier run (the start time in microseconds does), so that
    a client which resumes after a restart gets a gap and not the wrong events.
    """

    def __init__(
        self, first_seq: int = 1, *, events_max: int = EVENTS_MAX, events_bytes_max: int = EVENTS_BYTES_MAX
    ) -> None:
        self._ring: deque[PublishedEvent] = deque()
        self._events_max = events_max
        self._events_bytes_max = events_bytes_max
        self._ring_bytes = 0
        self._listeners: set[Callable[[], None]] = set()
        self.next_seq = first_seq

    @property
    def oldest_seq(self) -> int:
        """The number of the oldest kept event; `next_seq` without an event."""
        return self.next_seq - len(self._ring)

    def publish(self, topic: str, params: dict[str, Any]) -> int:
        """Add an event and wake every listener; its sequence number."""
        event = PublishedEvent(self.next_seq, topic, encode_event(self.next_seq, topic, params))
        self.next_seq += 1
        self._ring.append(event)
        self._ring_bytes += len(event.line)
        while len(self._ring) > self._events_max or self._ring_bytes > self._events_bytes_max:
            self._ring_bytes -= len(self._ring.popleft().line)
        for wake in tuple(self._listeners):
            wake()
        return event.seq

    def add_listener(self, wake: Callable[[], None]) -> None:
        """Call `wake` at every event; `wake` must only take note."""
        self._listeners.add(wake)

    def remove_listener(self, wake: Callable[[], None]) -> None:
        """Take `listen` back; no effect without a subscription."""
        self._listeners.discard(wake)

    def events_since(self, seq: int) -> Iterator[PublishedEvent]:
        """Kept events from `seq` on, oldest first. O(distance to the nearer end), as a deque is."""
        for position in range(max(0, seq - self.oldest_seq), len(self._ring)):
            yield self._ring[position]


class Subscription:
    """A subscriber's place in the ring."""

    def __init__(self, events: Events, topics: frozenset[str], from_seq: int | None) -> None:
        self._events = events
        self._topics = topics
        self._next_seq = events.next_seq if from_seq is None else from_seq

    @property
    def is_behind(self) -> bool:
        """Whether events wait to be sent."""
        return self._next_seq != self._events.next_seq

    def take_lines(self, room_bytes: int) -> bytes:
        """The next lines to send, about `room_bytes` of them, and move on behind these."""
        lines: list[bytes] = []
        taken_bytes = 0
        if not self._events.oldest_seq <= self._next_seq <= self._events.next_seq:
            # Fallen out of the ring, or a number of an earlier run of the daemon.
            lines.append(encode_gap(self._next_seq, self._events.oldest_seq - 1))
            self._next_seq = self._events.oldest_seq
        for event in self._events.events_since(self._next_seq):
            if taken_bytes >= room_bytes:
                break
            self._next_seq = event.seq + 1
            if event.topic in self._topics:
                lines.append(event.line)
                taken_bytes += len(event.line)
        return b"".join(lines)
