"""The demo: an attack on a bank's keys, from EventBridge to the pager, on this machine alone.

Started by the script `demo` beside this file, which makes the environment.
"""

from __future__ import annotations

import argparse
import signal
import sys
import textwrap
import time
from pathlib import Path

from attack import attack, ordinary
from lab import Emulator, Kmswatch, LabError, Pager, Stack, program, temporary_folder

# Without an alert for each of these the demo has failed.
MUST_ALERT = ["StopLogging", "DisableRule", "DisableKey", "ScheduleKeyDeletion", "CreateGrant", "Decrypt"]
QUIET_SECONDS = 3
TIMEOUT_SECONDS = 60
MAX_KEYS = 3


def show(alert: dict, began: float) -> None:
    """An alert as the on-call reads it."""
    print(f"\n  {time.monotonic() - began:4.1f} s  {alert['subject']}")

    def line(label: str, text: str) -> None:
        width = 100
        print(
            textwrap.fill(
                text,
                width,
                initial_indent=f"    {label:<10}",
                subsequent_indent=" " * 14,
                break_on_hyphens=False,
                break_long_words=False,
            )
        )

    line("what", alert["summary"])
    line("rule", f"{alert['rule']['title']} ({alert['rule']['id']})")
    line("who", ", ".join(alert["principals"]) or "unknown")
    for key in alert["keys"][:MAX_KEYS]:
        named = " ".join(part for part in (key.get("alias"), key.get("domain") and f"[{key['domain']}]") if part)
        line("key", f"{key['arn']} {named}")
    if len(alert["keys"]) > MAX_KEYS:
        line("", f"and {len(alert['keys']) - MAX_KEYS} more keys")
    if alert["expected"].get("reason"):
        line("expected", alert["expected"]["reason"])
    line("records", f"{alert['count']}, {alert['first_event_time']} to {alert['last_event_time']}")
    for index, command in enumerate(alert["respond"]):
        # Never wrapped: it is there to be copied.
        print(f"    {'run' if index == 0 else '':<10}{command}")
    print("    routing   " + ", ".join(f"{key}={value}" for key, value in sorted(alert["attributes"].items())))


def alerted_names(pages: list[dict]) -> set[str]:
    return {record.get("eventName", "") for page in pages for record in page["evidence"]}


def run(folder: Path, keep: bool) -> int:
    emulator = Emulator(folder)
    kmswatch = None
    try:
        print("starting the emulator")
        emulator.start()
        print(f"creating the stack of deploy/kmswatch.template.yaml on {emulator.endpoint}")
        stack = Stack(emulator)
        pager = stack.subscribe("pager")
        print(f"starting {program()} run")
        kmswatch = Kmswatch(stack, folder).start()

        now = time.time()
        records = ordinary(now)
        print(f"\nordinary traffic: {len(records)} records")
        stack.put(records)
        time.sleep(QUIET_SECONDS)
        show_all(pager, time.monotonic())
        false_alarms = len(pager.pages)

        print("the attack:")
        sent = 0
        for what, records in attack(now):
            print(f"  - {what} ({len(records)} records)")
            stack.put(records)
            sent += len(records)
        print(f"{sent} records are on the bus; waiting for the pager")
        seconds = watch(stack, pager)
        missing = [name for name in MUST_ALERT if name not in alerted_names(pager.pages)]
        print(f"\n{len(pager.pages)} alerts, the last after {seconds:.1f} s; messages left in the queue: {stack.depth(stack.queue)}")
        if keep:
            print("still running; end with Ctrl-C")
            signal.pause()
        if false_alarms:
            print(f"the ordinary traffic raised {false_alarms} alerts, and should raise none", file=sys.stderr)
        if missing:
            print(f"no alert shows {', '.join(missing)}; the log ends:\n{kmswatch.tail()}", file=sys.stderr)
        code = kmswatch.stop()
        if code != 0:
            print(f"kmswatch ended with exit code {code}; its log ends:\n{kmswatch.tail()}", file=sys.stderr)
        return 1 if missing or false_alarms or code != 0 else 0
    finally:
        if kmswatch is not None:
            kmswatch.stop()
        emulator.stop()


def show_all(pager: Pager, began: float) -> bool:
    new = pager.poll()
    for alert in new:
        show(alert, began)
    return bool(new)


def watch(stack: Stack, pager: Pager) -> float:
    """Shows alerts until all that must come have come and it has been quiet for a while."""
    began = last = time.monotonic()
    while time.monotonic() - began < TIMEOUT_SECONDS:
        if show_all(pager, began):
            last = time.monotonic()
        done = stack.depth(stack.queue) == 0 and alerted_names(pager.pages).issuperset(MUST_ALERT)
        if done and time.monotonic() - last > QUIET_SECONDS:
            break
        time.sleep(0.1)
    return last - began


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/local/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    arguments = parser.parse_args()
    # A plain kill must run the `finally` blocks too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with temporary_folder() as folder:
        try:
            return run(folder, arguments.keep)
        except LabError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
