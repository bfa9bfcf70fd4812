# No `from __future__ import annotations` here: the parser would have to evaluate every annotation again at each start.
"""What can be typed: commands, arguments and options. What a command does is imported when it is run."""

import sys
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

Question = Annotated[
    str, typer.Argument(metavar="QUESTION", help="The question, in quotation marks.", show_default=False)
]
IndexFolder = Annotated[
    str | None,
    typer.Option(
        "--index", metavar="DIR", help="Folder of the index. [default: the configuration's, else .clockify-rag]"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TopK = Annotated[int | None, typer.Option("--top-k", metavar="N", help="Hits to return. [default: 12]")]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FIELD=VALUE",
        help="Only chunks where source, language, kind, tags or version is VALUE. Repeat it: one value of each field must match.",
    ),
]
Generation = Annotated[
    str | None,
    typer.Argument(metavar="[GENERATION|TAG]", help="Number or tag. [default: the one served]", show_default=False),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Give no answer that was made before, and keep none.")]
Lexical = Annotated[bool, typer.Option("--lexical", help="Search words only, without vectors.")]
Reranker = Annotated[
    str | None,
    typer.Option(
        "--reranker", metavar="NAME", help="What orders the hits again: mmr, cross-encoder, llm, none. [default: mmr]"
    ),
]


class PipeClosedError(Exception):
    """The reader of standard output went away."""


class _Plain:
    """Converts parameters here, and lets a closed pipe pass the parser.

    The parser would validate each parameter by a pydantic adapter, whose import takes longer than a search; ours are strings,
    whole numbers, flags and lists of strings. On a closed pipe it would end the process with a status of its own.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, help included."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            parameter.process_value = partial(_convert, parameter)
        return parameters

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse; prints help where it is asked for."""
        try:
            return super().make_context(*arguments, **options)  # type: ignore[misc]
        except BrokenPipeError as error:
            raise PipeClosedError from error

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)  # type: ignore[misc]
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise PipeClosedError from error
        return result


class PlainCommand(_Plain, TyperCommand):
    """A command."""


class PlainGroup(_Plain, TyperGroup):
    """A group of commands."""


