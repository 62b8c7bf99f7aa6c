"""Synthetic CloudTrail records: a bank's ordinary use of its keys, and an attack on them.

Shapes are those of real records: a Decrypt has no keyId, a denied call has no resources, a role's session carries
its issuer. Accounts, keys and people are made up.
"""

from __future__ import annotations

import uuid

from lab import ACCOUNT, REGION, timestamp

FOREIGN = "999988887777"
VAULT = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a11ce00-1111-4222-8333-000000000001"
FRAUD = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a11ce00-1111-4222-8333-000000000002"
PII = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a11ce00-1111-4222-8333-000000000003"


def role(name: str, session: str, account: str = ACCOUNT) -> dict:
    """userIdentity of a role's session."""
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLE{name.upper().replace('-', '')[:10]}:{session}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        "accountId": account,
        "accessKeyId": "ASIAEXAMPLEEXAMPLE00",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": f"AROAEXAMPLE{name.upper().replace('-', '')[:10]}",
                "arn": f"arn:aws:iam::{account}:role/{name}",
                "accountId": account,
                "userName": name,
            },
            "attributes": {"creationDate": "2026-01-05T08:00:00Z", "mfaAuthenticated": "false"},
        },
    }


def call(at: float, who: dict, name: str, request: dict | None = None, key: str | None = None, **more) -> dict:
    """A record of one call at `at` (seconds of Unix time)."""
    read_only = name.startswith(("Decrypt", "Encrypt", "GenerateDataKey", "Describe", "Get", "List"))
    record = {
        "eventVersion": "1.11",
        "userIdentity": who,
        "eventTime": timestamp(at),
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": REGION,
        "sourceIPAddress": "203.0.113.50",
        "userAgent": "aws-cli/2.31.0",
        "requestParameters": request,
        "responseElements": None,
        "requestID": str(uuid.uuid4()),
        "eventID": str(uuid.uuid4()),
        "readOnly": read_only,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }
    if key is not None:
        record["resources"] = [{"accountId": key.split(":")[4], "type": "AWS::KMS::Key", "ARN": key}]
    return record | more


def denied(at: float, who: dict, name: str, key: str) -> dict:
    """A denied call: the key stands only in the message."""
    message = (
        f"User: {who['arn']} is not authorized to perform: kms:{name} on resource: {key} "
        f"because no identity-based policy allows the kms:{name} action"
    )
    return call(at, who, name, errorCode="AccessDenied", errorMessage=message)


def ordinary(now: float) -> list[dict]:
    """Nobody should be woken by any of this."""
    payments = role("banking-payments-role", "tokeniser")
    fraud = role("fraud-engine-role", "scorer") | {"invokedBy": "secretsmanager.amazonaws.com"}
    records = []
    for index in range(20):
        at = now - 120 + index
        context = {"encryptionContext": {"purpose": "tokenisation"}}
        records.append(call(at, payments, "Encrypt", context | {"keyId": VAULT}, VAULT))
        context = {"encryptionContext": {"purpose": "detokenisation"}}
        records.append(call(at, payments, "Decrypt", context, VAULT))
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:fraud-model"
    records.append(
        call(now - 90, fraud, "Decrypt", {"encryptionContext": {"SecretARN": secret}}, FRAUD)
        | {"sourceIPAddress": "secretsmanager.amazonaws.com", "userAgent": "secretsmanager.amazonaws.com"}
    )
    records.append(call(now - 80, role("platform-admin", "dana"), "DescribeKey", {"keyId": PII}, PII))
    return records


def attack(now: float) -> list[tuple[str, list[dict]]]:
    """What a thief with a developer's session does, step by step: what it is, and its records."""
    thief = role("developer-sandbox", "mallory")
    admin = role("platform-admin", "mallory")
    steps = [("tries every key it can name, and is denied", [])]
    for index in range(80):
        key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{uuid.UUID(int=0xBAD0000 + index % 16)}"
        steps[0][1].append(denied(now - 100 + index / 4, thief, "Decrypt", key))
    steps.append(
        (
            "reads the token vault from a developer environment",
            [
                call(now - 70 + index, thief, "Decrypt", {"encryptionContext": {"purpose": "detokenisation"}}, VAULT)
                for index in range(5)
            ],
        )
    )
    steps.append(
        (
            "gives another account a grant on the customer data key",
            [
                call(
                    now - 60,
                    admin,
                    "CreateGrant",
                    {
                        "keyId": PII,
                        "granteePrincipal": f"arn:aws:iam::{FOREIGN}:role/collector",
                        "operations": ["Decrypt", "DescribeKey"],
                    },
                    PII,
                    responseElements={"grantId": "0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60", "keyId": PII},
                )
            ],
        )
    )
    trail = {"eventSource": "cloudtrail.amazonaws.com"}
    steps.append(
        (
            "stops the trail",
            [call(now - 50, admin, "StopLogging", {"name": f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/bank"}, **trail)],
        )
    )
    rule = {"eventSource": "events.amazonaws.com"}
    steps.append(
        ("disables the rule that feeds kmswatch", [call(now - 45, admin, "DisableRule", {"name": "kmswatch-kms"}, **rule)])
    )
    steps.append(("disables the fraud engine's key", [call(now - 40, admin, "DisableKey", {"keyId": FRAUD}, FRAUD)]))
    steps.append(
        (
            "schedules the token vault's key for deletion",
            [call(now - 30, admin, "ScheduleKeyDeletion", {"keyId": VAULT, "pendingWindowInDays": 7}, VAULT)],
        )
    )
    return steps
