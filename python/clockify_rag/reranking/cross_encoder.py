"""A model that reads question and passage together: better than two vectors, and too slow for more than a few passages.

So it reads the first ``depth`` hits only, within a deadline. It is all or nothing: scores of some hits cannot be compared with the
places of others, so where it is late or fails, the order is the one that was given. A passage longer than the window is
read in pieces, of which the best counts (Dai and Callan, 2019): nothing is cut off unsaid.

Three libraries run it; ONNX Runtime from a folder is the smallest. None downloads a model unless it is told to.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from clockify_rag import passages
from clockify_rag._onnx import MODEL_FILES, OnnxFolder, cores, reason
from clockify_rag.contracts import Hit, Query, Reranking, Step
from clockify_rag.embedding import Counter, shipped_tokenizer, windows
from clockify_rag.errors import BackendBadResponse, BackendError, BackendTimeout, InvalidSetting, MissingExtra
from clockify_rag.plugins import of_extra
from clockify_rag.reranking import STAGE, in_order, unmoved

NAME = "cross-encoder"
DEFAULT_MODEL = "ms-marco-MiniLM-L6-v2"
RUNTIMES = ("onnx", "sentence-transformers", "fastembed")
"""The libraries that run a model, in the order in which they are looked for."""

WINDOW_TOKENS = 512
"""The longest question and passage together, in the model's tokens, of every model that is known by name."""

_QUESTION_SHARE = 0.5
_TEMPLATE_TOKENS = 4
_RANKED_LABELS = 2


class KnownCrossEncoder(msgspec.Struct, frozen=True):
    """A model that can be asked for by a short name."""

    repository: str
    """Where its makers publish it, which is what ``sentence-transformers`` knows it by."""
    fastembed: str | None = None
    """What ``fastembed`` knows it by, if it does."""


KNOWN_MODELS = {
    "ms-marco-MiniLM-L6-v2": KnownCrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2", "Xenova/ms-marco-MiniLM-L-6-v2"),
    "bge-reranker-large": KnownCrossEncoder("BAAI/bge-reranker-large"),
    "mxbai-rerank": KnownCrossEncoder("mixedbread-ai/mxbai-rerank-base-v1"),
}
"""The models that have a short name; any other is asked for by that of its repository, or by its folder."""


class Scorer(Protocol):
    """One library with one model."""

    batch_size: int
    """Pairs that are scored at once."""
    workers: int
    """Batches that are scored at the same time."""
    margin: float
    """The share of a window that is filled, less than 1 where tokens are not counted in the model's own vocabulary."""

    def load(self) -> Counter:
        """Load the model, once, and return what counts its tokens."""

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the logit of each passage: how well it answers, on the model's scale."""


