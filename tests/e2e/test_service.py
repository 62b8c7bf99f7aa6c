"""The service among what goes wrong: poison, copies, crashes, stops; and what subscribers can filter by."""

import json
import time


def record(number, name="DisableKey", key=None):
    key = key or f"key-{number}"
    return {
        "eventVersion": "1.11",
        "eventID": f"event-{number}",
        "eventTime": "2026-01-05T10:00:00Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "eventType": "AwsApiCall",
        "awsRegion": "eu-west-1",
        "recipientAccountId": "111122223333",
        "userIdentity": {
            "type": "IAMUser",
            "arn": "arn:aws:iam::111122223333:user/ops",
            "accountId": "111122223333",
            "principalId": "AIDAEXAMPLE",
        },
        "sourceIPAddress": "203.0.113.7",
        "resources": [
            {"ARN": f"arn:aws:kms:eu-west-1:111122223333:key/{key}", "accountId": "111122223333", "type": "AWS::KMS::Key"}
        ],
    }


def wait_until(true, patience_secs=30):
    deadline = time.monotonic() + patience_secs
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)


def opened(alerts, title="KMS key disabled"):
    return [alert for alert in alerts if alert["status"] == "open" and alert["rule"]["title"] == title]


def test_a_poison_body_ends_in_the_dead_letter_queue_counted_and_told(stack, kmswatch):
    service = kmswatch()
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody="garbage \x20 not json")
    stack.put(record(1))
    wait_until(lambda: stack.depth(stack.dead_letter_queue_url) == 1)
    assert stack.depth(stack.queue_url) == 0
    alerts = stack.alerts()
    assert len(opened(alerts)) == 1
    assert len(opened(alerts, "kmswatch received something that it cannot read")) == 1, "once, however often it came"
    # Each of the five receives that the redrive policy allows is counted.
    assert service.metric("kmswatch_records_parked_total") == 5
    assert service.metric("kmswatch_deliveries_parked_total") == 5
    assert service.stop() == 0


def test_copies_count_once(stack, kmswatch):
    service = kmswatch()
    stack.put(record(1), record(1), record(2, key="key-1"))
    stack.put(record(1))
    wait_until(lambda: service.metric("kmswatch_records_received_total") == 4)
    assert service.metric("kmswatch_records_duplicate_total") == 2
    alerts = stack.alerts()
    assert {alert["id"] for alert in alerts} == {opened(alerts)[0]["id"]}
    assert max(alert["count"] for alert in alerts) == 2


def test_killed_in_the_middle_it_loses_and_doubles_nothing(stack, kmswatch):
    keys = 60
    service = kmswatch()
    for start in range(0, keys, 10):
        stack.put(*[record(number) for number in range(start, start + 10)])
        if start == 20:
            service.kill()
    service.start()
    try:
        # What the killed process held comes back when its visibility has run out.
        wait_until(lambda: stack.depth(stack.queue_url) == 0, 60)
        alerts = opened(stack.alerts(wait_secs=2))
    finally:
        service.stop()
    by_id = {}
    for alert in alerts:
        by_id.setdefault(alert["id"], set()).add(json.dumps(alert, sort_keys=True))
    assert len(by_id) == keys, f"{len(by_id)} incidents of {keys}"
    assert all(len(versions) == 1 for versions in by_id.values()), "one id never says two things"
    assert {alert["group"]["kms.key_arn"].rsplit("/")[-1] for alert in alerts} == {f"key-{n}" for n in range(keys)}


def test_a_stop_is_clean_and_what_waits_is_read_after(stack, kmswatch):
    service = kmswatch()
    stack.put(record(1))
    wait_until(lambda: service.metric("kmswatch_alerts_delivered_total") == 1)
    assert service.stop() == 0
    stack.put(record(2))
    assert stack.depth(stack.queue_url) == 1
    service.start()
    assert [alert["group"]["kms.key_arn"][-5:] for alert in opened(stack.alerts(wait_secs=3))] == ["key-1", "key-2"]
    assert service.stop() == 0


def test_subscribers_filter_by_attributes_and_read_a_text(stack, kmswatch):
    critical = stack.subscribe("critical-only", {"level": ["critical"]})
    kmswatch()
    stack.put(record(1), record(2, name="DeleteImportedKeyMaterial"))
    assert [alert["level"] for alert in stack.alerts(critical, wait_secs=3)] == ["critical"]
    message = json.loads(stack.sqs.receive_message(QueueUrl=stack.subscriber_url, WaitTimeSeconds=3)["Messages"][0]["Body"])
    assert message["Subject"].startswith("[")
    assert message["MessageAttributes"]["account"]["Value"] == "111122223333"
