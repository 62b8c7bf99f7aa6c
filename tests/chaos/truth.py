"""What is sent, and what must be told of it: worked out from the list of records alone, naively.

A record qualifies when the window that ends at it passes; an incident is a chain of qualifying records of one rule and
group with gaps of at most QUIET; its evidence is everything in the windows of its qualifying records.
"""

from __future__ import annotations

import json
import random
import sys
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

from attack import call, denied, role  # noqa: E402
from lab import ACCOUNT  # noqa: E402

REGIONS = ("eu-west-1", "eu-central-1", "us-east-1")

# As rules/chaos.yml says.
RULE = "c4a05000-0000-4000-8000-00000000000"
WRITTEN, DENIALS, DESCRIBED, DISABLED, UNREADABLE = (RULE + digit for digit in "13567")
QUIET_SECS = 120
TIMESPAN_SECS = 60
MIN_DENIALS = 5
MIN_KEYS = 4
# What happens spreads over so long, which is less than the lateness of the rules.
SPREAD_SECS = 100 * 60
# It ended so long ago: longer than timespan, quiet and lateness, so that a record of now ends every incident.
AGO_SECS = 200 * 60
# Alerts list no more event IDs than this, the earliest.
LISTED = 100


@dataclass
class Event:
    """A record, and what of it the rules look at."""

    rule: str
    group: str
    secs: int
    record: dict
    value: str = ""
    closes: bool = False

    @property
    def id(self) -> str:
        return self.record["eventID"]


@dataclass
class Truth:
    """What must be told. Incidents: event IDs, earliest first, by rule and group."""

    incidents: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    # Of each key: how many cases are closed, and how many open; event IDs where these cannot depend on the order.
    cases: dict[str, tuple[int, int, set[str] | None]] = field(default_factory=dict)


