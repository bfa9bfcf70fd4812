"""The whole of the faults, with counts: ``make faults``, or ``python -m faults [PART…]`` with ``tests`` on the path.

Parts: calls, places, power, damage, model, readers, defects; ``calls=gc`` sweeps one operation only. ``FAULT_SEED`` chooses what is
chosen at random, ``FAULT_WORKERS`` how many processes work, by default one for each core. Where time is short ``FAULT_STEP=4`` lets
one of four calls fail in each way in place of all; the process is killed at every one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from faults import defects
from faults.operations import OPERATIONS
from faults.processes import environment
from faults.sweeping import FAILURES, KILLS, Share

TESTS = Path(__file__).resolve().parent.parent
SEED = int(os.environ.get("FAULT_SEED", str(random.randrange(1 << 32))))
WORKERS = int(os.environ.get("FAULT_WORKERS", str(os.cpu_count() or 1)))

STEP = int(os.environ.get("FAULT_STEP", "1"))

COMPOUND = 100
"""Pairs of faults, the second in the recovery, of each operation."""
STATES = 10_000
STEPS = 20_000
PUBLICATIONS = 1_000
EVERYDAY_PUBLICATIONS = 50


class Found(msgspec.Struct):
    """What a part came to."""

    counts: Counter[str]
    wrong: list[str]

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {word}" for word, count in sorted(self.counts.items()))
        return f"{counts}; {len(self.wrong)} wrong"


def target() -> Path:
    """Return the folder of what is compiled."""
    return Path(os.environ.get("CARGO_TARGET_DIR", TESTS.parent / "target"))


def sweeper() -> Path:
    """Compile the sweeper."""
    folder = target() / "sweeper"
    manifest = TESTS / "faults" / "sweeper" / "Cargo.toml"
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(manifest), "--target-dir", str(folder)]
    subprocess.run(command, check=True)
    return folder / "release" / "sweeper"


def swept(**fields: Any) -> Share:
    """What all workers do together, some commands of it with calls that fail."""
    return Share(number=0, workers=WORKERS, seed=SEED, sweeper=str(sweeper()), **fields)


def work(module: str, share: Share, package: Path | None = None) -> Found:
    """Let workers do a part; one that dies is named with what it did last."""
    paths = [str(package) if package else environment()["PYTHONPATH"], str(TESTS)]
    started = []
    for number in range(WORKERS):
        case = target() / f"case-{number}"
        variables = environment(PYTHONPATH=os.pathsep.join(paths), FLIPPING=str(case))
        command = [sys.executable, "-m", module, _encoded(share, number)]
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append((process, case))
    found = Found(Counter(), [])
    for process, case in started:
        out, err = process.communicate()
        for line in map(json.loads, out.splitlines()):
            found.counts.update(line["counts"])
            found.wrong += line["wrong"]
        if process.returncode != 0:
            last = case.read_text() if case.exists() else ""
            found.wrong.append(f"a worker ended with {process.returncode} at {last}: {err[-2000:]}")
        case.unlink(missing_ok=True)
    return found


def _encoded(share: Share, number: int) -> str:
    return msgspec.json.encode(msgspec.structs.replace(share, number=number)).decode()


def calls(only: str = "") -> Found:
    """Each call of each operation killed before and after, torn, and failing in each way; and pairs of faults."""
    found = Found(Counter(), [])
    for operation in OPERATIONS:
        if only not in ("", operation.name):
            continue
        part = work("faults.sweeping", swept(compound=COMPOUND // STEP, step=STEP, operations=(operation.name,)))
        print(f"    {operation.name}: {part}", flush=True)
        found.counts.update(part.counts)
        found.wrong += part.wrong
    found.counts["kill points"] = sum(found.counts[name] for name in (*KILLS, "compound"))
    found.counts["I/O faults"] = sum(found.counts[name] for name in FAILURES)
    return found


def places() -> Found:
    """Each named place in Python and in the core."""
    package = defects.seed(target() / "seeded")
    return work("faults.sweeping", swept(failpoints=True, core=True), package=package)


def power() -> Found:
    """States that a loss of power may leave."""
    return work("faults.losing_power", swept(sample=STATES))


def damage() -> Found:
    """Each byte flipped, and each file cut at each length."""
    return work("faults.flipping", Share(number=0, workers=WORKERS, seed=SEED))


def model() -> Found:
    """Random steps beside a dictionary."""
    return work("faults.modelling", swept(sample=STEPS))


def readers() -> Found:
    """Readers during publications, and disks that fill at every size."""
    tests = ["test_builders.py", "test_disks.py"]
    command = [sys.executable, "-m", "pytest", "-q", *(str(TESTS / "faults" / test) for test in tests)]
    variables = environment(FAULT_MORE=str(PUBLICATIONS // EVERYDAY_PUBLICATIONS), FAULT_SEED=str(SEED))
    done = subprocess.run(command, cwd=TESTS.parent, env=variables, capture_output=True, text=True, check=False)
    return Found(Counter(publications=PUBLICATIONS), [] if done.returncode == 0 else [done.stdout])


def seeded() -> Found:
    """Each defect that is put in must be found by its test."""
    package = defects.seed(target() / "seeded")
    wrong = [] if defects.passes_without(package) else ["a test fails without any defect"]
    found = [defect for defect in defects.DEFECTS if defects.is_found(package, defect)]
    wrong += [f"not found: {defect.name}" for defect in defects.DEFECTS if defect not in found]
    for defect in found:
        print(f"    {defect.name}: found by {defect.found_by}")
    return Found(Counter({"defects": len(defects.DEFECTS), "found": len(found)}), wrong)


PARTS: Mapping[str, Callable[[], Found]] = {
    "calls": calls,
    "places": places,
    "power": power,
    "damage": damage,
    "model": model,
    "readers": readers,
    "defects": seeded,
}


def main() -> int:
    """Do the parts that are named, or all."""
    print(f"FAULT_SEED={SEED}, {WORKERS} workers", flush=True)
    status = 0
    for name in sys.argv[1:] or PARTS:
        began = time.monotonic()
        part, _, operation = name.partition("=")
        found = calls(operation) if operation else PARTS[part]()
        print(f"{name}: {found}; {time.monotonic() - began:.0f} s", flush=True)
        for wrong in found.wrong:
            status = 1
            print(f"    {wrong}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
