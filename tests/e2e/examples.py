"""The examples of the shipped rules, as records to send.

Each example gets an account, keys and event ids of its own, so that all can go through one kmswatch, and its times are
moved to now.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lab import ACCOUNT, timestamp

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ALIAS = re.compile(r"alias/(?!aws/)[A-Za-z0-9/_-]+")


@dataclass
class Example:
    """One example of one rule, ready to be sent."""

    rule: str
    name: str
    fires: bool
    records: list[dict]
    keys: dict | None
    ids: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return self.name

    @property
    def internal(self) -> bool:
        """Made by kmswatch itself; cannot, and must not, come from outside."""
        return any(record["eventSource"] == "kmswatch.internal" for record in self.records)


def shipped(program: Path) -> list[Example]:
    """All examples of all rules that are built into the program."""
    printed = subprocess.run([str(program), "test", "--print"], check=True, capture_output=True, text=True, timeout=60).stdout
    found, numbers = [], Counter()
    for number, line in enumerate(printed.splitlines()):
        given = json.loads(line)
        kind = "fires" if given["fires"] else "silent"
        name = f"{given['path']} ({given['title']}) {kind}[{numbers[given['rule_id'], kind]}]"
        numbers[given["rule_id"], kind] += 1
        records, keys = set_apart(given["records"], given["keys"], number)
        ids = {record["eventID"] for record in records}
        found.append(Example(given["rule_id"], name, given["fires"], records, keys, ids))
    return found


def set_apart(records: list[dict], keys: dict | None, number: int) -> tuple[list[dict], dict | None]:
    """Gives an example its own account, aliases, keys and event ids."""
    text = json.dumps([records, keys])
    text = text.replace(ACCOUNT, f"7{number:011}")
    text = ALIAS.sub(lambda match: f"{match[0]}-{number}", text)
    text = UUID.sub(lambda match: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number} {match[0]}")), text)
    records, keys = json.loads(text)
    for domain in (keys or {}).get("domains", []):
        domain["name"] += f"-{number}"
    for leave in (keys or {}).get("break_glass", []):
        leave["ticket"] += f"-{number}"
        leave["domains"] = [f"{name}-{number}" for name in leave.get("domains", [])]
    return records, keys


def move_to_now(example: Example) -> None:
    """The last record has just happened; the gaps between records stay."""
    times = [datetime.fromisoformat(record["eventTime"]).timestamp() for record in example.records]
    shift = int(time.time()) - 5 - max(times)
    for record, at in zip(example.records, times, strict=True):
        record["eventTime"] = timestamp(at + shift)


# A queue hands messages on in any order. What lies further apart than rules allow for must not be in it at once.
SITTING_SECS = 3000
# An example with more gaps than this is of a steady trickle, in which neighbours may change places.
MAX_SITTINGS = 8


def sittings(example: Example) -> list[list[dict]]:
    """The records of an example in the order of time, parted where a gap is longer than rules allow records to be late."""
    at = {id(record): datetime.fromisoformat(record["eventTime"]).timestamp() for record in example.records}
    parts: list[list[dict]] = []
    for record in sorted(example.records, key=lambda record: at[id(record)]):
        if not parts or at[id(record)] - at[id(parts[-1][-1])] > SITTING_SECS:
            parts.append([])
        parts[-1].append(record)
    return parts if len(parts) <= MAX_SITTINGS else [[record for part in parts for record in part]]


# What an inventory says of all keys at once, and so cannot be shared by examples that say something else.
OF_ALL = ("accounts", "approved_regions", "supply_line")


def group(example: Example) -> str:
    """Examples of one group can share an inventory: their own accounts differ, all else is the same."""
    keys = example.keys or {}
    own = rf"7[0-9]{{11}}|{UUID.pattern}"
    lists = {name: sorted(re.sub(own, "own", text) for text in keys.get(name, [])) for name in OF_ALL}
    return json.dumps(lists | {"complete": keys.get("complete", False)})


def inventory(examples: list[Example]) -> dict:
    """One inventory that holds all of theirs."""
    every = [example.keys or {} for example in examples]
    shared = {name: sorted({text for keys in every for text in keys.get(name, [])}) for name in OF_ALL}
    lists = {name: [item for keys in every for item in keys.get(name, [])] for name in ("domains", "break_glass")}
    return lists | shared | {"complete": any(keys.get("complete", False) for keys in every)}