class CrossEncoderReranker:
    """Orders the first hits by a cross-encoder (reranker ``cross-encoder``).

    Args:
        model: a name of ``KNOWN_MODELS``, that of a repository, or a folder.
        depth: how many hits are read.
        seconds: how long it may take for one question; loading the model, which the first question waits for, does not count.
        runtime: one of ``RUNTIMES``; by default ONNX Runtime for a folder with ``model.onnx``, else the first that is installed.
        threads: pairs that ONNX Runtime scores at the same time; by default one for each core that may be used.
        batch_size: pairs that the other libraries score at once.
        window_tokens: the longest question and passage together, in the model's tokens.
        file: the model's file in the folder, where it has another name.
        allow_download: whether a model that is not on this machine may be fetched.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        depth: int = 20,
        seconds: float = 2.0,
        runtime: Literal["onnx", "sentence-transformers", "fastembed"] | None = None,
        threads: int | None = None,
        batch_size: int = 8,
        window_tokens: int | None = None,
        file: str | None = None,
        allow_download: bool = False,
    ) -> None:
        numbers = (("depth", depth), ("threads", threads or 1), ("batch_size", batch_size))
        for name, value in (*numbers, ("window_tokens", window_tokens or 1)):
            if value < 1:
                raise InvalidSetting(f"{name} of a reranker is {value}, and must be at least 1", setting=name)
        if seconds <= 0:
            raise InvalidSetting(f"seconds of a reranker is {seconds}, and must be more than 0", setting="seconds")
        if runtime not in {None, *RUNTIMES}:
            raise InvalidSetting(
                f"runtime of a reranker is {runtime!r}", hint=f"there are: {', '.join(RUNTIMES)}", setting="runtime"
            )
        self.model = model or DEFAULT_MODEL
        self.depth = depth
        self.seconds = seconds
        self.window_tokens = window_tokens or WINDOW_TOKENS
        self._runtime = runtime
        self._threads = threads or cores()
        self._batch_size = batch_size
        self._file = file
        self._allow_download = allow_download
        self._loading = threading.Lock()

    def rerank(
        self,
        query: Query,
        hits: Sequence[Hit],
        *,
        top_k: int,  # noqa: ARG002 - the Protocol's
    ) -> Reranking:
        """Return all hits, the first ``depth`` of them in the model's order; as they were where it fails or is late.

        The score of a hit that was read is the model's, 0 to 1; the others keep theirs.

        Args:
            query: what is asked; the model reads it as it was asked.
            hits: best first.
            top_k: not used: ``depth`` says how many are read.

        Raises:
            InvalidSetting: the model is not on this machine, or cannot be used.
            MissingExtra: no library that runs it is installed.
        """
        read = hits[: self.depth]
        if len(read) <= 1:
            return Reranking(hits=tuple(hits))
        with self._loading:
            scorer, counter = self._scorer, self._scorer.load()
        pieces = list(self._pieces(query, read, counter, scorer.margin))
        details = {"model": self.model, "read": len(read), "passages": len(pieces)}
        try:
            logits = self._logits(scorer, query.text, [text for _, text in pieces])
        except BackendError as error:
            return unmoved(hits, NAME, error, details)
        best = [-math.inf] * len(read)
        for (row, _), logit in zip(pieces, logits, strict=True):
            best[row] = max(best[row], logit)
        order = sorted(range(len(read)), key=lambda row: (-best[row], row))
        scored = [_scored(hit, _probability(logit)) for hit, logit in zip(read, best, strict=True)]
        moved = sum(row != place for place, row in enumerate(order))
        step = Step(stage=STAGE, name=NAME, details={**details, "moved": moved})
        return Reranking(hits=in_order([*scored, *hits[len(read) :]], order), steps=(step,))

    @cached_property
    def _scorer(self) -> Scorer:
        known = KNOWN_MODELS.get(self.model)
        repository = self.model if known is None else known.repository
        runtime = self._runtime or self._found_runtime(known)
        if runtime == "onnx":
            return _OnnxScorer(self._folder(repository), self._threads, self.window_tokens)
        if runtime == "fastembed":
            name = None if known is None else known.fastembed
            return FastembedScorer(name or self.model, self._batch_size, allow_download=self._allow_download)
        return _SentenceTransformersScorer(
            repository, self._batch_size, self.window_tokens, allow_download=self._allow_download
        )

    def _folder(self, repository: str) -> OnnxFolder:
        return OnnxFolder(
            self.model,
            what="reranking",
            setting="reranking.model",
            export=f"optimum-cli export onnx --task text-classification --model {repository} FOLDER",
            otherwise='pip install "clockify-rag[sentence-transformers]" and name the model\'s repository',
            file=self._file,
        )

    def _found_runtime(self, known: KnownCrossEncoder | None) -> str:
        folder = Path(self.model).expanduser()
        if self._file is not None or any((folder / name).is_file() for name in MODEL_FILES):
            return "onnx"
        if find_spec("sentence_transformers") is not None:
            return "sentence-transformers"
        if find_spec("fastembed") is not None and (known is None or known.fastembed is not None):
            return "fastembed"
        if known is None and folder.is_dir():
            return "onnx"  # which says what the folder lacks
        repository = self.model if known is None else known.repository
        raise MissingExtra(
            f"nothing that is installed runs the reranking model {self.model}",
            hint=f"optimum-cli export onnx --task text-classification --model {repository} FOLDER, then set "
            'reranking.model = "FOLDER"; or pip install "clockify-rag[sentence-transformers]"',
            extra="sentence-transformers",
        )

    def _pieces(self, query: Query, hits: Sequence[Hit], counter: Counter, margin: float) -> Iterator[tuple[int, str]]:
        """Yield the pieces of each hit that the model reads, with the hit's place: title and headings go with each."""
        above = [" > ".join(dict.fromkeys(passages.headings(hit))) for hit in hits]
        counts = counter.count([query.text, *above])
        room = int(self.window_tokens * margin) - _TEMPLATE_TOKENS - min(counts[0], self._question_tokens)
        for row, (hit, names, count) in enumerate(zip(hits, above, counts[1:], strict=True)):
            # Headings that leave no room for the text are left out.
            left, beginning = (room - count, f"{names}\n") if count <= room // 2 else (room, "")
            for text, _ in windows(hit.chunk.text, max(8, left), counter):
                yield row, beginning + text

    @property
    def _question_tokens(self) -> int:
        return int(self.window_tokens * _QUESTION_SHARE)

    def _logits(self, scorer: Scorer, question: str, texts: Sequence[str]) -> list[float]:
        """Return the logit of each text, or raise what the model fails with."""
        size = scorer.batch_size
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        deadline = time.monotonic() + self.seconds

        def scored(batch: Sequence[str]) -> list[float]:
            if time.monotonic() >= deadline:
                raise TimeoutError
            try:
                found = scorer.score(question, batch)
            except Exception as error:  # the libraries' errors have no class in common but this one
                raise self._bad(f"cannot be run: {reason(error)}") from error
            if len(found) != len(batch) or not all(map(math.isfinite, found)):
                raise self._bad("returned scores that are not one finite number for each passage")
            return found

        pool = ThreadPoolExecutor(max(1, min(scorer.workers, len(batches))))
        try:
            futures: list[Future[list[float]]] = [pool.submit(scored, batch) for batch in batches]
            return [
                score for future in futures for score in future.result(timeout=max(0.0, deadline - time.monotonic()))
            ]
        except TimeoutError as error:
            raise BackendTimeout(
                f"the reranking model {self.model} did not read {len(texts)} passages within {self.seconds:g} s",
                hint=f"set reranking.depth below {self.depth}, or reranking.seconds above {self.seconds:g}",
                model=self.model,
                seconds=self.seconds,
            ) from error
        finally:
            # What is being scored cannot be stopped; nobody waits for it.
            pool.shutdown(wait=False, cancel_futures=True)

    def _bad(self, what: str) -> BackendBadResponse:
        return BackendBadResponse(
            f"the reranking model {self.model} {what}", hint="try another model", model=self.model
        )


