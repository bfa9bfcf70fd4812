"""The border: what the Rust core offers. Every call detaches from the interpreter while it computes.

Errors are those of ``clockify_rag.errors``; a panic in the core is raised as ``InternalError``.
"""

from collections.abc import Sequence
from typing import Literal, final

import numpy
from numpy.typing import NDArray

from clockify_rag.contracts import Block
from clockify_rag.errors import DocumentUnreadable

__all__ = [
    "FORMAT",
    "Cutting",
    "Found",
    "Page",
    "Passages",
    "Remains",
    "SearchOptions",
    "Snapshot",
    "StaticEmbedder",
    "Tokenizer",
    "Writer",
    "analyse",
    "analyser_fingerprint",
    "block_spans",
    "chunk",
    "chunk_units",
    "chunking_fingerprint",
    "collect_generations",
    "detect_language",
    "generation_numbers",
    "holds_other_files",
    "line_spans",
    "links",
    "list_generations",
    "list_tags",
    "mmr",
    "parse",
    "question_terms",
    "remove_tag",
    "republish",
    "restore_snapshot",
    "sentence_spans",
    "served_generation",
    "set_tag",
    "set_threads",
    "simd",
    "statements",
    "with_titles",
    "word_count",
    "write_snapshot",
]

FORMAT: int
"""The version of the format on disk that is written."""

_Format = Literal["markdown", "mdx", "mkdocs", "html", "content", "text", "csv"]
"""``mdx`` and ``mkdocs`` are dialects of Markdown, ``content`` is HTML without a site around it, ``csv`` a glossary."""
_Slugs = Literal["github", "docusaurus", "mkdocs", "sphinx", "gitlab"]

@final
class Page:
    """A parsed document: canonical text, blocks, and what the page says of itself."""

    @property
    def text(self) -> str: ...
    @property
    def blocks(self) -> list[Block]: ...
    @property
    def structure(self) -> str:
        """A hash of the blocks: kinds, levels, spans, anchors, items and what is retrievable. 32 hexadecimal digits."""
    @property
    def title(self) -> str | None: ...
    @property
    def breadcrumb(self) -> list[str]: ...
    @property
    def language(self) -> str | None:
        """As the page says: ``lang`` of HTML, ``language`` of the front matter."""
    @property
    def canonical_url(self) -> str | None: ...
    @property
    def front_matter(self) -> str:
        """The front matter as a JSON object."""
    @property
    def hidden_dropped(self) -> int:
        """How many hidden elements were left out."""
    @property
    def hub(self) -> bool: ...
    @property
    def kind(self) -> Literal["page", "hub", "glossary", "faq"]:
        """What the page is: what it says itself, else whether it is almost only links."""

def parse(
    format: _Format, contents: Sequence[bytes], slugs: _Slugs | None = None, omitted: Sequence[str] = ...
) -> list[Page | DocumentUnreadable]:
    """Parse documents of one format on all threads; one that cannot be read is its error instead of a page.

    Sections whose heading is in ``omitted`` are left out, with all that stands under them.
    """

_Links = tuple[
    list[tuple[str, bool]],  # links: target, whether it asks not to be followed
    str | None,  # base address
    str | None,  # canonical address
    list[tuple[str, str]],  # the page in other languages: language tag, address
    list[tuple[str, str]],  # instructions to crawlers: for whom, what, in lower case
    str | None,  # content of the refresh
    str | None,  # language
]

def links(content: bytes) -> _Links:
    """What an HTML page says to a crawler; raises ``DocumentUnreadable`` where its bytes are no text."""

@final
class Tokenizer:
    """A WordPiece vocabulary; the shipped one is that in which chunks and budgets are counted."""

    def __new__(cls, path: str) -> Tokenizer: ...
    def count(self, texts: Sequence[str]) -> list[int]: ...
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text's tokens, special tokens not included, on all threads."""

_Piece = tuple[
    str,  # kind
    list[str],  # heading path
    str | None,  # anchor
    list[tuple[int, int]],  # spans, code points
    list[tuple[int, int]],  # repeated spans
    int,  # tokens
    list[tuple[str, tuple[int, int], list[str], list[list[str]]]],  # parts: kind, span, texts, rows
    str,  # text
]

