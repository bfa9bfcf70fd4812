"""Two generations beside each other: what is in one and not in the other, and what of it questions notice.

Documents and chunks are compared by what their records say; texts are read only of documents that one generation alone has, to
tell a moved page from a removed and an added one. Questions are searched in both with the same settings, so what differs in
their rankings comes from the generations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from clockify_rag import generations
from clockify_rag.contracts import Chunk, Document, Hit, digest
from clockify_rag.index import LocalIndex
from clockify_rag.labelling import LabelledQuestion, searching
from clockify_rag.pipeline import Pipeline

TOP = 10
"""How many chunks of a ranking are compared."""

Progress = Callable[[str, int, int | None], None]

T = TypeVar("T")


class DocumentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A document that differs."""

    document_id: str
    source: str
    path: str
    title: str
    was: str | None = None
    """Of a moved one, its path before."""


class ChunkEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that differs."""

    chunk_id: str
    source: str
    path: str
    anchor: str | None
    heading_path: tuple[str, ...]
    was: str | None = None
    """Of a moved one, its id before."""


class Differences(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What differs, each kind by source, path and place."""

    added: tuple[T, ...] = ()
    removed: tuple[T, ...] = ()
    changed: tuple[T, ...] = ()
    moved: tuple[T, ...] = ()
    """In the later generation elsewhere, with the same text."""


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """The first hits of a question."""

    chunks: tuple[str, ...]
    """Ids, best first."""
    documents: tuple[str, ...]
    """Paths after their source, each where its best chunk stands."""


class QuestionDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A question with other first hits."""

    id: str
    question: str
    before: Ranking
    after: Ranking


class QuestionDifferences(msgspec.Struct, frozen=True, kw_only=True):
    """What of two generations questions notice."""

    asked: int
    other_chunks: int
    """Questions with other first chunks, or in another order."""
    other_documents: int
    """Questions with other documents among them, or in another order."""
    embedders: tuple[str | None, str | None]
    """Names of what made the vectors of both generations; where they differ, so may rankings of the same pages."""
    questions: tuple[QuestionDifference, ...]
    """Those with other chunks."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two generations beside each other."""

    before: int
    after: int
    documents: Differences[DocumentEntry]
    chunks: Differences[ChunkEntry]
    questions: QuestionDifferences | None = None


