"""Runs the emulator for a test command: `hold.py FILE` writes the endpoint into FILE and stays until it is stopped."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

import lab  # noqa: E402


def main(target: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with lab.temporary_folder("kmswatch-emulator-") as folder:
        emulator = lab.Emulator(folder)
        try:
            emulator.start()
            ready = target.with_suffix(".new")
            ready.write_text(emulator.endpoint)
            ready.rename(target)
            signal.pause()
        finally:
            emulator.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
