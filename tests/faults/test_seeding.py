"""The defects that are seeded to see whether they are found can be seeded: each has its place in the sources."""

from __future__ import annotations

import pytest

from faults.defects import DEFECTS, REPOSITORY, Defect


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_has_one_place_and_a_test_that_finds_it(defect: Defect) -> None:
    assert (REPOSITORY / defect.file).read_text().count(defect.old) == 1
    file, name = defect.found_by.split("::")
    assert f"def {name}(" in (REPOSITORY / "tests" / "faults" / file).read_text()
