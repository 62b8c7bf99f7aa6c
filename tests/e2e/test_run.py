"""kmswatch run against a queue and a topic: nothing lost, nothing doubled, nothing silently dropped."""

from __future__ import annotations

import json
import re
import time

import pytest

import lab
from attack import VAULT, call, denied, role

DENIED_RULE = "5d1c6d3a-2f0b-4d0e-9a63-0d4f3d2c7a11"


def denials(who: str, count: int, start: float, step: float = 1.0) -> list[dict]:
    return [denied(start + index * step, role(who, "session"), "Decrypt", VAULT) for index in range(count)]


def drained(stack) -> None:
    lab.wait_for("the queue to drain", lambda: stack.depth(stack.queue) == 0, 60, 0.1)


def principal(page: dict) -> str:
    return page["group"]["kms.principal"].rsplit("/", 1)[-1]


def final(pages: list[dict]) -> dict[str, dict]:
    """The last word on each incident, by its id."""
    best: dict[str, dict] = {}
    for page in pages:
        old = best.get(page["id"])
        if old is None or (page["count"], page["status"] == "resolved") >= (old["count"], old["status"] == "resolved"):
            best[page["id"]] = page
    return best


def test_one_event_becomes_one_page(stack, kmswatch):
    pager = stack.subscribe("pager")
    kmswatch.start()
    record = denials("one", 1, time.time() - 10)[0]
    stack.put([record])
    pager.wait("the denial", len)
    (page,) = pager.pages
    assert page["rule"]["id"] == DENIED_RULE and page["event_ids"] == [record["eventID"]] and page["count"] == 1
    assert page["status"] == "open" and page["level"] == "high"
    assert principal(page) == "one"
    assert page["subject"].startswith("[HIGH] ")
    assert page["attributes"].items() >= {
        "level": "high", "rule_id": DENIED_RULE, "status": "open", "account": lab.ACCOUNT,
    }.items()
    drained(stack)
    assert stack.depth(stack.dead_letters) == 0


def test_a_stop_right_away_loses_nothing(stack, kmswatch):
    pager = stack.subscribe("pager")
    records = denials("a", 30, time.time() - 60)
    for _ in range(3):
        kmswatch.start()
        stack.put(records)
        assert kmswatch.stop() == 0, kmswatch.tail()
    # What a stopped process had received but not processed comes back, at the latest when its visibility ends.
    kmswatch.start()
    drained(stack)
    assert kmswatch.stop() == 0, kmswatch.tail()
    # Each process says at its end what it did; together they applied each record once.
    lines = re.findall(r"records: (\d+) received = (\d+) applied \+ (\d+) duplicate", kmswatch.log.read_text())
    received, applied, duplicate = (sum(int(line[column]) for line in lines) for column in range(3))
    assert (applied, duplicate, received) == (30, 60, 90), lines
    pager.poll()
    assert len({page["id"] for page in pager.pages}) == 1
    assert stack.depth(stack.dead_letters) == 0


def test_stops_cleanly_while_nothing_comes(stack, kmswatch):
    kmswatch.start()
    began = time.monotonic()
    assert kmswatch.stop() == 0, kmswatch.tail()
    assert time.monotonic() - began < 15


def test_the_same_event_twice_counts_once(stack, kmswatch):
    pager = stack.subscribe("pager")
    kmswatch.start()
    records = denials("twice", 8, time.time() - 60)
    stack.put(records)
    drained(stack)
    stack.put(records + records)
    drained(stack)
    lab.wait_for("the duplicates to be counted", lambda: kmswatch.count("record", "duplicate") == 16, 20)
    assert kmswatch.count("record", "applied") == 8
    pager.wait("all eight", lambda pages: max((page["count"] for page in pages), default=0) == 8)
    assert len({page["id"] for page in pager.pages}) == 1
    assert set().union(*(page["event_ids"] for page in pager.pages)) == {record["eventID"] for record in records}


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
def test_a_restart_in_the_middle_loses_and_doubles_nothing(stack, kmswatch, graceful):
    """Four bursts, with the process ended in the middle of each and started again on the same state."""
    pager = stack.subscribe("pager")
    # Long enough ago that the incidents are over once an event of now has been seen.
    start = time.time() - 2.5 * 3600
    bursts = [denials(f"burst-{number}", 60, start + number) for number in range(4)]
    kmswatch.start()
    for burst in bursts:
        stack.put(burst[:30])
        lab.wait_for("some of it to be processed", lambda: kmswatch.count("record", "received") > 0, 20, 0.01)
        stack.put(burst[30:])
        if graceful:
            assert kmswatch.stop() == 0, kmswatch.tail()
        else:
            kmswatch.kill()
        kmswatch.start()
    # A killed process held messages that come back when their visibility ends.
    lab.wait_for("the queue to drain", lambda: stack.depth(stack.queue) == 0, 120, 0.2)
    stack.put(denials("now", 1, time.time() - 5))
    drained(stack)

    def ended(pages):
        return sum(page["status"] == "resolved" for page in final(pages).values()) == len(bursts)

    pager.wait("the end of every burst", ended, 60)
    incidents = {principal(page): page for page in final(pager.pages).values()}
    assert sorted(incidents) == ["burst-0", "burst-1", "burst-2", "burst-3", "now"]
    assert len(final(pager.pages)) == 5, "an incident was opened twice"
    for number, burst in enumerate(bursts):
        page = incidents[f"burst-{number}"]
        assert page["count"] == len(burst), f"{page['count']} of {len(burst)} in {page['summary']}"
        assert set(page["event_ids"]) == {record["eventID"] for record in burst}
    assert stack.depth(stack.dead_letters) == 0


