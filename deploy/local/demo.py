"""Sends the attack of tests/captures through EventBridge and prints the alerts that a subscriber gets."""

import gzip
import json
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from emulator import Emulator, Kmswatch, Stack  # noqa: E402

# The stretch of the morning in which the attack lies.
FROM, TO = "2026-01-05T09:59:00Z", "2026-01-05T10:20:00Z"


def captured():
    for path in sorted((ROOT / "tests" / "captures" / "morning").rglob("*.json.gz")):
        yield from json.loads(gzip.decompress(path.read_bytes()))["Records"]
    for line in (ROOT / "tests" / "captures" / "morning" / "eventbridge.jsonl").read_text().splitlines():
        yield json.loads(line)["detail"]


def main():
    with tempfile.TemporaryDirectory() as directory:
        print("starting the emulator and deploying deploy/kmswatch.template.yaml ...", flush=True)
        emulator = Emulator(f"{directory}/emulator.log")
        try:
            stack = Stack(emulator)
            print(f"queue {stack.queue_url}\ntopic {stack.topic_arn}", flush=True)
            service = Kmswatch(stack, f"{directory}/kmswatch", ROOT / "target/debug/kmswatch", ROOT / "tests/keys.yml").start()
            try:
                records = [record for record in captured() if FROM <= record["eventTime"] < TO]
                print(f"sending {len(records)} records through EventBridge ...\n", flush=True)
                began = time.monotonic()
                stack.put(*records)
                opened = 0
                while time.monotonic() - began < 120:
                    for alert in stack.alerts():
                        if alert["status"] == "open":
                            opened += 1
                            print(f"{alert['level'].upper():<9} {alert['summary']}", flush=True)
                    if not stack.depth(stack.queue_url):
                        break
                print(f"\n{opened} incidents reached the subscriber of {stack.topic_arn}")
            finally:
                code = service.stop()
            print(f"kmswatch stopped with exit code {code}")
        finally:
            emulator.close()
    return 0 if opened else 1


if __name__ == "__main__":
    sys.exit(main())
