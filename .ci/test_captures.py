"""Replays over real captures: nothing stops, everything is accounted for, and known attacks are found."""

import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
CAPTURES = (ROOT / os.environ.get("CI_SHARED", "../shared") / "captures").resolve()
BINARY = ROOT / "target" / "debug" / "kmswatch"


def replay(*arguments):
    done = subprocess.run([BINARY, "replay", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done


def incidents(*arguments):
    return [json.loads(line) for line in replay(*arguments, "--format", "jsonl").stdout.splitlines()]


def account(text):
    numbers = re.search(
        r"records: (\d+) received = (\d+) applied \+ (\d+) duplicate \+ (\d+) filtered \+ (\d+) late \+ (\d+) unreadable\n", text
    )
    return [int(number) for number in numbers.groups()]


def test_every_record_is_read_or_named_and_the_account_closes():
    done = replay(CAPTURES)
    received, *parts = account(done.stdout)
    assert received == sum(parts)
    records = [path for path in CAPTURES.rglob("records.jsonl")]
    assert received > sum(len(path.read_text().splitlines()) for path in records)
    # What is broken in published documentation is named with file and place.
    assert re.search(r"awsdocs-kms-developer-guide/unparsed.txt: record \d+, line \d+ column \d+ \(byte \d+\): not valid JSON", done.stderr)


def test_every_record_that_was_published_whole_is_read():
    for path in CAPTURES.rglob("records.jsonl"):
        done = replay(path)
        received, applied, duplicate, filtered, late, unreadable = account(done.stdout)
        assert received == len(path.read_text().splitlines()), path
        assert (late, unreadable) == (0, 0), (path, done.stderr)


def test_trail_tampering_and_the_secrets_read_by_one_user_are_found():
    found = incidents(CAPTURES / "invictus-aws_dataset" / "original")
    titles = {alert["rule"]["title"] for alert in found}
    assert {"Trail no longer logs all KMS events", "CloudTrail trail stopped or deleted"} <= titles
    (secrets,) = [alert for alert in found if alert["rule"]["title"] == "Many secrets or parameters read out by one principal"]
    assert secrets["group"] == {"kms.principal": "arn:aws:iam::123837392027:user/bert-jan"}
    # One incident, whatever the number of access keys: 20 secrets and 42 parameters by label, the
    # rest of the count is the set-up, which reads with the same user.
    assert secrets["count"] >= 62


def test_delivery_envelopes_are_opened():
    folder = CAPTURES / "envelopes"
    for name in ["cloudwatch-logs-subscription-awslogs.json", "cloudwatch-logs-subscription-decoded.json", "lookup-events-kms-2026.json"]:
        received, *_, unreadable = account(replay(folder / name).stdout)
        assert received >= 1 and unreadable == 0, name


def test_every_unreadable_record_is_named_or_summed_up():
    done = replay(CAPTURES)
    *_, unreadable = account(done.stdout)
    lines = done.stderr.splitlines()
    summed = [int(more[1]) for line in lines if (more := re.search(r": and (\d+) more unreadable records?$", line))]
    named = [line for line in lines if re.search(r": record \d+", line)]
    assert len(named) + sum(summed) == unreadable


def test_threads_do_not_change_what_is_told():
    found = incidents(CAPTURES)
    assert found == incidents(CAPTURES, "--threads", "1")
    order = [(alert["first_event_time"], alert["id"]) for alert in found]
    assert order == sorted(order)
    assert len({alert["id"] for alert in found}) == len(found)
