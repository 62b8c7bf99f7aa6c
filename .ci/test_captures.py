"""Replays over real captures: nothing stops, everything is accounted for, and known attacks are found."""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import evidence_jq  # noqa: E402

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


STRATUS = "detonated on purpose (labels of the capture)"
DONE = "the call is in the capture, and a bank wants to know of it the same day"
DOCUMENTED = "an example of the documentation of what the rule is for"
# Everything above low that the captures raise, and why a person would not call it false.
EXPECTED = {
    "invictus-aws_dataset": {
        "Trail no longer logs all KMS events": STRATUS,
        "CloudTrail trail stopped or deleted": STRATUS + "; the clean-up deletes trails too",
        "Attempt to stop, delete or change a trail failed": STRATUS,
        "Many secrets or parameters read out by one principal": STRATUS + ": 20 secrets and 42 parameters in 40 seconds",
        "One principal decrypts many objects": "the same reads, counted over all objects",
        "Snapshot shared with another account": STRATUS,
        "Database snapshot shared with another account": STRATUS,
    },
    "coralogix-aws-shipper": {},
    "traildiscover": {"Attempt to stop, delete or change a trail failed": "StopLogging, DeleteTrail and UpdateTrail, all refused"},
    "splunk-security_content": {
        "KMS key policy opened to everybody": "T1486: CreateKey and PutKeyPolicy with Principal * (labels of the capture)",
        "CloudTrail trail stopped or deleted": STRATUS,
        "CloudTrail trail changed": STRATUS,
        "Snapshot shared with another account": STRATUS,
    },
    "stratus-red-team-detonation-logs": {
        "CloudTrail trail stopped or deleted": STRATUS,
        "Trail no longer logs all KMS events": STRATUS,
        "Snapshot shared with another account": STRATUS,
        "Database snapshot shared with another account": STRATUS,
    },
    "awsdocs-kms-developer-guide": {
        "KMS key deleted": DOCUMENTED,
        "KMS key disabled": DOCUMENTED,
        "KMS key scheduled for deletion": DOCUMENTED,
        "Imported key material expired": DOCUMENTED,
        "Key material imported": DOCUMENTED,
        "Parameters fetched to import key material": DOCUMENTED,
        "KMS key created whose material is held outside": DOCUMENTED,
        "KMS key policy allows another account": DOCUMENTED + ": CreateKey with a statement for a second account",
        "KMS key replicated to another Region": DOCUMENTED,
        "Automatic rotation of a KMS key switched off": DOCUMENTED,
        "Alias of a KMS key moved or deleted": DOCUMENTED,
        "KMS alias deleted and made again": "the examples of DeleteAlias and CreateAlias carry one alias, minutes apart",
        "Custom key store created, connected or changed": DOCUMENTED,
        "First use of KMS in a Region of an account": "eight years in 120 records: each Region is new after a quarter of silence",
    },
}


def test_every_alert_above_low_is_expected_and_argued():
    assert {path.parent.name for path in CAPTURES.glob("*/records.jsonl")} == set(EXPECTED)
    for folder, expected in EXPECTED.items():
        found = incidents(CAPTURES / folder / "records.jsonl", "--level", "medium")
        assert {alert["rule"]["title"] for alert in found} == set(expected), folder


def test_sigma_detections_agree_with_another_engine():
    subprocess.run([ROOT / "tests" / "sigma" / "compare", ROOT / "tests" / "sigma" / "rules", CAPTURES], check=True, timeout=1200)


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


def test_evidence_agrees_with_jq(tmp_path):
    """Every key of every capture, by its ARN, and all that was denied."""
    rows = 0
    for source in sorted(CAPTURES.glob("*/records.jsonl")):
        # Mark-up left in a published example gives one record two keys: `&ExampleAWSAccountNo1;` for an account.
        lines = [line for line in source.read_text().splitlines() if "&Example" not in line]
        path = tmp_path / f"{source.parent.name}.jsonl"
        path.write_text("\n".join(lines))
        records = [record for record in evidence_jq.records_in(path) if record.get("eventSource") == "kms.amazonaws.com"]
        listed = {one.get("ARN") for record in records for one in record.get("resources") or []}
        keys = {arn for arn in listed if arn and re.fullmatch(r"arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]+:key/[A-Za-z0-9-]+", arn)}
        for question in evidence_jq.QUESTIONS:
            for key in sorted(keys):
                rows += len(evidence_jq.compare(question, key, records, path))
        rows += len(evidence_jq.compare("denied", None, records, path))
    assert rows > 300


def test_threads_do_not_change_what_is_told():
    found = incidents(CAPTURES)
    assert found == incidents(CAPTURES, "--threads", "1")
    order = [(alert["first_event_time"], alert["id"]) for alert in found]
    assert order == sorted(order)
    assert len({alert["id"] for alert in found}) == len(found)
