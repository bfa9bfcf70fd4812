"""``explain`` and ``why-not``: the way of a question, and where a page was lost on it, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag.cli import opening, output, tables
from clockify_rag.cli.tables import Column

if TYPE_CHECKING:
    from clockify_rag.explaining import ExplainedHit, Explanation, WhyNot
    from clockify_rag.pipeline import Pipeline

LETTERED_HITS: Final = 3
"""Hits whose BM25F is shown letter by letter; ``--json`` has all."""

FIELDS: Final = ("title", "headings", "body")
"""BM25F's fields."""

STAGES: Final = {
    "index": "not in the index",
    "filter": "filtered",
    "match": "no match",
    "candidates": "below the candidates",
    "fuse": "outranked",
    "repeat": "outranked by its own section",
    "diversity": "outranked for variety",
    "fold": "named by a hit that says the same",
    "cap": "behind others of its page",
    "prefer": "outranked by other wordings or the glossary",
    "rerank": "outranked by the reranker",
    "judge": "found, and the question refused",
    "pack": "found, not shown to the generator",
    "generate": "shown, not used",
    None: "cited",
}
"""How each stage at which a page can be lost is shown."""


def explain(
    question: str,
    target: str | None,
    *,
    index: str | None,
    top_k: int | None,
    filters: Sequence[str],
    lexical: bool,
    as_json: bool,
) -> None:
    """Print why hits stand where they stand."""
    from clockify_rag.explaining import explain as explained

    wanted = opening.parse_filters(filters)
    configuration = opening.load(("index.path", "--index", index), ("retrieval.top_k", "--top-k", top_k))
    pipeline = opening.pipeline(configuration)
    question = opening.typed(question)
    explanation = explained(pipeline, question, *_chunks(pipeline, target), filters=wanted, lexical=lexical)
    if as_json:
        output.print_json(msgspec.structs.asdict(explanation))
    else:
        print_explanation(output.Printer(), explanation)


def why_not(
    question: str,
    document: str,
    *,
    index: str | None,
    top_k: int | None,
    filters: Sequence[str],
    lexical: bool,
    as_json: bool,
) -> None:
    """Print where a page was lost on the way into an answer."""
    from clockify_rag.explaining import why_not as explained

    wanted = opening.parse_filters(filters)
    configuration = opening.load(("index.path", "--index", index), ("retrieval.top_k", "--top-k", top_k))
    pipeline = opening.pipeline(configuration)
    found = explained(pipeline, opening.typed(question), opening.typed(document), filters=wanted, lexical=lexical)
    if as_json:
        output.print_json(msgspec.structs.asdict(found))
    else:
        print_why_not(output.Printer(), found)


def _chunks(pipeline: Pipeline, target: str | None) -> list[str]:
    """The chunk ``target``, or every chunk of the page that it names."""
    if target is None:
        return []
    if pipeline.index.chunk(target) is not None:
        return [target]
    return [chunk.id for chunk in pipeline.index.chunks(pipeline.index.find(opening.typed(target)).id)]


def print_explanation(printer: output.Printer, explanation: Explanation) -> None:
    """Print the way of a question, stage by stage."""
    parts = (
        ("Understood", _understood(explanation)),
        ("Retrieved", _retrieved(explanation)),
        ("Ranked", _ranked(explanation)),
        ("BM25F of the best", _lettered(explanation)),
        ("Cut", _cut(explanation)),
        ("Judged", _judged(explanation)),
    )
    printer.line(explanation.question, "bold")
    for heading, lines in parts:
        shown = list(lines)
        if shown:
            printer.line()
            printer.line(heading, "bold cyan")
            for line in shown:
                printer.line(line)


def _understood(explanation: Explanation) -> Iterator[str]:
    yield from tables.wrapped(f"language {explanation.language}, searched: {', '.join(explanation.searched) or '-'}")
    yield from tables.wrapped(f"terms: {', '.join(explanation.terms) or '-'}", hanging=9)
    for step in explanation.trace:
        if step.stage == "understand":
            details = {name: value for name, value in step.details.items() if name != "language"}
            if details:
                yield from tables.wrapped(f"{step.name}: {_details(details)}", hanging=4)
    for field, values in explanation.filters.items():
        yield from tables.wrapped(f"only {field} {' or '.join(values)}")


