"""Questions: what is cleaned, what is refused, and what filters may say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.contracts import MAXIMUM_QUESTION_CHARACTERS, Understander
from clockify_rag.errors import ClockifyRagError, EmptyQuery, QueryError, QueryTooLong
from clockify_rag.understanding import PlainUnderstander, clean

UNDERSTANDER = PlainUnderstander()


def test_it_is_an_understander() -> None:
    assert isinstance(UNDERSTANDER, Understander)


@pytest.mark.parametrize(
    ("asked", "searched"),
    [
        ("how to reset\0 my\tpassword", "how to reset my password"),
        ("  two\r\nlines  ", "two lines"),
        ("\x1b[31mred\x1b[0m text", "red text"),
        ("\x1b]0;title\x07where", "where"),
        ("caf\u0065\u0301", "café"),
        ("zero\u200bwidth", "zerowidth"),
        ("\u202eleft", "left"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("\x85next", "next"),
        ("🚀 launch", "🚀 launch"),
    ],
)
def test_questions_are_cleaned(asked: str, searched: str) -> None:
    query = UNDERSTANDER.understand(asked)
    assert query.text == searched
    query.text.encode()
    query.question.encode()


def test_the_question_stays_as_it_was_asked() -> None:
    assert UNDERSTANDER.understand(" What\tis it? ").question == " What\tis it? "


@pytest.mark.parametrize("asked", ["", "   ", "\n\t", "\0\0", "🚀🎉", "👩‍💻", "1️⃣ #️⃣", "?!…", "\u200b", "\x1b[31m", "🇩🇪"])
def test_nothing_to_search_for(asked: str) -> None:
    with pytest.raises(EmptyQuery) as caught:
        UNDERSTANDER.understand(asked)
    assert caught.value.hint


@pytest.mark.parametrize("asked", ["how is it", "the", "7", "C++", "日本", "є"])
def test_a_question_of_few_or_only_stop_words_is_one(asked: str) -> None:
    assert UNDERSTANDER.understand(asked).text == asked


def test_the_length_is_limited() -> None:
    longest = "a" * MAXIMUM_QUESTION_CHARACTERS
    assert UNDERSTANDER.understand(f" {longest}\n").text == longest
    with pytest.raises(QueryTooLong, match=r"2,001 characters.*2,000") as caught:
        UNDERSTANDER.understand(longest + "a")
    assert caught.value.fields == {"characters": 2001, "maximum": 2000}


def test_language_is_told_or_the_default() -> None:
    assert UNDERSTANDER.understand("How do I reset the password of my account?").language == "en"
    assert UNDERSTANDER.understand("Wie wird das Passwort zurückgesetzt und wo ist der Knopf?").language == "de"
    assert PlainUnderstander("sr").understand("12345").language == "sr"


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("password reset link", "en"),
        ("dark mode", "en"),
        ("num_cpus", "en"),
        ("mot de passe oublié", "fr"),
        ("wachtwoord vergeten", "nl"),
        ("パスワードのリセット", "ja"),
        ("重置密码", "zh"),
        ("비밀번호 재설정", "ko"),
    ],
)
def test_a_fragment_is_of_the_default_language_unless_there_is_evidence(asked: str, language: str) -> None:
    assert UNDERSTANDER.understand(asked).language == language


def test_another_default_language_is_no_obstacle() -> None:
    german = PlainUnderstander("de")
    assert german.understand("Timer Widget").language == "de"
    assert german.understand("password reset link").language == "en"


def test_filters_are_checked() -> None:
    given_filters: dict[str, Any] = {"tags": ["a", "b", "a"], "source": "docs", "language": ("EN",)}
    query = UNDERSTANDER.understand("what", filters=given_filters)
    assert query.filters == {"tags": ("a", "b"), "source": ("docs",), "language": ("en",)}


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        ({"tag": ["a"]}, "tags"),
        ({"zzz": ["a"]}, "source"),
        ({"tags": []}, "tags"),
        ({"tags": [" "]}, "tags"),
        ({"tags": [7]}, ""),
    ],
)
def test_filters_that_cannot_be(filters: dict[str, Any], hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        UNDERSTANDER.understand("what", filters=filters)
    assert hint in caught.value.hint


@given(st.text(alphabet=st.characters(), max_size=300))
def test_any_text_is_a_query_or_a_named_error(text: str) -> None:
    try:
        query = UNDERSTANDER.understand(text)
    except ClockifyRagError:
        return
    assert query.text == clean(query.text)
    assert query.text.isprintable() or "\u200c" in query.text or "\u200d" in query.text
    query.text.encode()


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_printable_ascii_is_cleaned_as_any_text(text: str) -> None:
    assert clean(text) == clean(f"{text} é").removesuffix("é").rstrip()
