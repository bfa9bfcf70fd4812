"""READ FIRST: the records that flow through the package, and one Protocol per stage.

    build:  load | crawl  →  chunk  →  embed  →  index (a new generation, published atomically)
    ask:    understand  →  retrieve  →  rerank  →  pack  →  generate  →  verify  →  answer

Stages never import one another; they know these records and nothing else, and only ``pipeline`` knows the order. Records are
frozen msgspec structs because they cost a microsecond to make and are their own JSON; a Protocol rather than a base class
because a user's component need not import this package.

Spans are half-open ranges ``(start, end)`` in Unicode code points of a document's canonical text, everywhere in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Vectors = NDArray[numpy.float32]

Span = tuple[int, int]
"""A half-open range of code points."""

MAXIMUM_QUESTION_CHARACTERS = 2000
"""The longest question that is searched. What a ticket has beside its question does not count."""

QuestionKind = Literal["how-to", "troubleshooting", "definition", "comparison", "limits", "yes-no", "fact", "topic"]
"""What a question wants: steps, a remedy, what a thing is, how things differ, a limit or a permission, yes or no, something else
that it asks for; ``topic`` for words that ask nothing."""


def digest(*parts: str) -> str:
    """Return 32 hexadecimal digits that identify ``parts``: BLAKE2b-128 over each part's length in bytes and its UTF-8.

    The lengths keep ``("ab", "c")`` and ``("a", "bc")`` apart. The first part names what is identified and its version.
    """
    encoded = [part.encode() for part in parts]
    prefixed = b"".join(len(part).to_bytes(8, "little") + part for part in encoded)
    # Imported here because no search needs it: it loads a cryptographic library.
    import hashlib

    return hashlib.blake2b(prefixed, digest_size=16).hexdigest()


class FileState(msgspec.Struct, frozen=True):
    """What the operating system said of a file when it was read: equal states mean that it need not be read again."""

    size: int
    """Bytes."""
    modified_ns: int
    """Time of the last change of content, nanoseconds since the epoch."""
    changed_ns: int
    """Time of the last change of the inode, nanoseconds since the epoch."""
    inode: int
    settings: str = ""
    """A hash of the source's settings and of the version of the reading that made the document of the file."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One page of one source. Its canonical text is kept beside the record: see ``Page`` and ``Index.text``."""

    id: str
    """32 hexadecimal digits: a hash of source and path, or of source and the id that the source gives."""
    source: str
    """The name of the source it came from."""
    path: str
    """Relative to the source's root, NFC, with ``/``."""
    title: str
    url: str | None = None
    language: str = ""
    """ISO 639-1 code; empty when unknown."""
    kind: str = "page"
    """``page``, ``hub`` for a page that is only links, or ``glossary`` or ``faq``: what says how it is cut."""
    tags: tuple[str, ...] = ()
    version: str | None = None
    breadcrumb: tuple[str, ...] = ()
    content_hash: str = ""
    """32 hexadecimal digits: a hash of the canonical text and of the metadata that is searched or shown."""
    file: FileState | None = None
    stale: bool = False
    """Whether the document could not be read in the last build, so that this is its state before."""
    chunker: str = ""
    """The fingerprint of the chunker that cut it, set when it is indexed."""
    boost: float = 1.0
    """The weight that its source gives its documents."""


class Block(msgspec.Struct, frozen=True):
    """A structural piece of a canonical text."""

    kind: str
    """``heading``, ``paragraph``, ``list``, ``table``, ``code``, ``quote`` or ``image``."""
    span: Span
    level: int = 0
    """A heading's level, 1 to 6; otherwise 0."""
    anchor: str | None = None
    retrievable: bool = True
    """False for tables of contents, reading times, repeated titles and feedback prompts."""


