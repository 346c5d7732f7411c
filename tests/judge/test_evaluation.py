"""A body's nats are its placebo's less its own, each text is asked about once, and a cut run goes on."""

import pytest

pytest.importorskip("numpy", reason="numpy is of the extras dev and judge")

from perf.judge.evaluation import Evaluator, Lengths, NatsCache, best_chunk
from perf.judge.recordings import Body
from perf.judge.sampling import Case


class WordJudge:
    """A token is a word; a reply costs a nat for each word that its context does not have."""

    def __init__(self, digest="words"):
        self.digest, self.words, self.asked = digest, [], 0

    def encode(self, text):
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) + 1 for word in text.split()]

    def decode(self, ids):
        return " ".join(self.words[each - 1] for each in ids)

    def reply_nats(self, context, reply):
        self.asked += 1
        return float(sum(each not in context for each in reply))


def case(body="alpha bravo", placebo="yankee zulu", recent="recent words", reply="alpha bravo zulu recent"):
    bodies = [Body(session, "tool", 2, text, text.encode()) for session, text in (("own", body), ("other", placebo))]
    return Case("shipped", "pair", *bodies, recent, reply, 3, False, False, False)


def test_a_body_saves_what_its_placebo_leaves_unsaid():
    evaluator = Evaluator(WordJudge(), NatsCache())

    assert evaluator.saved_nats(case()) == 1.0
    assert evaluator.saved_nats(case(body="yankee zulu", placebo="alpha bravo")) == -1.0


@pytest.mark.parametrize(
    ("lengths", "nats"), [(Lengths(reply=1), 1.0), (Lengths(reply=2), 2.0), (Lengths(chunk=1, reply=2), 1.0)]
)
def test_chunk_and_reply_are_cut_to_their_lengths(lengths, nats):
    assert Evaluator(WordJudge(), NatsCache(), lengths).saved_nats(case(placebo="other words")) == nats


def test_the_recent_text_is_cut_at_its_beginning():
    first, last = (
        Evaluator(WordJudge(), NatsCache(), Lengths(recent=1)).saved_nats(case(recent=recent))
        for recent in ("alpha other", "other alpha")
    )

    assert (first, last) == (1.0, 0.0)


def test_a_second_run_asks_nothing_and_says_the_same(tmp_path):
    path = tmp_path / "nats"
    first, second = Evaluator(WordJudge(), NatsCache(path)), Evaluator(WordJudge(), NatsCache(path))
    nats = first.saved_nats(case())

    second.cache = NatsCache(path)

    assert second.saved_nats(case()) == nats
    assert (first.asked, second.asked, second.judge.asked) == (2, 0, 0)
    assert len(second.keys) == 2


def test_another_model_is_asked_again(tmp_path):
    path = tmp_path / "nats"
    Evaluator(WordJudge(), NatsCache(path)).saved_nats(case())

    other = Evaluator(WordJudge("other"), NatsCache(path))
    other.saved_nats(case())

    assert other.asked == 2


def test_a_line_that_a_killed_run_cut_off_is_asked_again(tmp_path):
    path = tmp_path / "nats"
    Evaluator(WordJudge(), NatsCache(path)).saved_nats(case())
    path.write_text(path.read_text()[:-3])

    resumed = Evaluator(WordJudge(), NatsCache(path))
    resumed.saved_nats(case())

    assert resumed.asked == 1
    assert len(NatsCache(path).known) == 2


def test_the_file_of_values_holds_no_text(tmp_path):
    path = tmp_path / "nats"

    Evaluator(WordJudge(), NatsCache(path)).saved_nats(case())

    assert not {"alpha", "zulu", "recent"} & set(path.read_text().split())


def test_the_chunk_is_the_run_that_shares_most_words_with_the_reply():
    text = " ".join(f"word{letter}{letter}" for letter in "abcdefghijkl")
    judge = WordJudge()

    chunk = best_chunk(judge, text, "wordhh wordii wordaa", 4)

    assert judge.decode(chunk) == "wordgg wordhh wordii wordjj"


def test_of_equal_runs_the_first_is_the_chunk_and_the_last_run_ends_with_the_text():
    text = " ".join(f"word{letter}{letter}" for letter in "abcdefg")
    judge = WordJudge()

    assert judge.decode(best_chunk(judge, text, "nothing", 4)).startswith("wordaa")
    assert judge.decode(best_chunk(judge, text, "wordgg wordff", 4)).endswith("wordgg")
