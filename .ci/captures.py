"""Replays real captures: `captures.py KMSWATCH FOLDER`. Exits 1 and says what is wrong when something is.

Holds for any captures: the replay never stops, accounts for every record, names what it cannot read, and says the same
twice. Holds for one of them: the trail tampering and the secrets read out in it are found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ACCOUNT = re.compile(
    r"^records: (\d+) received = (\d+) applied \+ (\d+) duplicate \+ (\d+) filtered \+ (\d+) late \+ (\d+) unreadable$", re.M
)
TIMEOUT = 600

mistakes: list[str] = []


def check(holds: bool, what: str) -> None:
    print(f"{'ok  ' if holds else 'FAIL'} {what}")
    if not holds:
        mistakes.append(what)


def replay(program: str, path: Path, *options: str) -> tuple[list[dict], str]:
    command = [program, "replay", "--format", "jsonl", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    check(done.returncode in (0, 1), f"replay of {path.name} ends by itself (exit {done.returncode})")
    if done.returncode not in (0, 1):
        print(done.stderr[-4000:])
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def account(name: str, told: str) -> list[int]:
    found = ACCOUNT.search(told)
    check(found is not None, f"{name}: the replay ends with its account of records")
    if found is None:
        return [0] * 6
    counts = [int(count) for count in found.groups()]
    received, *parts = counts
    check(received == sum(parts), f"{name}: {received} received = {' + '.join(map(str, parts))}")
    check(received > 0, f"{name}: something was read")
    return counts


def named(told: str) -> int:
    """How many unreadable records the messages name or sum up."""
    total = 0
    for line in told.splitlines():
        more = re.search(r": and (\d+) more unreadable records?$", line)
        if more:
            total += int(more[1])
        elif re.search(r": record \d+", line):
            total += 1
    return total


def everything(program: str, folder: Path) -> None:
    alerts, told = replay(program, folder)
    *_, unreadable = account("all captures", told)
    check(named(told) == unreadable, f"all captures: every one of {unreadable} unreadable records is named ({named(told)})")
    check("panicked" not in told, "all captures: no panic")
    again, _ = replay(program, folder, "--threads", "1")
    check(alerts == again, f"all captures: {len(alerts)} incidents, the same with one thread")
    order = [(alert["first_event_time"], alert["id"]) for alert in alerts]
    check(order == sorted(order), "all captures: incidents are in order")
    check(len({alert["id"] for alert in alerts}) == len(alerts), "all captures: no incident is told twice")


def invictus(program: str, folder: Path) -> None:
    alerts, told = replay(program, folder)
    account("invictus", told)
    names = {record.get("eventName") for alert in alerts for record in alert["evidence"]}
    tampering = [alert for alert in alerts if alert["rule"]["family"] == "tampering"]
    check(bool(tampering), f"invictus: trail tampering is found ({len(tampering)} incidents)")
    check({"DeleteTrail", "PutEventSelectors"} <= names, "invictus: the deleted trail and the changed selectors are in evidence")
    secrets = [
        alert
        for alert in alerts
        if alert["count"] >= 100 and len(alert["principals"]) == 1 and alert["rule"]["family"] == "cryptographic"
    ]
    who = {alert["principals"][0] for alert in secrets}
    check(len(who) == 1, f"invictus: the secrets read out are grouped under one user ({', '.join(sorted(who)) or 'none'})")


def main(program: str, captures: Path) -> int:
    everything(program, captures)
    invictus(program, captures / "invictus-aws_dataset" / "original")
    print(f"captures: {'all hold' if not mistakes else f'{len(mistakes)} do not hold'}")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