class Stream:
    """Records and bodies of a seed."""

    def __init__(self, records: int, seed: int, now: float):
        self.random = random.Random(seed)
        self.begin = int(now) - AGO_SECS - SPREAD_SECS
        self.events: list[Event] = []
        self.others: list[dict] = []
        self._numbers = 0
        while len(self.events) + len(self.others) < records:
            story = self.random.choices(
                (self._ordinary, self._written, self._denials, self._described, self._disabled), (400, 2, 5, 4, 4)
            )[0]
            story()
        self.records = len(self.events) + len(self.others)
        self.poison = [self._poison(number) for number in range(max(3, records // 500))]
        self.bodies = self._bodies()

    # -- what happens

    def _who(self, kind: str) -> tuple[dict, str, str]:
        """A principal of its own: identity, canonical name, Region."""
        self._numbers += 1
        name = f"{kind}-{self._numbers}"
        return role(name, "s"), f"arn:aws:iam::{ACCOUNT}:role/{name}", self.random.choice(REGIONS)

    def _key(self, region: str, number: int) -> str:
        return f"arn:aws:kms:{region}:{ACCOUNT}:key/{number:08x}-1111-4222-8333-000000000000"

    def _times(self, count: int, width: int) -> list[int]:
        """At whole steps, so that windows and gaps often end just where a record is."""
        start = self.random.randrange(0, SPREAD_SECS - width, 20)
        return [start + self.random.randrange(0, width, 20) for _ in range(count)]

    def _add(self, rule: str, group: str, secs: int, record: dict, region: str, **more) -> None:
        record["awsRegion"] = region
        record["eventID"] = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        self.events.append(Event(rule, group, secs, record, **more))

    def _ordinary(self) -> None:
        """What no rule looks for."""
        who, _, region = self._who("app")
        key = self._key(region, self.random.randrange(50))
        name = self.random.choice(("Decrypt", "GenerateDataKey", "Encrypt"))
        record = call(self.begin + self.random.randrange(SPREAD_SECS), who, name, None, key)
        self.others.append(record | {"awsRegion": region})

    def _written(self) -> None:
        who, name, region = self._who("writer")
        for secs in self._times(self.random.randint(1, 20), self.random.choice((60, 600, 2400))):
            key = self._key(region, self.random.randrange(50))
            record = call(self.begin + secs, who, "PutKeyPolicy", {"keyId": key, "policyName": "default"}, key)
            self._add(WRITTEN, name, secs, record, region)

    def _denials(self) -> None:
        who, name, region = self._who("prober")
        count = self.random.choice((3, 8, 20, 40, 80, 90, 130))
        for secs in self._times(count, self.random.choice((40, 200, 600, 2400))):
            record = denied(self.begin + secs, who, "Decrypt", self._key(region, self.random.randrange(50)))
            self._add(DENIALS, name, secs, record, region)

    def _described(self) -> None:
        who, name, region = self._who("scout")
        for secs in self._times(self.random.randint(3, 40), self.random.choice((40, 200, 600))):
            key = self._key(region, self.random.randrange(6))
            record = call(self.begin + secs, who, "DescribeKey", {"keyId": key}, key)
            self._add(DESCRIBED, name, secs, record, region, value=key)

    def _disabled(self) -> None:
        """A key that is disabled and enabled, perhaps again; every time is another."""
        who, _, region = self._who("admin")
        key = self._key(region, 1000 + self._numbers)
        steps = self.random.choice(("o", "oc", "oc", "oc", "c", "oco", "ococ", "ooc"))
        secs = self.random.randrange(0, SPREAD_SECS - 1200)
        for step in steps:
            secs += self.random.randint(1, 200)
            record = call(self.begin + secs, who, "EnableKey" if step == "c" else "DisableKey", {"keyId": key}, key)
            self._add(DISABLED, key, secs, record, region, closes=step == "c")

    def closing(self, now: float) -> list[str]:
        """A record of now in every Region, which ends what is quiet."""
        records = []
        for region in REGIONS:
            who, _, _ = self._who("app")
            records.append(call(now, who, "Decrypt", None, self._key(region, 1)) | {"awsRegion": region})
        return [json.dumps(record) for record in records]

    # -- how it is told

    def _poison(self, number: int) -> str:
        """No two are the same."""
        some = self.others + [event.record for event in self.events]
        cut = json.dumps({"requestID": f"poison-{number}"} | self.random.choice(some) | {"requestID": f"poison-{number}"})
        kinds = (
            f"not JSON at all, {number}",
            cut[: len(cut) // 2],
            f'{{"Records": [{cut}, {{"eventID": {number}}}]}}',
            f'{{"Records": [{cut},',
            "[" * (number + 1),
        )
        return self.random.choice(kinds)

    def _bodies(self) -> list[str]:
        records = [event.record for event in self.events] + self.others
        self.random.shuffle(records)
        again = self.random.sample(records, len(records) // 20)
        bodies = list(self.poison)
        for group in (records, again):
            while group:
                count = self.random.choice((1, 1, 1, 4, 10, 20))
                bodies.append(self._body(group[-count:]))
                del group[-count:]
        self.random.shuffle(bodies)
        return bodies

    def _body(self, records: list[dict]) -> str:
        if len(records) > 1:
            return self.random.choice((json.dumps({"Records": records}), "\n".join(map(json.dumps, records))))
        event = {
            "version": "0", "id": str(uuid.UUID(int=self.random.getrandbits(128), version=4)), "source": "aws.kms",
            "detail-type": "AWS API Call via CloudTrail", "account": ACCOUNT, "time": records[0]["eventTime"],
            "region": records[0]["awsRegion"], "resources": [], "detail": records[0],
        }
        return json.dumps(self.random.choice((event, records[0])))

    # -- what must be told

    def truth(self) -> Truth:
        truth = Truth()
        groups: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in self.events:
            groups[event.rule, event.group].append(event)
        for (rule, group), events in groups.items():
            events.sort(key=lambda event: (event.secs, event.id))
            if rule == DISABLED:
                truth.cases[group] = cases(events)
            elif found := incidents(rule, events):
                truth.incidents[rule, group] = found
        return truth


def incidents(rule: str, events: list[Event]) -> list[list[str]]:
    found: list[tuple[int, dict[str, int]]] = []
    for last in events:
        span = 0 if rule == WRITTEN else TIMESPAN_SECS
        window = [event for event in events if last.secs - span <= event.secs <= last.secs]
        if rule == DENIALS and len(window) < MIN_DENIALS:
            continue
        if rule == DESCRIBED and len({event.value for event in window}) < MIN_KEYS:
            continue
        evidence = {event.id: event.secs for event in window}
        if found and last.secs - found[-1][0] <= QUIET_SECS:
            found[-1] = (last.secs, found[-1][1] | evidence)
        else:
            found.append((last.secs, evidence))
    return [sorted(evidence, key=lambda id: (evidence[id], id)) for _, evidence in found]


def cases(events: list[Event]) -> tuple[int, int, set[str] | None]:
    closed = opened = 0
    for event in events:
        if event.closes:
            closed, opened = closed + opened, 0
        else:
            opened = 1
    # With more than one opening, what an alert listed depends on what had come by then.
    sure = {event.id for event in events} if sum(not event.closes for event in events) == 1 else None
    return closed, opened, sure