class Page(Protocol):
    """What a document's bytes were parsed to. The core's own pages are opaque to everything but the core's chunker."""

    @property
    def text(self) -> str:
        """The canonical text."""

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks in order."""


class LoadedDocument(msgspec.Struct, frozen=True):
    """A document and its parsed page, on the way from a loader to a chunker."""

    document: Document
    page: Any
    """A ``Page``."""
    chunks: tuple[Chunk, ...] | None = None
    """The chunks that it came as, which are kept as they are; ``None`` for a page that is to be cut."""


class Term(msgspec.Struct, frozen=True, tag="term"):
    """The term that a chunk of kind ``glossary`` defines."""

    term: str
    aliases: tuple[str, ...] = ()
    """Its other names, as the glossary gives them."""


class AskedQuestion(msgspec.Struct, frozen=True, tag="question"):
    """The question that a chunk of kind ``faq`` answers."""

    question: str


class Table(msgspec.Struct, frozen=True, tag="table"):
    """A table in a chunk, or those of its rows that the chunk holds whole."""

    span: Span
    """From its first row in the chunk to the last, in the document; a header row that is repeated is not in it."""
    header: tuple[str, ...]
    """The cells of its header row; empty where it has none."""
    rows: tuple[tuple[str, ...], ...]
    """The cells of the other rows; empty cells at a row's end are left out."""

    def markdown(self) -> str:
        """Return the table in Markdown."""
        import re

        header, *rows = self._rectangle()
        lines = [header, ["---"] * len(header), *rows]
        escaped = ([re.sub(r"[\\`*_\[\]<>|~&]", r"\\\g<0>", cell) for cell in line] for line in lines)
        return "\n".join(f"| {' | '.join(line)} |" for line in escaped)

    def objects(self) -> list[dict[str, str]]:
        """Return each row as an object. A column without a name, or with one that another has, is named by its number from 1."""
        header, *rows = self._rectangle()
        names: list[str] = []
        for number, name in enumerate(header, 1):
            names.append(name if name and name not in names else str(number))
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _rectangle(self) -> list[list[str]]:
        """The header and the rows, filled up to the same width."""
        width = max(map(len, (self.header, *self.rows)))
        return [[*row, *[""] * (width - len(row))] for row in (self.header, *self.rows)]


class Code(msgspec.Struct, frozen=True, tag="code"):
    """Code in a chunk whose language the page names."""

    span: Span
    language: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    """The image that a chunk of kind ``image`` describes."""

    span: Span
    source: str
    """Its address, as the page writes it."""
    alternative: str = ""
    caption: str = ""


Part = Term | AskedQuestion | Table | Code | Image
"""What a chunk is about, or holds beside running text."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """The unit that is retrieved: some slices of one document's canonical text."""

    id: str
    """32 hexadecimal digits: a hash of document, section, kind and ordinal within that section."""
    document_id: str
    kind: str
    """``text``, ``list``, ``table``, ``code``, ``glossary``, ``faq``, ``image`` or ``hub``."""
    ordinal: int
    """The chunk's number within its document, from 0."""
    heading_path: tuple[str, ...]
    anchor: str | None
    spans: tuple[Span, ...]
    repeated: tuple[Span, ...] = ()
    """The parts of ``spans`` that are searched with other chunks of the document already: overlaps, table headers, what
    describes an image, a heading."""
    tokens: int
    """WordPiece tokens of the shipped vocabulary."""
    content_hash: str
    """32 hexadecimal digits: a hash of ``text``; equal texts need one embedding."""
    parts: tuple[Part, ...] = ()
    """What the chunk is about, and what it holds beside running text."""
    text: str = ""
    """Exactly the slices of the canonical text at ``spans``, joined by one newline."""

    def locate(self, start: int, end: int) -> Span | None:
        """Return where the code points ``start`` to ``end`` of ``text`` stand in the document; ``None`` across two slices."""
        offset = 0
        for first, last in self.spans:
            length = last - first
            if offset <= start and end <= offset + length:
                return first + start - offset, first + end - offset
            offset += length + 1
        return None

    def slice(self, span: Span) -> str | None:
        """Return the document's characters at ``span`` as ``text`` has them; ``None`` where it is not within one slice."""
        offset = 0
        for first, last in self.spans:
            if first <= span[0] <= span[1] <= last:
                return self.text[offset + span[0] - first : offset + span[1] - first]
            offset += last - first + 1
        return None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened on the way from a question to its answer: a line of the trace."""

    stage: str
    """The stage's word, such as ``understand`` or ``rerank``."""
    name: str
    """What was done, such as ``glossary``."""
    details: Mapping[str, Any] = {}
    """JSON-ready values; the same on every run, so no times."""


class Turn(msgspec.Struct, frozen=True):
    """A question of a conversation, and what was answered to it."""

    question: str
    answer: str