app = typer.Typer(
    cls=PlainGroup,
    help="Answer questions from documentation, on this machine, and prove what is quoted.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(cls=PlainGroup, help="Show settings.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")
faq_app = typer.Typer(cls=PlainGroup, help="Answer questions beforehand.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(faq_app, name="faq")
glossary_app = typer.Typer(cls=PlainGroup, help="Work on the glossary.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(glossary_app, name="glossary")


def command() -> Any:
    """Return the parser."""
    return typer.main.get_command(app)


@app.callback(invoke_without_command=True)
def clockify_rag(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell on standard error what is done.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Answer questions from documentation, on this machine, and prove what is quoted."""
    if version:
        from clockify_rag import __version__

        print(f"clockify-rag {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)
    if verbose:
        import logging

        from clockify_rag.telemetry import log_to_stderr

        log_to_stderr(logging.DEBUG)


@app.command(cls=PlainCommand)
def init(
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
) -> None:
    """Write a commented clockify-rag.toml for this folder."""
    from clockify_rag.cli import configuring

    configuring.init(force=force)


@app.command(cls=PlainCommand)
def build(  # noqa: PLR0913, PLR0917 - each is an option
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Folders, files, archives or sites. [default: the configuration's]"),
    ] = None,
    index: IndexFolder = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Address under which the pages are published.")
    ] = None,
    url_style: Annotated[
        str | None,
        typer.Option("--url-style", metavar="STYLE", help="How a path becomes an address: html, directory or md."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the source. [default: its folder's or archive's]"),
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="CODE", help="Language of pages that do not say theirs.")
    ] = None,
    only: Annotated[bool, typer.Option("--only", help="Remove every other source from the index.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Build nothing if a page cannot be read.")] = False,
    checksum: Annotated[bool, typer.Option("--checksum", help="Read every file, even if it looks unchanged.")] = False,
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Follow a source that lost most of its pages.")
    ] = False,
    no_ignore: Annotated[
        bool, typer.Option("--no-ignore", help="Read hidden, ignored, dependency and build paths too.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Read sites from the pages that are kept, and ask for nothing.")
    ] = False,
    embedder: Annotated[
        str | None, typer.Option("--embedder", metavar="NAME", help="Component that embeds. [default: static]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the index from sources, or update it."""
    from clockify_rag.cli import building

    raise typer.Exit(
        building.build(
            sources or [],
            index=index,
            changes={"base_url": base_url, "url_style": url_style, "name": name, "language": language},
            only=only,
            strict=strict,
            checksum=checksum,
            allow_shrink=allow_shrink,
            no_ignore=no_ignore,
            offline=offline,
            embedder=embedder,
            as_json=as_json,
        )
    )


@app.command(cls=PlainCommand)
def crawl(  # noqa: PLR0913, PLR0917 - each is an option
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Where to begin. The crawl stays on that host, in that folder.", show_default=False
        ),
    ],
    index: IndexFolder = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the source. [default: its host and folder]")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="PATTERN", help="Paths to read. Repeat it. [default: all]")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="Paths to leave out. Repeat it.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", help="Links from the start to a page. [default: 32]")
    ] = None,
    maximum_pages: Annotated[
        int | None, typer.Option("--maximum-pages", metavar="N", help="Pages to read. [default: 10000]")
    ] = None,
    maximum_bytes: Annotated[
        int | None,
        typer.Option("--maximum-bytes", metavar="N", help="Bytes of all pages together. [default: 2000000000]"),
    ] = None,
    per_host: Annotated[
        int | None, typer.Option("--per-host", metavar="N", help="Requests at one time. [default: 2]")
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-language", metavar="CODE", help="Keep pages in this language. Repeat it. [default: the start's]"
        ),
    ] = None,
    versions: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-version", metavar="NAME", help="Keep pages of this version. Repeat it. [default: the best]"
        ),
    ] = None,
    private_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-private-host", metavar="HOST[:PORT]", help="A host that may have a private address. Repeat it."
        ),
    ] = None,
    only: Annotated[bool, typer.Option("--only", help="Remove every other source from the index.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a site and build the index from it, or update it."""
    from clockify_rag.cli import crawling

    raise typer.Exit(
        crawling.crawl(
            url,
            index=index,
            changes={
                "name": ("--name", name),
                "include": ("--include", include),
                "exclude": ("--exclude", exclude),
                "depth": ("--depth", depth),
                "maximum_pages": ("--maximum-pages", maximum_pages),
                "maximum_bytes": ("--maximum-bytes", maximum_bytes),
                "per_host": ("--per-host", per_host),
                "languages": ("--keep-language", languages),
                "versions": ("--keep-version", versions),
            },
            private_hosts=private_hosts or [],
            only=only,
            as_json=as_json,
        )
    )


@app.command(cls=PlainCommand)
def watch(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Folders, files, archives or sites. [default: the configuration's]"),
    ] = None,
    index: IndexFolder = None,
    settle: Annotated[
        str | None,
        typer.Option(
            "--settle", metavar="SECONDS", help="How long nothing must change before it builds. [default: 0.3]"
        ),
    ] = None,
    poll: Annotated[
        bool, typer.Option("--poll", help="Look at every file each second, where the system tells of no changes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Keep the index up to date with its sources until stopped."""
    from clockify_rag.cli import watching

    raise typer.Exit(watching.watch(sources or [], index=index, settle=settle, poll=poll, as_json=as_json))


@app.command(cls=PlainCommand)
def search(
    question: Question,
    index: IndexFolder = None,
    top_k: TopK = None,
    filters: Filters = None,
    lexical: Lexical = False,
    reranker: Reranker = None,
    as_json: AsJson = False,
) -> None:
    """Find the sections that a question is about."""
    from clockify_rag.cli import asking

    asking.search(
        question,
        index=index,
        top_k=top_k,
        filters=filters or [],
        lexical=lexical,
        reranker=reranker,
        as_json=as_json,
    )


@app.command(cls=PlainCommand)
def ask(
    question: Question,
    index: IndexFolder = None,
    top_k: TopK = None,
    filters: Filters = None,
    lexical: Lexical = False,
    reranker: Reranker = None,
    generator: Annotated[
        str | None, typer.Option("--generator", metavar="NAME", help="Component that writes. [default: extractive]")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Model of the generator.")] = None,
    fail_on_refusal: Annotated[
        bool, typer.Option("--fail-on-refusal", help="End with status 7 if the documentation does not say.")
    ] = False,
    check_determinism: Annotated[
        bool, typer.Option("--check-determinism", help="Ask twice, and end with status 8 if the answers differ.")
    ] = False,
    no_cache: NoCache = False,
    as_json: AsJson = False,
) -> None:
    """Answer a question with citations, or refuse."""
    from clockify_rag.cli import asking

    raise typer.Exit(
        asking.ask(
            question,
            index=index,
            top_k=top_k,
            filters=filters or [],
            lexical=lexical,
            reranker=reranker,
            generator=generator,
            model=model,
            fail_on_refusal=fail_on_refusal,
            check_determinism=check_determinism,
            no_cache=no_cache,
            as_json=as_json,
        )
    )


@app.command(cls=PlainCommand)
def chat(
    index: IndexFolder = None,
    top_k: TopK = None,
    filters: Filters = None,
    lexical: Lexical = False,
    generator: Annotated[
        str | None, typer.Option("--generator", metavar="NAME", help="Component that writes. [default: extractive]")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Model of the generator.")] = None,
    no_cache: NoCache = False,
) -> None:
    """Answer questions one after the other."""
    from clockify_rag.cli import chatting

    raise typer.Exit(
        chatting.chat(
            index=index,
            top_k=top_k,
            filters=filters or [],
            lexical=lexical,
            generator=generator,
            model=model,
            no_cache=no_cache,
        )
    )


@app.command(cls=PlainCommand)
def explain(
    question: Question,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[CHUNK|DOCUMENT]",
            help="Id of a chunk, or a page: its BM25F too, whether it was found or not.",
            show_default=False,
        ),
    ] = None,
    index: IndexFolder = None,
    top_k: TopK = None,
    filters: Filters = None,
    lexical: Lexical = False,
    as_json: AsJson = False,
) -> None:
    """Tell why hits stand where they stand, and what each limit cut."""
    from clockify_rag.cli import explaining

    explaining.explain(
        question, target, index=index, top_k=top_k, filters=filters or [], lexical=lexical, as_json=as_json
    )


@app.command("why-not", cls=PlainCommand)
def why_not(
    question: Question,
    document: Annotated[
        str,
        typer.Argument(metavar="DOCUMENT", help="Id, path, source/path or address of the page.", show_default=False),
    ],
    index: IndexFolder = None,
    top_k: TopK = None,
    filters: Filters = None,
    lexical: Lexical = False,
    as_json: AsJson = False,
) -> None:
    """Tell where a page was lost on the way into an answer, by how much, and what would bring it in."""
    from clockify_rag.cli import explaining

    explaining.why_not(
        question, document, index=index, top_k=top_k, filters=filters or [], lexical=lexical, as_json=as_json
    )


@app.command("eval", cls=PlainCommand)
def evaluate(  # noqa: PLR0913, PLR0917 - each is an option
    questions: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTIONS", help="File of golden questions, or folder in BEIR's layout.", show_default=False
        ),
    ] = None,
    queries: Annotated[
        str | None, typer.Option("--queries", metavar="FILE", help="BEIR's questions. [default: queries.jsonl]")
    ] = None,
    qrels: Annotated[
        str | None, typer.Option("--qrels", metavar="FILE", help="BEIR's judgements. [default: qrels/SPLIT.tsv]")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Which judgements. [default: the only ones, or test]")
    ] = None,
    index: IndexFolder = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME@K",
            help="ndcg, mrr, recall, precision, map or hit, k from 1 to 1000. Repeat it. "
            "[default: ndcg@10, mrr@10, recall@5, hit@5]",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar="N", help="Hits to search. [default: 100, or what the metrics need]"),
    ] = None,
    lexical: Lexical = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting, such as retrieval.k1=0.9. Repeat it."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Also measure each stage, and the ranking without each option.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Count labels that the index lacks as not found.")
    ] = False,
    per_question: Annotated[bool, typer.Option("--per-question", help="Also print each question.")] = False,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            metavar="NAME@K=VALUE",
            help="End with status 8 if the metric is below. Repeat it; section:NAME@K is that of sections.",
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="BEFORE AFTER", help="Compare two files that --json wrote."),
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write JSON to FILE, or print it for -.")
    ] = None,
    markdown: Annotated[
        str | None, typer.Option("--markdown", metavar="FILE", help="Write Markdown to FILE, or print it for -.")
    ] = None,
    plot: Annotated[str | None, typer.Option("--plot", metavar="FILE.svg", help="Draw the figures.")] = None,
) -> None:
    """Measure how well the index answers questions with known answers."""
    from clockify_rag.cli import evaluating

    outputs = evaluating.Outputs(json=json, markdown=markdown, plot=plot, per_question=per_question)
    if compare is not None:
        given = (questions, queries, qrels, split, index, metrics, top_k, changes, fail_under)
        others = any(given) or lexical or ablation or allow_missing
        evaluating.compare(compare, outputs=outputs, others=others)
        return
    raise typer.Exit(
        evaluating.evaluate(
            {"path": questions, "queries": queries, "qrels": qrels, "split": split},
            index=index,
            metrics=metrics or [],
            top_k=top_k,
            lexical=lexical,
            changes=changes or [],
            ablation=ablation,
            allow_missing=allow_missing,
            fail_under=fail_under or [],
            outputs=outputs,
        )
    )