def compare(
    pipeline: Pipeline,
    before: str,
    after: str | None = None,
    *,
    questions: Sequence[LabelledQuestion] = (),
    lexical: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two generations, which stay as long as that takes.

    Args:
        pipeline: the index and the settings to search with.
        before: a generation's number or tag.
        after: another; by default the one that is served.
        questions: also search these in both.
        lexical: by words only.
        progress: called as the work goes on.

    Raises:
        GenerationNotFound: there is no such generation.
        IndexIncompatible: a generation cannot be searched with these settings.
        EvaluationError: a question cannot be searched.
    """
    left, right = (LocalIndex.at(pipeline.path, generations.named(pipeline.path, name)) for name in (before, after))
    documents, affected = _documents(left, right)
    return Comparison(
        before=left.generation,
        after=right.generation,
        documents=documents,
        chunks=_chunks(left, right, *affected),
        questions=_questions(pipeline, left, right, questions, lexical=lexical, progress=progress)
        if questions
        else None,
    )


Affected = tuple[list[Document], list[Document]]
"""Documents of both generations whose chunks may differ."""


def _documents(left: LocalIndex, right: LocalIndex) -> tuple[Differences[DocumentEntry], Affected]:
    old = {document.id: document for document in left.documents()}
    new = {document.id: document for document in right.documents()}
    gone = [document for name, document in old.items() if name not in new]
    come = [document for name, document in new.items() if name not in old]
    pairs = _paired(gone, come, lambda one: digest(left.text(one.id)), lambda one: digest(right.text(one.id)))
    both = [(old[name], new[name]) for name in old if name in new]
    other = [(one, two) for one, two in both if _content(one) != _content(two)]
    # A page may keep an id that its source gives, and lie elsewhere.
    pairs += [(one, two) for one, two in both if _content(one) == _content(two) and one.path != two.path]
    from_, to = {one.id for one, _ in pairs}, {two.id for _, two in pairs}
    differences = Differences(
        added=_sorted(_document_entry(one) for one in come if one.id not in to),
        removed=_sorted(_document_entry(one) for one in gone if one.id not in from_),
        changed=_sorted(_document_entry(two) for one, two in other if one.content_hash != two.content_hash),
        moved=_sorted(_document_entry(two, was=one.path) for one, two in pairs),
    )
    return differences, ([*gone, *(one for one, _ in other)], [*come, *(two for _, two in other)])


def _content(document: Document) -> tuple[str, str]:
    return document.content_hash, document.chunker


def _chunks(left: LocalIndex, right: LocalIndex, old: list[Document], new: list[Document]) -> Differences[ChunkEntry]:
    before = {chunk.id: (chunk, document) for document in old for chunk in left.chunks(document.id)}
    after = {chunk.id: (chunk, document) for document in new for chunk in right.chunks(document.id)}
    gone = [pair for name, pair in before.items() if name not in after]
    come = [pair for name, pair in after.items() if name not in before]
    pairs = _paired(gone, come, lambda pair: pair[0].content_hash, lambda pair: pair[0].content_hash)
    from_, to = {one[0].id for one, _ in pairs}, {two[0].id for _, two in pairs}
    changed = (after[name] for name, (chunk, _) in before.items() if name in after and _differ(chunk, after[name][0]))
    return Differences(
        added=_sorted(_chunk_entry(*pair) for pair in come if pair[0].id not in to),
        removed=_sorted(_chunk_entry(*pair) for pair in gone if pair[0].id not in from_),
        changed=_sorted(_chunk_entry(*pair) for pair in changed),
        moved=_sorted(_chunk_entry(*two, was=one[0].id) for one, two in pairs),
    )


def _differ(before: Chunk, after: Chunk) -> bool:
    return before.content_hash != after.content_hash


def _paired(
    gone: Sequence[T], come: Sequence[T], key_of_gone: Callable[[T], str], key_of_come: Callable[[T], str]
) -> list[tuple[T, T]]:
    """Pair what is alike, each once, in order."""
    if not gone or not come:
        return []
    known: dict[str, list[T]] = {}
    for item in reversed(gone):
        known.setdefault(key_of_gone(item), []).append(item)
    return [(known[key].pop(), item) for item in come if known.get(key := key_of_come(item))]


def _document_entry(document: Document, was: str | None = None) -> DocumentEntry:
    return DocumentEntry(
        document_id=document.id, source=document.source, path=document.path, title=document.title, was=was
    )


def _chunk_entry(chunk: Chunk, document: Document, was: str | None = None) -> ChunkEntry:
    return ChunkEntry(
        chunk_id=chunk.id,
        source=document.source,
        path=document.path,
        anchor=chunk.anchor,
        heading_path=tuple(chunk.heading_path),
        was=was,
    )


Entry = TypeVar("Entry", DocumentEntry, ChunkEntry)


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.source, entry.path)))


def _questions(
    pipeline: Pipeline,
    left: LocalIndex,
    right: LocalIndex,
    questions: Sequence[LabelledQuestion],
    *,
    lexical: bool,
    progress: Progress | None,
) -> QuestionDifferences:
    pipelines = pipeline.over(left), pipeline.over(right)
    differing = []
    for number, question in enumerate(questions, 1):
        with searching(question):
            before, after = (_ranking(one.search(question.question, TOP, lexical=lexical).hits) for one in pipelines)
        if before != after:
            differing.append(QuestionDifference(id=question.id, question=question.question, before=before, after=after))
        if progress is not None:
            progress("search", number, len(questions))
    names = [None if index.snapshot.embedder is None else index.snapshot.embedder[0] for index in (left, right)]
    return QuestionDifferences(
        asked=len(questions),
        other_chunks=sum(one.before.chunks != one.after.chunks for one in differing),
        other_documents=sum(one.before.documents != one.after.documents for one in differing),
        embedders=(names[0], names[1]),
        questions=tuple(differing),
    )


def _ranking(hits: Iterable[Hit]) -> Ranking:
    hits = list(hits)
    return Ranking(
        chunks=tuple(hit.chunk.id for hit in hits),
        documents=tuple(dict.fromkeys(_place(hit) for hit in hits)),
    )


def _place(hit: Hit) -> str:
    return f"{hit.document.source}/{hit.document.path}"


def kinds(differences: Differences[Any]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the name and the entries of each kind of difference."""
    for name in differences.__struct_fields__:
        yield name, getattr(differences, name)