class Expansion(msgspec.Struct, frozen=True):
    """Words that are searched for besides, because they mean what the question says."""

    text: str
    weight: float
    """What a word of it counts beside one of the question, above 0 and at most 0.2."""
    alias: str = ""
    """What it is the term for, as that stands in the text that is searched; empty where it is another spelling."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A question as it was understood."""

    question: str
    """As it was asked."""
    text: str
    """What is searched."""
    language: str = ""
    kind: str = ""
    """A ``QuestionKind``, or what another package's classifier says; empty where it was not looked for."""
    expansions: tuple[Expansion, ...] = ()
    """Searched by words alone, and no part of the evidence; a term that is evidence stands in ``text`` in its alias's place."""
    alternatives: tuple[str, ...] = ()
    """Texts that are searched besides, each as a question of its own; their rankings are fused with that of ``text``."""
    parts: tuple[str, ...] = ()
    """The questions that it was taken apart into, which are among ``alternatives``: its answer is made of theirs."""
    filters: Mapping[str, tuple[str, ...]] = {}
    """Field (``source``, ``language``, ``kind``, ``tags``, ``version``) to the values of which one must match."""
    excluded_documents: tuple[str, ...] = ()
    """Ids of documents that are searched as if they were not there."""
    steps: tuple[Step, ...] = ()
    """How it was understood."""
    degraded: tuple[Failure, ...] = ()
    """What a model should have made of it and did not, so that it is searched with less."""


class Scores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Why a hit stands where it stands. ``None`` means that the part had no evidence or was not asked."""

    bm25: float | None = None
    """BM25F of the chunk."""
    cosine: float | None = None
    """Cosine of the question's vector and the chunk's."""
    document_bm25: float | None = None
    """BM25F of the whole document."""
    document_cosine: float | None = None
    """Cosine of the question's vector and the document's."""
    fused: float = 0.0
    """The relevance that the parts were fused to."""
    reranked: float | None = None
    """What a model gave that read question and chunk together, 0 to 1."""


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """Another place where the same is said."""

    chunk_id: str
    document_id: str
    path: str
    url: str | None
    anchor: str | None
    heading_path: tuple[str, ...] = ()


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One retrieved chunk with its document and its place in the ranking."""

    rank: int
    """From 1."""
    score: float
    """The relevance that the last reranker gave, else the retriever's: the fused one, less for chunks of a section that better chunks
    are of. Ranks need not follow it: MMR orders hits by how much they add to those before."""
    chunk: Chunk
    document: Document
    scores: Scores
    duplicates: tuple[Duplicate, ...] = ()
    """Where else the same is said, of what was found."""


class Reranking(msgspec.Struct, frozen=True, kw_only=True):
    """Hits in another order."""

    hits: tuple[Hit, ...]
    """Every hit that was given, once, best first. Their ranks need not follow: whoever asked numbers them anew."""
    steps: tuple[Step, ...] = ()
    """What was done."""
    failure: Failure | None = None
    """Why the order is the one that was given."""
    sent_to: tuple[str, ...] = ()
    """Hosts other than this one that saw question and hits."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a generator is given: hits in the order in which they are shown to it, within its budget."""

    hits: tuple[Hit, ...]
    """The best hit of each section that is shown. Its chunk has the spans and the text of all that is shown of the section, which may
    be more than was found or, beside another section that has the same, less; its id and hash are those it has in the index."""
    texts: tuple[str, ...]
    """For each hit the text it is shown with: its chunk's, or the beginning of that where it alone exceeded the budget."""
    tokens: int
    dropped: int = 0
    """How many hits did not fit."""
    generation: int = 0
    """The generation the hits are from; what marks them off in a prompt is derived from it."""
    steps: tuple[Step, ...] = ()
    """How they were chosen."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a generator wrote, before it is verified. Sources are cited as ``[1]``, the hit's place in the context from 1."""

    text: str
    quotes: tuple[tuple[int, Span], ...] = ()
    """For text taken from sources: the hit's place in the context from 0, and the span of the document it was taken from."""
    headings: tuple[tuple[int, str], ...] = ()
    """Parts of the question that stand as paragraphs of their own among ``quotes``, in order: how many quotes are before each."""
    unanswered: tuple[str, ...] = ()
    """Parts of the question that nothing in the context answers."""
    incomplete: bool = False
    """Whether the text broke off before its end."""
    failure: Failure | None = None
    """Why it broke off."""
    sent_to: tuple[str, ...] = ()
    generator: str = ""
    """Which generator wrote it, where that is not the one that was asked first."""
    degraded: tuple[Failure, ...] = ()
    """What failed before another generator took over."""
    steps: tuple[Step, ...] = ()
    """How it was written."""


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of one statement: the source's own characters and where they stand."""

    marker: int
    """The number that stands in the answer as ``[1]``."""
    chunk_id: str
    document_id: str
    path: str
    url: str | None
    anchor: str | None
    quote: str
    """Exactly the canonical text at ``span``."""
    span: Span
    link: str | None = None
    """The address that opens the page at the quote, by a text fragment; ``None`` where the page has no address."""


