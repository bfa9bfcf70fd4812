"""The conformance suite for authors of components: plain functions that raise ``AssertionError`` with what is wrong.

    from clockify_rag.testing import check_embedder

    def test_my_embedder():
        check_embedder(MyEmbedder())

Each function calls the component as the pipeline does and checks what its Protocol promises; a component that passes can be
chosen by name once its package declares an entry point. ``sample_*`` make the records that the checks use.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clockify_rag import plugins
from clockify_rag.contracts import (
    Answer,
    Block,
    Chunk,
    Chunker,
    Citation,
    Classifier,
    Context,
    Document,
    Draft,
    Embedder,
    Generator,
    Hit,
    LoadedDocument,
    Loader,
    Notice,
    Packer,
    Query,
    Reranker,
    Reranking,
    Retriever,
    Scores,
    SearchResult,
    Skipped,
    Source,
    Understander,
    Verified,
    Verifier,
)
from clockify_rag.errors import QueryError

__all__ = [
    "SamplePage",
    "check_chunker",
    "check_classifier",
    "check_embedder",
    "check_generator",
    "check_loader",
    "check_packer",
    "check_reranker",
    "check_retriever",
    "check_understander",
    "check_verifier",
    "sample_context",
    "sample_hits",
    "sample_query",
]

_TEXTS = (
    "Open **Settings**, choose Export, and wait for the file.",
    "An owner can transfer the workspace to an administrator.",
    "Лимит — 20 запросов в минуту.",
    "時間を記録する方法",
    "🙂",
    "",
    "word " * 3000,
)


class SamplePage(msgspec.Struct, frozen=True):
    """A page that is not the core's: its text and its blocks."""

    text: str
    blocks: tuple[Block, ...] = ()


def sample_query(question: str = "How do I export a report?") -> Query:
    """Return a query for ``question``."""
    return Query(question=question, text=question, language="en")


def sample_hits(count: int = 5) -> list[Hit]:
    """Return ``count`` hits of different pages, best first."""
    return [_hit(rank) for rank in range(1, count + 1)]


def sample_context(count: int = 3) -> Context:
    """Return a context of ``count`` hits."""
    hits = tuple(sample_hits(count))
    return Context(hits=hits, texts=tuple(hit.chunk.text for hit in hits), tokens=sum(hit.chunk.tokens for hit in hits))


def check_loader(loader: Loader, source: Source | None = None) -> None:
    """Check a loader with ``source``, or with a folder of three pages when it is not given."""
    _check_members("loaders", loader)
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            for name in ("b.md", "a.md", "c.md"):
                Path(folder, name).write_text(f"# Page {name}\n\nText of {name}.\n", encoding="utf-8")
            source = Source(name="sample", location=folder)
        loaded = _loaded(loader, source, {})
        _require(bool(loaded), "load() yields no document")
        documents = [item.document for item in loaded]
        _require(len({document.id for document in documents}) == len(documents), "load() yields one document id twice")
        _require(documents == sorted(documents, key=lambda document: document.path), "load() does not go by path")
        for item in loaded:
            _check_document(item, source)
        again = [item.document for item in _loaded(loader, source, {})]
        _require(again == documents, "load() yields other documents the second time")
        known = {document.id: document for document in documents}
        for entry in loader.load(source, known):
            document = entry.document if isinstance(entry, LoadedDocument) else entry
            _require(
                isinstance(document, Skipped | Notice) or document.id in known,
                "load() gives an unchanged page another id",
            )


def check_chunker(chunker: Chunker, documents: Sequence[LoadedDocument] | None = None) -> None:
    """Check a chunker with ``documents``, as its loader yields them, or with plain pages when they are not given."""
    _check_members("chunkers", chunker)
    documents = [_loaded_page("one"), _loaded_page("two")] if documents is None else documents
    chunked = chunker.chunk(documents)
    _require(len(chunked) == len(documents), "chunk() does not return one list for each document")
    for loaded, chunks in zip(documents, chunked, strict=True):
        _check_chunks(loaded, chunks)
    _require(chunker.chunk(documents) == chunked, "chunk() cuts the same documents differently the second time")
    _require(chunker.chunk([]) == [], "chunk([]) is not []")


