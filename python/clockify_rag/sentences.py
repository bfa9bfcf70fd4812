"""Sentences, lines and words of a canonical text: the units that answers are made of and proved by.

Where they begin and end the core says (``rust/sentences.rs``); a unit never crosses two slices of a chunk, so each has exactly one span
in its document.

Words are compared after folding case and accents and by their common beginning, which stands in for a stemmer in every
language that inflects at the end; scripts without spaces are compared by pairs of characters.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from clockify_rag.contracts import Span

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_APOSTROPHE = re.compile("['’]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")
_SHORT, _ENDING = 3, 4
_SIBILANTS = frozenset("sz")
_UNINFORMATIVE = frozenset(
    """
    a about after all also am an and any are as at be been but by can could did do does each every for from get had has
    have how i if in into is it its may me mean means might must my need no not of on one or our shall should so some than that the
    their them then there these they this those to too us use using want was way we were what when where which while who
    whom whose why will with within would you your aber als am auch auf aus bei bin das dass dem den der des die dies
    ein eine einem einen einer es für haben hat ich im in ist kann können man mein meine mich mit nach nicht oder sein
    sich sie sind und von wann warum was welche wenn wer werden wie wir wird wo zu zum zur au aux avec ce ces comment
    dans de du elle en est et faire il je la le les leur ma mes mon ne nous on ou où par pas peut peux pour pourquoi
    quand que quel quelle quels qui sa ses son sont sur un une vous al como cómo con cual cuál cuándo cuando cuánto de
    del desde dónde donde el en es esta este hacer hay la las lo los me mi mis para por porque puede puedo qué que quién
    se ser si sin son su sus un una uno y ao as com da das do dos e é em fazer meu minha na nas no nos o os ou para pode
    posso qual quando quanto são se seu sua um uma che chi ci come con cosa dal dalla dei del della di dove e è fare gli
    ho il io la le lo mi mia mio nel nella non per perché posso può qual quale quando quanto si sono su tra un una de
    dat die deze een en er het hij hoe ik in is je kan kun met mijn naar niet of om op te van voor waar waarom wanneer
    wat welke wie wordt zijn co czy dla do gdzie i ile jak jaki jakie jest kiedy kto mam mogę można moje mój na nie o od
    po się to w z za że
    """.split()
)


def units(text: str) -> list[Span]:
    """Return the spans of the sentences of ``text``, in order, without the white space around them.

    Args:
        text: a canonical text, or some lines of one.
    """
    from clockify_rag import _core

    return _core.sentence_spans(text)


def lines(text: str) -> list[Span]:
    """Return the spans of the lines of ``text`` that are not blank, without the white space around them."""
    from clockify_rag import _core

    return _core.line_spans(text)


def blocks(text: str) -> list[Span]:
    """Return the spans of paragraphs, lists, tables and code, in order, without the white space around them.

    Blank lines separate them; a list also begins and ends where its lines stand directly among others.
    """
    from clockify_rag import _core

    return _core.block_spans(text)


def word_count(text: str) -> int:
    """Return the number of words of ``text``; in scripts without spaces two characters count as one word."""
    from clockify_rag import _core

    return _core.word_count(text)


def words(text: str) -> list[str]:
    """Return the folded words of ``text`` in order; scripts without spaces as overlapping pairs of characters."""
    found: list[str] = []
    folded = _fold(text)
    spaced = folded.isascii() or _UNSPACED.search(folded) is None
    for word in _WORD.findall(folded):
        if not spaced and _UNSPACED.search(word):
            found.extend(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            found.append(_APOSTROPHE.split(word, maxsplit=1)[0] if len(word) > _SHORT else word)
    return found


def places(text: str) -> list[Span]:
    """Return where each of ``words(text)`` stands; empty where these are other pieces, as in scripts without spaces."""
    found = [match.span() for match in _WORD.finditer(text)]
    return found if len(found) == len(words(text)) else []


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    # Most of a text in Latin letters is ASCII, also where its quotation marks are not: only the rest is looked at one by one.
    return _BEYOND_ASCII.sub(lambda match: "" if unicodedata.combining(match[0]) else match[0], decomposed)


_FOLDED_UNINFORMATIVE = frozenset(_fold(word) for word in _UNINFORMATIVE)


def informative(text: str) -> list[str]:
    """Return the distinct words of ``text`` that say what it is about, in order; all its words where none does."""
    return content_words(text) or list(dict.fromkeys(words(text)))


def content_words(text: str) -> list[str]:
    """Return the distinct words of ``text`` that say what it is about, in order; none where none does."""
    return [word for word in dict.fromkeys(words(text)) if word not in _FOLDED_UNINFORMATIVE]


def alike(one: str, other: str) -> bool:
    """Say whether two folded words are forms of one word: equal, or with a common beginning of four fifths or so.

    ``customise`` and ``customize``, ``analyse`` and ``analyze`` begin alike: people write one English and the page the other.
    """
    if one == other:
        return True
    shorter, longer = sorted((one, other), key=len)
    if (
        len(shorter) <= _SHORT
        or len(longer) - len(shorter) > _ENDING
        or any(character.isdigit() for character in longer)
    ):
        return False
    common = next(
        (
            i
            for i, (a, b) in enumerate(zip(shorter, longer, strict=False))
            if a != b and not (i and {a, b} == _SIBILANTS and longer[i - 1] in "iy")
        ),
        len(shorter),
    )
    return common > _SHORT and common >= len(shorter) - 1 and 5 * common >= 3 * len(longer)


class Overlap:
    """How much of what a text asks or states stands in each of some passages.

    Each informative word of the text weighs ``ln(1 + N / (1 + n))`` where ``n`` of the ``N`` passages have it: the idf
    of the passages given, which is all that is known of the collection here.
    """

    def __init__(self, text: str, passages: Sequence[str]) -> None:
        self.words = informative(text)
        vocabularies = [frozenset(words(passage)) for passage in passages]
        self._forms = _forms(self.words, {word for vocabulary in vocabularies for word in vocabulary})
        self.found = [self._held(vocabulary) for vocabulary in vocabularies]
        counts = Counter(word for found in self.found for word in found)
        total = len(passages)
        self.weights: Mapping[str, float] = {w: math.log(1 + total / (1 + counts[w])) for w in self.words}
        self._mass = sum(self.weights.values()) or 1.0

    def held(self, passage: str) -> frozenset[str]:
        """Return the words of the text that stand in ``passage``, which is made of words of the passages given."""
        return self._held(frozenset(words(passage)))

    def _held(self, vocabulary: frozenset[str]) -> frozenset[str]:
        return frozenset(word for word in self.words if self._forms[word] & vocabulary)

    def share(self, found: Iterable[str]) -> float:
        """Return the share, 0 to 1, of the text's weight that ``found`` words have."""
        return sum(sorted(self.weights[word] for word in set(found))) / self._mass


def _forms(wanted: Sequence[str], vocabulary: set[str]) -> dict[str, frozenset[str]]:
    beginnings: dict[str, list[str]] = {}
    for word in vocabulary:
        beginnings.setdefault(word[: _SHORT + 1], []).append(word)
    return {
        word: frozenset(other for other in beginnings.get(word[: _SHORT + 1], ()) if alike(word, other))
        for word in wanted
    }
