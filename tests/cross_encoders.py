"""Cross-encoders with random weights: a BERT with a head of one label, written as ONNX, and the same in numpy.

No weights of a real one can be had here, and none are needed: what is tested is that pairs, windows, order and deadlines are right,
and what is measured depends on the sizes alone. ``python tests/cross_encoders.py FOLDER`` writes one of MiniLM's size.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnx_models import FLOAT, INT64, TEMPLATE, WORDS, bytes_field, number_field, text_field, tokenizer, value

INT8 = 3
OPSET = 17
MICROSOFT = "com.microsoft"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Sizes:
    """How large a model is.

    Args:
        words: its vocabulary.
        layers: of attention.
        width: of a token's vector.
        heads: of attention.
        positions: the most tokens it takes.
        labels: how many numbers it puts out.
    """

    def __init__(
        self,
        words: Sequence[str] = WORDS,
        *,
        layers: int = 2,
        width: int = 16,
        heads: int = 2,
        positions: int = 64,
        labels: int = 1,
    ) -> None:
        self.words = words
        self.layers, self.width, self.heads, self.positions, self.labels = layers, width, heads, positions, labels

    @property
    def inner(self) -> int:
        return 4 * self.width


MINILM = {"layers": 6, "width": 384, "heads": 12, "positions": 512}
"""The sizes of MiniLM-L6, but for its vocabulary, which no time depends on."""


def weights(sizes: Sizes, seed: int = 0) -> dict[str, Any]:
    """Return random float32 weights by name."""
    random = np.random.default_rng(seed)
    width, inner = sizes.width, sizes.inner

    def drawn(*shape: int) -> Any:
        return (random.standard_normal(shape) / math.sqrt(shape[0])).astype(np.float32)

    made: dict[str, Any] = {
        "words": drawn(len(sizes.words), width) * 8,
        "places": drawn(sizes.positions, width),
        "types": drawn(2, width),
        "first.scale": np.ones(width, np.float32),
        "first.shift": np.zeros(width, np.float32),
        "pooler": drawn(width, width),
        "pooler.bias": drawn(width),
        "head": drawn(width, sizes.labels) * 4,
        "head.bias": drawn(sizes.labels),
    }
    for layer in range(sizes.layers):
        for name, shape in (("q", (width, width)), ("k", (width, width)), ("v", (width, width)), ("o", (width, width))):
            made[f"{layer}.{name}"], made[f"{layer}.{name}.bias"] = drawn(*shape), drawn(shape[1])
        made[f"{layer}.up"], made[f"{layer}.up.bias"] = drawn(width, inner), drawn(inner)
        made[f"{layer}.down"], made[f"{layer}.down.bias"] = drawn(inner, width), drawn(width)
        for norm in ("attended", "fed"):
            made[f"{layer}.{norm}.scale"] = np.ones(width, np.float32)
            made[f"{layer}.{norm}.shift"] = np.zeros(width, np.float32)
    return made


def logits(sizes: Sizes, weights: dict[str, Any], ids: Sequence[int], types: Sequence[int]) -> Any:
    """Return the labels of one pair, by numpy in double precision."""
    of = {name: array.astype(np.float64) for name, array in weights.items()}
    heads, depth = sizes.heads, sizes.width // sizes.heads
    state = _normal(of["words"][ids] + of["places"][: len(ids)] + of["types"][types], of, "first")

    def linear(given: Any, name: str) -> Any:
        return given @ of[name] + of[f"{name}.bias"]

    for layer in range(sizes.layers):
        q, k, v = (
            linear(state, f"{layer}.{name}").reshape(len(ids), heads, depth).transpose(1, 0, 2) for name in "qkv"
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(depth)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (shares / shares.sum(axis=-1, keepdims=True)) @ v
        mixed = linear(mixed.transpose(1, 0, 2).reshape(len(ids), -1), f"{layer}.o")
        state = _normal(state + mixed, of, f"{layer}.attended")
        up = linear(state, f"{layer}.up")
        up = up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        state = _normal(state + linear(up, f"{layer}.down"), of, f"{layer}.fed")
    return linear(np.tanh(linear(state[0], "pooler")), "head")


def _normal(rows: Any, of: dict[str, Any], name: str) -> Any:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    return centred / spread * of[f"{name}.scale"] + of[f"{name}.shift"]


def folder(
    path: Path, sizes: Sizes, weights: dict[str, Any], *, processor: Any = TEMPLATE, in_8_bits: bool = False
) -> Path:
    """Write the model's folder; ``in_8_bits`` quantises every product as the published files in 8 bits do."""
    path.mkdir(parents=True)
    (path / "model.onnx").write_bytes(_Graph(sizes, weights, in_8_bits=in_8_bits).model())
    (path / "tokenizer.json").write_text(json.dumps(tokenizer(sizes.words, processor)))
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": sizes.positions}))
    return path


