#!/usr/bin/env python3
"""Writes the synthetic captures: one bank's morning, with an attack planted in it.

Usage: generate.py [FOLDER]. Standard library only; the same records on every run. `truth.json` is what
a replay of `morning` with tests/keys.yml must find, and nothing else.
"""

import base64
import datetime
import gzip
import json
import pathlib
import random
import sys
import uuid

HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
HERE = HERE if HERE.is_dir() else HERE.parent
MORNING = HERE / "morning"
PROD, SECURITY, FOREIGN = "111122223333", "444455556666", "999988887777"
REGION = "eu-west-1"
START = datetime.datetime(2026, 1, 5, 9, 0, tzinfo=datetime.timezone.utc)
KEYS = {
    name: f"arn:aws:kms:{REGION}:{PROD}:key/{uuid.UUID(int=number << 96 | 0x4000_8000_0000_0000_0000)}"
    for number, name in enumerate(["token-vault", "fraud", "pii", "log-export"], 1)
}
rng = random.Random(20260105)


def new_id():
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def role(name, session, account=PROD, **more):
    return {
        "type": "AssumedRole",
        "principalId": f"AROA{abs(hash_of(name)):017d}:{session}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        "accountId": account,
        "accessKeyId": "ASIA" + "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=16)),
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": f"AROA{abs(hash_of(name)):017d}",
                "arn": f"arn:aws:iam::{account}:role/{name}",
                "accountId": account,
                "userName": name,
            },
            "attributes": {"creationDate": "2026-01-05T08:55:00Z", "mfaAuthenticated": "false"},
        },
        **more,
    }


def hash_of(text):
    return sum((index + 1) * ord(letter) for index, letter in enumerate(text)) * 7919


