"""The forward pass is a Llama's: held against one written with loops, a token, a head and a pair at a time."""

from math import cos, exp, log, sin, sqrt

import pytest

np = pytest.importorskip("numpy", reason="numpy is of the extras dev and judge")

from perf.judge import model as model_module  # noqa: E402
from perf.judge.model import Block, Model, Past, Shape  # noqa: E402

WIDTH, HEADS, KV_HEADS, FEED, VOCABULARY, BLOCKS = 24, 6, 2, 20, 31, 3
HEAD = WIDTH // HEADS
SHAPE = Shape(HEADS, KV_HEADS, rope_base=100.0, epsilon=1e-5)


@pytest.fixture(scope="module")
def model():
    chance = np.random.default_rng(3)

    def weights(*shape):
        return (chance.standard_normal(shape) / sqrt(shape[-1])).astype(np.float32)

    blocks = [
        Block(
            attention_norm=1 + weights(WIDTH),
            query=2 * weights(WIDTH, WIDTH),
            key=2 * weights(WIDTH, KV_HEADS * HEAD),
            value=weights(WIDTH, KV_HEADS * HEAD),
            output=weights(WIDTH, WIDTH),
            feed_norm=1 + weights(WIDTH),
            gate=weights(WIDTH, FEED),
            up=weights(WIDTH, FEED),
            down=weights(FEED, WIDTH),
        )
        for _ in range(BLOCKS)
    ]
    return Model(SHAPE, 3 * weights(VOCABULARY, WIDTH), blocks, 1 + weights(WIDTH))


TOKENS = [int(each) for each in np.random.default_rng(5).integers(0, VOCABULARY, 23)]


def by_loops(model, tokens):
    """Normed hidden states by the textbook, in double precision and without any array of more than a dimension."""
    states = [list(map(float, model.embedding[token])) for token in tokens]
    for block in model.blocks:
        normed = [norm(state, block.attention_norm) for state in states]
        queries = [turned(times(each, block.query), at) for at, each in enumerate(normed)]
        keys = [turned(times(each, block.key), at) for at, each in enumerate(normed)]
        values = [times(each, block.value) for each in normed]
        mixed = [attended(query, keys[: at + 1], values[: at + 1]) for at, query in enumerate(queries)]
        states = [plus(state, times(each, block.output)) for state, each in zip(states, mixed, strict=True)]
        states = [plus(state, fed(norm(state, block.feed_norm), block)) for state in states]
    return [norm(state, model.final_norm) for state in states]


def norm(state, weight):
    scale = sqrt(sum(each * each for each in state) / len(state) + SHAPE.epsilon)
    return [each / scale * float(by) for each, by in zip(state, weight, strict=True)]


def times(vector, matrix):
    return [
        sum(vector[row] * float(matrix[row, column]) for row in range(len(vector))) for column in range(matrix.shape[1])
    ]


def plus(one, other):
    return [a + b for a, b in zip(one, other, strict=True)]


def turned(flat, position):
    """Each pair of neighbours of each head, turned by its angle."""
    result = list(flat)
    for first in range(0, len(flat), 2):
        angle = position * SHAPE.rope_base ** (-(first % HEAD) / HEAD)
        x, y = flat[first : first + 2]
        result[first : first + 2] = [x * cos(angle) - y * sin(angle), x * sin(angle) + y * cos(angle)]
    return result


def attended(query, keys, values):
    """Head by head; a head of keys serves its group of neighbouring heads of queries."""
    mixed = []
    for head in range(HEADS):
        at, own = head * HEAD, head // (HEADS // KV_HEADS) * HEAD
        scores = [exp(sum(query[at + i] * key[own + i] for i in range(HEAD)) / sqrt(HEAD)) for key in keys]
        for i in range(HEAD):
            mixed.append(sum(score * value[own + i] for score, value in zip(scores, values, strict=True)) / sum(scores))
    return mixed


def fed(normed, block):
    gates = [gate / (1 + exp(-gate)) for gate in times(normed, block.gate)]
    return times([gate * up for gate, up in zip(gates, times(normed, block.up), strict=True)], block.down)


@pytest.mark.parametrize("queries_per_slice", [5, 128])
def test_the_forward_pass_is_the_textbooks(model, monkeypatch, queries_per_slice):
    monkeypatch.setattr(model_module, "QUERIES_PER_SLICE", queries_per_slice)

    assert model.hidden(TOKENS) == pytest.approx(np.array(by_loops(model, TOKENS)), abs=2e-4)


@pytest.mark.parametrize("cuts", [(7,), (1, 2, 3), (4, 20), tuple(range(1, 23))])
def test_tokens_in_parts_come_out_as_tokens_at_once(model, monkeypatch, cuts):
    monkeypatch.setattr(model_module, "QUERIES_PER_SLICE", 5)
    past = Past()

    parts = [
        model.hidden(TOKENS[first:last], past) for first, last in zip((0, *cuts), (*cuts, len(TOKENS)), strict=True)
    ]

    assert np.concatenate(parts) == pytest.approx(model.hidden(TOKENS), abs=1e-4)
    assert past.tokens == len(TOKENS)


def test_no_token_sees_a_later_one(model):
    changed = [*TOKENS[:12], *((token + 1) % VOCABULARY for token in TOKENS[12:])]

    assert model.hidden(changed)[:12] == pytest.approx(model.hidden(TOKENS)[:12], abs=1e-5)


def test_a_replys_nats_are_those_of_its_tokens_one_after_another(model):
    context, reply = TOKENS[:9], TOKENS[9:14]

    expected = 0.0
    for at, token in enumerate(reply):
        state = by_loops(model, [*context, *reply[:at]])[-1]
        logits = [sum(a * float(b) for a, b in zip(state, row, strict=True)) for row in model.embedding]
        expected += log(sum(map(exp, logits))) - logits[token]

    assert model.reply_nats(context, reply) == pytest.approx(expected, rel=1e-4)


def test_a_reply_without_a_context_is_refused(model):
    with pytest.raises(ValueError, match="in front"):
        model.reply_nats([], TOKENS)
