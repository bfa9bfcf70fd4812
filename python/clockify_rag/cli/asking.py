"""``search`` and ``ask``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag import errors
from clockify_rag.cli import opening, output
from clockify_rag.contracts import Answer, Failure

if TYPE_CHECKING:
    from clockify_rag.index import LocalIndex

KINDS: Final = ("text", "list", "table", "code", "glossary", "faq", "image", "hub")
"""The kinds of chunks."""

REFUSED: Final = 7
"""The exit status of a refusal, for those who ask for it."""

DIFFERENT: Final = 8
"""The exit status where the same question was answered in two ways."""


def search(
    question: str,
    *,
    index: str | None,
    top_k: int | None,
    filters: Sequence[str],
    lexical: bool,
    reranker: str | None,
    as_json: bool,
) -> None:
    """Print the ranking for ``question``."""
    wanted = opening.parse_filters(filters)
    configuration = opening.load(
        ("index.path", "--index", index),
        ("retrieval.top_k", "--top-k", top_k),
        ("retrieval.lexical", "--lexical", lexical or None),
        ("reranking.reranker", "--reranker", reranker),
    )
    retrieval = configuration.settings.retrieval
    pipeline = opening.pipeline(configuration)
    result = pipeline.search(opening.typed(question), top_k=retrieval.top_k, filters=wanted, lexical=retrieval.lexical)
    if wanted and not result.hits:
        tell_unknown(pipeline.index, wanted)
    output.note_degraded(result.degraded)
    if as_json:
        output.print_json(output.search_fields(result))
        return
    output.print_hits(output.Printer(), result.hits)
    if not result.hits:
        output.note("no hits")
    elif result.lexical_only:
        output.note("searched words only, without vectors")


def ask(
    question: str,
    *,
    index: str | None,
    top_k: int | None,
    filters: Sequence[str],
    lexical: bool,
    reranker: str | None,
    generator: str | None,
    model: str | None,
    fail_on_refusal: bool,
    check_determinism: bool,
    no_cache: bool,
    as_json: bool,
) -> int:
    """Print the answer to ``question`` and return the exit status."""
    wanted = opening.parse_filters(filters)
    configuration = opening.load(
        ("index.path", "--index", index),
        ("retrieval.top_k", "--top-k", top_k),
        ("retrieval.lexical", "--lexical", lexical or None),
        ("reranking.reranker", "--reranker", reranker),
        ("generation.generator", "--generator", generator),
        ("generation.model", "--model", model),
        ("cache.enabled", "--no-cache", False if no_cache or check_determinism else None),
    )
    retrieval = configuration.settings.retrieval
    pipeline = opening.pipeline(configuration)

    def answered() -> Answer:
        return pipeline.ask(
            opening.typed(question),
            top_k=retrieval.top_k,
            filters=wanted,
            lexical=retrieval.lexical,
            # An answer that was kept would be equal to itself.
            cached=not check_determinism,
        )

    answer = answered()
    same = _same(answer, answered()) if check_determinism else None
    if wanted and not answer.hits:
        tell_unknown(pipeline.index, wanted)
    output.note_degraded(answer.degraded)
    if as_json:
        fields = output.answer_fields(answer)
        if answer.failure is not None:
            fields["error"] = answer.failure
        if same is not None:
            fields["deterministic"] = same
        output.print_json(fields)
    else:
        _print_answer(output.Printer(), answer)
    if same is not None:
        output.note(f"asked twice: the answers {'are equal' if same else 'differ'}")
    if answer.incomplete:
        output.note("the answer is incomplete: it broke off")
    if answer.failure is not None:
        output.note(f"error: {answer.failure.message}")
        if answer.failure.hint:
            output.note(f"hint: {answer.failure.hint}")
        return _status(answer.failure)
    if same is False:
        return DIFFERENT
    return REFUSED if answer.refused and fail_on_refusal else 0


def _same(answer: Answer, again: Answer) -> bool:
    """Say whether two answers are equal but for what they took."""
    return msgspec.structs.replace(answer, timings_ms={}) == msgspec.structs.replace(again, timings_ms={})


def tell_unknown(
    index: LocalIndex, filters: Mapping[str, Sequence[str]], option: str = "--filter {field}={value}"
) -> None:
    """Warn of the values of ``filters`` that nothing in the index has; ``option`` is how another is typed."""
    known: dict[str, dict[str, str]] = {field: {} for field in opening.FILTER_FIELDS}
    known["kind"] = {kind: kind for kind in KINDS}
    for page in index.documents():
        for field, found in (
            ("source", [page.source]),
            ("language", [page.language]),
            ("tags", page.tags),
            ("version", [page.version or ""]),
        ):
            known[field].update((value, value) for value in found if value)
    for field, values in filters.items():
        for value in values:
            if value in known[field]:
                continue
            output.note(f"warning: the index has nothing of {field} {value}")
            near = opening.nearest(value, known[field])
            there = ", ".join(sorted(known[field])[:10])
            if near:
                output.note(f"hint: {option.format(field=field, value=near)}")
            elif there:
                output.note(f"hint: there are: {there}")


def print_tree(printer: output.Printer, value: Mapping[str, Any], indent: int = 0) -> None:
    """Print nested values as indented lines ``name: value``."""
    margin = "  " * indent
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            printer.line(f"{margin}{name}:", "bold")
            print_tree(printer, inner, indent + 1)
        elif isinstance(inner, list | tuple) and any(isinstance(item, Mapping) for item in inner):
            printer.line(f"{margin}{name}:", "bold")
            for number, item in enumerate(inner, start=1):
                printer.line(f"{margin}  {number}.")
                print_tree(printer, item if isinstance(item, Mapping) else {"value": item}, indent + 2)
        else:
            printer.line(f"{margin}{name}: {output.scalar(inner)}")


def _print_answer(printer: output.Printer, answer: Answer) -> None:
    if answer.failure is not None and not answer.answer:
        output.print_hits(printer, answer.hits)
        return
    for line in answer.answer.splitlines():
        printer.line(line)
    if answer.citations:
        printer.line()
    for citation in answer.citations:
        printer.line(f"[{citation.marker}] {output.one_line(output.citation_place(citation))}", "cyan")
        printer.line(f'    "{output.one_line(citation.quote)}"')
    output.note_unproved(answer)
    if answer.refused:
        output.note(f"refused: {answer.reason}")
    if answer.sent_to:
        output.note(f"the question was sent to {', '.join(answer.sent_to)}")


def _status(failure: Failure) -> int:
    """Return the exit status of the error that a failure tells of."""
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.ClockifyRagError) and error.code == failure.code:
            return error.exit_code
    return errors.BackendError.exit_code