def record(secs, name, who, source="kms", **fields):
    base = {
        "eventVersion": "1.11",
        "userIdentity": who,
        "eventTime": (START + datetime.timedelta(seconds=secs)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": REGION,
        "sourceIPAddress": "203.0.113.10",
        "userAgent": "aws-sdk-rust/1.3 os/linux lang/rust",
        "requestParameters": None,
        "responseElements": None,
        "requestID": new_id(),
        "eventID": new_id(),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": PROD,
        "eventCategory": "Management",
    }
    return base | fields


def on(key):
    return {"resources": [{"accountId": PROD, "type": "AWS::KMS::Key", "ARN": KEYS[key]}]}


def context(**pairs):
    return {"requestParameters": {"encryptionAlgorithm": "SYMMETRIC_DEFAULT", "encryptionContext": pairs}}


def through(service):
    return {"sourceIPAddress": service, "userAgent": service}


def ordinary_morning():
    """What a bank's keys see every day; none of it may alert."""
    records = []
    for second in range(0, 7200, 9):
        lambda_side = through("lambda.amazonaws.com")
        vault = role("banking-payments-role", f"tokenise-{second % 7}", invokedBy="lambda.amazonaws.com")
        name, purpose = ("Encrypt", "tokenisation") if second % 2 else ("Decrypt", "detokenisation")
        records.append(record(second, name, vault, **on("token-vault"), **context(purpose=purpose), **lambda_side))
    for second in range(4, 7200, 17):
        reader = role("crm-service", f"crm-{second % 5}", invokedBy="s3.amazonaws.com")
        found = {"aws:s3:arn": f"arn:aws:s3:::bank-pii/customers/{second:05d}"}
        records.append(record(second, "Decrypt", reader, **on("pii"), **context(**found), **through("s3.amazonaws.com")))
    for second in range(2, 7200, 60):
        engine = role("fraud-engine", "scoring", invokedBy="secretsmanager.amazonaws.com")
        secret = {"SecretARN": f"arn:aws:secretsmanager:{REGION}:{PROD}:secret:fraud/model-{second % 3}", "SecretVersionId": "v1"}
        records.append(record(second, "Decrypt", engine, **on("fraud"), **context(**secret), **through("secretsmanager.amazonaws.com")))
    for second in range(0, 7200, 12):
        trail = {"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"}
        found = {"aws:cloudtrail:arn": f"arn:aws:cloudtrail:{REGION}:{PROD}:trail/main", "aws:s3:arn": f"arn:aws:s3:::bank-logs/{second}"}
        records.append(
            record(second, "GenerateDataKey", trail, **on("log-export"), **context(**found), **through("cloudtrail.amazonaws.com"), sharedEventID=new_id())
        )
    for second in range(30, 7200, 300):
        config = {"type": "AWSService", "invokedBy": "config.amazonaws.com"}
        denied = {"errorCode": "AccessDenied", "errorMessage": f"not authorized to perform: kms:Decrypt on resource: {KEYS['pii']}"}
        records.append(record(second, "Decrypt", config, **denied, **through("config.amazonaws.com")))
    for second in range(100, 7200, 400):
        human = role("AWSReservedSSO_ReadOnly_0a1b2c", "kim@bank.example")
        records.append(record(second, "ListKeys", human, requestParameters={"limit": 100}))
        records.append(record(second + 3, "DescribeKey", human, **on("pii"), requestParameters={"keyId": KEYS["pii"]}))
    for second in range(50, 7200, 600):
        disks = role("database-admin", "rds", invokedBy="rds.amazonaws.com")
        grant = {"granteePrincipal": f"{PROD}:aws:ec2-infrastructure:i-0abc{second:04d}", "operations": ["Decrypt"], "keyId": KEYS["pii"]}
        records.append(record(second, "CreateGrant", disks, **on("pii"), requestParameters=grant, responseElements={"grantId": f"{second:064x}"}, readOnly=False))
    return records


def attack():
    """Stolen credentials of a batch role, from a foothold to blinding and destruction."""
    thief = role("batch-export", "job-77")
    vault = KEYS["token-vault"]
    records, truth = [], []

    def planted(level, title, count, *what):
        records.extend(what)
        times = sorted(one["eventTime"] for one in what)
        truth.append({"level": level, "title": title, "count": count, "first": times[0], "last": times[-1]})

    denied = [
        record(3600 + n * 4, "DescribeKey", thief, errorCode="AccessDenied",
               errorMessage=f"User: {thief['arn']} is not authorized to perform: kms:DescribeKey on resource: "
                            f"arn:aws:kms:{REGION}:{PROD}:key/00000000-0000-4000-8000-{n % 12:012d} because no identity-based policy allows the kms:DescribeKey action")
        for n in range(24)
    ]
    planted("high", "KMS calls on many keys denied to one principal", 24, *denied)
    truth.append(truth[-1] | {"title": "Burst of denied KMS calls by one principal"})
    planted("high", "Cryptographic use by a principal that the key's domain does not expect", 3,
            *[record(3800 + n, "Decrypt", thief, **on("token-vault"), **context(purpose="detokenisation")) for n in range(3)])
    planted("critical", "Cryptographic use by a principal that must never use the key's domain", 1,
            record(3900, "Decrypt", role("developer-sandbox", "dev"), **on("token-vault"), **context(purpose="debug")))
    reader = role("batch-export", "job-77", invokedBy="secretsmanager.amazonaws.com")
    secrets = [
        record(4000 + n * 2, "Decrypt", reader, resources=[{"accountId": PROD, "type": "AWS::KMS::Key", "ARN": f"arn:aws:kms:{REGION}:{PROD}:key/aws-managed-secrets"}],
               **context(SecretARN=f"arn:aws:secretsmanager:{REGION}:{PROD}:secret:app/{n}", SecretVersionId="v"), **through("secretsmanager.amazonaws.com"))
        for n in range(25)
    ]
    planted("high", "Many secrets or parameters read out by one principal", 25, *secrets)
    planted("high", "KMS grant to another account", 1,
            record(4200, "CreateGrant", thief, **on("pii"), readOnly=False, responseElements={"grantId": "f" * 64},
                   requestParameters={"keyId": KEYS["pii"], "granteePrincipal": f"arn:aws:iam::{FOREIGN}:role/collector", "operations": ["Decrypt", "CreateGrant"]}))
    planted("critical", "KMS key policy that nobody of the account can change again", 1,
            record(4300, "PutKeyPolicy", thief, **on("pii"), readOnly=False,
                   requestParameters={"keyId": KEYS["pii"], "policyName": "default", "bypassPolicyLockoutSafetyCheck": True,
                                      "policy": json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{FOREIGN}:root"}, "Action": "kms:*", "Resource": "*"}]})}))
    planted("critical", "Trail no longer logs all KMS events", 1,
            record(4400, "PutEventSelectors", thief, source="cloudtrail", readOnly=False,
                   requestParameters={"trailName": "main", "eventSelectors": [{"readWriteType": "All", "includeManagementEvents": True, "dataResources": [], "excludeManagementEventSources": ["kms.amazonaws.com"]}]}))
    planted("medium", "EventBridge rule disabled, deleted or its targets removed", 1,
            record(4420, "DisableRule", thief, source="events", readOnly=False, requestParameters={"name": "kmswatch-KmsRule"}))
    planted("high", "KMS key disabled", 1, record(4500, "DisableKey", thief, **on("fraud"), readOnly=False, requestParameters={"keyId": KEYS["fraud"]}))
    scheduled = record(4520, "ScheduleKeyDeletion", thief, **on("token-vault"), readOnly=False,
                       requestParameters={"keyId": vault, "pendingWindowInDays": 7},
                       responseElements={"keyId": vault, "keyState": "PendingDeletion", "deletionDate": "Jan 12, 2026, 12:00:00 AM", "pendingWindowInDays": 7})
    still = role("banking-payments-role", "tokenise-1", invokedBy="lambda.amazonaws.com")
    refused = [record(4530 + n * 5, "Decrypt", still, errorCode="KMSInvalidStateException", errorMessage=f"{vault} is pending deletion.", **on("token-vault"), **through("lambda.amazonaws.com")) for n in range(4)]
    planted("high", "Use of a KMS key that is pending deletion", 4, *refused)
    planted("medium", "Attempt to stop, delete or change a trail failed", 1,
            record(4600, "StopLogging", thief, source="cloudtrail", readOnly=False, errorCode="AccessDenied", errorMessage="not authorized to perform: cloudtrail:StopLogging", requestParameters=None))
    undone = record(4700, "CancelKeyDeletion", {"type": "Root", "principalId": PROD, "arn": f"arn:aws:iam::{PROD}:root", "accountId": PROD}, **on("token-vault"), readOnly=False, requestParameters={"keyId": vault})
    planted("high", "Root user uses or changes KMS keys", 1, undone)
    truth.append(truth[-1] | {"level": "low", "title": "Deletion of a KMS key cancelled"})
    # One case from the call to its undoing, with the uses that failed in between.
    records.append(scheduled)
    truth.append({"level": "critical", "title": "KMS key scheduled for deletion with the shortest waiting period", "count": 6,
                  "first": scheduled["eventTime"], "last": undone["eventTime"]})
    return records, truth


def envelope(one):
    return {
        "version": "0", "id": new_id(), "detail-type": "AWS API Call via CloudTrail", "source": "aws." + one["eventSource"].split(".")[0],
        "account": PROD, "time": one["eventTime"], "region": REGION, "resources": [], "detail": one,
    }


def dumps(value):
    return json.dumps(value, separators=(",", ":"))


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def packed(text):
    return gzip.compress(text.encode(), mtime=0)


def main():
    planted, truth = attack()
    records = ordinary_morning() + planted
    rng.shuffle(records)
    shapes = [[] for _ in range(4)]
    for one in records:
        shapes[rng.choices(range(4), weights=[70, 20, 6, 4])[0]].append(one)
    files, bridge, logs, lookup = shapes

    folder = MORNING / "AWSLogs" / PROD / "CloudTrail" / REGION / "2026" / "01" / "05"
    chunk = len(files) // 5 + 1
    for number in range(5):
        part = files[number * chunk : (number + 1) * chunk]
        # Trails deliver some records twice, in two files.
        part = part + files[:40] if number == 3 else part
        name = f"{PROD}_CloudTrail_{REGION}_20260105T{9 + number // 2:02d}{number % 2 * 30:02d}Z_{rng.getrandbits(80):020x}.json.gz"
        write(folder / name, packed(dumps({"Records": part})))
    write(MORNING / "eventbridge.jsonl", "".join(dumps(envelope(one)) + "\n" for one in bridge).encode())
    subscription = {
        "messageType": "DATA_MESSAGE", "owner": PROD, "logGroup": "cloudtrail", "logStream": f"{PROD}_CloudTrail_{REGION}",
        "subscriptionFilters": ["kmswatch"],
        "logEvents": [{"id": str(number), "timestamp": 1767603600000, "message": dumps(one)} for number, one in enumerate(logs)],
    }
    write(MORNING / "cloudwatch-logs.json", dumps({"awslogs": {"data": base64.b64encode(packed(dumps(subscription))).decode()}}).encode())
    events = [{"EventId": one["eventID"], "EventName": one["eventName"], "ReadOnly": str(one["readOnly"]).lower(), "CloudTrailEvent": dumps(one)} for one in lookup]
    write(MORNING / "lookup-events.json", json.dumps({"Events": events}, indent=2).encode())
    whole = [dumps(one) for one in [record(60, "ListKeys", role("auditor", "a")), record(61, "ListAliases", role("auditor", "a"))]]
    write(MORNING / "broken.jsonl", "\n".join([whole[0], whole[0][:200], '{"eventVersion":"1.11","eventTime":"yesterday"}', "not json at all", whole[1]]).encode() + b"\n")

    truth.sort(key=lambda one: (one["first"], one["title"]))
    counts = {"records": len(records) + 40 + 5, "duplicate_copies": 40, "unreadable": 3}
    write(HERE / "truth.json", (json.dumps({"counts": counts, "incidents": truth}, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