Verdict = Literal["verified", "altered", "misattributed", "fabricated"]
"""Of a quotation: as its source has it, not quite, in another passage than the one cited, in none."""


class Quotation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a generator put into quotation marks, and what became of it."""

    text: str
    """As the generator wrote it, without the marks."""
    verdict: Verdict
    marker: int | None
    """The citation that has the source's own words; ``None`` where no source has any like it."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence of an answer, and whether the passages that it cites say it."""

    text: str
    """As the answer has it, or as the generator wrote it where it was cut."""
    span: Span | None
    """Where it stands in the answer; ``None`` where it was cut."""
    markers: tuple[int, ...] = ()
    """The citations that it rests on."""
    supported: bool | None
    """``None`` where that cannot be told: the sentence is in another language than what it cites, and nothing speaks against it."""
    support: float | None
    """The calibrated probability that the passages say it, 0 to 1; ``None`` where its words cannot be compared."""
    problems: tuple[str, ...] = ()
    """What does not stand in the passages, each as its kind and the words: ``number: 60 days``."""
    marked: bool = False
    """Whether the answer tells the reader to doubt it, by ``[?]`` behind it."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A draft after verification: what of it may be shown, with what proves it."""

    text: str
    citations: tuple[Citation, ...] = ()
    """In order of their markers, which are 1, 2, 3; each stands in the text."""
    quotations: tuple[Quotation, ...] = ()
    claims: tuple[Claim, ...] = ()
    groundedness: float | None = None
    """The share of the claims, by their words, that is supported, 0 to 1; ``None`` where none could be judged."""
    risk: float = 0.0
    """How much was found that tells of invention, 0 to 1."""
    addresses_removed: int = 0
    """Addresses that stood in no source."""
    admits: bool = False
    """Whether the text says nothing but that the sources do not answer, so that it is a refusal."""
    steps: tuple[Step, ...] = ()
    """What was changed."""


RefusalReason = Literal["no_evidence", "weak_evidence", "empty_index", "unsupported"]


class Failure(msgspec.Struct, frozen=True):
    """An error that an answer carries because its hits are of use all the same."""

    code: str
    message: str
    hint: str


class NearPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page that a refusal offers, by the best of its sections."""

    document_id: str
    title: str
    path: str
    url: str | None
    anchor: str | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question, with what proves it; or a refusal, which is a result and not an error."""

    question: str
    answer: str
    refused: bool = False
    reason: RefusalReason | None = None
    confidence: float | None = None
    """The calibrated probability that the documentation answers; ``None`` where the retriever tells too little."""
    calibration: str = ""
    """The name of the calibration that the confidence is from."""
    citations: tuple[Citation, ...] = ()
    hits: tuple[Hit, ...] = ()
    generation: int = 0
    generator: str = ""
    sent_to: tuple[str, ...] = ()
    """Hosts other than this one that saw the question."""
    degraded: tuple[Failure, ...] = ()
    """What failed on the way and was done without: the answer is one that was made with less."""
    failure: Failure | None = None
    """Why no answer was generated, where generation failed, or why it broke off."""
    incomplete: bool = False
    """Whether the answer broke off before its end: what there is of it is proved as any, and never remembered."""
    quotations: tuple[Quotation, ...] = ()
    """What the generator put into quotation marks."""
    claims: tuple[Claim, ...] = ()
    groundedness: float | None = None
    """The share of the claims, by their words, that is supported, 0 to 1; ``None`` where none could be judged."""
    risk: float = 0.0
    """How much was found in the generator's text that tells of invention, 0 to 1."""
    addresses_removed: int = 0
    """Addresses of the generator's text that stood in no source."""
    searched: tuple[str, ...] = ()
    """Of a refusal: the question's words that were looked for, as they were typed."""
    nearest: tuple[NearPage, ...] = ()
    """Of a refusal: the pages that come nearest, best first."""
    trace: tuple[Step, ...] = ()
    """What happened on the way, in order; the same on every run."""
    timings_ms: Mapping[str, float] = {}


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The ranking for one question, from one generation."""

    question: str
    generation: int
    hits: tuple[Hit, ...]
    timings_ms: Mapping[str, float] = {}
    steps: tuple[Step, ...] = ()
    """How the hits were found and ordered, and before that how the question was understood."""
    degraded: tuple[Failure, ...] = ()
    """What failed on the way and was done without, such as a reranker that was late."""
    sent_to: tuple[str, ...] = ()
    """Hosts other than this one that saw the question."""
    evidence: Evidence
    lexical_only: bool = False
    """Whether vectors were not used although the index has them."""
    confidence: float | None = None
    """The calibrated probability that the documentation answers; ``None`` where the retriever tells too little."""
    threshold: float = 0.0
    """The confidence below which the question is refused an answer."""
    calibration: str = ""
    """The name of the calibration that both are from."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What all candidates say about whether any answers, however many are returned: what the confidence is made of.

    What a retriever does not tell is ``None``.
    """

    idf_coverage: float = 0.0
    """The largest share of the question's idf mass that one of the three best chunks contains, 0 to 1."""
    title_coverage: float | None = None
    """The same for the titles of their pages."""
    covered_mass: float | None = None
    """How much idf mass ``idf_coverage`` is, in words that no chunk has."""
    lexical_margin: float | None = None
    """BM25F of the best document's best chunk less the tenth document's, as a share of the most a chunk can have."""
    best_cosine: float | None = None
    """The largest cosine; ``None`` without vectors."""
    cosine_margin: float | None = None
    """That cosine less the tenth document's."""
    agreement: float | None = None
    """The share of the ten best chunks by words that are among the ten best by meaning."""
    documents: int = 0
    """Documents in the generation."""
    dense_path: Literal["exact", "cascade"] | None = None
    """How the nearest chunks were found: by a full scan, or from a pool of estimates, which may miss some; ``None`` without
    vectors."""


