"""One emulator for all tests; each module has a stack of its own, fed by event sources of its own."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "deploy" / "local"))

import lab  # noqa: E402

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def emulator():
    with lab.temporary_folder("kmswatch-e2e-") as folder:
        emulator = lab.Emulator(folder)
        try:
            yield emulator.start()
        finally:
            emulator.stop()


@pytest.fixture
def stack(emulator):
    """A stack that no other test feeds."""
    number = next(_numbers)
    return lab.Stack(emulator, name=f"kw{number}", prefix=f"lab{number}")


@pytest.fixture
def kmswatch(stack, tmp_path):
    """kmswatch with rules that count, not yet started; stopped at the end whatever happens."""
    process = lab.Kmswatch(stack, tmp_path, rules=HERE / "rules")
    try:
        yield process
    finally:
        process.stop()
