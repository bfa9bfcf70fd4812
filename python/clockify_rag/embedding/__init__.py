"""Embedders: text to unit vectors, by the shipped table or by a model of the user's choice.

The static table needs no download and no other process, so it is the default; it knows English only. The others differ
only in how one batch of strings becomes one batch of rows. What a model needs besides is done here once for all: its
prefixes for questions and passages, windows for texts longer than it can read (their vectors are averaged by length, so
nothing is truncated silently), batches, workers, and a check of every row that comes back, before anything is stored.

All vectors leave with length one; a text without any visible character is a row of zeros, which is no evidence.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from clockify_rag.contracts import Embedder
from clockify_rag.errors import BackendBadResponse, InvalidSetting
from clockify_rag.plugins import of_extra

if TYPE_CHECKING:
    from clockify_rag import _core
    from clockify_rag._http import Deadlines
    from clockify_rag.cache import EmbeddingCache
    from clockify_rag.contracts import Vectors

SHIPPED_TABLE = "docs-static-256-int8"
"""The folder, under ``models`` of this package, of the table that is the default."""

_PROBE_PASSAGES = (
    "To reset a password, open the settings page, choose Security, and follow the link that is sent by e-mail.",
    "Invoices can be exported to CSV once they have been approved; drafts are left out.",
    "Error 429: too many requests. Wait until the time given in the Retry-After header has passed.",
    "The quick brown fox jumps over the lazy dog.",
)
_PROBE_QUESTIONS = ("How do I change who can see a project?", "What happens to my data when a trial ends?")
_LONGEST_WORD = 100


class KnownModel(msgspec.Struct, frozen=True):
    """What the makers of a family of models say about its use."""

    pattern: str
    """A regular expression that the model's name contains."""
    question_prefix: str = ""
    passage_prefix: str = ""
    window_tokens: int | None = None
    """The longest input in the model's tokens."""
    pooling: str = "mean"
    """What makes one vector of a text's token vectors, for models that are run without their own library: ``mean``, or ``cls``,
    the first token's."""


_REPRESENT = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: Given a question, retrieve passages of documentation that answer it\nQuery: "

KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(r"\be5\b.*instruct", _INSTRUCT, "", 512),
    KnownModel(r"\be5\b", "query: ", "passage: ", 512),
    KnownModel(r"\bbge-m3\b", window_tokens=8192, pooling="cls"),
    KnownModel(r"\bbge-(small|base|large)-zh", "为这个句子生成表示以用于检索相关文章：", "", 512, "cls"),
    KnownModel(r"\bbge-(small|base|large)\b", _REPRESENT, "", 512, "cls"),
    KnownModel(r"\bnomic-embed-text\b", "search_query: ", "search_document: ", 2048),
    KnownModel(r"\bmxbai-embed\b", _REPRESENT, "", 512, "cls"),
    KnownModel(r"\bsnowflake-arctic-embed.*(v2|2\b)", "query: ", "", 8192, "cls"),
    KnownModel(r"\bsnowflake-arctic-embed\b", _REPRESENT, "", 512, "cls"),
    KnownModel(r"\bembeddinggemma\b", "task: search result | query: ", "title: none | text: ", 2048),
    KnownModel(r"\bqwen3-embedding\b", _INSTRUCT, "", 8192),
    KnownModel(r"^(all-)?minilm\b", window_tokens=256),
    KnownModel(r"\btext-embedding-(3|ada)\b", window_tokens=8191),
)
"""The models whose prefixes and windows are known by name; the first that matches counts."""


def known_model(name: str) -> KnownModel:
    """Return what is known of the model ``name``: without prefixes and window where that is nothing.

    Of a path the last part is the name.
    """
    folded = name.casefold().replace("_", "-").rstrip("/").rpartition("/")[2]
    return next((known for known in KNOWN_MODELS if re.search(known.pattern, folded)), KnownModel(""))


def shipped_model(name: str = SHIPPED_TABLE) -> str:
    """Return the path of a model's folder in this package."""
    return str(Path(__file__).parent.parent / "models" / name)