@final
class Cutting:
    """How pages are cut. Sizes are in tokens; ``overlap`` is a share of the target."""

    def __new__(
        cls,
        method: Literal["structure", "sentence", "semantic", "fixed"],
        target: int,
        maximum: int,
        overlap: float,
        *,
        table: int,
        images: bool,
    ) -> Cutting: ...

def chunk(
    pages: Sequence[tuple[Page, str]],
    tokenizer: Tokenizer,
    cutting: Cutting,
    vectors: tuple[int, Sequence[bytes]] | None = None,
) -> list[list[_Piece]]:
    """Cut pages, each with what it is (``glossary``, ``faq``, or anything else), on all threads.

    ``vectors`` are the width and, for each page, the rows of little-endian float32 of its ``chunk_units``; the method
    ``semantic`` needs them.
    """

def chunk_units(pages: Sequence[tuple[Page, str]], tokenizer: Tokenizer, cutting: Cutting) -> list[list[str]]:
    """Return for each page the texts that the method puts together, on all threads."""

def chunking_fingerprint() -> str:
    """A hash of what the readers of pages and the built-in chunkers do: 32 hexadecimal digits."""

def detect_language(text: str, fallback: str) -> str:
    """The ISO 639-1 code of the language of ``text``, or ``fallback`` when it does not tell."""

def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The sentences of ``text``, in code points."""

def line_spans(text: str) -> list[tuple[int, int]]:
    """The lines of ``text`` that are not blank, in code points."""

def block_spans(text: str) -> list[tuple[int, int]]:
    """The paragraphs, lists and tables of ``text``, in code points."""

def word_count(text: str) -> int:
    """The number of words of ``text``; in scripts without spaces two characters count as one word."""

def statements(draft: str) -> list[tuple[int, int, int, bool]]:
    """What of a draft states something: first and last code point, its block's number, whether it has a figure."""

_Judged = tuple[
    str
    | None,  # where it is found, the mark at its end that is not the passage's, if any; None: the rest is of the run most like it
    int,  # passage
    int,  # first code point of the passage's text
    int,  # the one after its last
    float,  # how much of the quote stands in the passages, 0 to 1
]
_Support = tuple[
    float,  # share of the informative words that stand in one place
    float | None,  # cosine of sentence and place
    int,  # passage
    int,  # first code point of its sentence there that says most
    int,  # the one after its last
]
_Fact = tuple[Literal["number", "unit", "identifier", "name", "negation"], str]

@final
class Passages:
    """Passages that a draft is compared with; immutable, and what comparing needs of them is derived once."""

    def __new__(cls, passages: Sequence[tuple[str, str, str]]) -> Passages:
        """Each with its text, the titles above it a line each, and its language's ISO 639-1 code or nothing."""
    def judge(self, quotes: Sequence[tuple[str, Sequence[int]]]) -> list[_Judged | None]:
        """Look for quotes, as they may be worded, in the passages named in that order; ``None`` without a common word."""
    def check(
        self, sentences: Sequence[tuple[str, Sequence[int]]], language: str, embedder: StaticEmbedder | None = None
    ) -> list[tuple[list[_Fact], _Support | None, bool]]:
        """Compare each sentence with the passages it cites.

        Returned are the facts that do not stand there, how much of it does, and whether its words could be compared.
        """
    def saying(
        self, sentence: str, places: Sequence[int], language: str, embedder: StaticEmbedder | None = None
    ) -> list[_Support]:
        """How much of a sentence each of some passages says, of those that have all its facts and share words with it."""

