"""Makes what the Rust embedding is checked against, from the package `model2vec`.

`python embedding.py MODEL_FOLDER` writes `embedding.json` beside this file: sentences and the first eight and the last
component of their vectors. `--compare FILE` reads JSON Lines of `{"text", "vector"}` and prints the least cosine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from model2vec import StaticModel

HERE = Path(__file__).parent

SENTENCES = [
    "How do I reset my password?",
    "Start the timer, then stop it when you are done.",
    "Time off requests are approved by the project lead.",
    "An invoice that was sent can be voided but not deleted.",
    "The exported file is kept for 72 hours.",
    "getUserById() returns api_key=v1.2 (SAML2.0)",
    "Kiosk",
    "the the the the",
    "Reports can be up to five minutes late; reload the page.",
    "Wie ändere ich mein Passwort?",
    "Comment exporter un rapport ?",
    "時間を記録する",
    "🙂",
    "",
    "PIN codes have four to six digits, and five wrong ones lock the device for ten minutes.",
    "ERROR 1045 (28000): Access denied for user 'root'@'localhost'",
    "Rates are set for a task, a person on a project, a project, a person or the whole workspace.",
    "naïve café Ångström",
    "webhook signature HMAC-SHA256 retries",
    "long " * 700,
]


def encode(folder: Path, texts: list[str]) -> np.ndarray:
    """The vectors of texts, whatever their length."""
    model = StaticModel.from_pretrained(folder)
    return np.asarray(model.encode(texts, max_length=None), dtype=np.float64)


def main() -> None:
    """Writes the golden file, or compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--compare", type=Path)
    arguments = parser.parse_args()
    if arguments.compare is not None:
        rows = [json.loads(line) for line in arguments.compare.read_text(encoding="utf-8").splitlines()]
        ours = np.array([row["vector"] for row in rows], dtype=np.float64)
        theirs = encode(arguments.model, [row["text"] for row in rows])
        kept = np.linalg.norm(theirs, axis=1) > 0
        cosines = np.sum(ours[kept] * theirs[kept], axis=1) / np.linalg.norm(theirs[kept], axis=1)
        print(
            f"{kept.sum()} of {len(rows)} texts, least cosine {cosines.min():.7f}, zeros {np.abs(ours[~kept]).max(initial=0)}"
        )
        return
    vectors = encode(arguments.model, SENTENCES)
    lines = [
        json.dumps({"text": text, "head": [round(float(x), 6) for x in row[:8]], "last": round(float(row[-1]), 6)})
        for text, row in zip(SENTENCES, vectors, strict=True)
    ]
    (HERE / "embedding.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
