"""What a session's requests tell of the provider's cache: entries of answered requests, bills of known prefixes."""

from ctxgc.core.heap import EVICTED, Heap
from ctxgc.core.pacing.provider_cache import Prompt
from ctxgc.daemon.sessions.provider_ledger import (
    ProviderLedger,
    SentRequest,
    prompt_breakpoints,
    prompt_units_and_window_start,
)
from ctxgc.protocol.wire import SentCache, SentMark
from tests.core.test_heap import an_entry

BODY = 2000


class Session:
    """A session of one slot a turn, whose host breakpoints the end of each request."""

    def __init__(self, blocks=2, can_mark=False):
        self.heap, self.ledger, self.blocks, self.can_mark, self.now_s = Heap(), ProviderLedger(), blocks, can_mark, 0.0
        self.ledger.switch_model("claude-x")

    def grow(self):
        self.heap.admit(an_entry(f"s{len(self.heap)}", body=BODY, skeleton=10, tombstone=20))

    @property
    def ids(self):
        return [f"s{number}" for number in range(len(self.heap))]

    def sent(self, life_s=300.0):
        marks = [SentMark(segments=len(self.heap), life_s=life_s)]
        blocks = [self.blocks] * len(self.heap)
        return SentCache(settings=["a", "b"], hidden_blocks=1, blocks=blocks, marks=marks, can_mark=self.can_mark)

    def ask(self, *, was_answered=True):
        """A request of everything so far; `was_answered` is of the request before."""
        self.now_s += 1
        self.ledger.settle_request(was_answered=was_answered)
        units, hidden = prompt_units_and_window_start(self.heap, self.ids, self.ids, self.sent(), 3000, None)
        self.ledger.note_request(SentRequest(Prompt(units, prompt_breakpoints(units, self.sent())), hidden, self.now_s))

    def cache(self):
        units, hidden = prompt_units_and_window_start(self.heap, self.ids, self.ids, self.sent(), 3000, None)
        return self.ledger.forecast_cache(self.sent(), units, hidden, self.now_s).cache_state


def asked(turns, **more):
    session = Session(**more)
    for _ in range(turns):
        session.grow()
        session.ask()
    return session


def test_an_edit_reads_up_to_the_last_request_that_ended_in_front_of_it():
    cache = asked(5).cache()

    assert cache.read_tokens(5 * (BODY + 10)) == 5 * (BODY + 10)
    assert cache.read_tokens(3 * (BODY + 10) + 7) == 3 * (BODY + 10)
    assert cache.read_tokens(10) == 0


def test_entries_further_back_than_a_breakpoint_looks_are_read_only_with_a_breakpoint_of_our_own():
    far = 2 * (BODY + 10)

    assert asked(20).cache().read_tokens(far) == 0
    assert asked(20, can_mark=True).cache().read_tokens(far) == far


def test_a_request_that_was_not_answered_leaves_no_entry():
    session = asked(3)
    session.grow()
    session.ask()
    session.grow()
    session.ask(was_answered=False)

    assert session.cache().read_tokens(4 * (BODY + 10)) == 3 * (BODY + 10)


def test_entries_of_another_form_of_the_window_are_not_found():
    session = asked(6)
    session.heap.set_state(2, EVICTED)

    assert session.cache().read_tokens(session.heap.resident_tokens) == 2 * (BODY + 10)


def test_the_billed_tokens_of_a_place_come_from_the_nearest_prefix_with_a_bill():
    session = asked(3)
    session.ledger.apply_bill(0, 9000)
    session.grow()
    session.ask()
    units, hidden = prompt_units_and_window_start(session.heap, session.ids, session.ids, session.sent(), 3000, None)
    foretold = session.ledger.forecast_cache(session.sent(), units, hidden, session.now_s)

    assert session.ledger.billed_tokens_at(foretold, units[3].end) == 9000
    assert session.ledger.billed_tokens_at(foretold, units[4].end) > 9000 + BODY