def check_embedder(embedder: Embedder) -> None:
    """Check an embedder. Its model is loaded, and where it is a server's, it is asked."""
    _check_members("embedders", embedder)
    dimension: Any = embedder.dimension
    _require(isinstance(dimension, int) and dimension > 0, f"dimension is {dimension!r}, not a whole number above 0")
    for method in ("embed", "embed_questions"):
        embed = getattr(embedder, method)
        vectors = embed(list(_TEXTS))
        _check_vectors(f"{method}()", vectors, len(_TEXTS), dimension)
        _check_vectors(f"{method}([])", embed([]), 0, dimension)
        single = embed([_TEXTS[0]])
        _require(
            _cosine(single[0], vectors[0]) > 0.999,  # noqa: PLR2004 - rounding, not another vector
            f"{method}() gives a text another vector when it is embedded with others",
        )
        _require(
            _cosine(embed([_TEXTS[0]])[0], single[0]) > 0.9999,  # noqa: PLR2004 - rounding, not another vector
            f"{method}() gives a text another vector the second time",
        )
    fingerprint: Any = embedder.fingerprint()
    _require(isinstance(fingerprint, str) and bool(fingerprint), "fingerprint() is not a string, or is empty")
    _require(embedder.fingerprint() == fingerprint, "fingerprint() is another the second time")


def check_classifier(classifier: Classifier) -> None:
    """Check that a classifier names a kind for any question, and the same one again."""
    _check_members("classifiers", classifier)
    for question, language in (
        ("How do I export a report?", "en"),
        ("Was ist ein Kiosk?", "de"),
        ("7", ""),
        ("?", "ja"),
    ):
        kind: Any = classifier.classify(question, language)
        _require(isinstance(kind, str), f"classify() returns {type(kind).__name__}, not a string")
        _require(classifier.classify(question, language) == kind, "classify() names another kind the second time")


def check_understander(understander: Understander) -> None:
    """Check that questions become queries, and that what cannot be searched raises ``QueryError``."""
    _check_members("understanders", understander)
    query = understander.understand("How do I export a report?", filters={"language": ["en"]})
    _require(isinstance(query, Query), f"understand() returns {type(query).__name__}, not Query")
    _require(query.question == "How do I export a report?", "understand() changes the question")
    _require(bool(query.text.strip()), "understand() returns a query without text")
    _require(tuple(query.filters.get("language", ())) == ("en",), "understand() loses the filters")
    for question in ("", "   ", "x" * 5000):
        try:
            understander.understand(question)
        except QueryError:
            continue
        raise AssertionError(f"understand() takes a question of {len(question)} characters that cannot be searched")


def check_retriever(retriever: Retriever, query: Query | None = None) -> None:
    """Check a retriever over the index that it was made with."""
    _check_members("retrievers", retriever)
    query = query or sample_query()
    result = retriever.retrieve(query, top_k=5)
    _require(isinstance(result, SearchResult), f"retrieve() returns {type(result).__name__}, not SearchResult")
    _check_ranking("retrieve()", result.hits, 5)
    fewer = retriever.retrieve(query, top_k=1).hits
    _require(len(fewer) <= 1, "retrieve(top_k=1) returns more than one hit")
    _require(
        _ids(retriever.retrieve(query, top_k=5).hits) == _ids(result.hits),
        "retrieve() ranks differently the second time",
    )


def check_reranker(reranker: Reranker) -> None:
    """Check that a reranker returns every hit that it was given, once."""
    _check_members("rerankers", reranker)
    hits = sample_hits(8)
    for top_k in (1, 5, 100):
        made = reranker.rerank(sample_query(), hits, top_k=top_k)
        _require(isinstance(made, Reranking), f"rerank() returns {type(made).__name__}, not Reranking")
        found = _ids(made.hits)
        _require(len(set(found)) == len(found), "rerank() returns one chunk twice")
        _require(set(found) <= set(_ids(hits)), "rerank() returns a hit that it was not given")
        _require(len(found) == len(hits), "rerank() drops a hit that it was given")
    _require(reranker.rerank(sample_query(), [], top_k=5).hits == (), "rerank() of no hits has hits")


