"""One environment a family of contenders, so that no peer decides which numpy another gets; made once, kept in the cache.

What a family needs is pinned in ``requirements/FAMILY.txt``; from where packages come is pip's own configuration.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from corpus import cache_folder

REQUIREMENTS = Path(__file__).parent / "requirements"


def interpreter(family: str | None) -> Path:
    """Return the interpreter of a family's environment, made if it is missing or its requirements changed."""
    if family is None:
        return Path(sys.executable)
    requirements = REQUIREMENTS / f"{family}.txt"
    folder = cache_folder() / "environments" / family
    python, made_from = folder / "bin" / "python", folder / "made-from.txt"
    if made_from.is_file() and made_from.read_bytes() == requirements.read_bytes():
        return python
    print(f"installing {family} into {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", requirements], check=True)
    shutil.copyfile(requirements, made_from)
    return python