@lru_cache(maxsize=1)
def shipped_tokenizer() -> _core.Tokenizer:
    """Return the tokenizer in which chunks, windows and budgets are counted."""
    from clockify_rag import _core

    return _core.Tokenizer(f"{shipped_model()}/tokenizer.json")


class Counter(Protocol):
    """Counts tokens; the core's ``Tokenizer`` is one."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""


@lru_cache(maxsize=4)
def _opened(path: str) -> _core.StaticEmbedder:
    from clockify_rag import _core

    return _core.StaticEmbedder(path)


class StaticEmbedder:
    """The default: a table of one vector per token, averaged in the core. English only.

    Args:
        path: a folder in model2vec's layout; by default the table that is shipped.
    """

    languages: tuple[str, ...] | None = ("en",)
    """The languages it knows; ``None`` when that is not known."""
    sent_to: tuple[str, ...] = ()
    windowed = 0

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        if path is not None:
            self.languages = None

    @cached_property
    def core(self) -> _core.StaticEmbedder:
        """The core's embedder, which a snapshot can use without the interpreter. Opens the table, the shipped one once."""
        return _opened(shipped_model() if self._path is None else self._path)

    @property
    def dimension(self) -> int:
        """The width of its vectors. Opens the table."""
        return self.core.dimension

    def fingerprint(self) -> str:
        """Return the core's hash of what the table does."""
        return self.core.fingerprint()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the float32 unit vectors of passages, shape ``(len(texts), dimension)``."""
        return self.core.embed(texts)

    def embed_questions(self, texts: Sequence[str]) -> Vectors:
        """Return the same for questions, which the table does not tell from passages."""
        return self.core.embed(texts)

    def similarities(self, text: str, others: Sequence[str]) -> list[float]:
        """Return the cosine of ``text`` with each of ``others``; 0 where either has no known token."""
        return self.core.similarities(text, others)


def embedded_rows(embedder: Embedder, texts: Sequence[str]) -> bytes:
    """Return the vectors of passages as the index takes them: rows of little-endian float32, one after the other.

    The core's own embedder makes them without numpy, which takes longer to import than a page takes to index.

    Raises:
        BackendBadResponse: what the embedder returned cannot be stored; see ``checked_vectors``.
    """
    core = getattr(embedder, "core", None)
    if core is not None:
        rows: bytes = core.embed_rows(texts)
        return rows
    vectors = checked_vectors(embedder.embed(texts), texts, _dimension(embedder))
    return vectors.astype("<f4", order="C", copy=False).tobytes()


def checked_vectors(
    rows: Any, texts: Sequence[str], width: int | None, bad: Callable[[str], BackendBadResponse] | None = None
) -> Vectors:
    """Return what an embedder made of ``texts`` as float32, shape ``(len(texts), width)``, if it can be used.

    Every vector of every embedder but the core's own passes here before it is cached, stored or searched with: one that is
    not a number spoils each sum that it enters, and a row of zeros says that a text is about nothing.

    Args:
        rows: what the embedder returned.
        texts: what it was given.
        width: numbers in a row; ``None`` when the embedder did not say.
        bad: makes the error of what is wrong; by default one that points to ``testing.check_embedder``.

    Raises:
        BackendBadResponse: there are more or fewer rows than texts, or rows of another width or of none; they are not real
            numbers, or not finite in 32 bits; or a text with a letter or digit has a row of zeros.
    """
    import numpy as np

    bad = bad or _bad_vectors
    try:
        array = np.asarray(rows)
    except ValueError:
        raise bad("returned vectors of different dimensions") from None
    if not len(texts) and not array.size:
        return np.zeros((0, width or 0), dtype=np.float32)
    rows_found = array.shape[0] if array.ndim else 0
    if rows_found != len(texts):
        raise bad(f"returned {rows_found} vectors for {len(texts)} texts")
    if array.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise bad(f"returned an array of the shape {array.shape} for {len(texts)} texts")
    if array.dtype.kind not in "fiu":
        raise bad(f"returned values of type {array.dtype} where numbers were expected")
    if array.shape[1] != (width or array.shape[1]) or not array.shape[1]:
        raise bad(f"returned vectors of {array.shape[1]} dimensions where {width or 'some'} were expected")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise bad("returned a vector with a number that is not finite")
    empty: list[int] = np.flatnonzero(~array.any(axis=1)).tolist()
    if any(any(map(str.isalnum, texts[row])) for row in empty):
        raise bad("returned a vector of zeros")
    return array


def _bad_vectors(what: str) -> BackendBadResponse:
    return BackendBadResponse(
        f"the embedder {what}",
        hint="nothing was stored; check the embedder with clockify_rag.testing.check_embedder",
    )


def _dimension(embedder: Embedder) -> int:
    width: Any = embedder.dimension
    if isinstance(width, bool) or not hasattr(width, "__index__") or width < 1:
        raise _bad_vectors(f"says that its vectors have {width!r} dimensions")
    return int(width)


def embedded_passages(embedder: Embedder, texts: Sequence[str], titles: Sequence[str], title_weight: float) -> bytes:
    """Return the vectors of passages, each with ``title_weight`` times its title's added, as ``embedded_rows`` does.

    Questions are near to titles, but in the mean over a passage's words its title is lost. Each title is embedded once.

    Args:
        embedder: makes the vectors of both.
        texts: the passages.
        titles: for each passage its page's title.
        title_weight: how much a title's unit vector counts beside its passage's.

    Raises:
        BackendBadResponse: as ``embedded_rows``.
    """
    if title_weight == 0 or not texts:
        return embedded_rows(embedder, texts)
    distinct = {title: number for number, title in enumerate(dict.fromkeys(titles))}
    from clockify_rag import _core

    # In one call, because a cache is read once for each.
    rows = embedded_rows(embedder, [*texts, *distinct])
    end = len(rows) // (len(texts) + len(distinct)) * len(texts)
    owners = [distinct[title] for title in titles]
    return _core.with_titles(rows[:end], rows[end:], owners, title_weight, embedder.dimension)


class ModelEmbedder:
    """What all embedders that run a model share. Subclasses say how one batch of strings becomes rows.

    Args:
        model: the model's name.
        question_prefix: put before questions; by default what is known of the model.
        passage_prefix: put before passages; by default what is known of the model.
        window_tokens: the longest input in the model's tokens. A tenth is kept free, because tokens are counted in the
            shipped vocabulary and not in the model's. By default what is known of the model; ``None`` then means no
            limit.
        batch_size: texts in one request.
        workers: requests at the same time.
        tokenizer: counts tokens; by default that of the shipped vocabulary.
    """

    languages: tuple[str, ...] | None = None
    """The languages it knows; ``None`` when that is not known."""
    margin = 0.9
    """The share of a window that is filled, where tokens are not counted in the model's own vocabulary."""

    def __init__(
        self,
        model: str,
        *,
        question_prefix: str | None = None,
        passage_prefix: str | None = None,
        window_tokens: int | None = None,
        batch_size: int = 32,
        workers: int = 1,
        tokenizer: Counter | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("workers", workers), ("window_tokens", window_tokens or 1)):
            if value < 1:
                raise InvalidSetting(f"{name} of an embedder is {value}, and must be at least 1", setting=name)
        known = known_model(model)
        self.model = model
        self.question_prefix = known.question_prefix if question_prefix is None else question_prefix
        self.passage_prefix = known.passage_prefix if passage_prefix is None else passage_prefix
        self.window_tokens = window_tokens or known.window_tokens
        self.batch_size = batch_size
        self.workers = workers
        self.windowed = 0
        """How many texts were longer than the window so far, and are averages of several windows."""
        self._tokenizer = tokenizer
        # Two locks: the workers of the probe take the first while its caller holds the second.
        self._lock = threading.Lock()
        self._loading = threading.RLock()
        self._width: int | None = None
        self._fingerprint: str | None = None

    @property
    def sent_to(self) -> tuple[str, ...]:
        """Hosts other than this machine that see the texts."""
        return ()

    @property
    def dimension(self) -> int:
        """The width of its vectors. May load the model, or ask the server."""
        if self._width is None:
            self.fingerprint()
        return self._width or 0

    def fingerprint(self) -> str:
        """Return a hash of what it does. May load the model, or ask the server.

        It is the hash of one projection of each of six fixed sentences' unit vectors on random signs, to one decimal,
        and of width, prefixes and window. Few and coarse numbers, because the same model differs in the sixth decimal
        from machine to machine: rounding all of 6 x 384 numbers to three decimals would disagree on most pairs of
        machines, these six disagree on one in ten thousand, and still tell models apart.
        """
        with self._loading:
            if self._fingerprint is None:
                rows = [*self.embed(_PROBE_PASSAGES), *self.embed_questions(_PROBE_QUESTIONS)]
                signs = _signs(len(rows[0]))
                projections = [round(float(row @ signs), 1) + 0.0 for row in rows]
                parts = [len(rows[0]), self.question_prefix, self.passage_prefix, self.window_tokens, projections]
                import hashlib

                self._fingerprint = hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()
            return self._fingerprint

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the float32 unit vectors of passages, shape ``(len(texts), dimension)``."""
        return self._embed(texts, self.passage_prefix)

    def embed_questions(self, texts: Sequence[str]) -> Vectors:
        """Return the float32 unit vectors of questions, shape ``(len(texts), dimension)``."""
        return self._embed(texts, self.question_prefix)

    def _rows(self, texts: list[str]) -> Vectors:
        """Return the vectors of one batch, unchecked."""
        raise NotImplementedError

    def _bad(self, what: str) -> BackendBadResponse:
        """Return the error that says that the model ``what``."""
        return BackendBadResponse(
            f"The embedding model {self.model!r} {what}", hint="try another model", model=self.model
        )

    def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        import numpy as np

        pieces = self._pieces(texts, prefix)
        owners = [owner for owner, _, _ in pieces]
        weights = np.array([weight for _, _, weight in pieces], dtype=np.float32)
        rows = self._batched([prefix + piece for _, piece, _ in pieces])
        if rows is None:
            return np.zeros((len(texts), self.dimension if texts else self._width or 0), dtype=np.float32)
        vectors = np.zeros((len(texts), rows.shape[1]), dtype=np.float32)
        np.add.at(vectors, owners, rows * weights[:, None])
        return _normalised(vectors)

    def _pieces(self, texts: Sequence[str], prefix: str) -> list[tuple[int, str, int]]:
        """Return for each text its windows: the text's row, the window, and the window's tokens."""
        filled = [(row, text) for row, text in enumerate(texts) if text.strip()]
        if self.window_tokens is None:
            return [(row, text, 1) for row, text in filled]
        tokenizer = self._tokenizer or shipped_tokenizer()
        counts = tokenizer.count([prefix, *(text for _, text in filled)])
        limit = max(8, int(self.window_tokens * self.margin) - counts[0] - 2)
        pieces: list[tuple[int, str, int]] = []
        longer = 0
        for (row, text), count in zip(filled, counts[1:], strict=True):
            # An unbroken run of characters counts as one unknown token here and as many in the model.
            if count <= limit and len(text) <= limit * _LONGEST_WORD // 10:
                pieces.append((row, text, max(count, 1)))
                continue
            found = list(windows(text, limit, tokenizer))
            longer += len(found) > 1
            pieces += [(row, piece, tokens) for piece, tokens in found]
        with self._lock:
            self.windowed += longer
        return pieces

    def _batched(self, texts: list[str]) -> Vectors | None:
        import numpy as np

        batches = [texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size)]
        if not batches:
            return None
        if self.workers == 1 or len(batches) == 1:
            parts = [self._checked(batch) for batch in batches]
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(self.workers, len(batches))) as pool:
                futures = [pool.submit(self._checked, batch) for batch in batches]
                try:
                    parts = [future.result() for future in futures]
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return np.concatenate(parts)

    def _checked(self, texts: list[str]) -> Vectors:
        rows = checked_vectors(self._rows(texts), texts, self._width, self._bad)
        with self._lock:
            width = self._width = self._width or rows.shape[1]
        if rows.shape[1] != width:
            raise self._bad(f"returned vectors of {rows.shape[1]} dimensions where {width} were expected")
        return _normalised(rows)


class SentenceTransformersEmbedder(ModelEmbedder):
    """A model that runs in this process by ``sentence-transformers`` (an extra).

    Args:
        model: a name or a folder.
        device: such as ``cpu`` or ``cuda``; chosen by the library when not given.
        allow_download: whether a model that is not on this machine may be fetched.
        **options: those of ``ModelEmbedder``.
    """

    def __init__(
        self,
        model: str = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        device: str | None = None,
        allow_download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self._device = device
        self._allow_download = allow_download
        self._given_window = bool(options.get("window_tokens"))

    @cached_property
    def _model(self) -> Any:
        library = of_extra("sentence-transformers", "sentence_transformers")
        try:
            model: Any = library.SentenceTransformer(
                self.model, device=self._device, local_files_only=not self._allow_download, trust_remote_code=False
            )
        except OSError as error:
            raise InvalidSetting(
                f"The embedding model {self.model!r} cannot be loaded: it is not on this machine, or not whole",
                hint="give the path of its folder, or set allow_download = true to fetch it",
                model=self.model,
            ) from error
        if (longest := getattr(model, "max_seq_length", None)) and not self._given_window:
            self.window_tokens = int(longest)
        return model

    def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        with self._loading:
            _ = self._model  # its window decides how texts are cut
        return super()._embed(texts, prefix)

    def _rows(self, texts: list[str]) -> Vectors:
        import numpy as np

        rows = self._model.encode(
            texts, batch_size=len(texts), prompt="", convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(rows, dtype=np.float32)


class _OllamaVectors(msgspec.Struct):
    embeddings: list[list[float]]


class _OpenAIVector(msgspec.Struct):
    index: int
    embedding: list[float]


class _OpenAIVectors(msgspec.Struct):
    data: list[_OpenAIVector]


class OllamaEmbedder(ModelEmbedder):
    """A model that Ollama serves, by its batch endpoint ``/api/embed``.

    Args:
        model: as ``ollama list`` names it.
        url: the server; by default what ``OLLAMA_HOST`` says, else this machine.
        deadlines: of one request.
        retries: see ``ModelServer``.
        **options: those of ``ModelEmbedder``.
    """

    def __init__(
        self,
        model: str = "nomic-embed-text",
        *,
        url: str | None = None,
        deadlines: Deadlines | None = None,
        retries: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        from clockify_rag._http import ModelServer

        self._server = ModelServer.ollama(url, deadlines=deadlines, retries=retries)

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The server's host, unless it is this machine."""
        return self._server.sent_to

    def _rows(self, texts: list[str]) -> Vectors:
        # Without truncate the server cuts silently what is too long; with it the error says so.
        answer = self._server.json(
            "/api/embed",
            {"model": self.model, "input": texts, "truncate": False},
            kind=_OllamaVectors,
            rejected=f"ollama pull {shlex.quote(self.model)}",
        )
        return _array(answer.embeddings, self._bad)