# Stages. Constructors load no model and touch no network; the first call does.


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A named origin of documents."""

    name: str
    location: str
    """A folder, a file, an archive, or the address of a site."""
    site: Site | None = None
    """Set when the source is a site."""
    base_url: str | None = None
    url_style: Literal["html", "directory", "plain", "md"] = "html"
    slugs: str | None = None
    """The generator whose anchors headings without an id get; detected from its configuration file when not given."""
    language: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    boost: float = 1.0
    """The weight of its documents."""
    glossary: tuple[str, ...] = ()
    """Patterns of the paths of files that define terms; such a file may also be comma-separated values."""
    faq: tuple[str, ...] = ()
    """Patterns of the paths of files of questions and answers."""


class Notice(msgspec.Struct, frozen=True):
    """Something to know of a source that is about no document."""

    message: str
    hint: str = ""
    failed: bool = False
    """Whether the source is not read as its settings say."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What is crawled of a site. What is not given is that of ``[crawling]``."""

    url: str
    """Where the crawl begins; it stays on that host, in that folder."""
    depth: int | None = None
    """How many links away from the start a page may be."""
    maximum_pages: int | None = None
    maximum_bytes: int | None = None
    """Bytes of all pages together."""
    per_host: int | None = None
    """Requests at one time."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes of the languages whose pages are kept; the start's where none is given, ``*`` for all."""
    versions: tuple[str, ...] = ()
    """Segments of paths, such as ``v2``, of the versions that are kept; the best of each page where none is given, ``*`` for all."""


class RawPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a site as it was fetched and kept."""

    url: str
    """Its address, which is what it is known by."""
    format: Literal["html", "markdown", "text"]
    content_hash: str
    """A hash of its content as it was sent."""
    size: int
    """Bytes of its content."""
    content: Any
    """A function that returns the content; raises ``DocumentUnreadable`` where it is no longer whole."""
    problem: str = ""
    """Why it could not be fetched the last time, so that this is its content before."""


class Skipped(msgspec.Struct, frozen=True):
    """A file that is not a document of the build, and why."""

    path: str
    reason: str
    error: Failure | None = None
    """Set when the file should have been a document and could not be read."""
    file: str | None = None
    """Set when ``path`` is a place in a file of many documents and does not tell which of them it is: that file, relative
    to the source. Any of its documents that is not found elsewhere may be the one, and is kept as it was."""


@runtime_checkable
class Loader(Protocol):
    """Turns a source into documents (entry-point group ``clockify_rag.loaders``)."""

    def load(
        self, source: Source, known: Mapping[str, Document], *, checksum: bool = False
    ) -> Iterator[LoadedDocument | Document | Skipped | Notice]:
        """Yield every document of ``source``, in order of path.

        A document whose file has the state recorded in ``known`` (by id) is yielded as that record, unread; a file that
        cannot be read as a ``Skipped`` with its error, what else is to be known as a ``Notice``.
        """


@runtime_checkable
class Chunker(Protocol):
    """Cuts pages into chunks (``clockify_rag.chunkers``).

    One that has ``fingerprint() -> str``, a hash of what it does, makes documents anew when that changes. One whose constructor
    names ``embedder`` is given the one that the index is built with.
    """

    def chunk(self, documents: Sequence[LoadedDocument]) -> list[list[Chunk]]:
        """Return for each document its chunks in reading order."""


@runtime_checkable
class Embedder(Protocol):
    """Turns text into vectors (``clockify_rag.embedders``)."""

    @property
    def dimension(self) -> int:
        """The width of its vectors. May load the model."""

    def fingerprint(self) -> str:
        """A hash of what it does (its vectors of fixed sentences), equal on every machine that embeds alike."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the float32 vectors of passages, shape ``(len(texts), dimension)``."""

    def embed_questions(self, texts: Sequence[str]) -> Vectors:
        """Return the float32 vectors of questions, shape ``(len(texts), dimension)``."""


