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
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ],
    "pair": [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
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
    for name, content in {"tokenizer": tokenizer(WORDS, processor), **files}.items():
        (path / f"{name}.json").parent.mkdir(exist_ok=True)
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def tokenizer(words: Sequence[str], processor: Any) -> dict[str, Any]:
    """Return a ``tokenizer.json`` whose first four words are special tokens."""
    return {
        "added_tokens": [
            {"id": token, "content": words[token], "special": True, **dict.fromkeys(FLAGS, False)} for token in range(4)
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": processor,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(words)},
        },
    }


def _model(table: Sequence[Sequence[float]], inputs: Sequence[str], output: str) -> bytes:
    width = len(table[0])
    flat = struct.pack(f"<{len(table) * width}f", *(number for row in table for number in row))
    weights = (
        number_field(1, len(table))
        + number_field(1, width)
        + number_field(2, FLOAT)
        + text_field(8, "table")
        + bytes_field(9, flat)
    )
    gather = text_field(1, "table") + text_field(1, "input_ids") + text_field(2, output) + text_field(4, "Gather")
    graph = bytes_field(1, gather) + text_field(2, "tiny") + bytes_field(5, weights)
    graph += b"".join(bytes_field(11, value(name, INT64, "texts", "tokens")) for name in inputs)
    graph += bytes_field(12, value(output, FLOAT, "texts", "tokens", width))
    return number_field(1, 8) + bytes_field(7, graph) + bytes_field(8, text_field(1, "") + number_field(2, 17))


def value(name: str, kind: int, *shape: str | int) -> bytes:
    sizes = (text_field(2, size) if isinstance(size, str) else number_field(1, size) for size in shape)
    tensor = number_field(1, kind) + bytes_field(2, b"".join(bytes_field(1, size) for size in sizes))
    return text_field(1, name) + bytes_field(2, bytes_field(1, tensor))


def varint(number: int) -> bytes:
    low = bytearray()
    while number > 127:
        low.append(number & 127 | 128)
        number >>= 7
    return bytes([*low, number])


def number_field(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def bytes_field(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def text_field(field: int, content: str) -> bytes:
    return bytes_field(field, content.encode())
