"""Every shipped rule, live: what must alert reaches the pager, what must not does not."""

from __future__ import annotations

import json
import re
import time

import pytest

import examples
import lab

ALL = examples.shipped(lab.program())
SENT = [example for example in ALL if not example.internal]


def run_group(emulator, folder, name, sent):
    """All examples of a group through one kmswatch."""
    folder.mkdir()
    keys = folder / "keys.yml"
    # JSON is YAML.
    keys.write_text(json.dumps(examples.inventory(sent)))
    stack = lab.Stack(emulator, name=name, prefix=f"lab{name}")
    pager = stack.subscribe("pager")
    kmswatch = lab.Kmswatch(stack, folder, keys=keys).start()
    try:
        for example in sent:
            examples.move_to_now(example)
        parted = [(example, examples.sittings(example)) for example in sent]
        for sitting in range(max(len(parts) for _, parts in parted)):
            now = [(example, parts[sitting]) for example, parts in parted if sitting < len(parts)]
            given = stack.put([record for _, records in now for record in records])
            # A direct event of KMS has no id but EventBridge's.
            for example, records in now:
                ids, given = given[: len(records)], given[len(records) :]
                example.ids.update(ids)
            # What the template's rules do not ask for never arrives: an empty queue is the end, not a number.
            lab.wait_for("the queue to drain", lambda: stack.depth(stack.queue) == 0, 120, 0.2)
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 3:
            if pager.poll():
                quiet_since = time.monotonic()
            time.sleep(0.1)
        left = {name: stack.depth(queue) for name, queue in
                (("queue", stack.queue), ("dead letters", stack.dead_letters), ("undelivered", stack.undelivered))}
        return {"pages": pager.pages, "left": left, "code": kmswatch.stop(), "log": kmswatch.tail()}
    finally:
        kmswatch.stop()


@pytest.fixture(scope="module")
def outcome(emulator, tmp_path_factory):
    """All examples: rule id and event id of everything that alerted."""
    assert SENT, "the shipped rules have no examples"
    folder = tmp_path_factory.mktemp("rules")
    groups = {}
    for example in SENT:
        groups.setdefault(examples.group(example), []).append(example)
    assert len(groups) < 12, "each group is a run of its own; let examples share what they say of all keys"
    runs = [run_group(emulator, folder / f"g{n}", f"rules{n}", sent) for n, sent in enumerate(groups.values())]
    pages = [page for run in runs for page in run["pages"]]
    return {
        "pages": pages,
        "alerted": {(page["rule"]["id"], event) for page in pages for event in page["event_ids"]},
        "left": [run["left"] for run in runs],
        "code": {run["code"] for run in runs},
        "log": "\n".join(run["log"] for run in runs),
    }


@pytest.mark.parametrize("example", SENT, ids=str)
def test_example(outcome, example):
    alerted = any((example.rule, event) in outcome["alerted"] for event in example.ids)
    if example.fires:
        sources = sorted({record["eventSource"] for record in example.records})
        assert alerted, f"no alert came for {example}; do the template's rules ask for {sources}?"
    else:
        assert not alerted, f"{example} must be silent"


def test_nothing_is_left(outcome):
    empty = {"queue": 0, "dead letters": 0, "undelivered": 0}
    assert [left for left in outcome["left"] if left != empty] == []
    assert outcome["code"] == {0}, outcome["log"]


def test_every_rule_has_both_kinds():
    kinds = {(example.rule, example.fires) for example in ALL}
    names = {example.rule: str(example) for example in ALL}
    assert [names[rule] for rule in names if {(rule, True), (rule, False)} - kinds] == []
    assert len(names) >= 30


def test_only_the_known_internal_events_are_left_out():
    # BodyParked is seen live in test_run.py, reloads in test_reload.py; GroupsEvicted needs more groups than a test
    # should make.
    names = {r["eventName"] for e in ALL for r in e.records if r["eventSource"] == "kmswatch.internal"}
    assert names <= {"BodyParked", "GroupsEvicted", "RulesRefused", "RulesReloaded"}


def test_alerts_read_as_the_design_says(outcome):
    levels = {"informational", "low", "medium", "high", "critical"}
    for page in outcome["pages"]:
        where = f"{page['rule']['title']}: {json.dumps(page)[:400]}"
        assert page["schema"] == 1, where
        assert page["level"] in levels and page["rule"]["level"] in levels, where
        assert page["status"] in {"open", "updated", "escalated", "resolved"}, where
        assert page["count"] >= len(set(page["event_ids"])) > 0, where
        assert page["summary"] and "{" not in page["summary"].replace("{{", ""), where
        assert page["first_event_time"] <= page["last_event_time"], where
        assert 0 < len(page["subject"]) < 100 and page["subject"].isascii() and page["subject"].isprintable(), where
        # The first word of an incident carries the level alone; later ones say what they are.
        assert re.match(rf"\[{page['level'].upper()}( \w+)?\] ", page["subject"]), where
        attributes = page["attributes"]
        assert attributes["level"] == page["level"] and attributes["rule_id"] == page["rule"]["id"], where
        assert attributes["status"] == page["status"], where
        assert all(value for value in attributes.values()), where
        if page["account"]:
            assert attributes["account"] == page["account"], where