def check_packer(packer: Packer) -> None:
    """Check that a packer keeps the best hit, shows texts of the hits, and no more hits than there are."""
    _check_members("packers", packer)
    for count in (1, 5, 50):
        hits = sample_hits(count)
        context = packer.pack(sample_query(), hits)
        _require(isinstance(context, Context), f"pack() returns {type(context).__name__}, not Context")
        _require(len(context.texts) == len(context.hits), "pack() does not return one text for each hit")
        _require(hits[0] in context.hits, "pack() drops the best hit")
        _require(set(_ids(context.hits)) <= set(_ids(hits)), "pack() returns a hit that it was not given")
        _require(len(context.hits) + context.dropped <= count, "pack() drops more hits than it was given")
        for hit, text in zip(context.hits, context.texts, strict=True):
            _require(
                bool(text) and hit.chunk.text.startswith(text), "pack() shows a text that is not the chunk's beginning"
            )
    _require(packer.pack(sample_query(), []).hits == (), "pack() of no hits has hits")


def check_generator(generator: Generator) -> None:
    """Check a generator. Where it is a server's, the server is asked."""
    _check_members("generators", generator)
    context = sample_context()
    draft = generator.generate(sample_query(), context)
    _require(isinstance(draft, Draft), f"generate() returns {type(draft).__name__}, not Draft")
    _require(bool(draft.text.strip()), "generate() returns an empty text for a context that answers")
    for place, (start, end) in draft.quotes:
        _require(0 <= place < len(context.hits), f"generate() quotes hit {place} of {len(context.hits)}")
        _require(0 <= start < end, f"generate() quotes the span {start}:{end}")
    pieces = list(generator.stream(sample_query(), context))
    _require(all(isinstance(piece, str) for piece in pieces), "stream() yields something that is not a string")
    _require(bool("".join(pieces).strip()), "stream() yields no text for a context that answers")


def check_verifier(verifier: Verifier) -> None:
    """Check that citations are of hits in the context and that every quote stands at its span."""
    _check_members("verifiers", verifier)
    context = sample_context()
    quoted = context.hits[0].chunk.text
    draft = Draft(text=f"{quoted} [1]", quotes=((0, (0, len(quoted))),))
    verified = verifier.verify(sample_query(), context, draft)
    _require(isinstance(verified, Verified), f"verify() returns {type(verified).__name__}, not Verified")
    _require(quoted in verified.text, "verify() takes away a true quotation")
    _require(bool(verified.citations), "verify() returns no citation for a true quotation")
    given = {hit.chunk.id: hit for hit in context.hits}
    for citation in verified.citations:
        _require(isinstance(citation, Citation), f"verify() returns {type(citation).__name__}, not Citation")
        _require(citation.chunk_id in given, "verify() cites a chunk that is not in the context")
        start, end = citation.span
        _require(
            given[citation.chunk_id].chunk.text[start:end] == citation.quote, "a quote is not the text at its span"
        )
    for claim in verified.claims:
        stands = claim.span is None or verified.text[claim.span[0] : claim.span[1]] == claim.text
        _require(stands, "a claim is not the answer's text at its span")
    _require(0 <= verified.risk <= 1, "a risk is not from 0 to 1")
    strange = Draft(text='"This sentence stands nowhere at all in the pages." [99]')
    cited = verifier.verify(sample_query(), context, strange).citations
    _require(all(citation.chunk_id in given for citation in cited), "verify() cites a source that was not given")


def check_answer_is_json(answer: Answer | SearchResult) -> None:
    """Check that a record is its own JSON: encoded and decoded it is the same."""
    decoded = msgspec.json.decode(msgspec.json.encode(answer), type=type(answer))
    _require(decoded == answer, "the record is not the same after JSON")


def _require(holds: bool, message: str) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise AssertionError(message)


def _check_members(group: str, component: object) -> None:
    plugins.check(group, type(component).__name__, component)


def _loaded(loader: Loader, source: Source, known: Mapping[str, Document]) -> list[LoadedDocument]:
    return [item for item in loader.load(source, known) if isinstance(item, LoadedDocument)]


def _check_document(item: LoadedDocument, source: Source) -> None:
    document = item.document
    where = f"the document {document.path!r}"
    _require(_is_hash(document.id), f"{where} has the id {document.id!r}, not 32 hexadecimal digits")
    _require(document.source == source.name, f"{where} names the source {document.source!r}, not {source.name!r}")
    _require(not document.path.startswith("/") and "\\" not in document.path, f"{where} has no relative path with /")
    _require(bool(document.title), f"{where} has no title")
    _require(bool(document.content_hash), f"{where} has no content hash")
    text = item.page.text
    for block in item.page.blocks:
        start, end = block.span
        _require(0 <= start <= end <= len(text), f"{where} has a block at {start}:{end} of {len(text)} code points")


