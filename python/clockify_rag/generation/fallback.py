"""Generators in order: where one fails, the next is asked, and the answer says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from clockify_rag.contracts import Context, Draft, Failure, Generator, Query
from clockify_rag.errors import BackendError


class FallbackGenerator:
    """Asks the first generator, and where that fails the next.

    A text that broke off counts as a failure, and is what is returned where all others fail too. A stream goes on to the next only
    before anything of it was written.

    Args:
        generators: for each what its drafts are to call it, empty where they need not, and itself; in the order of asking.
    """

    def __init__(self, generators: Sequence[tuple[str, Generator]]) -> None:
        self.generators = tuple(generators)

    @property
    def first(self) -> Generator:
        """The generator that is asked first."""
        return self.generators[0][1]

    @property
    def sent_to(self) -> tuple[str, ...]:
        """Hosts other than this machine that may see questions and passages."""
        hosts = (host for _, generator in self.generators for host in getattr(generator, "sent_to", ()))
        return tuple(dict.fromkeys(hosts))

    @property
    def streams(self) -> bool:
        """Whether ``generate`` tells of the text as it is written."""
        return any(getattr(generator, "streams", False) for _, generator in self.generators)

    def generate(self, query: Query, context: Context, *, written: Callable[[str], object] | None = None) -> Draft:
        """Return the first whole draft, with what failed before it.

        Args:
            query: what is asked.
            context: the passages.
            written: called with each piece of the text as it comes; where a text broke off, those of the next follow.

        Raises:
            BackendError: all failed, and none wrote anything; the first one's.
        """
        failures: list[Failure] = []
        hosts: list[str] = []
        partial: Draft | None = None
        first: BackendError | None = None
        for name, generator in self.generators:
            hosts += getattr(generator, "sent_to", ())
            try:
                told = {"written": written} if written is not None and getattr(generator, "streams", False) else {}
                draft = generator.generate(query, context, **told)
            except BackendError as error:
                first = first or error
                failures.append(Failure(code=error.code, message=error.message, hint=error.hint))
                continue
            draft = msgspec.structs.replace(draft, generator=name)
            if draft.failure is None:
                return msgspec.structs.replace(draft, degraded=tuple(failures), sent_to=tuple(dict.fromkeys(hosts)))
            partial = partial or draft
            failures.append(draft.failure)
        if partial is None:
            raise first or BackendError("no generator is configured")
        others = tuple(failure for failure in failures if failure is not partial.failure)
        return msgspec.structs.replace(partial, degraded=others, sent_to=tuple(dict.fromkeys(hosts)))

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the text of the first generator that writes any.

        Raises:
            BackendError: the last one failed, or one broke off in the middle.
        """
        last = len(self.generators) - 1
        for place, (_name, generator) in enumerate(self.generators):
            written = False
            try:
                for piece in generator.stream(query, context):
                    written = written or bool(piece)
                    yield piece
            except BackendError:
                if written or place == last:
                    raise
                continue
            return
