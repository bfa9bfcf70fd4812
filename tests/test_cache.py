"""The cache of embeddings: it remembers, it never lies, and it never fails a build."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clockify_rag.cache import EmbeddingCache

MODEL = "0123456789abcdef0123456789abcdef"


def some(count: int, size: int = 64) -> dict[str, bytes]:
    return {f"text {number}": number.to_bytes(4, "little") * (size // 4) for number in range(count)}


def test_what_was_stored_is_there_for_that_model_only(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    vectors = some(2500)
    cache.put(MODEL, vectors)
    cache.close()
    again = EmbeddingCache(tmp_path / "cache")
    assert again.get(MODEL, [*vectors, "unknown"]) == vectors
    assert again.get("f" * 32, list(vectors)) == {}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"embeddings-{MODEL}.sqlite"]


def test_looking_into_no_cache_makes_none(tmp_path: Path) -> None:
    assert EmbeddingCache(tmp_path / "cache").get(MODEL, ["a"]) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_is_never_a_path(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    for fingerprint in ("../../x", "a/b", "", "A" * 32, "x" * 300):
        assert cache.path(fingerprint).parent == tmp_path
        assert len(cache.path(fingerprint).name) < 100


def test_one_read_and_one_write_for_a_thousand_texts(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put(MODEL, some(1))
    statements: list[str] = []
    cache._connections[MODEL].set_trace_callback(statements.append)
    cache.put(MODEL, some(2000))
    cache.get(MODEL, list(some(2000)))
    assert sum(statement.startswith("COMMIT") for statement in statements) == 2
    assert sum(statement.startswith("SELECT key") for statement in statements) == 2


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_ignored_or_replaced(tmp_path: Path, data: st.DataObject) -> None:
    cache = EmbeddingCache(tmp_path)
    path = cache.path(MODEL)
    path.unlink(missing_ok=True)
    vectors = some(40)
    cache.put(MODEL, vectors)
    cache.close()
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[position:]
    path.write_bytes(content)
    found = cache.get(MODEL, list(vectors))
    assert found.items() <= vectors.items()
    cache.put(MODEL, vectors)
    cache.put(MODEL, vectors)
    assert cache.get(MODEL, list(vectors)) == vectors
    cache.close()


@pytest.mark.parametrize("content", [b"", b"no database at all, and rather long", b"\0" * 5000])
def test_a_foreign_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.path(MODEL).write_bytes(content)
    assert cache.get(MODEL, ["text 0"]) == {}
    cache.put(MODEL, some(1))
    cache.put(MODEL, some(1))
    assert cache.get(MODEL, ["text 0"]) == some(1)


def test_a_database_of_another_program_is_replaced(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    with sqlite3.connect(cache.path(MODEL)) as other:
        other.execute("PRAGMA application_id = 7")
        other.execute("CREATE TABLE vectors (key, vector)")
    other.close()
    assert cache.get(MODEL, ["a"]) == {}
    assert not cache.path(MODEL).exists()


def test_the_oldest_go_when_it_is_full(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, maximum_bytes=200_000)
    texts = list(some(3000, 400))
    for start in range(0, 3000, 500):
        cache.put(MODEL, {text: vector for text, vector in some(3000, 400).items() if text in texts[start : start + 500]})
    kept = cache.get(MODEL, texts)
    assert 100 < len(kept) < 600
    assert texts[-1] in kept
    assert texts[0] not in kept
    assert cache.path(MODEL).stat().st_size < 1_000_000


def test_a_folder_that_cannot_be_written_is_no_cache(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    cache = EmbeddingCache(file / "cache")
    cache.put(MODEL, some(1))
    assert cache.get(MODEL, ["text 0"]) == {}


def test_a_locked_file_is_no_cache_this_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put(MODEL, some(1))
    other = sqlite3.connect(cache.path(MODEL), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    cache.close()
    assert cache.get(MODEL, ["text 0"]) == {}
    other.execute("ROLLBACK")
    other.close()
    assert cache.get(MODEL, ["text 0"]) == some(1)


def test_many_threads_share_one(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    vectors = some(400)
    wrong: list[object] = []

    def work(offset: int) -> None:
        for start in range(offset, 400, 40):
            part = {text: vectors[text] for text in list(vectors)[start : start + 10]}
            cache.put(MODEL, part)
            if cache.get(MODEL, list(part)) != part:
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert cache.get(MODEL, list(vectors)) == vectors


def test_what_was_stored_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import sys, os; from clockify_rag.cache import EmbeddingCache; c = EmbeddingCache(sys.argv[1])\n"
        f"for i in range(10**9): c.put({MODEL!r}, {{f'{{i}} {{j}}': bytes(64) for j in range(50)}}); print(i, flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    for _ in range(5):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    texts = [f"{i} {j}" for i in range(last + 1) for j in range(50)]
    assert EmbeddingCache(tmp_path).get(MODEL, texts) == dict.fromkeys(texts, bytes(64))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_opens_its_own(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put(MODEL, some(3))
    child = os.fork()
    if child == 0:
        os._exit(0 if cache.get(MODEL, list(some(3))) == some(3) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.get(MODEL, list(some(3))) == some(3)