def _check_chunks(loaded: LoadedDocument, chunks: Sequence[Chunk]) -> None:
    text = loaded.page.text
    _require([chunk.ordinal for chunk in chunks] == list(range(len(chunks))), "chunks are not numbered from 0")
    _require(len({chunk.id for chunk in chunks}) == len(chunks), "two chunks of one document have one id")
    for chunk in chunks:
        where = f"chunk {chunk.ordinal}"
        _require(_is_hash(chunk.id), f"{where} has the id {chunk.id!r}, not 32 hexadecimal digits")
        _require(chunk.document_id == loaded.document.id, f"{where} belongs to another document")
        _require(bool(chunk.spans), f"{where} has no span")
        _require(
            all(0 <= start < end <= len(text) for start, end in chunk.spans), f"{where} has a span outside its page"
        )
        slices = "\n".join(text[start:end] for start, end in chunk.spans)
        _require(chunk.text == slices, f"the text of {where} is not what stands at its spans, joined by one newline")
        _require(chunk.tokens > 0, f"{where} has no tokens")


def _check_vectors(what: str, vectors: Any, rows: int, dimension: int) -> None:
    _require(
        getattr(vectors, "shape", None) == (rows, dimension), f"{what} does not have the shape ({rows}, {dimension})"
    )
    _require(str(vectors.dtype) == "float32", f"{what} is {vectors.dtype}, not float32")
    _require(bool((vectors == vectors).all()), f"{what} contains NaN")  # noqa: PLR0124 - only NaN differs from itself
    _require(not rows or math.isfinite(float(abs(vectors).max())), f"{what} contains an infinite number")


def _check_ranking(what: str, hits: Sequence[Hit], top_k: int) -> None:
    _require(len(hits) <= top_k, f"{what} returns {len(hits)} hits, more than top_k, {top_k}")
    _require([hit.rank for hit in hits] == list(range(1, len(hits) + 1)), f"{what} does not number the ranks from 1")
    _require(len(set(_ids(hits))) == len(hits), f"{what} returns one chunk twice")
    scores = [hit.score for hit in hits]
    _require(scores == sorted(scores, reverse=True), f"{what} is not ordered by score")


def _ids(hits: Iterable[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def _cosine(left: Any, right: Any) -> float:
    norm = math.sqrt(float(left @ left) * float(right @ right))
    if norm == 0:
        return 1.0 if not left.any() and not right.any() else 0.0
    return float(left @ right) / norm


def _is_hash(text: str) -> bool:
    return len(text) == 32 and all(digit in "0123456789abcdef" for digit in text)  # noqa: PLR2004 - 128 bits


def _loaded_page(name: str) -> LoadedDocument:
    paragraphs = [f"Paragraph {number} of page {name} says something about exports." for number in range(40)]
    text, blocks = "", []
    for paragraph in paragraphs:
        blocks.append(Block(kind="paragraph", span=(len(text), len(text) + len(paragraph))))
        text += paragraph + "\n"
    return LoadedDocument(document=_document(name), page=SamplePage(text=text, blocks=tuple(blocks)))


def _document(name: str) -> Document:
    return Document(
        id=_hash(f"document {name}"), source="sample", path=f"{name}.md", title=f"Page {name}", content_hash=_hash(name)
    )


def _hit(rank: int) -> Hit:
    document = _document(str(rank))
    text = f"To export report {rank}, open Reports and choose Export. The file of report {rank} is ready in a minute."
    chunk = Chunk(
        id=_hash(f"chunk {rank}"),
        document_id=document.id,
        kind="text",
        ordinal=0,
        heading_path=("Exports",),
        anchor="exports",
        spans=((0, len(text)),),
        tokens=len(text.split()) + 4,
        content_hash=_hash(text),
        text=text,
    )
    score = 1.0 / rank
    return Hit(rank=rank, score=score, chunk=chunk, document=document, scores=Scores(bm25=score, fused=score))


def _hash(text: str) -> str:
    import hashlib

    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
