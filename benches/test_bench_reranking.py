"""What a cross-encoder of MiniLM's size (6 layers of 384, random weights) costs a question: ``pytest benches --benchmark-enable``.

Ten hits of as many tokens as the median chunk of a real help centre has (80), and of three times as many, with a question of
twelve; in single precision and in 8 bits, as the published models are. Without that option each runs once, as a test.
"""

from __future__ import annotations

from typing import Any

import pytest

import cross_encoders
from clockify_rag.contracts import Hit
from clockify_rag.reranking.cross_encoder import CrossEncoderReranker
from passages import ask, chunk_of, hit_of

PAIRS = 10
QUESTION = " ".join(f"w{number}" for number in range(12))


@pytest.fixture(scope="module", params=["single precision", "8 bits"])
def reranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CrossEncoderReranker:
    """A reranker with a loaded model."""
    pytest.importorskip("onnxruntime")
    sizes = cross_encoders.Sizes(tuple(cross_encoders.vocabulary()), **cross_encoders.MINILM)
    folder = tmp_path_factory.mktemp("models") / "minilm"
    weights = cross_encoders.weights(sizes)
    made = cross_encoders.folder(folder, sizes, weights, in_8_bits=request.param == "8 bits")
    reranker = CrossEncoderReranker(str(made), seconds=60)
    assert reranker.rerank(ask(QUESTION), hits_of(8), top_k=PAIRS).failure is None
    return reranker


def hits_of(tokens: int) -> list[Hit]:
    """Return hits of so many tokens each."""
    texts = (" ".join(f"w{1000 * rank + number}" for number in range(tokens)) for rank in range(1, PAIRS + 1))
    return [hit_of(chunk_of(text), rank, title="w1 w2") for rank, text in enumerate(texts, 1)]


@pytest.mark.parametrize("tokens", [80, 240])
def test_bench_rerank(benchmark: Any, reranker: CrossEncoderReranker, tokens: int) -> None:
    """Ten hits of some tokens each, from the question to their order."""
    made = benchmark(reranker.rerank, ask(QUESTION), hits_of(tokens), top_k=PAIRS)
    assert made.failure is None
    assert made.steps[0].details["passages"] == PAIRS
