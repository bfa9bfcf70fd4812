"""Every target in turn, with what came of it: ``make fuzz``, or ``python -m fuzzing.campaign [TARGET…]`` with ``tests`` on the path.

``FUZZ_RUNS`` is how often each is run, a million by default. What reaches new edges is collected in ``fuzz/corpus`` below the folder of
what is compiled, and with ``FUZZ_KEEP=1`` kept in the repository. Where an input breaks a property, the campaign ends with status 1.

The core's targets are linked with libFuzzer and the address sanitizer, whose switches stable compilers take with ``RUSTC_BOOTSTRAP``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RUNS = int(os.environ.get("FUZZ_RUNS", "1000000"))
KEEP = os.environ.get("FUZZ_KEEP") == "1"
CORE = ("html", "markdown", "front_matter", "links", "archive", "manifest", "postings", "records", "tombstones")
PYTHON = ("address", "robots", "sitemap", "gzip", "json_lines", "metadata", "articles", "docx", "ip")
TRIPLE = "x86_64-unknown-linux-gnu"
FLAGS = (
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
    "-Zsanitizer=address",
)
"""What counts edges, tells the fuzzer what was compared, and finds reads beside an allocation."""

SCRATCH = "/dev/shm"
"""Memory as a folder."""

PATIENCE_SECONDS = 20
"""An input that takes longer is one that hangs."""

SHORTENED = {"html": 512, "markdown": 512}
"""The most bytes of an input of those targets whose pages are cut into chunks in nine ways; others have up to 4,096."""

ENTROPY = "-entropic=0"
"""Not to weigh inputs by how rare what they reach is: of the time of a target with thousands of edges that took two fifths."""


class Came(msgspec.Struct, frozen=True):
    """What came of a target."""

    runs: int
    edges: int
    inputs: int
    status: int

    def __str__(self) -> str:
        ended = "0 crashes" if self.status == 0 else f"ended with {self.status}"
        return f"{self.runs:,} runs, {self.edges:,} edges, {self.inputs:,} inputs, {ended}"


def target_folder() -> Path:
    """Return the folder of what is compiled."""
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve() / "fuzz"


def compiled() -> Path:
    """Compile the core's targets; return their folder."""
    variables = {**os.environ, "RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": " ".join(FLAGS)}
    command = ["cargo", "build", "--release", "--quiet", "--target", TRIPLE, "--target-dir", str(target_folder())]
    subprocess.run([*command, "--manifest-path", str(REPOSITORY / "fuzz" / "Cargo.toml")], env=variables, check=True)
    return target_folder() / TRIPLE / "release"


def program(name: str, core: Path | None) -> list[str]:
    """Return what runs a target."""
    return [str(core / name)] if core is not None and name in CORE else [sys.executable, "-m", "fuzzing", name]


def fuzz(command: Sequence[str], name: str) -> Came:
    """Run one target."""
    kept, found = REPOSITORY / "fuzz" / "corpus" / name, target_folder() / "corpus" / name
    crashes = target_folder() / "crashes"
    found.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    options = [f"-runs={RUNS}", f"-timeout={PATIENCE_SECONDS}", "-print_final_stats=1"]
    options += [f"-max_len={SHORTENED[name]}"] if name in SHORTENED else []
    options += [ENTROPY, f"-artifact_prefix={crashes}/{name}-", str(found), str(kept)]
    # Archives are restored into temporary folders and synchronised: to a disk that takes nine tenths of the time.
    variables = {**os.environ, "TMPDIR": SCRATCH} if os.access(SCRATCH, os.W_OK) else None
    done = subprocess.run(
        [*command, *options], env=variables, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        print(done.stderr[-3000:])
    covered = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)", done.stderr) or [("0", "0")]
    (runs,) = re.findall(r"number_of_executed_units:\s*(\d+)", done.stderr) or ["0"]
    return Came(int(runs), int(covered[-1][0]), int(covered[-1][1]), done.returncode)


def keep(command: Sequence[str], name: str) -> None:
    """Keep in the repository what reaches new edges: of the core's targets the least of all inputs, of others each that was found.

    libFuzzer merges by starting itself again, which it cannot where it runs within Python.
    """
    kept, found = REPOSITORY / "fuzz" / "corpus" / name, target_folder() / "corpus" / name
    if name in PYTHON:
        shutil.copytree(found, kept, dirs_exist_ok=True)
        return
    least = target_folder() / "least" / name
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir(parents=True)
    subprocess.run([*command, "-merge=1", str(least), str(kept), str(found)], capture_output=True, check=True)
    if not any(least.iterdir()):
        sys.exit(f"error: of the corpus of {name} nothing was left")
    shutil.rmtree(kept)
    shutil.copytree(least, kept)


def main() -> int:
    """Fuzz the targets that are named, or all."""
    names = sys.argv[1:] or [*CORE, *PYTHON]
    core = compiled() if any(name in CORE for name in names) else None
    status = 0
    for name in names:
        came = fuzz(program(name, core), name)
        print(f"{name}: {came}", flush=True)
        if came.status != 0:
            status = 1
        elif KEEP:
            keep(program(name, core), name)
    return status


if __name__ == "__main__":
    sys.exit(main())