def _retrieved(explanation: Explanation) -> Iterator[str]:
    fusion, cuts = explanation.fusion, {cut.unit: cut for cut in explanation.cuts if cut.unit in {"BM25F", "cosine"}}
    yield f"  generation {explanation.generation}: {explanation.documents:,} pages, {explanation.passages:,} passages"
    rows = []
    found = (("words", explanation.by_words, "BM25F"), ("meaning", explanation.by_meaning, "cosine"))
    for name, count, unit in found[: 1 if fusion.lexical_only else 2]:
        cut = cuts.get(unit)
        missed = "" if cut is None else f"{cut.place} by {cut.short_by:.4f} {unit}"
        rows.append([f"by {name}", f"{count:,}", f"{min(count, fusion.candidates):,}", missed])
    columns = [
        Column("", "left"),
        Column("found"),
        Column("candidates"),
        Column("the first that was cut", "left", stretches=True),
    ]
    yield from tables.table(columns, rows)
    own = 1 - fusion.document_weight
    yield from tables.wrapped(
        f"relevance = {own:g} * passage + {fusion.document_weight:g} * page, each "
        + (
            f"bm25 / bm25_max + {fusion.dense_weight:g} * cosine"
            if fusion.dense_weight is not None
            else "bm25 / bm25_max"
        ),
        hanging=14,
    )
    yield (
        f"  bm25_max {fusion.bm25_max:.3f} of a passage, {fusion.document_bm25_max:.3f} of a page; "
        f"repeats of a section * {fusion.repeat_weight:g}"
    )


def _ranked(explanation: Explanation) -> Iterator[str]:
    if not explanation.hits:
        yield "  no hits"
        return
    # Where nothing was taken off, one column says both.
    is_whole = all(hit.score == hit.scores.fused for hit in explanation.hits)
    columns = [
        Column("#"),
        Column("score"),
        Column("" if is_whole else "fused"),
        Column("BM25"),
        Column("nth"),
        Column("cos"),
        Column("nth"),
        Column("page"),
        Column("cos"),
        Column("", "left"),
        Column("section", "left", stretches=True),
    ]
    rows = []
    for hit in explanation.hits:
        scores = hit.scores
        rows.append(
            [
                str(hit.rank),
                f"{hit.score:.3f}",
                "" if is_whole else f"{scores.fused:.3f}",
                _number(scores.bm25, 2),
                _rank(hit.lexical_rank),
                _number(scores.cosine, 2),
                _rank(hit.dense_rank),
                _number(scores.document_bm25, 1),
                _number(scores.document_cosine, 2),
                "*" if hit.packed else "",
                _section(hit),
            ]
        )
    yield from tables.table(columns, rows)
    shown = sum(hit.packed for hit in explanation.hits)
    yield from tables.wrapped(
        f"* shown to the generator: {shown} of {len(explanation.hits)}, {explanation.tokens:,} tokens"
    )
    moved = [hit for hit in explanation.hits if hit.repeated_rank is not None and hit.repeated_rank != hit.rank]
    if moved:
        places = ", ".join(f"{hit.repeated_rank} to {hit.rank}" for hit in moved)
        yield from tables.wrapped(f"moved after fusion: {places}")


def _section(hit: ExplainedHit) -> str:
    headings = [hit.title, *(heading for heading in hit.heading_path if heading != hit.title)]
    return " > ".join(headings)