class _OnnxScorer:
    """ONNX Runtime with a model of a folder: one pair at a time on each thread, so that nothing is padded."""

    batch_size = 1
    margin = 1.0

    def __init__(self, folder: OnnxFolder, workers: int, window_tokens: int) -> None:
        self._folder = folder
        self._window_tokens = window_tokens
        self.workers = workers

    def load(self) -> Counter:
        folder = self._folder
        if folder.positions is not None and folder.positions < self._window_tokens:
            raise folder.unusable(f"it takes {folder.positions} tokens, and reranking.arguments.window_tokens is more")
        _ = folder.inputs, folder.outputs, folder.pair
        return folder.encoder

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        folder = self._folder
        asked, *read = folder.encoder.encode([question, *texts])
        asked = asked[: int(self._window_tokens * _QUESTION_SHARE)]
        return [_logit(folder.run(folder.outputs[0], *folder.pair.filled([asked, ids]))[0]) for ids in read]


class _SentenceTransformersScorer:
    """The package ``sentence-transformers``."""

    workers = 1
    margin = 0.9

    def __init__(self, model: str, batch_size: int, window_tokens: int, *, allow_download: bool) -> None:
        self._name = model
        self.batch_size = batch_size
        self._window_tokens = window_tokens
        self._allow_download = allow_download

    @cached_property
    def _model(self) -> Any:
        library = of_extra("sentence-transformers", "sentence_transformers")
        try:
            return library.CrossEncoder(
                self._name,
                max_length=self._window_tokens,
                local_files_only=not self._allow_download,
                trust_remote_code=False,
            )
        except OSError as error:
            raise _not_here(self._name) from error

    def load(self) -> Counter:
        _ = self._model
        return shipped_tokenizer()

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        identity = of_extra("sentence-transformers", "torch").nn.Identity()
        pairs = [(question, text) for text in texts]
        rows = self._model.predict(
            pairs, batch_size=len(pairs), activation_fn=identity, show_progress_bar=False, convert_to_numpy=True
        )
        return [_logit(row) for row in rows]


class FastembedScorer:
    """The package ``fastembed``, with one of the models that it knows.

    Args:
        model: the name that it knows it by.
        batch_size: pairs that are scored at once.
        allow_download: whether a model that is not on this machine may be fetched.
    """

    workers = 1
    margin = 0.9

    def __init__(self, model: str, batch_size: int, *, allow_download: bool) -> None:
        self._name = model
        self.batch_size = batch_size
        self._allow_download = allow_download

    @cached_property
    def model(self) -> Any:
        """The library's model."""
        try:
            library = import_module("fastembed.rerank.cross_encoder")
        except ImportError as error:
            raise MissingExtra(
                "the package fastembed is not installed", hint="pip install fastembed", package="fastembed"
            ) from error
        try:
            return library.TextCrossEncoder(self._name, local_files_only=not self._allow_download)
        except Exception as error:  # fastembed raises ValueError for whatever it cannot load
            raise _not_here(self._name) from error

    def load(self) -> Counter:
        """Load the model."""
        _ = self.model
        return shipped_tokenizer()

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the logit of each passage."""
        return [float(score) for score in self.model.rerank(question, list(texts), batch_size=len(texts))]


def _not_here(model: str) -> InvalidSetting:
    return InvalidSetting(
        f"the reranking model {model} cannot be loaded: it is not on this machine, or not whole",
        hint="give the path of its folder, or set reranking.arguments.allow_download = true to fetch it",
        model=model,
    )


def _logit(row: Any) -> float:
    """One number of a model's labels: the only one, or that of "yes" less that of "no"."""
    labels = row.reshape(-1).tolist()
    if len(labels) == _RANKED_LABELS:
        return float(labels[1] - labels[0])
    if len(labels) != 1:
        raise ValueError(f"it has {len(labels)} labels, and ranking takes one, or two of which the second is yes")
    return float(labels[0])


def _probability(logit: float) -> float:
    """The logistic function, without overflow."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _scored(hit: Hit, score: float) -> Hit:
    return msgspec.structs.replace(hit, score=score, scores=msgspec.structs.replace(hit.scores, reranked=score))