def test_a_poison_body_is_parked_counted_and_alerted(stack, tmp_path):
    """With the shipped rules: one of them must notice that something could not be read."""
    pager = stack.subscribe("pager")
    kmswatch = lab.Kmswatch(stack, tmp_path).start()
    try:
        poison = ["not JSON at all", '{"detail": {"eventSource": 7', "[]]"]
        stack.send(poison)
        good = call(time.time() - 5, role("banking-payments-role", "x"), "Encrypt",
                    {"keyId": VAULT, "encryptionContext": {"purpose": "tokenisation"}}, VAULT)
        stack.put([good])
        lab.wait_for("the poison to reach the dead letters", lambda: stack.depth(stack.dead_letters) == len(poison), 120, 0.2)
        assert stack.depth(stack.queue) == 0
        assert kmswatch.count("parked") >= len(poison)
        page = pager.wait(
            "the parked bodies",
            lambda pages: next((p for p in pages if any(r.get("eventName") == "BodyParked" for r in p["evidence"])), None),
        )
        assert page["rule"]["family"] == "tampering"
        # The body waits as it came, for a person to look at.
        waiting = stack.sqs.receive_message(QueueUrl=stack.dead_letters, MaxNumberOfMessages=10)["Messages"]
        assert {message["Body"] for message in waiting} <= set(poison)
        assert kmswatch.stop() == 0, kmswatch.tail()
    finally:
        kmswatch.stop()


def test_a_subscriber_may_filter_by_attributes(stack, kmswatch):
    everything = stack.subscribe("everything")
    urgent = stack.subscribe("urgent", {"level": ["high", "critical"], "status": ["open", "escalated"]})
    other = stack.subscribe("other-account", {"account": ["999988887777"]})
    kmswatch.start()
    now = time.time()
    stack.put([call(now - 9, role("reader", "s"), "DescribeKey", {"keyId": VAULT}, VAULT)] + denials("knocker", 1, now - 8))
    everything.wait("both", lambda pages: len(pages) == 2)
    drained(stack)
    urgent.wait("the urgent one", len)
    assert [(page["level"], principal(page)) for page in urgent.pages] == [("high", "knocker")]
    assert {page["level"] for page in everything.pages} == {"low", "high"}
    assert other.poll() == []


def test_accounting_closes(stack, kmswatch):
    kmswatch.start()
    now = time.time()
    records = denials("counted", 20, now - 60)
    # Of a service that no rule of these tests is about.
    trail = {"eventSource": "cloudtrail.amazonaws.com"}
    ignored = [call(now - 30 + i, role("admin", "x"), "StopLogging", {"name": "t"}, **trail) for i in range(15)]
    stack.put(records + ignored + records[:5])
    drained(stack)
    lab.wait_for("all records to be counted", lambda: kmswatch.count("record", "received") == 40, 20)
    parts = {name: kmswatch.count("record", name) for name in ("applied", "duplicate", "filtered", "late", "parked")}
    assert parts == {"applied": 20, "duplicate": 5, "filtered": 15, "late": 0, "parked": 0}


def test_alert_survives_a_topic_that_is_gone_for_a_while(stack, kmswatch):
    """The outbox holds what cannot be delivered, over a restart, until it can."""
    kmswatch.start()
    stack.sns.delete_topic(TopicArn=stack.topic)
    stack.put(denials("patient", 1, time.time() - 10))
    drained(stack)
    time.sleep(1)
    kmswatch.kill()
    stack.sns.create_topic(Name=stack.topic.rsplit(":", 1)[-1])
    pager = stack.subscribe("pager")
    kmswatch.start()
    pager.wait("the denial", len, 60)
    assert principal(pager.pages[0]) == "patient"


def test_a_body_of_many_shapes(stack, kmswatch):
    """What EventBridge is not alone in sending: an S3 file's body, a bare record, SNS around EventBridge."""
    pager = stack.subscribe("pager")
    kmswatch.start()
    now = time.time() - 30
    one, two, three = (denials(f"shape-{index}", 1, now + index)[0] for index in range(3))
    envelope = {"version": "0", "id": "x", "detail-type": "AWS API Call via CloudTrail", "source": "aws.kms",
                "account": lab.ACCOUNT, "time": three["eventTime"], "region": lab.REGION, "resources": [], "detail": three}
    notification = {"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": json.dumps(envelope)}
    stack.send([json.dumps({"Records": [one]}), json.dumps(two), json.dumps(notification)])
    pager.wait("all three", lambda pages: {principal(page) for page in pages} == {"shape-0", "shape-1", "shape-2"})
    drained(stack)