class OpenAIEmbedder(ModelEmbedder):
    """A model behind ``/v1/embeddings`` of OpenAI or of any compatible server.

    Args:
        model: the model's name.
        url: the server's base with ``/v1``; by default OpenAI's.
        api_key: by default what ``OPENAI_API_KEY`` says.
        dimensions: the width to ask for, where the model has a choice.
        deadlines: of one request.
        retries: see ``ModelServer``.
        **options: those of ``ModelEmbedder``.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        url: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        deadlines: Deadlines | None = None,
        retries: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        from clockify_rag._http import ModelServer

        self._server = ModelServer.openai(url, api_key=api_key, deadlines=deadlines, retries=retries)
        self._dimensions = dimensions

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The server's host, unless it is this machine."""
        return self._server.sent_to

    def _rows(self, texts: list[str]) -> Vectors:
        body: dict[str, Any] = {"model": self.model, "input": texts}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        answer = self._server.json("/embeddings", body, kind=_OpenAIVectors, rejected="check the name of the model")
        by_index = {row.index: row.embedding for row in answer.data}
        if len(answer.data) != len(texts) or sorted(by_index) != list(range(len(texts))):
            raise self._bad(f"returned {len(answer.data)} vectors for {len(texts)} texts, or numbered them otherwise")
        return _array([by_index[row] for row in range(len(texts))], self._bad)


