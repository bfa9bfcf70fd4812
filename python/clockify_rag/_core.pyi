"""The border: what the Rust core offers. Every call detaches from the interpreter while it computes.

Errors are those of ``clockify_rag.errors``; a panic in the core is raised as ``InternalError``.
"""

from collections.abc import Sequence
from typing import Literal, final

import numpy
from numpy.typing import NDArray

from clockify_rag.contracts import Block
from clockify_rag.errors import DocumentUnreadable

Format = Literal["markdown", "html", "text"]
Slugs = Literal["github", "docusaurus", "mkdocs", "sphinx", "gitlab"]

@final
class Page:
    """A parsed document: canonical text, blocks, and what the page says of itself."""

    @property
    def text(self) -> str: ...
    @property
    def blocks(self) -> list[Block]: ...
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

def parse(format: Format, contents: Sequence[bytes], slugs: Slugs | None = None) -> list[Page | DocumentUnreadable]:
    """Parse documents of one format on all threads; one that cannot be read is its error instead of a page."""

@final
class Tokenizer:
    """The WordPiece vocabulary in which chunks and budgets are counted."""

    def __new__(cls, path: str) -> Tokenizer: ...
    def count(self, texts: Sequence[str]) -> list[int]: ...

Piece = tuple[
    str,  # kind
    list[str],  # heading path
    str | None,  # anchor
    list[tuple[int, int]],  # spans, code points
    list[tuple[int, int]],  # repeated spans
    int,  # tokens
    int,  # ordinal among the chunks of this section and kind
    str,  # text
]

def chunk(pages: Sequence[Page], tokenizer: Tokenizer, target: int, maximum: int, overlap: float) -> list[list[Piece]]:
    """Cut pages by their structure on all threads."""

def detect_language(text: str, fallback: str) -> str:
    """The ISO 639-1 code of the language of ``text``, or ``fallback`` when it does not tell."""

def find_quote(quote: str, text: str) -> tuple[int, int] | None:
    """The code points of ``text`` that are ``quote`` after folding white space and typography."""

def closest_run(quote: str, text: str) -> tuple[int, int, float] | None:
    """The run of ``text`` most like ``quote``, and how alike they are, 0 to 1."""

@final
class StaticEmbedder:
    """A static embedding table in model2vec's layout, memory-mapped."""

    def __new__(cls, path: str) -> StaticEmbedder: ...
    @property
    def dimension(self) -> int: ...
    def fingerprint(self) -> str: ...
    def embed(self, texts: Sequence[str]) -> NDArray[numpy.float32]:
        """Unit vectors, shape ``(len(texts), dimension)``; a text without a known token is a row of zeros."""

def mmr(relevance: Sequence[float], vectors: NDArray[numpy.float32], mmr_lambda: float, k: int) -> list[int]: ...
