"""The examples of the shipped rules, as records to send.

Says the same as src/rule/example.rs: an example is a partial record, a list of them, `{repeat: ...}`, or
`{keys: INVENTORY, records: ...}`. Each example gets an account, keys and event ids of its own, so that all can be sent
through one kmswatch, and its times are moved to now.
"""

from __future__ import annotations

import copy
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import yaml

from lab import ACCOUNT, timestamp

FIRST = datetime(2026, 1, 5, 10, 0, 0, tzinfo=timezone.utc).timestamp()
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DIRECT = {"KMS CMK Deletion", "KMS CMK Rotation", "KMS Imported Key Material Expiration"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ALIAS = re.compile(r"alias/(?!aws/)[A-Za-z0-9/_-]+")


@dataclass
class Example:
    """One example of one rule, ready to be sent."""

    rule: dict
    path: str
    kind: str  # fires or silent
    index: int
    records: list[dict]
    keys: dict | None = None
    ids: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.path} ({self.rule['title']}) {self.kind}[{self.index}]"

    @property
    def internal(self) -> bool:
        """Made by kmswatch itself; cannot, and must not, come from outside."""
        return any(record["eventSource"] == "kmswatch.internal" for record in self.records)


class LiteralTimes(yaml.SafeLoader):
    """Leaves times as they are written."""


LiteralTimes.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def shipped(folder: Path) -> list[Example]:
    """All examples of all rules in a folder."""
    found = []
    for path in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
        for rule in yaml.load_all(path.read_text(), Loader=LiteralTimes):
            blocks = ((rule or {}).get("kmswatch") or {}).get("examples") or {}
            for kind in ("fires", "silent"):
                for index, example in enumerate(blocks.get(kind) or []):
                    found.append(read(rule, str(path.relative_to(folder)), kind, index, example))
    for number, example in enumerate(found):
        set_apart(example, number)
    return found


def read(rule: dict, path: str, kind: str, index: int, example) -> Example:
    keys = None
    if isinstance(example, dict) and ("keys" in example or "records" in example):
        keys, example = example.get("keys"), example["records"]
    if isinstance(keys, str):
        keys = yaml.load(keys, Loader=LiteralTimes)
    items = example if isinstance(example, list) else [example]
    records = [record for item in items for record in expand(item)]
    return Example(rule, path, kind, index, [complete(record, at) for at, record in enumerate(records)], keys)


def expand(item: dict) -> list[dict]:
    if "repeat" not in item:
        return [item]
    repeat = item["repeat"]
    every = repeat.get("every", "1s")
    step = float(every[:-1]) * UNITS[every[-1]]
    start = parse(repeat["record"].get("eventTime", timestamp(FIRST)))
    records = []
    for index in range(repeat["count"]):
        record = copy.deepcopy(repeat["record"])
        record["eventTime"] = timestamp(start + index * step)
        for dotted, template in (repeat.get("vary") or {}).items():
            put(record, dotted, str(template).replace("{i}", str(index)))
        records.append(record)
    return records


def put(record: dict, dotted: str, value: str) -> None:
    *way, last = dotted.split(".")
    at = record
    for segment in way:
        at = at[int(segment)] if isinstance(at, list) else at.setdefault(segment, {})
    if isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value


def complete(record: dict, index: int) -> dict:
    return {
        "eventVersion": "1.11",
        "eventID": f"00000000-0000-4000-8000-{index:012}",
        "eventTime": timestamp(FIRST + index),
        "eventType": "AwsApiCall",
        "awsRegion": "eu-west-1",
        "recipientAccountId": ACCOUNT,
    } | record


def parse(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def set_apart(example: Example, number: int) -> None:
    """Gives an example its own account, aliases, keys and event ids."""
    text = json.dumps([example.records, example.keys])
    text = text.replace(ACCOUNT, f"7{number:011}")
    text = ALIAS.sub(lambda match: f"{match[0]}-{number}", text)
    text = UUID.sub(lambda match: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number} {match[0]}")), text)
    example.records, example.keys = json.loads(text)
    example.ids = {record["eventID"] for record in example.records}
    for domain in (example.keys or {}).get("domains", []):
        domain["name"] += f"-{number}"


def move_to_now(example: Example) -> None:
    """The last record has just happened; the gaps between records stay."""
    times = [parse(record["eventTime"]) for record in example.records]
    shift = int(time.time()) - 5 - max(times)
    for record, at in zip(example.records, times, strict=True):
        record["eventTime"] = timestamp(at + shift)


def inventory(examples: list[Example]) -> dict:
    """One inventory that holds all of theirs."""
    return {"domains": [domain for example in examples for domain in (example.keys or {}).get("domains", [])]}


def direct_body(record: dict) -> str | None:
    """A direct KMS event as EventBridge hands it over; None when the record is of CloudTrail."""
    if record["eventName"] not in DIRECT:
        return None
    detail = record.get("serviceEventDetails") or {}
    arns = [resource["ARN"] for resource in record.get("resources", [])]
    return json.dumps(
        {
            "version": "0",
            "id": record["eventID"],
            "detail-type": record["eventName"],
            "source": "aws.kms",
            "account": record["recipientAccountId"],
            "time": record["eventTime"],
            "region": record["awsRegion"],
            "resources": arns,
            "detail": detail,
        }
    )
