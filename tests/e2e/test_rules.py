"""Each shipped rule from EventBridge to the subscriber: one event that must alert, one that must not."""

import datetime
import json
import time

from emulator import DIRECT

# Of kmswatch itself, not of AWS: they do not come through EventBridge. test_service has the first.
INTERNAL = "kmswatch.internal"


def chosen(examples):
    """One firing and one silent example of each rule that AWS events can reach."""
    seen, picked = set(), []
    for example in examples:
        key = (example["rule_id"], example["fires"])
        if key not in seen and not any(record["eventSource"] == INTERNAL for record in example["records"]):
            seen.add(key)
            picked.append(example)
    return picked


def moved(example, number):
    """The records of an example on a day of their own: no window reaches from one to the next."""
    records = []
    for index, record in enumerate(example["records"]):
        at = datetime.datetime.fromisoformat(record["eventTime"]) + datetime.timedelta(days=number)
        records.append(record | {"eventID": f"example-{number}-{index}", "eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ")})
    return records


def test_every_rule_fires_and_stays_silent(stack, kmswatch, examples, tmp_path):
    picked = chosen(examples)
    assert len({example["rule_id"] for example in picked}) >= 30
    keys = next(example["keys"] for example in picked if example["keys"])
    inventory = tmp_path / "keys.yml"
    inventory.write_text(json.dumps(keys))
    # One poller keeps the order: across days, a swap of two batches is later than any rule allows.
    service = kmswatch(keys=inventory, pollers=1)
    for number, example in enumerate(picked):
        stack.put(*moved(example, number))
    deadline = time.monotonic() + 60
    while stack.depth(stack.queue_url) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert stack.depth(stack.queue_url) == 0
    alerts = stack.alerts(wait_secs=2)

    wrong = []
    for number, example in enumerate(picked):
        day = moved(example, number)[0]["eventTime"][:10]
        if example["records"][0]["eventName"] in DIRECT:
            # The emulator stamps what is not a CloudTrail record with its own time.
            day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        fired = any(alert["rule"]["id"] == example["rule_id"] and alert["first_event_time"][:10] == day for alert in alerts)
        if fired != example["fires"]:
            wrong.append(f"{example['title']}: {'silent' if example['fires'] else 'fired'} on {example['records'][0]}")
    assert not wrong, "\n".join(wrong)
    assert stack.depth(stack.dead_letter_queue_url) == 0
    received = service.metric("kmswatch_records_received_total")
    parts = ["applied", "duplicate", "filtered", "late", "parked"]
    assert received == sum(service.metric(f"kmswatch_records_{part}_total") for part in parts)
    assert service.stop() == 0
