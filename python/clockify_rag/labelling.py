"""Questions of which it is known what answers them: read from files, and found again in an index.

Two layouts are read. *Golden questions* are JSON Lines, one question a line with what answers it, written by people beside their
documentation. *BEIR* is the layout of research collections: ``queries.jsonl`` and ``qrels/<split>.tsv`` in a folder. Both become
``LabelledQuestion``, whose labels are names as they were typed; ``judge`` turns them into ids of one index. What is wrong with a
file is an error that names the file and the line, because a label that silently matches nothing looks like a bad ranking.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar
from urllib.parse import unquote

import msgspec

from clockify_rag.contracts import digest
from clockify_rag.errors import EvaluationError, LabelsInvalid, LabelsUnknown, QueryError

if TYPE_CHECKING:
    from clockify_rag.contracts import Document, Hit
    from clockify_rag.index import LocalIndex

DEFAULT_SPLIT: Final = "test"
"""The split that is read of a BEIR collection which has several."""

NAMED_AT_MOST: Final = 3
"""How many names a message gives as examples."""

QRELS_COLUMNS: Final = 3
"""Query, document and grade."""

Item = TypeVar("Item")
SectionKey = tuple[str, str | None, tuple[str, ...]]
"""A section of an index: document id, anchor, headings from the page's title down."""


class Label(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page, or one section of a page, that answers a question."""

    names: tuple[str, ...]
    """What the page is called (path, ``source/path``, URL, id, or the end of a path): the first that the index knows counts."""
    anchor: str | None = None
    heading: str | None = None
    grade: int = 1
    """How well it answers, from 1."""

    def __str__(self) -> str:
        if self.anchor is not None:
            return f"{self.names[0]}#{self.anchor}"
        return self.names[0] if self.heading is None else f"{self.names[0]} ({self.heading})"


class LabelledQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question, and what is known about its answer."""

    id: str
    question: str
    labels: tuple[Label, ...] = ()
    """What answers it; for an unanswerable question what comes nearest."""
    answerable: bool = True
    facts: tuple[str, ...] = ()
    """What a right answer has to say; after ``re:`` a regular expression."""
    difficulty: str = ""
    tags: tuple[str, ...] = ()
    language: str = ""
    """ISO 639-1 code; empty when not told."""
    line: int = 0
    """Where it stands in its file, from 1."""


class LabelledQuestions(msgspec.Struct, frozen=True, kw_only=True):
    """The questions of one file or collection, in its order."""

    name: str
    """The file or folder as it was given."""
    layout: Literal["golden", "beir"]
    split: str | None = None
    """Of a BEIR collection."""
    questions: tuple[LabelledQuestion, ...]

    @property
    def fingerprint(self) -> str:
        """A hash of every question and its labels: two evaluations may be compared if it is the same."""
        return digest("labelled questions 1", *map(fingerprint, self.questions))

    @property
    def judged(self) -> tuple[LabelledQuestion, ...]:
        """The answerable questions with labels: those on which a ranking can be measured."""
        return tuple(question for question in self.questions if question.answerable and question.labels)


def fingerprint(question: LabelledQuestion) -> str:
    """Return a hash of what is asked and what would be right."""
    return digest("question 1", question.id, question.question, str(question.answerable), *map(repr, question.labels))


class Judgements(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of questions as ids of one index, with grades."""

    documents: Mapping[str, Mapping[str, int]]
    """Question id to document id to grade."""
    sections: Mapping[str, Mapping[str, int]]
    """Question id to a name of a section to grade; only questions that name sections."""
    members: Mapping[str, Mapping[SectionKey, str]]
    """Question id to a section of the index to the name in ``sections`` that it goes by."""
    missing: tuple[str, ...] = ()
    """Labels that the index has nothing for. They count as relevant and are never found."""

    def document_ranking(self, hits: Sequence[Hit]) -> list[str]:
        """Return the documents of hits, best first: a document stands where its best hit stands, or right behind one that names it."""
        return list(dict.fromkeys(key[0] for key in _shown_sections(hits)))

    def section_ranking(self, question_id: str, hits: Sequence[Hit]) -> list[str]:
        """Return the sections of hits, best first: a section stands where its best hit stands, or right behind one that names it."""
        names = self.members.get(question_id, {})
        return list(dict.fromkeys(names.get(key) or repr(key) for key in _shown_sections(hits)))


def _shown_sections(hits: Iterable[Hit]) -> Iterator[SectionKey]:
    """Yield the section of each hit, and behind it those that say the same, as a reader sees them."""
    for hit in hits:
        yield hit.document.id, hit.chunk.anchor, hit.chunk.heading_path
        for other in hit.duplicates:
            yield other.document_id, other.anchor, other.heading_path


@contextmanager
def searching(question: LabelledQuestion) -> Iterator[None]:
    """Name the question where it cannot be searched.

    Raises:
        EvaluationError: the question is empty or too long.
    """
    try:
        yield
    except QueryError as error:
        raise EvaluationError(
            f"question {question.id} cannot be searched: {error.message}", hint=error.hint, question=question.id
        ) from error


# Reading.


def read_questions(
    path: str | Path | None = None,
    *,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
    split: str | None = None,
) -> LabelledQuestions:
    """Read labelled questions.

    Args:
        path: a file of golden questions, or a folder in BEIR's layout.
        queries: BEIR's questions, by default ``queries.jsonl`` of the folder.
        qrels: BEIR's judgements, by default ``qrels/<split>.tsv`` of the folder.
        split: which judgements of a folder; by default the only ones, or ``test``.

    Raises:
        LabelsInvalid: a file cannot be read, is empty or contradicts itself. The message names the file and the line.
    """
    folder = None if path is None else Path(path)
    if folder is not None and not folder.is_dir():
        if queries is not None or qrels is not None or split is not None:
            raise LabelsInvalid(
                f"{folder} is a file of golden questions, which has neither queries, qrels nor splits",
                hint="give the folder of a BEIR collection, or --queries and --qrels without it",
                file=str(folder),
            )
        return _read_golden(folder)
    if folder is None and (queries is None or qrels is None):
        raise LabelsInvalid(
            "no questions were named", hint="name a file of golden questions, a BEIR folder, or --queries and --qrels"
        )
    root = folder or Path()
    if qrels is None:
        split, judgements = _split_of(root, split)
    else:
        judgements = Path(qrels)
        split = split or judgements.stem
    name = str(judgements if folder is None else folder)
    return _read_beir(name, split, Path(queries) if queries is not None else root / "queries.jsonl", judgements)


class _GoldenLine(msgspec.Struct, frozen=True):
    """A line of golden questions as it may be written; other fields are for people."""

    id: str | int | None = None
    question: str | None = None
    query: str | None = None
    relevant: list[str] | dict[str, Any] | None = None
    relevant_paths: list[str] | dict[str, Any] | None = None
    sections: list[tuple[str, str]] | None = None
    relevant_sections: list[tuple[str, str]] | None = None
    answerable: bool | None = None
    facts: list[str] = []
    difficulty: str | None = None
    tags: list[str] = []
    language: str | None = None


def _read_golden(file: Path) -> LabelledQuestions:
    questions: list[LabelledQuestion] = []
    lines: dict[str, int] = {}
    texts: dict[str, int] = {}
    graded: dict[bool, int] = {}
    for number, line in _objects(file, _GoldenLine):
        question = _golden_question(file, number, line)
        _once_only(file, number, "question id", question.id, lines)
        if line.id is None:
            _once_only(file, number, "question", question.question, texts)
        for field in (line.relevant_paths, line.relevant):
            if field:
                _one_kind_of_grade(file, number, isinstance(field, dict), graded)
        questions.append(question)
    if not questions:
        _invalid(file, None, "holds no questions")
    return LabelledQuestions(name=str(file), layout="golden", questions=tuple(questions))


def _golden_question(file: Path, number: int, line: _GoldenLine) -> LabelledQuestion:
    text = (line.question if line.question is not None else line.query) or ""
    if not text.strip():
        _invalid(file, number, "has no question", hint='write {"question": "…", "relevant": ["page.md#section"]}')
    labels = tuple(_golden_labels(file, number, line))
    return LabelledQuestion(
        id=str(number if line.id is None else line.id),
        question=text,
        labels=labels,
        answerable=bool(labels) if line.answerable is None else line.answerable,
        facts=tuple(line.facts),
        difficulty=line.difficulty or "",
        tags=tuple(line.tags),
        language=line.language or "",
        line=number,
    )


def _golden_labels(file: Path, number: int, line: _GoldenLine) -> Iterator[Label]:
    """Yield the labels of a line: its pages, then its sections."""
    named = _graded(file, number, line.relevant)
    paths = _graded(file, number, line.relevant_paths)
    # The same pages under two names, as help centres have them: by path, and by address where the paths are other ones.
    twins = dict(zip(paths, named, strict=False)) if list(paths.values()) == list(named.values()) else {}
    pages = paths or named
    for name, grade in pages.items():
        page, mark, anchor = name.partition("#")
        if not page:
            _invalid(file, number, f"names {name!r}, which is no page")
        names = (page, *(twins[name].partition("#")[:1] if name in twins else ()))
        if grade > 0:
            yield Label(names=names, anchor=unquote(anchor) if mark and anchor else None, grade=grade)
    seen: dict[str, int] = {}
    for page, heading in line.sections or line.relevant_sections or ():
        _once_only(file, number, "section", f"{page} ({heading})", seen)
        if pages.get(page, 1) > 0:
            names = (page, twins[page]) if page in twins else (page,)
            yield Label(names=names, heading=heading, grade=pages.get(page, 1))


def _graded(file: Path, number: int, field: list[str] | dict[str, Any] | None) -> dict[str, int]:
    """Return the names of a field with their grades, 1 where it is a list."""
    if isinstance(field, dict):
        return {name: _grade(file, number, name, value) for name, value in field.items()}
    seen: dict[str, int] = {}
    for name in field or ():
        _once_only(file, number, "label", name, seen)
    return dict.fromkeys(field or (), 1)


class _QueryLine(msgspec.Struct, frozen=True):
    """A line of ``queries.jsonl``."""

    id: str | int = msgspec.field(name="_id")
    text: str


def _read_beir(name: str, split: str, queries: Path, qrels: Path) -> LabelledQuestions:
    lines: dict[str, int] = {}
    texts: dict[str, str] = {}
    for number, line in _objects(queries, _QueryLine):
        identity = str(line.id)
        _once_only(queries, number, "question id", identity, lines)
        if not line.text.strip():
            _invalid(queries, number, f"question {identity} is empty")
        texts[identity] = line.text
    if not texts:
        _invalid(queries, None, "holds no questions")
    labels = _read_qrels(qrels)
    if unknown := [identity for identity in labels if identity not in texts]:
        raise LabelsInvalid(
            f"{qrels} judges {len(unknown):,} of {len(labels):,} questions that {queries} does not have: {_some(unknown)}",
            hint="--queries names the file of the questions that were judged",
            file=str(qrels),
            questions=unknown[:100],
        )
    questions = tuple(
        LabelledQuestion(id=identity, question=text, labels=tuple(labels[identity]), line=lines[identity])
        for identity, text in texts.items()
        if identity in labels
    )
    return LabelledQuestions(name=name, layout="beir", split=split, questions=questions)


def _read_qrels(file: Path) -> dict[str, list[Label]]:
    """Return the labels of each judged question; pairs of grade 0 and below are judged and not relevant."""
    labels: dict[str, list[Label]] = {}
    seen: dict[tuple[str, str], int] = {}
    graded: dict[bool, int] = {}
    for number, line in _lines(file):
        columns = [column.strip() for column in line.split("\t")]
        if number == 1 and columns[:2] == ["query-id", "corpus-id"]:
            continue
        if len(columns) not in (QRELS_COLUMNS - 1, QRELS_COLUMNS) or not all(columns[:2]):
            _invalid(
                file,
                number,
                "is not query, document and grade with tabs between them",
                hint="BEIR's first line is query-id, corpus-id, score",
            )
        query, document = columns[:2]
        _one_kind_of_grade(file, number, len(columns) == QRELS_COLUMNS, graded)
        _once_only(file, number, "pair", f"{query} {document}", seen, key=(query, document))
        grade = _grade(file, number, document, columns[2]) if len(columns) == QRELS_COLUMNS else 1
        labels.setdefault(query, [])
        if grade > 0:
            labels[query].append(Label(names=(document,), grade=grade))
    if not labels:
        _invalid(file, None, "holds no judgements")
    return labels


def _split_of(folder: Path, split: str | None) -> tuple[str, Path]:
    """Return the split that is read of a folder, and its file."""
    there = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
    if not there:
        raise LabelsInvalid(
            f"{folder} is no collection in BEIR's layout: it has no qrels/*.tsv",
            hint="name a file of golden questions, or --queries and --qrels",
            file=str(folder),
        )
    wanted = split or (there[0] if len(there) == 1 else DEFAULT_SPLIT)
    if wanted not in there:
        raise LabelsInvalid(
            f"{folder} has no split {wanted}; it has {', '.join(there)}", hint=f"--split {there[0]}", file=str(folder)
        )
    return wanted, folder / "qrels" / f"{wanted}.tsv"


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, numbered from 1."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise LabelsInvalid(f"cannot read {file}: {error.strerror}", hint="check the path", file=str(file)) from error
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            _invalid(file, number, f"is not UTF-8: {error.reason}")
        if line.strip():
            yield number, line


def _objects(file: Path, kind: type[Item]) -> Iterator[tuple[int, Item]]:
    """Yield the records of a JSON Lines file with the numbers of their lines."""
    decoder = msgspec.json.Decoder(kind)
    for number, line in _lines(file):
        try:
            yield number, decoder.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            _invalid(file, number, f"is broken: {error}", hint="write one JSON object a line")


def _grade(file: Path, number: int, name: str, value: Any) -> int:
    try:
        grade = float("nan") if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        grade = float("nan")
    if not grade.is_integer():
        _invalid(file, number, f"grades {name} with {value!r}, which is no whole number", hint="0 is not relevant")
    return int(grade)


def _one_kind_of_grade(file: Path, number: int, graded: bool, seen: dict[bool, int]) -> None:  # noqa: FBT001 - the key
    seen.setdefault(graded, number)
    if len(seen) > 1:
        _invalid(
            file,
            number,
            f"mixes labels: those of line {seen[True]} have grades, those of line {seen[False]} have none",
            hint="give every label a grade, or none of them",
        )


def _once_only(file: Path, number: int, what: str, name: str, seen: dict[Any, int], key: Any = None) -> None:
    """Note that something stands in a line; an error if it stood in one before."""
    key = name if key is None else key
    if key in seen:
        where = "twice" if seen[key] == number else f"again; it is in line {seen[key]} too"
        _invalid(file, number, f"has the {what} {name!r} {where}", hint="remove one of them")
    seen[key] = number


def _invalid(file: Path, number: int | None, what: str, *, hint: str = "") -> NoReturn:
    place = str(file) if number is None else f"line {number} of {file}"
    raise LabelsInvalid(f"{place} {what}", hint=hint, file=str(file), line=number)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST:,} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more


# Finding what labels name.


def judge(questions: Iterable[LabelledQuestion], index: LocalIndex, *, allow_missing: bool = False) -> Judgements:
    """Find in an index what the labels of questions name.

    A page and a section are one label each at their own level: the section also makes its page relevant, with the best grade of
    those that name it. Sections are found by anchor, or by heading, whatever its Markdown, case and spacing; one that has only
    sub-sections is found where one of them is.

    Args:
        questions: those to judge.
        index: where pages and sections are looked for.
        allow_missing: report labels that the index has nothing for, rather than refuse them.

    Raises:
        LabelsUnknown: the index lacks what labels name, or a name means several of its pages; with ``allow_missing`` only if it
            lacks all of them.
    """
    finder = _Finder(index)
    documents: dict[str, dict[str, int]] = {}
    sections: dict[str, dict[str, int]] = {}
    members: dict[str, dict[SectionKey, str]] = {}
    missing: dict[str, None] = {}
    labels: set[str] = set()
    for question in questions:
        pages = documents.setdefault(question.id, {})
        for label in question.labels:
            labels.add(str(label))
            document = finder.document(label.names)
            page = document.id if document is not None else label.names[0]
            pages[page] = max(pages.get(page, 0), label.grade)
            if document is None:
                missing[str(label)] = None
            if label.anchor is None and label.heading is None:
                continue
            keys = [] if document is None else finder.sections(document.id, label)
            if not keys:
                missing[str(label)] = None
            mine, known = sections.setdefault(question.id, {}), members.setdefault(question.id, {})
            name = next((known[key] for key in keys if key in known), str(label))
            mine[name] = max(mine.get(name, 0), label.grade)
            known.update((key, name) for key in keys if key not in known)
    _check_missing(tuple(missing), len(labels), allow_missing=allow_missing)
    return Judgements(documents=documents, sections=sections, members=members, missing=tuple(missing))


def _check_missing(missing: tuple[str, ...], labels: int, *, allow_missing: bool) -> None:
    if not missing or (allow_missing and len(missing) < labels):
        return
    what = f"the index has nothing for {'any' if len(missing) == labels else f'{len(missing):,}'} of {labels:,} labels"
    hint = "--allow-missing counts them as not found" if len(missing) < labels else "--index names another index"
    raise LabelsUnknown(f"{what}: {_some(missing)}", hint=hint, missing=list(missing[:100]), labels=labels)


class _Finder:
    """Finds pages and sections of one index by name."""

    def __init__(self, index: LocalIndex) -> None:
        self._index = index
        self._exact: dict[str, dict[str, Document]] = {}
        self._ends: dict[str, dict[str, Document]] = {}
        self._sections: dict[str, tuple[list[SectionKey], list[SectionKey]]] = {}
        for document in index.documents():
            for name in _names_of(document):
                self._exact.setdefault(name, {})[document.id] = document
            for name in _ends_of(document.path):
                self._ends.setdefault(name, {})[document.id] = document

    def document(self, names: Sequence[str]) -> Document | None:
        """Return the page that the first known of ``names`` means; raises ``LabelsUnknown`` where it means several.

        Of pages whose path ends so, the one nearest to the top of its source is meant.
        """
        for name in (name.rstrip("/") for name in names):
            if found := self._exact.get(name):
                return _the_only(name, list(found.values()))
        for name in (name.rstrip("/") for name in names):
            if found := self._ends.get(name):
                depth = min(document.path.count("/") for document in found.values())
                return _the_only(name, [page for page in found.values() if page.path.count("/") == depth])
        return None

    def sections(self, document_id: str, label: Label) -> list[SectionKey]:
        """Return the sections of a page that a label means; a heading that stands alone is none where there is more below it."""
        if document_id not in self._sections:
            said: dict[SectionKey, None] = {}
            alone: dict[SectionKey, None] = {}
            for chunk in self._index.chunks(document_id):
                (alone if chunk.kind == "hub" else said)[document_id, chunk.anchor, chunk.heading_path] = None
            self._sections[document_id] = list(said), list(alone)
        # Not both at once: what stands alone is never ranked, and would hide the sections below it.
        found = [_meant(known, label) for known in self._sections[document_id]]
        return found[0] or found[1]


def _meant(known: Sequence[SectionKey], label: Label) -> list[SectionKey]:
    """Return the sections among those known that a label means."""
    if label.anchor is not None:
        own = [key for key in known if key[1] == label.anchor]
        return own or [key for key in known if label.anchor in map(_slug, key[2][:-1])]
    heading = plain_heading(label.heading or "")
    own = [key for key in known if key[2] and plain_heading(key[2][-1]) == heading]
    return own or [key for key in known if heading in map(plain_heading, key[2][:-1])]


def _the_only(name: str, pages: Sequence[Document]) -> Document:
    if len(pages) > 1:
        meant = [f"{document.source}/{document.path}" for document in pages]
        raise LabelsUnknown(
            f"the label {name} means {len(pages):,} pages: {_some(meant)}",
            hint="label pages with their source, as in help/page.md",
            label=name,
        )
    return pages[0]


def _slug(heading: str) -> str:
    """Return a heading's anchor as most generators make it: what is left of a section that has no text of its own."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.casefold()))


def plain_heading(text: str) -> str:
    """Return a heading as it is compared: without Markdown, in lower case, with single spaces."""
    text = re.sub(r"\[(?:\\?#|¶)\]\([^)]*\)", "", text)  # a link to the heading itself
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\\([^\w\s])", r"\1", text)
    return " ".join(re.sub(r"[*_`~]|#+\s*$", "", text).split()).casefold()


def _names_of(document: Document) -> Iterator[str]:
    yield from (document.id, document.path, f"{document.source}/{document.path}")
    if document.url is not None:
        yield document.url.rstrip("/")
    # A document of a JSON Lines file has the path of the file and the id that its line gives.
    if given := re.search(r"\.(?:jsonl|ndjson)/(.+)", document.path, re.IGNORECASE | re.DOTALL):
        yield given[1]


def _ends_of(path: str) -> Iterator[str]:
    """Yield the ends of a path, with and without what follows the last dot, as ``clockify-rag show`` finds pages."""
    for whole in dict.fromkeys((path, re.sub(r"\.[^./]*$", "", path))):
        parts = whole.split("/")
        yield from ("/".join(parts[start:]) for start in range(len(parts)))
