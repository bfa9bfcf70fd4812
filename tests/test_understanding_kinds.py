"""What a question wants, by rules in many languages."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import plugins, testing
from clockify_rag.contracts import QuestionKind
from clockify_rag.understanding import kinds
from clockify_rag.understanding.kinds import NoClassifier, RuleClassifier

CLASSIFIER = RuleClassifier()


@pytest.mark.parametrize(
    ("question", "language", "kind"),
    [
        ("How do I export a report?", "en", "how-to"),
        ("I handed in too early, how do I pull it back?", "en", "how-to"),
        ("We finished. Where can I archive it?", "en", "how-to"),
        ("What's the difference between Basic and Pro?", "en", "comparison"),
        ("Why is the button grey?", "en", "troubleshooting"),
        ("clicked stop and my entry vanished", "en", "troubleshooting"),
        ("The export fails with error 502. What now?", "en", "troubleshooting"),
        ("What is a billable rate?", "en", "definition"),
        ("What does proration mean?", "en", "definition"),
        ("How many users can I have?", "en", "limits"),
        ("Who can edit workspace settings?", "en", "limits"),
        ("Does it have a watch app?", "en", "yes-no"),
        ("Which menu has the switch?", "en", "fact"),
        ("quickbooks integration", "en", "topic"),
        ("Wie reiche ich den Stundenzettel ein?", "de", "how-to"),
        ("Wie viele Zeilen passen hinein?", "de", "limits"),
        ("Was ist ein Kiosk?", "de", "definition"),
        ("Warum ist der Knopf grau?", "de", "troubleshooting"),
        ("Kann ich Belege übergeben?", "de", "yes-no"),
        ("Comment démarrer le chronomètre ?", "fr", "how-to"),
        ("¿Cuántos clientes puedo tener?", "es", "limits"),
        ("¿Qué es un quiosco?", "es", "definition"),
        ("Come divido una registrazione?", "it", "how-to"),
        ("Quantos dispositivos pode ter?", "pt", "limits"),
        ("Wat is het verschil tussen beide?", "nl", "comparison"),
        ("Czy mogę wystawić fakturę?", "pl", "yes-no"),
        ("Как удалить проект?", "ru", "how-to"),
        ("Rapor nasıl dışa aktarılır?", "tr", "how-to"),
        ("RAPOR NASIL DIŞA AKTARILIR?", "tr", "how-to"),
        ("WHAT IS A BILLABLE RATE?", "en", "definition"),
        ("It stopped working. I use it daily", "en", "troubleshooting"),
        ("如何重置我的密码?", "zh", "how-to"),
        ("無料プランでは何人まで使えますか", "ja", "limits"),
        ("왜 안 돼요?", "ko", "troubleshooting"),
        ("كيف أضيف مصروفًا؟", "ar", "how-to"),
        ("words of no language", "xx", "topic"),
        ("a question of no language?", "xx", "fact"),
    ],
)
def test_kinds(question: str, language: str, kind: str) -> None:
    assert CLASSIFIER.classify(question, language) == kind


def test_every_language_has_a_rule_for_every_kind() -> None:
    for language, rules in kinds.RULES.items():
        assert set(rules) == set(kinds.ORDER), language
        for kind, rule in rules.items():
            assert not re.compile(rule, re.IGNORECASE).match("") or kind == "fact", (language, kind)
            letters = re.sub(r"\\[A-Za-z]", "", rule)
            assert letters == letters.lower(), (language, kind)


@given(st.text(max_size=200), st.sampled_from(sorted(kinds.RULES)))
def test_any_text_has_one_kind(text: str, language: str) -> None:
    assert CLASSIFIER.classify(text, language) in get_args(QuestionKind)


@pytest.mark.parametrize("text", ["what is a", "wie ", "a, ", "? ", "nasıl ", "x" * 50 + " "])
def test_a_megabyte_is_soon_done(text: str) -> None:
    long = text * (20_000 // len(text))
    for language in kinds.RULES:
        CLASSIFIER.classify(long, language)


def test_they_are_classifiers() -> None:
    testing.check_classifier(CLASSIFIER)
    testing.check_classifier(NoClassifier())
    assert plugins.create("classifiers", "none").classify("why?", "en") == ""
    with pytest.raises(AssertionError, match="another kind the second time"):
        testing.check_classifier(_Moody())


class _Moody:
    def __init__(self) -> None:
        self.asked = 0

    def classify(self, question: str, language: str) -> str:
        self.asked += 1
        return str(self.asked)