@final
class StaticEmbedder:
    """A static embedding table in model2vec's layout, memory-mapped."""

    def __new__(cls, path: str) -> StaticEmbedder: ...
    @property
    def dimension(self) -> int: ...
    def fingerprint(self) -> str: ...
    def embed(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
        """Unit vectors, shape ``(len(texts), dimension)``; a text without a known token is a row of zeros."""

    def embed_rows(self, texts: Sequence[str]) -> bytes:
        """The same as rows of little-endian float32, without numpy."""

    def similarities(self, text: str, others: Sequence[str]) -> list[float]:
        """The cosine of ``text`` with each of ``others``; 0 where either has no known token."""

_ChunkRow = tuple[
    str,  # id
    bytes,  # record
    str,  # headings, as one text to be searched
    list[tuple[int, int]],  # spans, code points
    list[tuple[int, int]],  # repeated spans
    list[str],  # filters, as field=value
    int,  # tokens
]
_DocumentRow = tuple[
    str,  # id
    bytes,  # record
    str,  # canonical text
    str,  # title
    str,  # language
    list[str],  # headings, each once
    list[str],  # filters, as field=value
    list[_ChunkRow],
]
_SegmentInfo = tuple[str, int, int, int, int]
"""Id, documents, chunks, deleted documents, deleted chunks."""

_EmbedderInfo = tuple[str, str, int]
"""Name, fingerprint, dimension."""

_FoundRow = tuple[
    bytes,  # chunk record
    str,  # chunk text
    bytes,  # document record
    float,  # score: the fused relevance, also where MMR has ordered the rows otherwise
    float,  # fused relevance
    float | None,  # BM25F of the chunk
    float | None,  # cosine of the chunk
    float | None,  # BM25F of the document
    float | None,  # cosine of the document
]

_Standing = tuple[
    int,  # rank, from 1
    int | None,  # rank by BM25F among hits that have a word of the question
    int | None,  # rank by cosine among hits that have one
    tuple[float, float, float | None],  # score, fused relevance, BM25F of the chunk
    float | None,  # cosine of the chunk
    tuple[float | None, float | None],  # BM25F and cosine of the document
]

@final
class SearchOptions:
    """How a generation is searched; immutable."""

    def __new__(
        cls,
        *,
        top_k: int,
        candidates: int,
        k1: float,
        b: tuple[float, float, float],
        weights: tuple[float, float, float],
        dense_weight: float,
        document_weight: float,
        repeat_weight: float,
        mmr_lambda: float | None,
        dense: str = "auto",
    ) -> SearchOptions:
        """``dense`` is ``auto``, ``exact`` or ``cascade``."""

@final
class Found:
    """What a search found, and how long its parts took."""

    @property
    def rows(self) -> list[_FoundRow]:
        """The hits with records and texts, best first; read from the index each time.

        Raises:
            IndexCorrupt: bytes of a hit are not what was written.
        """
    @property
    def ids(self) -> tuple[NDArray[numpy.bytes_], NDArray[numpy.float32]]:
        """The hits' chunk ids, 32 digits each (``S32``), and their scores, best first; read from the index each time.

        Raises:
            IndexCorrupt: bytes of an id are not what was written.
        """
    @property
    def counts(self) -> tuple[int, int, int]:
        """How many hits there are, how many have a word of the question, and how many a cosine."""
    def at_rank(self, rank: int, dense: bool) -> tuple[str, float] | None:
        """The chunk id and the score of the hit of that rank, from 1, by words or by meaning; ``None`` where there are fewer."""
    def standings(self, chunk_ids: Sequence[str]) -> list[_Standing | None]:
        """Where chunks stand among all hits; ``None`` for one that is no hit.

        Raises:
            IndexCorrupt: bytes of an id are not what was written.
        """
    @property
    def evidence(self) -> tuple[float, float, float, float, float | None, float | None, float | None]:
        """Coverage, coverage of titles, covered mass, lexical margin, best cosine, cosine margin, agreement."""
    @property
    def dense_path(self) -> Literal["exact", "cascade"] | None:
        """How the nearest chunks were found; ``None`` without vectors."""
    @property
    def terms(self) -> list[str]:
        """The terms that were looked for: the question's, and after them those of its expansions."""
    @property
    def timings_ms(self) -> dict[str, float]: ...

@final
class Snapshot:
    """One opened generation; safe to use from many threads."""

    @staticmethod
    def open(path: str, previous: Snapshot | None = None, generation: int | None = None) -> Snapshot:
        """Open the generation that is served, or the one of that number, sharing with ``previous`` what both use.

        While it is open it is not collected.
        """
    @property
    def generation(self) -> int: ...
    @property
    def format(self) -> int: ...
    @property
    def hash(self) -> str:
        """The manifest's."""
    @property
    def analyser(self) -> str: ...
    @property
    def chunker(self) -> str: ...
    @property
    def embedder(self) -> _EmbedderInfo | None: ...
    @property
    def documents(self) -> int: ...
    @property
    def chunks(self) -> int: ...
    @property
    def size(self) -> int:
        """The bytes of the files this generation uses."""
    def segments(self) -> list[_SegmentInfo]: ...
    def state(self) -> bytes: ...
    def is_current(self) -> bool:
        """Whether ``CURRENT`` still names this generation."""
    def document_records(self, segment: str | None = None) -> list[bytes]:
        """The records of the documents that live, of one segment or of all, by id."""
    def document_record(self, document_id: str) -> bytes | None: ...
    def place_of(self, document_id: str) -> tuple[str, int] | None:
        """The segment of a document that lives, and how many chunks it has."""
    def text(self, document_id: str) -> str | None: ...
    def chunks_of(self, document_id: str) -> list[tuple[bytes, str]]:
        """The records and texts of a document's chunks in reading order."""
    def chunk(self, chunk_id: str) -> tuple[bytes, str, bytes] | None:
        """A chunk's record and text and its document's record."""
    def vectors_of(self, document_id: str) -> bytes:
        """The vectors of a document's chunks: rows of little-endian float32."""
    def search(
        self,
        question: str,
        language: str,
        filters: Sequence[Sequence[str]],
        excluded: Sequence[str],
        options: SearchOptions,
        embedder: StaticEmbedder | None = None,
        vector: NDArray[numpy.float32] | None = None,
        excluded_documents: Sequence[str] = ...,
        expansions: Sequence[tuple[str, float]] = ...,
        read: bool = False,
    ) -> Found:
        """Search by words, and by meaning where an embedder or the question's vector is given.

        A chunk passes when it has one value of each of the groups in ``filters`` and none of ``excluded``, and is of none of
        ``excluded_documents``, which are ids. ``expansions`` are texts whose words are searched for as well, each with what a
        word of it counts beside one of the question; they rank, and are no part of the evidence. With ``read`` the hits' rows
        are read from the index too, before the interpreter's lock is waited for.
        """
    def explain(
        self,
        question: str,
        language: str,
        excluded: Sequence[str],
        options: SearchOptions,
        chunk_id: str,
        expansions: Sequence[tuple[str, float]] = ...,
    ) -> str:
        """BM25F of one chunk and of its document in the textbook's letters, as JSON."""
    def verify(self) -> None:
        """Read every byte and compare it with its hash."""
    def files(self) -> list[tuple[str, int]]:
        """The path and length of every file that has blocks to verify."""
    def verify_part(self, file: int, start: int, end: int) -> None:
        """Read the blocks of bytes ``start`` up to ``end`` of the file of that place in ``files``, and compare them."""

@final
class Writer:
    """The one builder of an index; holds its lock until it is closed."""

    def __new__(cls, path: str) -> Writer: ...
    @property
    def next_generation(self) -> int: ...
    def snapshot(self) -> Snapshot | None:
        """The generation that is served now."""
    def add(self, document: _DocumentRow, dimension: int, vectors: bytes | None) -> int:
        """Add a document to the segment being made; returns about how many bytes of memory that takes now.

        ``vectors`` has ``dimension`` numbers of little-endian float32 for each chunk; without them a chunk has zeros.
        """
    @staticmethod
    def over_damage(path: str) -> Writer:
        """The builder of an index that is damaged: nothing is removed before something is published."""
    def flush(self) -> str | None:
        """Write the segment being made and return its id; ``publish`` does it too."""
    def publish(
        self,
        *,
        deleted: Sequence[str],
        dropped: Sequence[str],
        chunker: str,
        embedder: _EmbedderInfo | None,
        state: bytes,
    ) -> int:
        """Make the next generation the one that is served; durable when this returns."""
    def publish_beside(self, *, remains: Remains, kept: Sequence[int], state: bytes) -> int:
        """Publish the segments that were added beside those of ``remains`` that are kept, by number."""
    def purge(
        self, replaced: Sequence[tuple[str, str | None]], state: bytes
    ) -> tuple[int, list[tuple[int, int]], list[int]]:
        """Publish the present generation, and write the kept former ones anew, with segments replaced by added ones or by none.

        Returns the generation that is served then, the former ones with their new numbers, and those that are gone.
        """
    def close(self) -> None:
        """Give back the lock; what was not published is removed by the next builder."""

@final
class Remains:
    """A generation as far as it can be read: by default the one that is served, or the newest whose manifest can be read.

    Everything raises ``IndexCorrupt`` where what it needs is not what was written. Segments and rows are numbers.
    """

    def __new__(cls, path: str, generation: int | None = None) -> Remains: ...
    @property
    def generation(self) -> int: ...
    @property
    def passed_over(self) -> list[str]:
        """Why the generation that should be served, or a newer one, was not opened."""
    @property
    def analyser(self) -> str: ...
    @property
    def chunker(self) -> str: ...
    @property
    def embedder(self) -> _EmbedderInfo | None: ...
    def segments(self) -> list[_SegmentInfo]: ...
    def state(self) -> bytes: ...
    def damage(self, segment: int) -> list[str]:
        """Read every byte of a segment and say what is not what was written."""
    def dead(self, segment: int) -> list[int]:
        """The rows of the documents that are deleted."""
    def document_id(self, segment: int, row: int) -> str: ...
    def document_record(self, segment: int, row: int) -> bytes: ...
    def content(self, segment: int, row: int) -> tuple[str, list[tuple[bytes, str]]]:
        """A document's text, and the record and text of each of its chunks."""
    def vectors(self, segment: int, row: int) -> bytes:
        """The vectors of a document's chunks, rows of little-endian float32, read without what is derived from them."""

def generation_numbers(folder: str) -> list[int]:
    """The numbers of all generations that have a manifest, ascending."""

def analyse(text: str, language: str) -> list[tuple[str, int, int, int]]:
    """The terms of a text: term, first and last code point, position."""

def analyser_fingerprint() -> str: ...
def question_terms(question: str, language: str) -> list[str]: ...
def mmr(relevance: Sequence[float], vectors: NDArray[numpy.float32], mmr_lambda: float, k: int) -> list[int]: ...
def set_threads(threads: int) -> None:
    """Set the size of the process-wide pool; 0 means one thread for each core."""

def simd() -> str:
    """The name of the SIMD level that the kernels use."""

def with_titles(passages: bytes, titles: bytes, owners: Sequence[int], weight: float, dimension: int) -> bytes:
    """Rows of float32: each passage's unit vector plus ``weight`` times its title's, scaled to unit length."""

_GenerationRow = tuple[
    int,  # number
    float,  # when it was published, in seconds since 1970
    int,  # documents
    int,  # chunks
    list[tuple[str, int]],  # files and their lengths
    str | None,  # why the manifest cannot be read
    list[str],  # what keeps it
    list[str],  # tags
]

def list_generations(path: str) -> list[_GenerationRow]:
    """The published generations, ascending."""

def served_generation(path: str) -> int:
    """The number of the generation that is served."""

def list_tags(path: str) -> list[tuple[str, int, str]]:
    """Each tag's name, generation and manifest's hash, by name."""

def set_tag(path: str, name: str, generation: int, moved: bool) -> None:
    """Give a generation a name that keeps it; durable when this returns."""

def remove_tag(path: str, name: str) -> bool:
    """Remove a tag, durably; whether there was one."""

def republish(path: str, generation: int) -> int:
    """Publish the state of a former generation under a new number, which is returned."""

def collect_generations(path: str, asked: bool) -> tuple[list[int], int, int]:
    """Remove what nothing keeps, unless it is only asked what that is: the generations, how many files, their bytes."""

_ArchivedRow = tuple[int, int, int, str]
"""Generation, files, bytes of the archive, hash over all."""

def write_snapshot(path: str, generation: int | None, file: str) -> _ArchivedRow:
    """Write a generation, by default the one that is served, as an archive; durable when this returns."""

def restore_snapshot(file: str, path: str, replace: bool) -> tuple[int, _ArchivedRow]:
    """Serve what an archive holds, every byte verified; the number that it is served under."""

def holds_other_files(folder: str) -> bool:
    """Whether more lies in a folder than an index consists of, whole or half made.

    Raises:
        StoreError: the folder cannot be listed.
    """