def _lettered(explanation: Explanation) -> Iterator[str]:
    """The textbook's letters: what the terms have in common, then each of the best hits."""
    of_hits = [(hit.rank, hit.bm25["chunk"]) for hit in explanation.hits[:LETTERED_HITS] if hit.bm25["chunk"]["terms"]]
    lettered = [*of_hits, *(("-", chunk["chunk"]) for chunk in explanation.chunks if chunk["chunk"]["terms"])]
    if not lettered:
        return
    first = lettered[0][1]["terms"][0]
    weights = ", ".join(f"{name} {first['fields'][name]['weight']:g}" for name in FIELDS)
    averages = ", ".join(f"{name} {first['fields'][name]['avgdl']:.1f}" for name in FIELDS)
    yield f"  k1 {first['k1']:.3g}, b {first['fields']['body']['b']:.3g}, N {first['N']:,}; weights: {weights}"
    yield f"  avgdl: {averages}"
    columns = [
        Column("#"),
        Column("term", "left", stretches=True),
        Column("df"),
        Column("idf"),
        *(Column(f"{name} tf/dl") for name in FIELDS),
        Column("tf'"),
        Column("score"),
    ]
    rows = []
    for rank, bm25 in lettered:
        for number, term in enumerate(bm25["terms"]):
            fields = [f"{term['fields'][name]['tf']}/{term['fields'][name]['dl']}" for name in FIELDS]
            rows.append(
                [
                    "" if number else str(rank),
                    term["term"],
                    f"{term['df']:,}",
                    f"{term['idf']:.3f}",
                    *fields,
                    f"{term['tf']:.3f}",
                    f"{term['score']:.3f}",
                ]
            )
    yield from tables.table(columns, rows)
    yield from tables.wrapped(
        "tf' = sum of weight * tf / (1 - b + b * dl / avgdl); score = idf * (k1 + 1) * tf' / (tf' + k1)"
    )


def _cut(explanation: Explanation) -> Iterator[str]:
    rows = []
    for cut in explanation.cuts:
        short = "" if cut.short_by is None else f"{cut.short_by:.4g} {cut.unit}"
        rows.append([f"{cut.limit} = {cut.value:g}", f"{cut.count:,}", short, cut.place or ""])
    if rows:
        columns = [
            Column("limit", "left"),
            Column("cut"),
            Column("short by"),
            Column("the best of them", "left", stretches=True),
        ]
        yield from tables.table(columns, rows)


def _judged(explanation: Explanation) -> Iterator[str]:
    if explanation.confidence is None:
        return
    said = "answered" if explanation.refusal is None else f"refused, {explanation.refusal}"
    yield (
        f"  confidence {explanation.confidence:.3f}, needed {explanation.threshold:.3f} "
        f"(calibration {explanation.calibration}): {said}"
    )


def print_why_not(printer: output.Printer, found: WhyNot) -> None:
    """Print where a page was lost."""
    printer.line(found.question, "bold")
    title = found.document if found.title is None else f"{found.title} ({found.url or found.path})"
    printer.line(output.one_line(title), "cyan")
    printer.line()
    printer.line(STAGES[found.stage], "bold")
    for line in tables.wrapped(found.verdict):
        printer.line(line)
    if found.best is not None:
        _print_standing(printer, found)
    if found.remedies:
        printer.line()
        printer.line("What would bring it in", "bold cyan")
        for remedy in found.remedies:
            for line in tables.wrapped(f"- {remedy.message}", hanging=4):
                printer.line(line)


def _print_standing(printer: output.Printer, found: WhyNot) -> None:
    best = found.best
    if best is None:
        return
    printer.line()
    section = " > ".join(best.heading_path)
    printer.line("Its best passage" + (f": {output.one_line(section)}" if section else ""), "bold cyan")
    scores = best.scores
    rows = [
        ["by words", _number(scores.bm25, 3), _rank(best.lexical_rank)],
        ["by meaning", _number(scores.cosine, 3), _rank(best.dense_rank)],
        ["fused", f"{scores.fused:.3f}" if best.fused_rank is not None else "-", _rank(best.fused_rank)],
        ["within its section", "", _rank(best.repeated_rank)],
        ["among the hits", "", _rank(best.rank)],
    ]
    for line in tables.table([Column("", "left"), Column("score"), Column("place")], rows):
        printer.line(line)
    if found.held or found.missing:
        words = f"words on the page: {', '.join(found.held) or '-'}; missing: {', '.join(found.missing) or '-'}"
        for line in tables.wrapped(words):
            printer.line(line)


def _details(details: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {output.scalar(value)}" for name, value in details.items())


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _rank(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
