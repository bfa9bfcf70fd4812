"""Support tickets: the question in a mail, without what stands around it.

A ticket is a mail: headers, a greeting, what was asked, a signature, what the mail answers, a disclaimer, and sometimes an
attachment as base64. None of that says what is asked, and all of it is words that a search would look for. Each rule takes
away one kind of it and is known by its name in the trace. Rules are careful rather than thorough: what is left over costs little,
what is taken away wrongly costs the question. A rule that would leave nothing takes nothing away, and a line that is a question
is no greeting and no farewell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from clockify_rag import sentences
from clockify_rag.understanding.signs import CUE, ENCODED, LINE, SALUTATION, may_be_ticket

MAXIMUM_TICKET_CHARACTERS: Final = 200_000
"""The longest text that is looked through for a question."""

_BLANK: Final = re.compile(r"\n\s*\n")
_HEADER: Final = re.compile(
    r"(?:from|to|cc|bcc|date|sent|reply-to|message-id|received|mime-version|content-[\w-]{1,40}|x-[\w-]{1,60}|return-path|in-reply-to"
    r"|references|importance|priority|von|an|gesendet|datum|de|à|envoyé|para|enviado|fecha|da|inviato|data|aan|verzonden|ticket(?:\s+id)?"
    r"|case\s+number)\s{0,3}:",
    re.IGNORECASE,
)
_MAIL: Final = re.compile(
    r"(?:from|to|cc|sent|reply-to|message-id|return-path|von|gesendet|de|envoyé|enviado|inviato|verzonden)\s{0,3}:"
    r".{0,200}(?:@|\d\d:\d\d)|(?:mime-version|content-(?:type|transfer-encoding))\s{0,3}:",
    re.IGNORECASE,
)
_SUBJECT: Final = re.compile(
    r"(?:subject|betreff|objet|asunto|assunto|oggetto|onderwerp|temat)\s{0,3}:\s{0,5}(?:(?:re|fwd?|aw|wg|tr)\s?:\s{0,5}){0,5}"
    r"(?:\[[^\]]{0,60}\]\s{0,5})?",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(r"\s{0,5}>")
_ATTRIBUTION: Final = re.compile(
    r"\s{0,5}(?:on\s.{1,200}\bwrote|am\s.{1,200}\bschrieb\b.{0,100}|le\s.{1,200}\ba\s+écrit|el\s.{1,200}\bescribió|il\s.{1,200}\bha\s+scritto"
    r"|op\s.{1,200}\bschreef\b.{0,100})\s?:\s{0,5}$",
    re.IGNORECASE,
)
_EARLIER: Final = re.compile(
    r"\s{0,5}(?:-{2,}\s?|_{5,}|#{2,}\s?)(?:original message|forwarded message|reply above this line|please (?:do not write below|type your reply)"
    r"|ursprüngliche nachricht|weitergeleitete nachricht|message d['’]origine|mensaje original|messaggio originale)|\s{0,5}_{20,}\s{0,5}$",
    re.IGNORECASE,
)
_GREETING: Final = re.compile(
    rf"\s{{0,5}}{SALUTATION}\b(?:\s{{1,3}}(?=(?:how|where|why|what|which|who|when|can|cannot|could|is|are|does|do|i|we|my|our|please|unable|there\s+(?:is|are)"
    r"|wie|wo|warum|ich|wir|mein|meine|comment|cómo|come|como)\b)|(?P<rest>[^,!.?:;\n]{0,60})(?P<end>[,!.:;–-]{1,3}|$))",
    re.IGNORECASE,
)
_NAMES: Final = 5
"""Words that may follow a greeting before its comma."""

_NAMES_ALONE: Final = 3
"""Words that may follow it where no comma tells that it ends."""

_FAREWELL: Final = re.compile(
    r"\s{0,5}(?:(?:(?:kind|best|warm|many)\s+)?regards|best(?:\s+wishes)?|cheers|sincerely|yours(?:\s+(?:truly|sincerely|faithfully))?"
    r"|(?:many\s+|with\s+)?thanks(?:\s+(?:and\s+regards|again|a\s+lot|so\s+much|very\s+much|in\s+advance))?"
    r"|thank\s+you(?:\s+(?:very\s+much|so\s+much|in\s+advance|again|for\s+your\s+(?:help|time|support)))?|thx|br"
    r"|mit\s+(?:freundlichen|besten|lieben)\s+grüßen|(?:viele|beste|liebe|freundliche)\s+grüße|mfg|lg|vg|danke(?:\s+(?:im\s+voraus|schön))?"
    r"|vielen\s+dank(?:\s+im\s+voraus)?|cordialement|bien\s+à\s+vous|merci(?:\s+(?:d['’]avance|beaucoup))?|saludos(?:\s+cordiales)?|atentamente"
    r"|(?:muchas\s+)?gracias(?:\s+de\s+antemano)?|cordiali\s+saluti|grazie(?:\s+mille)?|distinti\s+saluti|obrigad[oa]|atenciosamente"
    r"|met\s+vriendelijke\s+groet(?:en)?|bedankt|pozdrawiam|dziękuję|с\s+уважением|спасибо)\s{0,3}[,.!–-]{0,3}(?:\s{1,3}(?P<name>[^\W\d_]+(?:\s+[^\W\d_]+)?))?"
    r"\s{0,5}$",
    re.IGNORECASE,
)
_SIGNATURE: Final = re.compile(r"\s{0,3}(?:--|—|–|_{2,8})\s{0,3}$")
_DEVICE: Final = re.compile(
    r"\s{0,5}(?:sent\s+from\s+(?:my\s+)?\w|get\s+outlook\s+for|von\s+meinem\s+\w{1,20}\s+gesendet|envoyé\s+de\s+mon|enviado\s+desde\s+mi|inviato\s+da)",
    re.IGNORECASE,
)
_POSTSCRIPT: Final = re.compile(r"\s{0,5}p\.?\s?s\.?\s?:?\s", re.IGNORECASE)
_SIGNED: Final = 12
"""Lines after a farewell that may be a signature."""

_ENCODED_LINE: Final = re.compile(r"\s{0,3}[A-Za-z0-9+/]{4,76}={0,2}\s{0,3}$")
_BOUNDARY: Final = re.compile(r"\s{0,3}--[-=_+.'\w]{8,70}\s{0,3}$")
_DISCLAIMER: Final = re.compile(
    r"\b(?:this\s+(?:e-?mail|message|communication)\b.{0,160}\b(?:confidential|privileged|intended)"
    r"|(?:if\s+you\s+)?(?:are\s+not|have\s+received).{0,40}\b(?:intended\s+recipient|in\s+error)|confidentiality\s+(?:notice|note)"
    r"|consider\s+the\s+environment\s+before\s+printing|diese\s+(?:e-?mail|nachricht)\b.{0,160}\bvertraulich"
    r"|ce\s+(?:message|courriel)\b.{0,160}\bconfidentiel|este\s+(?:mensaje|correo)\b.{0,160}\bconfidencial"
    r"|questo\s+messaggio\b.{0,160}\briservat|registered\s+(?:office|in\s+england)\b|handelsregister|amtsgericht\b.{0,80}\bHRB)",
    re.IGNORECASE | re.DOTALL,
)
_PLEASANTRY: Final = re.compile(
    r"(?:very\s+|this\s+is\s+)?urgent|asap|(?:i\s+)?hope\s+(?:this|you|all|everyone)\b.{0,60}\b(?:well|finds?\s+you|day|week)\b.{0,40}|(?:many\s+)?thank(?:s|\s+you)\b.{0,60}"
    r"|(?:i\s+am|i['’]m|we\s+are)?\s?looking\s+forward\s+to\b.{0,60}|(?:please\s+)?(?:advise|let\s+(?:me|us)\s+know)(?:\s+(?:asap|soon|please))?"
    r"|any\s+help(?:\s+(?:is|would|will|on\s+this|with\s+this|here)\b.{0,50})?|(?:i\s+|we\s+)?(?:would\s+)?(?:really\s+|much\s+)?appreciate\s+(?:it|this|that|any|your)\b.{0,50}|sorry\s+(?:for|to)\s+(?:the\s+)?bother.{0,40}"
    r"|(?:vielen\s+)?dank\b.{0,60}|danke\b.{0,60}|ich\s+hoffe\b.{0,60}\bgut\b.{0,20}|merci\b.{0,60}|gracias\b.{0,60}|grazie\b.{0,60}",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(r"(?<=[.!?])\s+")
_ASKS: Final = re.compile(
    r"[?？؟]|\b(?:how|where|why|what|which|can(?:not|['’]t)?|could|unable|error|fail\w*|does\s?n[o'’]t|wrong|missing|wie|wo|warum|kann|nicht|fehler"
    r"|comment|pourquoi|erreur|cómo|por\s+qué|come|perché|errore|como|hoe|waarom|fout|jak|dlaczego|как|почему|ошибк\w*)\b",
    re.IGNORECASE,
)

_COMPLAINS: Final = re.compile(
    r"\b(?:how\s+to|can(?:not|['’]t)|unable|error|fail\w*|(?:do|does|did|is|was|has)\s?n[o'’]t|wrong|missing|fehler|erreur|errore?|fout|ошибк\w*)\b",
    re.IGNORECASE,
)
"""What no greeting, thanks or farewell says."""

_Lines = list[str]
_Rule = Callable[[_Lines], _Lines]


class Ticket(msgspec.Struct, frozen=True):
    """What is left of a ticket."""

    text: str
    removed: Mapping[str, int]
    """The rules that took something away, and from how many lines; empty for a text that is no ticket. ``end`` is what is beyond the
    longest text that is looked through."""


def cleaned(text: str) -> Ticket:
    """Return what a ticket asks, line by line, without what stands around it.

    Args:
        text: as it was written, with its line breaks; of more than ``MAXIMUM_TICKET_CHARACTERS`` the beginning.
    """
    if not may_be_ticket(text):
        return Ticket(text, {})
    lines = _BLANK.sub("\n\n", "\n".join(text[:MAXIMUM_TICKET_CHARACTERS].splitlines())).split("\n")
    removed: Counter[str] = Counter()
    if len(text) > MAXIMUM_TICKET_CHARACTERS:
        removed["end"] = 1
    for name, rule in RULES.items():
        left = rule(lines)
        if left != lines and any(map(_has_word, left)):
            removed[name] += max(len(lines) - len(left), 1)
            lines = left
    return Ticket("\n".join(lines), dict(removed))


def condensed(text: str, maximum: int) -> str:
    """Return the sentences of ``text`` that ask or complain, then the first of the others, as many as fit, in their order.

    Empty where no sentence fits.

    Args:
        text: one line.
        maximum: characters at most.
    """
    spans = sentences.units(text)
    order = sorted(range(len(spans)), key=lambda row: (_ASKS.search(text[slice(*spans[row])][:2000]) is None, row))
    kept: set[int] = set()
    room = maximum
    for row in order:
        start, end = spans[row]
        if end - start + 1 <= room:
            kept.add(row)
            room -= end - start + 1
    return " ".join(text[slice(*spans[row])] for row in sorted(kept))


def _asks(lines: _Lines) -> bool:
    return any("?" in line for line in lines)


def _has_word(line: str) -> bool:
    return any(map(str.isalnum, line))


def _without_attachments(lines: _Lines) -> _Lines:
    """Take away base64, whole lines and within a line, and the boundaries of parts of a mail."""
    left: _Lines = []
    encoded = False
    for line in lines:
        if _BOUNDARY.match(line[:LINE]):
            encoded = False
            continue
        # The last line of an attachment is shorter.
        if encoded and _ENCODED_LINE.match(line[:LINE]) and len(line) < LINE:
            continue
        short = ENCODED.sub(_unless_readable, line)
        encoded = short != line and not _has_word(short)
        if not encoded:
            left.append(short)
    return left


def _unless_readable(found: re.Match[str]) -> str:
    """A space for base64; a hash, a number or a long word stays."""
    text = found[0]
    mixed = not text.islower() and not text.isupper() and any(map(str.isdigit, text))
    return " " if mixed else text


def _without_headers(lines: _Lines) -> _Lines:
    """Take away the headers of a mail, where there is one, but for what the subject says."""
    if not any(_MAIL.match(line[:LINE]) or _SUBJECT.match(line[:LINE]) for line in lines):
        return lines
    left: _Lines = []
    inside = False
    for line in lines:
        head = line[:LINE]
        if subject := _SUBJECT.match(head):
            left += [line[subject.end() :], ""]
            inside = True
        elif _HEADER.match(head):
            inside = True
        elif inside and line[:1] in (" ", "\t") and line.strip():
            continue
        else:
            inside = False
            left.append(line)
    return left


def _without_earlier(lines: _Lines) -> _Lines:
    """Take away the mail that this one answers: what follows its mark, and quoted lines."""
    end = next((at for at, line in enumerate(lines) if _EARLIER.match(line[:LINE])), len(lines))
    if any(map(_has_word, lines[:end])):
        lines = lines[:end]
    left = [line for line in lines if not _QUOTED.match(line[:LINE]) and not _ATTRIBUTION.match(line[: 2 * LINE])]
    if any(map(_has_word, left)):
        return left
    return [line.lstrip(" >") for line in lines]


def _without_disclaimers(lines: _Lines) -> _Lines:
    """Take away paragraphs that say who may read them, and ask nothing."""
    left: _Lines = []
    for paragraph in _paragraphs(lines):
        text = "\n".join(paragraph)[:4000]
        if "?" in text or not _DISCLAIMER.search(text):
            left += paragraph
    return left


def _without_signature(lines: _Lines) -> _Lines:
    """Take away farewells and what follows them, but for a postscript, and for a question where nothing before it is one."""
    for at, line in enumerate(lines):
        head = line[:LINE]
        is_farewell = _FAREWELL.match(head) and sum(map(_has_word, lines[at + 1 :])) <= _SIGNED
        if not (is_farewell or _SIGNATURE.match(head) or _DEVICE.match(head)) or not any(map(_has_word, lines[:at])):
            continue
        rest = lines[at + 1 :]
        if _asks(rest) and not _asks(lines[:at]):
            continue
        kept = next((row for row, other in enumerate(rest) if _POSTSCRIPT.match(other[:LINE])), None)
        tail = [] if kept is None else [_POSTSCRIPT.sub("", rest[kept], count=1), *rest[kept + 1 :]]
        return [*lines[:at], *tail]
    return lines


def _without_greeting(lines: _Lines) -> _Lines:
    """Take away the greeting that a ticket begins with, with the names that follow it."""
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    # The first line may be the subject.
    for at in () if first is None else range(first, min(first + 4, len(lines))):
        line = lines[at]
        found = _GREETING.match(line[:LINE])
        if found and _is_of_names(found["rest"] or "", found["end"]):
            return [*lines[:at], line[found.end() :], *lines[at + 1 :]]
    return lines


def _is_of_names(rest: str, end: str | None) -> bool:
    """Whether what follows a greeting is who is greeted, and not the question itself."""
    most = _NAMES if end and end[0] in ",!:" else _NAMES_ALONE
    return len(rest.split()) <= most and not _COMPLAINS.search(rest)


def _without_pleasantries(lines: _Lines) -> _Lines:
    """Take away sentences that hope, thank, look forward and bid farewell."""
    left: _Lines = []
    for line in lines:
        pieces = [piece for piece in _BETWEEN.split(line) if piece] if CUE.search(line.lower()) else []
        kept = [piece for piece in pieces if not _is_pleasantry(piece)]
        if len(kept) == len(pieces):
            left.append(line)
        elif kept:
            left.append(" ".join(kept))
    return left


def _is_pleasantry(sentence: str) -> bool:
    if len(sentence) >= LINE or "?" in sentence or _COMPLAINS.search(sentence):
        return False
    return _PLEASANTRY.fullmatch(sentence.rstrip(".!, ")) is not None or _FAREWELL.match(sentence) is not None


def _paragraphs(lines: _Lines) -> Iterator[_Lines]:
    paragraph: _Lines = []
    for line in lines:
        paragraph.append(line)
        if not line.strip():
            yield paragraph
            paragraph = []
    if paragraph:
        yield paragraph


RULES: Final[Mapping[str, _Rule]] = {
    "attachments": _without_attachments,
    "headers": _without_headers,
    "quoted": _without_earlier,
    "disclaimers": _without_disclaimers,
    "signature": _without_signature,
    "greeting": _without_greeting,
    "pleasantries": _without_pleasantries,
}
"""The rules by name, in the order in which they are applied."""