@runtime_checkable
class Index(Protocol):
    """One opened generation. There is one implementation, so it is no component to choose."""

    @property
    def generation(self) -> int:
        """The number of the generation that is open."""

    def documents(self) -> Iterable[Document]:
        """All documents in order of id."""

    def text(self, document_id: str) -> str:
        """The canonical text of a document."""


@runtime_checkable
class Completer(Protocol):
    """A language model at hand for short texts: what understanding and reranking ask where there is one."""

    @property
    def name(self) -> str:
        """Which model, as caches and traces name it."""

    def complete(self, system: str, user: str, *, seconds: float, maximum_tokens: int) -> str:
        """Return the model's whole text, without what it thought before; raises ``BackendError`` when it fails or takes longer than
        ``seconds``.
        """


@runtime_checkable
class Understander(Protocol):
    """Turns a question into a query (``clockify_rag.understanders``)."""

    def understand(
        self, question: str, *, filters: Mapping[str, Sequence[str]] | None = None, history: Sequence[Turn] = ()
    ) -> Query:
        """Return the query; raises ``QueryError`` for a question that cannot be searched.

        ``history`` are the turns of the conversation before it, oldest first.
        """


@runtime_checkable
class Classifier(Protocol):
    """Tells what a question wants (``clockify_rag.classifiers``)."""

    def classify(self, question: str, language: str) -> str:
        """Return the kind of ``question``, a ``QuestionKind`` or one of its own; the same on every run."""


@runtime_checkable
class Retriever(Protocol):
    """Finds candidates (``clockify_rag.retrievers``)."""

    def retrieve(self, query: Query, *, top_k: int) -> SearchResult:
        """Return the best hits, at most ``top_k``, best first."""


@runtime_checkable
class Reranker(Protocol):
    """Orders hits again (``clockify_rag.rerankers``)."""

    def rerank(self, query: Query, hits: Sequence[Hit], *, top_k: int) -> Reranking:
        """Return all ``hits``, best first, of which the first ``top_k`` are going to be used.

        None is dropped: what was not looked at stands behind, in the order given. A model that fails, is late or answers what
        cannot be used leaves the order as it was, and that is told by ``failure``.
        """


@runtime_checkable
class Packer(Protocol):
    """Chooses what a generator is shown (``clockify_rag.packers``)."""

    def pack(
        self,
        query: Query,
        hits: Sequence[Hit],
        *,
        chunks_of: Callable[[str], Sequence[Chunk]] | None = None,
        count: Callable[[Sequence[str]], Sequence[int]] | None = None,
    ) -> Context:
        """Return a context within the budget; the best hit is always in it.

        ``chunks_of`` returns the chunks of the document with an id, in reading order, of the generation that the hits are from;
        ``count`` the number of the generator's tokens in each text. Either is absent where that cannot be told.
        """


@runtime_checkable
class Generator(Protocol):
    """Writes an answer from a context (``clockify_rag.generators``)."""

    def generate(self, query: Query, context: Context) -> Draft:
        """Return the whole draft."""

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the draft's text piece by piece; raises ``BackendError`` where it breaks off."""


@runtime_checkable
class Verifier(Protocol):
    """Proves or takes away what a draft claims (``clockify_rag.verifiers``)."""

    def verify(self, query: Query, context: Context, draft: Draft) -> Verified:
        """Return what of a draft may be shown, with its proof."""