class CachedEmbedder:
    """An embedder that looks into a cache before it embeds passages. Questions are not cached: they stay in memory
    only.

    Args:
        embedder: makes the vectors that are not there.
        cache: where they are kept.
    """

    def __init__(self, embedder: Embedder, cache: EmbeddingCache) -> None:
        self.embedder = embedder
        self.cache = cache
        self.looked_up = 0
        """Texts that were looked for in the cache."""
        self.found = 0
        """Texts whose vectors were in it."""

    @property
    def languages(self) -> tuple[str, ...] | None:
        """The languages the embedder knows; ``None`` when that is not known."""
        return getattr(self.embedder, "languages", None)

    @property
    def sent_to(self) -> tuple[str, ...]:
        """Hosts other than this machine that see the texts."""
        return tuple(getattr(self.embedder, "sent_to", ()))

    @property
    def windowed(self) -> int:
        """How many texts were longer than the embedder's window so far; what came from the cache is not counted."""
        return int(getattr(self.embedder, "windowed", 0))

    @property
    def dimension(self) -> int:
        """The width of its vectors. May load the model."""
        return _dimension(self.embedder)

    def fingerprint(self) -> str:
        """Return the embedder's own: a cache changes nothing."""
        return self.embedder.fingerprint()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the float32 vectors of passages, shape ``(len(texts), dimension)``, the same bits with and without
        cache.

        The cache is read once for each thousand texts, and written as the vectors that it has not are made: what was made
        before a kill or a failure is not made again.
        """
        import numpy as np

        from clockify_rag.cache import batches

        fingerprint, width = self.fingerprint(), self.dimension
        found = {text: v for text, v in self.cache.get(fingerprint, texts).items() if len(v) == 4 * width}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        self.looked_up += len(found) + len(missing)
        self.found += len(found)
        for batch in batches(missing):
            made = checked_vectors(self.embedder.embed(batch), batch, width).astype("<f4", copy=False)
            new = {text: row.tobytes() for text, row in zip(batch, made, strict=True)}
            self.cache.put(fingerprint, new)
            found |= new
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = np.frombuffer(found[text], dtype="<f4")
        return vectors

    def embed_questions(self, texts: Sequence[str]) -> Vectors:
        """Return the float32 vectors of questions, shape ``(len(texts), dimension)``."""
        return checked_vectors(self.embedder.embed_questions(texts), texts, self.dimension)


def windows(text: str, limit: int, tokenizer: Counter) -> Iterator[tuple[str, int]]:
    """Cut ``text`` at white space into pieces of at most ``limit`` tokens, and yield each with its tokens.

    A run of more than a hundred characters without white space is cut too.
    """
    parts = [part for word in re.finditer(r"\S+\s*", text) for part in _cut(word.group(), _LONGEST_WORD)]
    counted = zip(parts, tokenizer.count(parts), strict=True)
    # No character is more than one token, so what is still too long is cut by characters.
    parts = [piece for part, count in counted for piece in ([part] if count <= limit else _cut(part, limit))]
    current: list[str] = []
    tokens = 0
    for part, count in zip(parts, tokenizer.count(parts), strict=True):
        if current and tokens + count > limit:
            yield "".join(current).rstrip(), tokens
            current, tokens = [], 0
        current.append(part)
        tokens += count
    if current:
        yield "".join(current).rstrip(), max(tokens, 1)


def _cut(word: str, longest: int) -> Iterable[str]:
    return (word[start : start + longest] for start in range(0, len(word), longest))


def _signs(width: int) -> Vectors:
    import hashlib

    import numpy as np

    bits = hashlib.shake_256(b"clockify-rag embedder fingerprint").digest(width)
    return np.array([1.0 if bit & 1 else -1.0 for bit in bits], dtype=np.float32)


def _array(rows: list[list[float]], bad: Callable[[str], BackendBadResponse]) -> Vectors:
    import numpy as np

    if len({len(row) for row in rows}) > 1:
        raise bad("returned vectors of different dimensions")
    with np.errstate(over="ignore"):
        array: Vectors = np.array(rows, dtype=np.float64).astype(np.float32)
    return array


def _normalised(rows: Vectors) -> Vectors:
    import numpy as np

    # The largest component first: the squares of very large or very small numbers do not fit.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    scaled = rows / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: Vectors = (scaled / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit
