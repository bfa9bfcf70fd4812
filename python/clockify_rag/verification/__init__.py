"""Verification: proof for what an answer says, or the claim is taken away.

A citation is one place in one document: the marker's number, and the source's own characters at a span. Folding of
white space and typography serves only to find a quotation; what is shown is always the source's. So a quotation of a
model is one of four: verified (and then written as the source has it), misattributed (its marker is moved to the chunk
that has it), altered (it loses its quotation marks, and the citation carries the run that it comes nearest to) or
fabricated (it loses its quotation marks).

A statement without a quotation is a claim (``claims``): its facts must stand in the passages that it cites, and enough of its words.
One that another passage says is given that passage's marker. What no passage says is cut where the policy is strict; else it is marked
where a fact speaks against it, where next to nothing of it stands there, or where it cites nothing by which a reader could check it. A
free rewording that cites its passage is left unmarked, and told in its claim: marks that stand behind most of what is right are not read.
A claim's citation is the sentence that says most of it.

Markers that name no passage are removed, and the others are numbered anew in order of appearance, one for each place
proved. Code is not touched, but for addresses: it has brackets and quotation marks of its own.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec

from clockify_rag import sentences
from clockify_rag.contracts import Citation, Claim, Context, Draft, Query, Quotation, Span, Step, Verdict, Verified
from clockify_rag.errors import InvalidSetting
from clockify_rag.verification import claims, quotations
from clockify_rag.verification.editing import HIDDEN, Edit, Edited, code_spans, hidden, paragraphs
from clockify_rag.verification.links import REMOVED, Addresses, citation_link

if TYPE_CHECKING:
    from clockify_rag import _core
    from clockify_rag.embedding import StaticEmbedder
    from clockify_rag.verification.quotations import Quoted

Policy = Literal["strict", "balanced", "off"]
"""What becomes of a sentence that no passage says: it is cut, marked where a reader is to doubt it, or not looked at."""

UNSUPPORTED = "[?]"
"""What stands behind a sentence that is to be doubted."""

_Support = tuple[float, float | None, int, int, int]
"""Window and cosine; the passage, and where the sentence of it begins and ends that says most."""

_Checked = tuple[Sequence[tuple[str, str]], _Support | None, bool]
"""Of a sentence, as the core found it: facts that are missing, how much stands there, whether that could be compared."""

_MARKERS = re.compile(
    r"[\[\u3010]\s?(?:\^?(?:(?:sources?|passages?|quellen?|textstellen?)\s+)?"
    r"(?P<numbers>(?!0\s*[\u2013-])\d{1,4}(?:\s*[,;\u2013-]\s*\d{1,4})*)(?:\u2020[^\[\]\u3010\u3011\n]{0,40})?|\?)\s?[\]\u3011](?!\()",
    re.IGNORECASE,
)
"""The ways in which models cite: ``[1]``, ``[1, 3]``, ``[1-3]``, ``[^1]``, ``[Source 1]`` and the like."""
_SPACED_MARKERS = re.compile(rf"[ \t]*{_MARKERS.pattern}", re.IGNORECASE)
_LONGEST_RANGE = 20
_RANGE = re.compile(r"(\d+)(?:\s*[\u2013-]\s*(\d+))?")


class _Place(msgspec.Struct, frozen=True):
    """What one marker proves: a hit of the context, and the span of its document."""

    hit: int
    span: Span
    quote: str
    start: int = 0
    """Where the quote begins in the hit's text."""


class _Marker(msgspec.Struct):
    """One number in brackets of a draft."""

    start: int
    end: int
    hit: int
    """The hit's place in the context, from 0."""
    place: _Place | None = None
    """What it proves, as soon as that is known."""


class QuoteVerifier:
    """Checks markers, quotations, addresses and claims against the chunks that were shown.

    Args:
        policy: what becomes of a sentence that no passage says: ``strict`` cuts it, ``balanced`` marks it where it is to be
            doubted, ``off`` does not look.
        altered: how much, 0 to 1, of a quotation that stands nowhere the passages must have for it to be one of theirs that was
            altered; its citation then carries the run that it comes nearest to.
        embedder: compares sentences; by default the table that is shipped, opened when a model's text is first checked.
    """

    def __init__(
        self, policy: Policy = "balanced", altered: float = 0.75, embedder: StaticEmbedder | None = None
    ) -> None:
        if policy not in ("strict", "balanced", "off"):
            raise InvalidSetting(
                f"there is no policy {policy!r}",
                hint="there are strict, balanced and off",
                setting="verification.policy",
            )
        self.policy: Policy = policy
        self.altered = altered
        self._embedder = embedder

    @cached_property
    def table(self) -> _core.StaticEmbedder:
        """The table that sentences are compared by."""
        if self._embedder is not None:
            return self._embedder.core
        from clockify_rag.embedding import StaticEmbedder

        return StaticEmbedder().core

    def verify(self, query: Query, context: Context, draft: Draft) -> Verified:
        """Return the text with its markers renumbered and one citation for each, and what was found.

        Args:
            query: what was asked; its language is the draft's where that does not tell.
            context: what the draft was written from; its texts are what may be cited.
            draft: the text; with ``quotes`` it must be these, each with its marker, parts of the question as ``headings`` among
                them, a blank line between, or it is checked as any.
        """
        if draft.quotes and (proved := _exact(query, context, draft)):
            return proved
        return _Verification(self, query, context, draft.text).run()


def _exact(query: Query, context: Context, draft: Draft) -> Verified | None:
    """Prove a draft that consists of quotations by comparing each with the slice it names; ``None`` if one differs."""
    places: list[_Place] = []
    for hit, span in draft.quotes:
        chunk = context.hits[hit].chunk if 0 <= hit < len(context.hits) else None
        text = None if chunk is None else chunk.slice(span)
        if chunk is None or not text:
            return None
        places.append(_Place(hit, span, text, chunk.text.find(text)))
    paragraphs: list[str | _Place] = [*places]
    for before, heading in reversed(draft.headings):
        if heading not in query.parts or _MARKERS.search(heading):
            return None
        paragraphs.insert(before, heading)
    written = (one if isinstance(one, str) else f"{one.quote} [{one.hit + 1}]" for one in paragraphs)
    if "\n\n".join(written) != draft.text:
        return None
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places), 1)}
    parts: list[str] = []
    proved: list[Claim] = []
    position = 0
    for one in paragraphs:
        if isinstance(one, str):
            parts.append(one)
        else:
            span = (position, position + len(one.quote))
            proved.append(Claim(text=one.quote, span=span, markers=(numbers[one],), supported=True, support=1.0))
            parts.append(f"{one.quote} [{numbers[one]}]")
        position += len(parts[-1]) + 2
    return Verified(
        text="\n\n".join(parts),
        citations=tuple(_citation(context, place, number) for place, number in numbers.items()),
        claims=tuple(proved),
        groundedness=1.0,
        steps=(Step(stage="verify", name="quotations", details={"verified": len(places)}),),
    )


def _citation(context: Context, place: _Place, number: int) -> Citation:
    hit = context.hits[place.hit]
    return Citation(
        marker=number,
        chunk_id=hit.chunk.id,
        document_id=hit.document.id,
        path=hit.document.path,
        url=hit.document.url,
        anchor=hit.chunk.anchor,
        quote=place.quote,
        span=place.span,
        link=citation_link(hit, place.quote, place.start),
    )


class _Finding(msgspec.Struct):
    """A quotation of a draft, judged."""

    text: str
    verdict: Verdict
    marker: _Marker | None


class _Verdict(msgspec.Struct):
    """What the core's comparison of a sentence comes to."""

    support: float | None
    supported: bool | None
    problems: tuple[str, ...]
    measured: _Support | None
    contradicted: bool
    """Whether one of its facts does not stand there."""


class _Judged(msgspec.Struct):
    """A sentence of a draft, judged."""

    sentence: claims.Sentence
    statement: str
    """The sentence without markers."""
    own: Sequence[list[_Marker]]
    rested: Sequence[list[_Marker]]
    """The markers that it rests on: its own, or those of another sentence."""
    verdict: _Verdict

    @property
    def end(self) -> int:
        """Where it ends, with its markers."""
        return max([self.sentence.end, *(group[0].end for group in self.own if group)])


class _Verification:
    """The check of one draft."""

    def __init__(self, verifier: QuoteVerifier, query: Query, context: Context, text: str) -> None:
        from clockify_rag import _core

        self.verifier = verifier
        self.query = query
        self.context = context
        self.text = text
        self.code = code_spans(text)
        self.citable = [place for place, hit in enumerate(context.hits) if hit.chunk.kind != "hub"]
        self.edits: list[Edit] = []
        self.groups: list[list[_Marker]] = []
        self.quoted: list[int] = []
        """Where quotations begin."""
        self.paragraphs: list[Span] = []
        self.addresses: Sequence[Span] = ()
        """Where addresses stand that a source has."""
        self.findings: list[_Finding] = []
        self.counts: Counter[str] = Counter()
        self.passages = _core.Passages(
            [
                (
                    text,
                    "\n".join((hit.document.title, *hit.chunk.heading_path)),
                    hit.document.language or _core.detect_language(text, ""),
                )
                for hit, text in zip(context.hits, context.texts, strict=True)
            ]
        )

    def run(self) -> Verified:
        """Check markers, quotations, addresses and claims, and put the text together."""
        self._find_markers()
        self._check_quotations()
        self._check_addresses()
        judged = self._check_claims()
        numbers: dict[_Place, int] = {}
        written: dict[int, tuple[int, ...]] = {}
        for group in sorted(self.groups, key=lambda group: group[0].start):
            written[id(group)] = self._number(group, numbers)
        self.edits += [Edit(one.end, one.end, f" {UNSUPPORTED}") for one in judged if self._is_marked(one)]
        edited = Edited(self.text, self.edits)
        grounded = claims.groundedness([(sentences.word_count(one.statement), one.verdict.supported) for one in judged])
        guesses = sum(problem.startswith("speculation") for one in judged for problem in one.verdict.problems)
        verdicts = [finding.verdict for finding in self.findings]
        return Verified(
            text=edited.text,
            citations=tuple(_citation(self.context, place, number) for place, number in numbers.items()),
            quotations=tuple(
                Quotation(
                    text=finding.text,
                    verdict=finding.verdict,
                    marker=numbers.get(finding.marker.place) if finding.marker and finding.marker.place else None,
                )
                for finding in self.findings
            ),
            claims=tuple(self._claim(one, edited, written) for one in judged),
            groundedness=grounded,
            risk=claims.risk(grounded, verdicts, self.counts["addresses removed"], guesses),
            addresses_removed=self.counts["addresses removed"],
            admits=not judged and not numbers and not self.findings and claims.only_admits(edited.text),
            steps=self._steps(judged),
        )

    # Markers

    def _find_markers(self) -> None:
        for match in _MARKERS.finditer(self.text):
            if self._in_code(match.start()):
                continue
            start = match.start()
            while start and self.text[start - 1] in " \t":
                start -= 1
            named = [number - 1 for number in _numbers_of(match["numbers"] or "")]
            group = [_Marker(start, match.end(), hit) for hit in dict.fromkeys(named) if hit in self.citable]
            self.counts["markers removed"] += len(named) - len(group)
            if group:
                self.groups.append(group)
            else:
                self.edits.append(Edit(start, match.end(), ""))

    def _in_code(self, position: int) -> bool:
        return any(start <= position < end for start, end in self.code)

    def _number(self, group: list[_Marker], numbers: dict[_Place, int]) -> tuple[int, ...]:
        places = [marker.place or self._beginning(marker.hit) for marker in group]
        written = tuple(
            dict.fromkeys(numbers.setdefault(place, len(numbers) + 1) for place in places if place is not None)
        )
        original = self.text[group[0].start : group[0].end]
        space = original[: len(original) - len(original.lstrip())] if original else " "
        text = space + "".join(f"[{number}]" for number in written) if written else ""
        self.edits.append(Edit(group[0].start, group[0].end, text))
        return written

    def _beginning(self, hit: int) -> _Place | None:
        """Return the sentence of a passage that says most of what was asked, for a marker that proves nothing in particular."""
        ((_, support, _),) = self.passages.check([(self.query.text, [hit])], self.query.language)
        if support is not None:
            return self._place(hit, *support[3:])
        units = sentences.units(self.context.texts[hit])
        return self._place(hit, *units[0]) if units else None

    def _place(self, hit: int, start: int, end: int) -> _Place | None:
        """Return the place of a run of a hit's text; its longest part where it crosses slices of the document."""
        text, chunk = self.context.texts[hit], self.context.hits[hit].chunk
        if start < end and (span := chunk.locate(start, end)):
            return _Place(hit, span, text[start:end], start)
        found = []
        for first, last in _lines_within(text, start, end):
            if span := chunk.locate(first, last):
                found.append(_Place(hit, span, text[first:last], first))
        return max(found, key=lambda place: len(place.quote), default=None)

    # Quotations

    def _check_quotations(self) -> None:
        waiting = quotations.find(self.text)
        self.quoted = [quoted.start for quoted in waiting]
        self.paragraphs = paragraphs(self.text)
        accounted: list[Span] = []
        while waiting:
            quoted = waiting.pop(0)
            if any(start < quoted.end and quoted.start < end for start, end in accounted):
                continue
            if self._check_quotation(quoted):
                accounted.append((quoted.start, quoted.end))
            else:
                accounted += quoted.marks
                waiting = [*quotations.within(self.text, quoted), *waiting]
        for start, end in quotations.strays(self.text, accounted):
            self.counts["quotation marks removed"] += 1
            self.edits.append(Edit(start, end, ""))

    def _check_quotation(self, quoted: Quoted) -> bool:
        """Judge a quotation; return whether it is shown as one."""
        content = quotations.inner(self.text, quoted).strip()
        if "[" in content or "\u3010" in content:
            content = _SPACED_MARKERS.sub("", content).strip()
        self._move_behind(quoted)
        markers = self._markers_of(quoted)
        cited = list(dict.fromkeys(marker.hit for marker in markers))
        order = [*cited, *(hit for hit in self.citable if hit not in cited)]
        (found,) = self.passages.judge([(content, order)])
        place = None
        verdict: Verdict = "fabricated"
        if found is not None:
            left, hit, start, end, likeness = found
            if left is not None and (place := self._place(hit, start, end)):
                verdict = "verified" if not cited or hit in cited else "misattributed"
                self._rewrite(quoted, place.quote, left)
            elif left is None and likeness >= self.verifier.altered:
                verdict, place = "altered", self._place(hit, start, end)
        marker = None if place is None else self._attribute(quoted.end, markers, place)
        self.findings.append(_Finding(content, verdict, marker))
        if verdict in ("verified", "misattributed"):
            return True
        self.edits += [Edit(start, end, "") for start, end in quoted.marks]
        return False

    def _rewrite(self, quoted: Quoted, quote: str, left: str) -> None:
        """Write the source's own characters between the marks, and punctuation that is not the source's behind them."""
        if not quoted.is_block:
            self.edits.append(Edit(*quoted.inner, quote))
        else:
            lines = self.text[quoted.start : quoted.end]
            mark = lines[: len(lines) - len(lines.lstrip(" >"))]
            line = self.text[self.text.rfind("\n", 0, quoted.start) + 1 : quoted.start]
            following = f"\n{' ' * len(line)}{mark}"
            self.edits.append(Edit(quoted.start, quoted.end, mark + quote.replace("\n", following)))
            if self.text[quoted.end : quoted.end + 1] == "\n" and self.text[quoted.end + 1 :].split("\n", 1)[0].strip():
                # What follows on the next line would be read as of the block.
                self.edits.append(Edit(quoted.end, quoted.end + 1, "\n\n"))
        if left and not self.text.startswith((left, ".", "!", "?"), quoted.end):
            self.edits.append(Edit(quoted.end, quoted.end, left))

    def _move_behind(self, quoted: Quoted) -> None:
        """Let markers that stand within a quotation stand behind it."""
        for group in self.groups:
            for marker in group:
                if quoted.start < marker.start < quoted.end:
                    self.edits.append(Edit(marker.start, marker.end, ""))
                    marker.start = marker.end = quoted.end

    def _markers_of(self, quoted: Quoted) -> list[_Marker]:
        """Return the markers that stand for a quotation: the next ones before another quotation or the paragraph's
        end.
        """
        limit = next((end for start, end in self.paragraphs if start <= quoted.start < end), len(self.text))
        limit = max(min([limit, *(start for start in self.quoted if start >= quoted.end)]), quoted.end + 1)
        after = [group for group in self.groups if quoted.end <= group[0].start < limit]
        adjacent = after[:1]
        for group in after[1:]:
            if group[0].start == adjacent[-1][0].end:
                adjacent.append(group)
        return [marker for group in adjacent for marker in group if marker.place is None]

    def _attribute(self, end: int, markers: list[_Marker], place: _Place) -> _Marker:
        """Let the marker of the chunk that has the quotation prove it; move one, or add one, where none does."""
        marker = next((marker for marker in markers if marker.hit == place.hit), markers[0] if markers else None)
        if marker is None:
            marker = _Marker(end, end, place.hit)
            self.groups.append([marker])
        marker.hit, marker.place = place.hit, place
        return marker

    # Addresses

    def _check_addresses(self) -> None:
        if "/" not in self.text and "](" not in self.text and "]:" not in self.text and "www." not in self.text.lower():
            return
        looked = Addresses(self.context).look(self.text)
        self.counts["addresses removed"] += len(looked.edits)
        self.edits += looked.edits
        self.addresses = looked.kept

    # Claims

    def _check_claims(self) -> list[_Judged]:
        taken = [(marker.start, marker.end) for group in self.groups for marker in group]
        taken += [(edit.start, edit.end) for edit in self.edits if edit.text in ("", REMOVED)]
        taken += self.addresses
        plain = hidden(hidden(self.text, _fences(self.code, self.text)), taken, " ")
        found = claims.find(plain)
        own = self._groups_of(found)
        rested = claims.resting(found, own)
        language = self._language(plain)
        statements = [plain[one.start : one.end].replace(HIDDEN, " ") for one in found]
        if self.verifier.policy == "off":
            self._cite([(text, groups, None) for text, groups in zip(statements, own, strict=True)], language)
            return []
        cited = [list(dict.fromkeys(marker.hit for group in groups for marker in group)) for groups in rested]
        shown = [(statement, places or self.citable) for statement, places in zip(statements, cited, strict=True)]
        checked = self.passages.check(shown, language, self._table(language))
        judged = []
        guessing = claims.guesses(plain)
        for row, one in enumerate(found):
            each = _Judged(one, statements[row], own[row], rested[row], _support(checked[row]))
            self._moved(each, cited[row], language)
            sources = [self.context.texts[hit] for hit in cited[row] or self.citable]
            if guessing and (guess := claims.speculation(each.statement, sources)):
                each.verdict.problems += (f"speculation: {guess}",)
            judged.append(each)
        if self.verifier.policy == "strict":
            self._cut(judged)
        for each in judged:
            self._prove(each)
        self._cite([(each.statement, each.own, each.verdict.measured) for each in judged], language)
        return judged

    def _table(self, language: str) -> _core.StaticEmbedder | None:
        return self.verifier.table if language in ("en", "") else None

    def _language(self, plain: str) -> str:
        from clockify_rag import _core

        return _core.detect_language(plain.replace(HIDDEN, " "), self.query.language)

    def _groups_of(self, found: Sequence[claims.Sentence]) -> list[list[list[_Marker]]]:
        """Return the markers of each sentence: within it, behind it on its line before the next one, or before it on its line."""
        groups = sorted(self.groups, key=lambda group: group[0].start)
        starts = [one.start for one in found]
        own: list[list[list[_Marker]]] = [[] for _ in found]
        for group in groups:
            at = group[0].start
            row = bisect_left(starts, at) - 1
            behind = row >= 0 and "\n" not in self.text[found[row].end : at]
            following = row + 1 if row + 1 < len(found) and "\n" not in self.text[at : starts[row + 1]] else None
            if behind or (following is None and row >= 0):
                own[row].append(group)
            elif following is not None:
                own[following].append(group)
        return own

    def _moved(self, one: _Judged, cited: list[int], language: str) -> None:
        """Let the marker of a statement name the passage that says it, where the one that it names, or that it rests on, does not."""
        free = [marker for group in one.own for marker in group if marker.place is None]
        if one.verdict.supported is not False or len(cited) != 1 or len(free) != len(one.own):
            return
        found = self._elsewhere(one.statement, cited[0], language) if len(free) <= 1 else None
        if found is None:
            return
        cited[0], one.verdict = found
        if free:
            free[0].hit = found[0]
            self.counts["markers moved"] += 1
        else:
            one.rested = ()

    def _elsewhere(self, statement: str, cited: int, language: str) -> tuple[int, _Verdict] | None:
        """Return the passage that says a statement best, where the one that is cited does not."""
        others = [hit for hit in self.citable if hit != cited]
        found = self.passages.saying(statement, others, language, self._table(language))
        verdicts = [(support[2], _support(([], support, True))) for support in found]
        saying = [(hit, verdict) for hit, verdict in verdicts if verdict.supported]
        return max(saying, key=lambda found: (found[1].support or 0.0, -found[0]), default=None)

    def _cite(self, cited: Sequence[tuple[str, Sequence[list[_Marker]], _Support | None]], language: str) -> None:
        """Let each marker that proves no quotation prove the sentence of its passage that says most of its statement.

        Args:
            cited: statements, the markers of each, and where it was found that the passages say most of it.
            language: of the statements.
        """
        free = [
            (statement, marker, known)
            for statement, groups, known in cited
            for group in groups
            for marker in group
            if marker.place is None
        ]
        asked = [(text, [marker.hit]) for text, marker, known in free if known is None or known[2] != marker.hit]
        checked = iter(self.passages.check(asked, language))
        for _, marker, known in free:
            support = known if known is not None and known[2] == marker.hit else next(checked)[1]
            if support is not None:
                marker.place = self._place(marker.hit, *support[3:])

    def _cut(self, judged: Sequence[_Judged]) -> None:
        """Cut the sentences that no passage says, with their markers, and the lines of which nothing is left."""
        start = end = 0
        for one in judged:
            if one.verdict.supported is not False:
                continue
            line = self.text.rfind("\n", 0, one.sentence.start) + 1
            if start == end or self.text[end : one.sentence.start].strip():
                is_first = not self.text[line : one.sentence.start].strip()
                start = line if is_first else len(self.text[: one.sentence.start].rstrip(" \t"))
            end = one.end
            if not start or self.text[start - 1] == "\n":
                end += len(self.text[end:]) - len(self.text[end:].lstrip("\n"))
            self.edits.append(Edit(start, end, ""))
            for group in one.own:
                self.groups.remove(group)
                group.clear()

    def _prove(self, one: _Judged) -> None:
        """Give a sentence that a passage says a marker where it rests on none."""
        if one.verdict.supported and one.verdict.measured is not None and not any(one.rested):
            end = one.sentence.end
            one.own = one.rested = [[_Marker(end, end, one.verdict.measured[2])]]
            self.groups += one.own
            self.counts["markers added"] += 1

    def _is_marked(self, one: _Judged) -> bool:
        """Whether a sentence is to be doubted: facts speak against it, next to nothing of it stands there, or it cites nothing."""
        verdict = one.verdict
        if verdict.supported is not False or self.verifier.policy != "balanced":
            return False
        return verdict.contradicted or (verdict.support or 0.0) < claims.FAINT or not any(one.rested)

    def _claim(self, one: _Judged, edited: Edited, written: dict[int, tuple[int, ...]]) -> Claim:
        verdict = one.verdict
        cut = verdict.supported is False and self.verifier.policy == "strict"
        span = None if cut else edited.place(one.sentence.start, one.sentence.end)
        return Claim(
            text=self.text[one.sentence.start : one.sentence.end] if span is None else edited.text[slice(*span)],
            span=span,
            markers=tuple(dict.fromkeys(number for group in one.rested for number in written.get(id(group), ()))),
            supported=verdict.supported,
            support=verdict.support,
            problems=verdict.problems,
            marked=self._is_marked(one),
        )

    def _steps(self, judged: Sequence[_Judged]) -> tuple[Step, ...]:
        steps = []
        if self.findings:
            counted = Counter(finding.verdict for finding in self.findings)
            steps.append(Step(stage="verify", name="quotations", details=dict(sorted(counted.items()))))
        if judged:
            details = {
                "supported": sum(one.verdict.supported is True for one in judged),
                "unsupported": sum(one.verdict.supported is False for one in judged),
                "unknown": sum(one.verdict.supported is None for one in judged),
                "marked": sum(map(self._is_marked, judged)),
                "policy": self.verifier.policy,
            }
            steps.append(Step(stage="verify", name="claims", details=details))
        changed = {name: count for name, count in sorted(self.counts.items()) if count}
        if changed:
            steps.append(Step(stage="verify", name="changes", details=changed))
        return tuple(steps)


def _numbers_of(written: str) -> Iterator[int]:
    """Yield the numbers that a marker names, those of a range one by one."""
    if written.isdecimal():
        yield int(written)
        return
    for first, last in _RANGE.findall(written):
        yield int(first)
        if last:
            yield from range(int(first) + 1, min(int(last), int(first) + _LONGEST_RANGE) + 1)


def _support(checked: _Checked) -> _Verdict:
    facts, support, comparable = checked
    problems = tuple(f"{kind}: {words}" for kind, words in facts)
    if not comparable:
        return _Verdict(None, False if problems else None, problems, None, bool(facts))
    probability = 0.0 if support is None else round(claims.probability(support[0], support[1]), 4)
    said = probability >= claims.BAR
    problems = problems if said else (*problems, "words: too few of them stand there")
    return _Verdict(probability, said and not problems, problems, support, bool(facts))


def _fences(code: Sequence[Span], text: str) -> list[Span]:
    """Return the code that is no part of a sentence."""
    return [span for span in code if text.startswith("```", span[0])]


def _lines_within(text: str, start: int, end: int) -> Iterable[Span]:
    return ((start + first, start + last) for first, last in sentences.lines(text[start:end]))