class _Graph:
    """A graph of ONNX that is written node by node."""

    def __init__(self, sizes: Sizes, weights: dict[str, Any], *, in_8_bits: bool) -> None:
        self.sizes = sizes
        self.weights = weights
        self.in_8_bits = in_8_bits
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []
        self.named: set[str] = set()

    def model(self) -> bytes:
        sizes, heads = self.sizes, self.sizes.heads
        length = self.node("Gather", self.node("Shape", "input_ids"), self.constant("one", 1))
        places = self.node("Range", self.constant("zero", 0), length, self.constant("one", 1))
        state = self.node(
            "Add",
            self.node("Gather", self.tensor("words"), "input_ids"),
            self.node("Gather", self.tensor("types"), "token_type_ids"),
        )
        state = self.normal(self.node("Add", state, self.node("Gather", self.tensor("places"), places)), "first")
        mask = self.node("Cast", self.node("Unsqueeze", "attention_mask", self.constant("axes", [1, 2])), to=FLOAT)
        mask = self.node("Mul", self.node("Sub", self.number("whole", 1.0), mask), self.number("never", -10000.0))
        split, joined = self.constant("split", [0, 0, heads, -1]), self.constant("joined", [0, 0, sizes.width])
        depth = self.number("depth", math.sqrt(sizes.width // heads))
        for layer in range(sizes.layers):
            q, k, v = (self.node("Reshape", self.linear(state, f"{layer}.{name}"), split) for name in "qkv")
            q, v = self.node("Transpose", q, perm=[0, 2, 1, 3]), self.node("Transpose", v, perm=[0, 2, 1, 3])
            scores = self.node("Div", self.node("MatMul", q, self.node("Transpose", k, perm=[0, 2, 3, 1])), depth)
            shares = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
            mixed = self.node("Transpose", self.node("MatMul", shares, v), perm=[0, 2, 1, 3])
            mixed = self.linear(self.node("Reshape", mixed, joined), f"{layer}.o")
            state = self.normal(self.node("Add", state, mixed), f"{layer}.attended")
            up = self.linear(state, f"{layer}.up")
            error = self.node("Erf", self.node("Div", up, self.number("root", math.sqrt(2))))
            up = self.node(
                "Mul",
                self.node("Mul", up, self.node("Add", error, self.number("whole", 1.0))),
                self.number("half", 0.5),
            )
            state = self.normal(self.node("Add", state, self.linear(up, f"{layer}.down")), f"{layer}.fed")
        first = self.node("Gather", state, self.constant("zero", 0), axis=1)
        pooled = self.node("Tanh", self.linear(first, "pooler"))
        self.node("Identity", self.linear(pooled, "head"), output="logits")
        graph = b"".join(bytes_field(1, node) for node in self.nodes) + text_field(2, "cross-encoder")
        graph += b"".join(bytes_field(5, tensor) for tensor in self.tensors)
        graph += b"".join(bytes_field(11, value(name, INT64, "pairs", "tokens")) for name in INPUTS)
        graph += bytes_field(12, value("logits", FLOAT, "pairs", sizes.labels))
        imports = (("", OPSET), (MICROSOFT, 1)) if self.in_8_bits else (("", OPSET),)
        opsets = b"".join(bytes_field(8, text_field(1, name) + number_field(2, version)) for name, version in imports)
        return number_field(1, 8) + bytes_field(7, graph) + opsets

    def node(self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        output = output or f"n{len(self.nodes)}"
        content = b"".join(text_field(1, name) for name in inputs) + text_field(2, output) + text_field(4, kind)
        content += b"".join(bytes_field(5, _attribute(name, of)) for name, of in attributes.items())
        self.nodes.append(content + (text_field(7, domain) if domain else b""))
        return output

    def linear(self, given: str, name: str) -> str:
        if not self.in_8_bits:
            return self.node("Add", self.node("MatMul", given, self.tensor(name)), self.tensor(f"{name}.bias"))
        scale = np.abs(self.weights[name]).max(axis=0) / 127
        self.weights[f"{name}.scales"] = scale.astype(np.float32)
        self.weights[f"{name}.i8"] = np.round(self.weights[name] / scale).astype(np.int8)
        self.weights[f"{name}.zeros"] = np.zeros(len(scale), np.int8)
        parts = (self.tensor(f"{name}.{part}") for part in ("i8", "scales", "zeros", "bias"))
        return self.node("DynamicQuantizeMatMul", given, *parts, domain=MICROSOFT)

    def normal(self, given: str, name: str) -> str:
        scale, shift = self.tensor(f"{name}.scale"), self.tensor(f"{name}.shift")
        return self.node("LayerNormalization", given, scale, shift, axis=-1, epsilon=1e-12)

    def tensor(self, name: str) -> str:
        return self.add(name, self.weights[name])

    def number(self, name: str, of: float) -> str:
        return self.add(name, np.array(of, np.float32))

    def constant(self, name: str, of: Any) -> str:
        return self.add(name, np.array(of, np.int64))

    def add(self, name: str, array: Any) -> str:
        if name not in self.named:
            self.named.add(name)
            kind = {"float32": FLOAT, "int64": INT64, "int8": INT8}[str(array.dtype)]
            sizes = b"".join(number_field(1, size) for size in array.shape)
            self.tensors.append(sizes + number_field(2, kind) + text_field(8, name) + bytes_field(9, array.tobytes()))
        return name


def _attribute(name: str, of: Any) -> bytes:
    if isinstance(of, float):
        return text_field(1, name) + b"\x15" + struct.pack("<f", of) + number_field(20, 1)
    if isinstance(of, int):
        return text_field(1, name) + number_field(3, of % 2**64) + number_field(20, 2)
    return text_field(1, name) + b"".join(number_field(8, item) for item in of) + number_field(20, 7)


def vocabulary() -> Iterator[str]:
    """Yield as many words as MiniLM has, of which the first are special and letters, so that any text has its tokens."""
    yield from WORDS[:4]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    yield from letters
    yield from (f"##{letter}" for letter in letters)
    yield from (f"w{number}" for number in range(30522 - 4 - 2 * len(letters)))


if __name__ == "__main__":
    large = Sizes(tuple(vocabulary()), **MINILM)
    print(folder(Path(sys.argv[1]), large, weights(large), in_8_bits="--8" in sys.argv))
