"""The deliberate bugs still fit the code that they are put into."""

from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS, Mutant, make


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_made(mutant: Mutant, tmp_path: Path) -> None:
    tree = make(mutant, tmp_path / "tree")
    for file, *_ in mutant.patches:
        compile((tree / file).read_text("utf-8"), file, "exec")
