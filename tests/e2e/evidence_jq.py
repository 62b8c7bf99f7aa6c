"""The auditor's questions as plain jq queries, and the comparison with kmswatch evidence."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
from pathlib import Path

import jq

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "debug" / "kmswatch"

CRYPTOGRAPHIC = [
    "Decrypt", "DeriveSharedSecret", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext", "GenerateMac", "GenerateRandom", "ReEncrypt", "Sign", "Verify", "VerifyMac",
]

# The keys that a record names, in resources, answer, request or error message. A bare id is one only
# where no ARN is, for the same id may stand in several Regions.
KEY = r"""
def named: [.resources[]? | (.ARN // .arn)?] + [.responseElements.keyId?, .responseElements.keyMetadata.arn?, .requestParameters.keyId?,
    .requestParameters.sourceKeyId?, .requestParameters.destinationKeyId?, .requestParameters.targetKeyId?, .serviceEventDetails.keyId?,
    .responseElements.replicaKeyMetadata.arn?]
    + [(.errorMessage // "") | scan("arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]+:key/[A-Za-z0-9-]+")]
    | map(select(type == "string"));
def is_of($key): named as $named | [$named[] | select(test("^arn:[^:]*:kms:.*:key/"))] as $arns
    | $key == null or any($arns[]; . == $key) or (($arns | length) == 0 and any($named[]; . == ($key | split("/") | last)));
"""

# The role behind a session, with its path; AWS itself; else the caller's own ARN.
WHO = r"""
def who: .userIdentity as $u
    | if $u.type == "AssumedRole" then
        ($u.sessionContext.sessionIssuer.arn // ($u.arn | capture("^arn:(?<p>[^:]+):sts::(?<a>[0-9]*):assumed-role/(?<r>[^/]+)") | "arn:\(.p):iam::\(.a):role/\(.r)"))
      elif $u.arn then $u.arn
      elif $u.type == "AWSService" or $u.type == null then
        "service:" + (if $u.invokedBy == null or $u.invokedBy == "AWS Internal" or $u.invokedBy == "internal.amazonaws.com" then "aws-internal" else $u.invokedBy end)
      else null end;
"""

QUESTIONS = {
    "who-used": "(.eventName | IN($cryptographic[]))",
    "who-changed": '((.eventName | IN($cryptographic[]) | not) and (.eventName | test("^(Get|List|Describe)") | not))',
    "denied": '((.errorCode // "") | test("AccessDenied|Unauthorized"))',
}


def texts_of(value):
    """The records in an opened document, whatever its envelope."""
    if isinstance(value, list):
        return [record for one in value for record in texts_of(one)]
    if not isinstance(value, dict):
        return []
    if "Records" in value:
        return texts_of(value["Records"])
    if "Events" in value:
        return [json.loads(event["CloudTrailEvent"]) for event in value["Events"]]
    if "awslogs" in value:
        return texts_of(json.loads(gzip.decompress(base64.b64decode(value["awslogs"]["data"]))))
    if "logEvents" in value:
        return [record for event in value["logEvents"] for record in texts_of(json.loads(event["message"]))]
    if "detail" in value and "detail-type" in value:
        return texts_of(value["detail"])
    return [value] if "eventTime" in value and "eventName" in value else []


def records_in(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    try:
        return texts_of(json.loads(text))
    except json.JSONDecodeError:
        records = []
        for line in text.splitlines():
            try:
                records += texts_of(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records


def records_of(folder):
    return [record for path in sorted(folder.rglob("*")) if path.is_file() for record in records_in(path)]


def ask(question, key, records):
    """Sorted (time, event ID, operation, caller) of each event once, by jq."""
    program = (
        KEY + WHO + '.[] | select(.eventSource == "kms.amazonaws.com") | select(' + QUESTIONS[question]
        + ") | select(is_of($key)) | [.eventTime, .eventID, .eventName, who]"
    )
    found = jq.compile(program, args={"cryptographic": CRYPTOGRAPHIC, "key": key}).input_value(records).all()
    return sorted({tuple(one) for one in found}, key=lambda one: one[:3])


def answer(question, arguments, *paths):
    """The same of kmswatch, in its own order."""
    command = [BINARY, "evidence", question, *arguments, *paths, "--format", "jsonl"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = [(row["event_time"], row["event_id"], row["operation"], row["principal"]) for row in rows]
    # ReEncrypt under two keys that were both asked for is two rows of one event.
    return list(dict.fromkeys(found))


def compare(question, key, records, *paths):
    expected = ask(question, key, records)
    found = answer(question, ["--key", key] if key else [], *paths)
    # jq names no caller for the rarer kinds of identity.
    shown = [one if known[3] is not None else (*one[:3], None) for one, known in zip(found, expected)] if len(found) == len(expected) else found
    assert shown == expected, (question, key)
    return found
