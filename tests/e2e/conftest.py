import json
import os
import pathlib
import subprocess

import pytest

from emulator import ROOT, Emulator, Kmswatch, Stack


@pytest.fixture(scope="session")
def binary():
    return pathlib.Path(os.environ.get("KMSWATCH_BINARY", ROOT / "target" / "debug" / "kmswatch"))


@pytest.fixture(scope="session")
def examples(binary):
    """The examples that the shipped rules carry, as `kmswatch test --print` gives them."""
    printed = subprocess.run([binary, "test", "--print"], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


@pytest.fixture
def stack(tmp_path):
    emulator = Emulator(tmp_path / "emulator.log")
    try:
        yield Stack(emulator)
    finally:
        emulator.close()


@pytest.fixture
def kmswatch(stack, tmp_path, binary):
    """Starts `kmswatch run` processes and sees to it that none outlives its test."""
    started = []

    def start(keys=None, pollers=2):
        process = Kmswatch(stack, tmp_path / "kmswatch", binary, keys, pollers).start()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()