@app.command(cls=PlainCommand)
def calibrate(
    questions: Annotated[
        str,
        typer.Argument(
            metavar="QUESTIONS", help="File of golden questions, or folder in BEIR's layout.", show_default=False
        ),
    ],
    index: IndexFolder = None,
    false_refusal_rate: Annotated[
        str, typer.Option("--false-refusal-rate", metavar="SHARE", help="Answerable questions that may be refused.")
    ] = "0.05",
    file: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="FILE", help="Where to write. [default: calibration.json in the index folder]"
        ),
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE.svg", help="Draw reliability and risk by coverage.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit the probability that the documentation answers, and the threshold of refusal, to labelled questions."""
    from clockify_rag.cli import calibrating

    calibrating.calibrate(questions, index=index, rate=false_refusal_rate, file=file, plot=plot, as_json=as_json)


@app.command(cls=PlainCommand)
def show(
    document: Annotated[
        str, typer.Argument(metavar="DOCUMENT[#ANCHOR]", help="Id, path, source/path or address.", show_default=False)
    ],
    span: Annotated[
        str | None,
        typer.Option("--span", metavar="A:B", help="Only the characters from A up to B, as a citation names them."),
    ] = None,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Print a page, a section, or a citation's span."""
    from clockify_rag.cli import reading

    reading.show(document, span=span, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def documents(
    source: Annotated[str | None, typer.Option("--source", metavar="NAME", help="Only those of this source.")] = None,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """List the pages of the index."""
    from clockify_rag.cli import reading

    reading.documents(source=source, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def info(index: IndexFolder = None, as_json: AsJson = False) -> None:
    """Tell what the index holds and what made it."""
    from clockify_rag.cli import reading

    reading.info(index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def generations(index: IndexFolder = None, as_json: AsJson = False) -> None:
    """List the generations of the index, and what keeps each."""
    from clockify_rag.cli import generations as commands

    commands.generations(index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def tag(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, - _ and dots.", show_default=False)],
    generation: Generation = None,
    move: Annotated[bool, typer.Option("--move", help="Take the name from another generation that has it.")] = False,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Give a generation a name, which keeps it for ever."""
    from clockify_rag.cli import generations as commands

    commands.tag(name, generation, move=move, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def untag(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tag.", show_default=False)],
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Remove a tag."""
    from clockify_rag.cli import generations as commands

    commands.untag(name, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def rollback(
    generation: Annotated[
        str | None,
        typer.Argument(
            metavar="[GENERATION|TAG]", help="What to serve again. [default: the one before]", show_default=False
        ),
    ] = None,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Serve the state of a former generation again, as a new one."""
    from clockify_rag.cli import generations as commands

    commands.rollback(generation, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Remove generations that nothing keeps, and what killed builds left."""
    from clockify_rag.cli import generations as commands

    commands.gc(dry_run=dry_run, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Number or tag.", show_default=False)],
    after: Annotated[
        str | None,
        typer.Argument(metavar="[AFTER]", help="Number or tag. [default: the one served]", show_default=False),
    ] = None,
    questions: Annotated[
        str | None, typer.Option("--questions", metavar="FILE", help="Golden questions to search in both.")
    ] = None,
    lexical: Lexical = False,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Tell what differs between two generations, and which questions notice."""
    from clockify_rag.cli import generations as commands

    commands.diff(before, after, questions=questions, lexical=lexical, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def snapshot(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The archive to write.", show_default=False)],
    generation: Generation = None,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write a generation into one portable file."""
    from clockify_rag.cli import generations as commands

    commands.snapshot(file, generation, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What snapshot wrote.", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Serve it in place of the index that is there.")] = False,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Serve what a snapshot holds, after every byte was verified."""
    from clockify_rag.cli import generations as commands

    commands.restore(file, replace=replace, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def verify(
    every: Annotated[bool, typer.Option("--all", help="All generations and tags.")] = False,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="RATE", help="Read no faster than this, such as 20MB/s.")
    ] = None,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare every byte of the index with its hash."""
    from clockify_rag.cli import generations as commands

    raise typer.Exit(commands.verify(every=every, rate=rate, index=index, as_json=as_json))


@app.command(cls=PlainCommand)
def migrate(index: IndexFolder = None, as_json: AsJson = False) -> None:
    """Bring an index of an older format to the present one."""
    from clockify_rag.cli import generations as commands

    commands.migrate(index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def remove(
    documents: Annotated[
        list[str] | None,
        typer.Argument(metavar="DOCUMENT...", help="Ids, paths, source/path or addresses.", show_default=False),
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="NAME", help="All pages of this source. Repeat it.")
    ] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Leave no byte of them: rewrite former generations, clear the cache.")
    ] = False,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Remove pages from the index."""
    from clockify_rag.cli import changing

    changing.remove(documents or [], sources=source or [], purge=purge, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def repair(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Where lost pages are read again. [default: the configuration's]"),
    ] = None,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Heal a damaged index from what is left of it."""
    from clockify_rag.cli import changing

    raise typer.Exit(changing.repair(sources or [], index=index, as_json=as_json))


@app.command(cls=PlainCommand)
def reembed(
    model: Annotated[
        str, typer.Argument(metavar="EMBEDDER[:MODEL]", help="For example ollama:nomic-embed-text.", show_default=False)
    ],
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Embed what is stored with another embedder."""
    from clockify_rag.cli import changing

    changing.reembed(model, index=index, as_json=as_json)


@app.command(cls=PlainCommand)
def doctor(
    index: IndexFolder = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Prove that building, searching and asking open no socket.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation, the configuration and the index."""
    from clockify_rag.cli import checking

    raise typer.Exit(checking.doctor(index=index, offline=offline, as_json=as_json))


@config_app.callback()
def config() -> None:
    """Show settings."""


@config_app.command("show", cls=PlainCommand)
def config_show(
    origin: Annotated[bool, typer.Option("--origin", help="Tell for each value what set it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting."""
    from clockify_rag.cli import configuring

    configuring.show(origin=origin, as_json=as_json)


@faq_app.callback()
def faq() -> None:
    """Answer questions beforehand."""


@faq_app.command("build", cls=PlainCommand)
def faq_build(
    questions: Annotated[
        str,
        typer.Argument(
            metavar="QUESTIONS",
            help="File with a question on each line, or with JSON lines that have one.",
            show_default=False,
        ),
    ],
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Answer a list of questions, so that ask gives these answers at once until the next generation."""
    from clockify_rag.cli import preparing

    raise typer.Exit(preparing.build(questions, index=index, as_json=as_json))


@glossary_app.callback()
def glossary() -> None:
    """Work on the glossary."""


@glossary_app.command("suggest", cls=PlainCommand)
def glossary_suggest(
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Terms at most. [default: 100]")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a glossary, once it is weeded.")] = False,
    index: IndexFolder = None,
    as_json: AsJson = False,
) -> None:
    """Suggest terms that the pages of the index seem to have."""
    from clockify_rag.cli import suggesting

    suggesting.suggest(limit=limit, index=index, as_csv=as_csv, as_json=as_json)


def _convert(parameter: Any, context: typer.Context, value: Any) -> Any:
    if value is None and (parameter.multiple or parameter.nargs == -1):
        value = ()
    if value is not None and parameter.type_descriptor.annotation is int:
        try:
            value = int(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not a whole number", ctx=context, param=parameter) from None
    if parameter.required and parameter.value_is_missing(value):
        from typer._click.exceptions import MissingParameter

        raise MissingParameter(ctx=context, param=parameter)
    return value if parameter.callback is None else parameter.callback(context, parameter, value)
