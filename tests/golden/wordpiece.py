"""Makes what the Rust tokenizer is checked against, from the package `tokenizers`.

`python wordpiece.py MODEL_FOLDER` writes `wordpiece.json` beside this file: texts, their token ids, and where each token
ends. `--characters` writes `rust/wordpiece/characters.rs`: the ranges of characters that the package's normaliser treats
in each way, found by asking it about every code point.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

HERE = Path(__file__).parent
CHARACTERS = HERE.parent.parent / "rust" / "wordpiece" / "characters.rs"

TEXTS = [
    "",
    " \t\r\n ",
    "Start the timer, then stop it when you are done.",
    'Press [Ctrl]+[S] to save; 1,234.50 EUR isn\'t "rounded".',
    "getUserById() returns api_key=v1.2 (SAML2.0)",
    "Unbelievably hyperventilating electroencephalographers reauthenticate.",
    "Café, naïve, Ångström, Straße, İstanbul, ǅungla, ŒUVRE",
    "cafe\u0301 a\u0300\u0316b \u0301leading",
    "時間を記録する 한국어 시간 ひらがな ガギグ ﾊﾟﾋﾟ",
    "Πώς αλλάζω τον ΚΩΔΙΚΌΣ; Как сменить пароль и отчёт",
    "शुल्क योजना รายงาน المستخدمين שלום",
    "a\u0000b\u0007c\ufffdd\u200be\u00adf\u2028g\u00a0h\u3000i\u0085j\u000bk",
    "emoji 🙂👩‍💻 flags 🇩🇪 and “quotes” – dashes — … ‽ ¿qué?",
    "left[UNK]right [PAD] [pad] [UN K] [[UNK]]",
    "x" * 100 + " " + "x" * 101 + " " + "é" * 100 + " " + "é" * 101,
    "ﬁnal ① ½ ™ Å Ω K \u037e \u1fef \u2126 豈 \U0002f800 \U00020000",
    "##ing # # ##",
    "https://example.com/a/b?c=d&e=%20#top user@example.com",
    "1e-5 3.14 0x1F 2024-05-01T10:30:00Z",
    "tab\tnew\nline\r\nend",
]


def golden(tokenizer: Tokenizer) -> list[dict[str, object]]:
    """The ids of each text and the code point after each token, as the package has them."""
    rows: list[dict[str, object]] = []
    for text in TEXTS:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        rows.append({"text": text, "ids": encoding.ids, "ends": [end for _, end in encoding.offsets]})
    return rows


def ranges(holds: Callable[[str], bool]) -> list[tuple[int, int]]:
    """The inclusive ranges of code points for which `holds` is true."""
    found: list[tuple[int, int]] = []
    for point in (*range(0xD800), *range(0xE000, 0x110000)):
        if holds(chr(point)):
            if found and found[-1][1] == point - 1:
                found[-1] = (found[-1][0], point)
            else:
                found.append((point, point))
    return found


def rust(name: str, doc: str, table: list[tuple[int, int]]) -> str:
    """A constant with the table's ranges."""
    cells = ", ".join(f"(0x{first:X}, 0x{last:X})" for first, last in table)
    return f"/// {doc}\npub(super) const {name}: &[(u32, u32)] = &[{cells}];\n"


def characters() -> str:
    """The Rust source of the three tables."""
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    clean = BertNormalizer(**{**off, "clean_text": True})
    strip = BertNormalizer(**{**off, "strip_accents": True})
    chinese = BertNormalizer(**{**off, "handle_chinese_chars": True})
    words = BertPreTokenizer()
    tables = [
        rust("REMOVED", "Characters that cleaning removes.", ranges(lambda c: clean.normalize_str(f"a{c}b") == "ab")),
        rust("MARKS", "Marks that are dropped with accents.", ranges(lambda c: strip.normalize_str(f"a{c}b") == "ab")),
        rust("IDEOGRAPHS", "Characters that are words.", ranges(lambda c: chinese.normalize_str(c) == f" {c} ")),
        rust(
            "PUNCTUATION",
            "Characters that are words and end the one before.",
            ranges(lambda c: len(words.pre_tokenize_str(f"a{c}b")) == 3),
        ),
    ]
    head = "//! How BERT's normaliser classes characters. Made by `tests/golden/wordpiece.py --characters`.\n\n"
    return head + "\n".join(tables)


def main() -> None:
    """Writes the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--characters", action="store_true")
    arguments = parser.parse_args()
    if arguments.characters:
        CHARACTERS.write_text(characters(), encoding="utf-8")
    if arguments.model is not None:
        tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        rows = [json.dumps(row) for row in golden(tokenizer)]
        (HERE / "wordpiece.json").write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
