"""What tells that a question may be a ticket, before anything of one is looked for.

Most questions are a line that is none. The patterns of mails take longer to make than such a question takes to answer, so
``tickets`` is imported only for what has a sign of one.
"""

from __future__ import annotations

import re
from typing import Final

LINE: Final = 300
"""Characters of a line that patterns look at: a marker stands at its beginning."""

SALUTATION: Final = (
    r"(?:hi|hello|hey|hiya|dear|greetings|good\s+(?:morning|afternoon|evening|day)|to\s+whom\s+it\s+may\s+concern|hallo|liebes?r?"
    r"|guten\s+(?:tag|morgen|abend)|moin|servus|sehr\s+geehrte[rs]?|bonjour|bonsoir|salut|chère?s?|hola|buen[oa]s?\s+(?:días|tardes|noches)"
    r"|estimad[oa]s?|ciao|buongiorno|buonasera|gentile|olá|bom\s+dia|boa\s+tarde|prezad[oa]s?|beste|goedemorgen|goedemiddag|cześć|dzień\s+dobry"
    r"|hej|здравствуйте|привет|добрый\s+день)"
)
"""How a mail begins, in any case."""

ENCODED: Final = re.compile(r"(?:data:[\w./+-]{1,60};base64,)?[A-Za-z0-9+/]{56,}={0,2}")
"""Base64."""

CUE: Final = re.compile(
    r"\b(?:thx|thanks?|regards|cheers|urgent|asap|appreciate|advise|forward|hope|gr(?:ü|u)(?:ß|ss)en?|danke?|merci|gracias|grazie|saludos)\b"
)
"""What a line, in lower case, has that may have a sentence to take away."""

_SALUTATION: Final = re.compile(rf"\s{{0,5}}{SALUTATION}\b")


def may_be_ticket(text: str) -> bool:
    """Return whether ``text`` has anything that ``tickets.cleaned`` could take away."""
    if "\n" in text or len(text) >= LINE or ENCODED.search(text):
        return True
    lowered = text.lower()
    return bool(_SALUTATION.match(lowered) or CUE.search(lowered))
