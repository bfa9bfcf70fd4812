"""Folders with models so small that their vectors can be worked out by hand.

A model is a table of one vector per token: what it says of a text depends on which tokens come, and on nothing else. The file is
written here, field by field, as onnx.proto numbers them, because the package that writes such files is as large as the one that
reads them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "gate", "key", "fern", "water", "report", "##s", ":", "query", ".")
FLOAT, INT64 = 1, 7
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ],
    "special_tokens": {
        "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
        "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
    },
}


def vector(token: int, width: int = 4) -> list[float]:
    """Return the row of a token in the table."""
    return [float((token * 7 + place * 5) % 11 + 1) for place in range(width)]


def folder(
    path: Path,
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    output: str = "last_hidden_state",
    width: int = 4,
    processor: Any = TEMPLATE,
    rows: Sequence[Sequence[float]] | None = None,
    **files: Any,
) -> Path:
    """Write a model's folder; ``files`` are further JSON files by the name's part before ``.json``."""
    path.mkdir(parents=True)
    table = [vector(token, width) for token in range(len(WORDS))] if rows is None else rows
    (path / "model.onnx").write_bytes(_model(table, inputs, output))
    tokenizer = {
        "added_tokens": [
            {"id": token, "special": True, "content": WORDS[token], "normalized": False} for token in range(4)
        ],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": processor,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(WORDS)},
        },
    }
    for name, content in {"tokenizer": tokenizer, **files}.items():
        (path / f"{name}.json").parent.mkdir(exist_ok=True)
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def _model(table: Sequence[Sequence[float]], inputs: Sequence[str], output: str) -> bytes:
    width = len(table[0])
    flat = struct.pack(f"<{len(table) * width}f", *(number for row in table for number in row))
    weights = _number(1, len(table)) + _number(1, width) + _number(2, FLOAT) + _text(8, "table") + _bytes(9, flat)
    gather = _text(1, "table") + _text(1, "input_ids") + _text(2, output) + _text(4, "Gather")
    graph = _bytes(1, gather) + _text(2, "tiny") + _bytes(5, weights)
    graph += b"".join(_bytes(11, _value(name, INT64, "texts", "tokens")) for name in inputs)
    graph += _bytes(12, _value(output, FLOAT, "texts", "tokens", width))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, 17))


def _value(name: str, kind: int, *shape: str | int) -> bytes:
    sizes = (_text(2, size) if isinstance(size, str) else _number(1, size) for size in shape)
    tensor = _number(1, kind) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _varint(number: int) -> bytes:
    low = bytearray()
    while number > 127:
        low.append(number & 127 | 128)
        number >>= 7
    return bytes([*low, number])


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _bytes(field, content.encode())
