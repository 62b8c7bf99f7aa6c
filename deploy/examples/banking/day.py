#!/usr/bin/env python3
"""Writes one day of the example bank's CloudTrail records, with each forbidden use planted in it once.

Usage: day.py [FOLDER]. Standard library only; the same bytes on every run. It writes `day/`, laid out as CloudTrail
delivers to S3, and `truth.json`: what a replay with keys.yml must find in it, and nothing else.

The planted uses succeed where the policies in key-policies/ would refuse them: a detector is for the day on which the
policies are not what they should be. Denied attempts are planted beside them.
"""

import datetime
import gzip
import json
import pathlib
import random
import sys
import uuid

HERE = pathlib.Path(__file__).resolve().parent
OUT = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE
BANK, STRANGER = "111122223333", "999988887777"
ORGANISATION = "o-exampleorg0"
REGION = "us-east-2"
DAY = datetime.datetime(2026, 3, 10, tzinfo=datetime.timezone.utc)  # a Tuesday; Ohio is four hours behind UTC
ENDPOINT = "vpce-0a1b2c3d4e5f60718"
KEYS = {
    "vault": "1a2b0001-0000-4000-8000-000000000001",
    "fraud": "1a2b0002-0000-4000-8000-000000000002",
    "pii": "1a2b0003-0000-4000-8000-000000000003",
    "logs": "mrk-1a2b0004000040008000000000000004",
    "disks": "1a2b0005-0000-4000-8000-000000000005",  # of disks and databases, in no domain
    "decoy": "1a2b0009-0000-4000-8000-000000000009",
}
ALIASES = {
    "vault": "alias/banking-token-vault-key", "fraud": "alias/banking-fraud-engine-key", "pii": "alias/banking-customer-pii-key",
    "logs": "alias/banking-log-export-key", "disks": "alias/banking-disks-key", "decoy": "alias/banking-card-master-backup",
}
SSO = f"aws-reserved/sso.amazonaws.com/{REGION}/AWSReservedSSO"
TOKENISE, DETOKENISE = "banking-payments-tokenise-role", "banking-payments-detokenise-role"
ENGINE, ROTATION = "banking-fraud-engine-role", "banking-fraud-rotation-role"
RECORDS, EXPORT, ADMIN = "banking-customer-records-role", "banking-log-export-role", "banking-key-administrator-role"
DEPLOY, GLASS = "banking-deploy-role", "banking-break-glass-role"
# id, title and level of the shipped rules that the day must set off.
RULES = {
    "unexpected": ("c946d203-9b63-5d7b-8183-6b6bb927eb46", "Cryptographic use by a principal that the key's domain does not expect", "high"),
    "never": ("63c50ba4-beec-5ba2-bb82-4c504b2724d6", "Cryptographic use by a principal that must never use the key's domain", "critical"),
    "denied": ("23c18b66-9199-5a16-918b-8faa4a4684f4", "Denied attempt to use a key by a principal that its domain does not expect", "medium"),
    "console": ("33e36703-4573-5f3f-aa0d-18e575aa83d7", "Secret decrypted by a person from the console", "low"),
    "foreign use": ("ebb2b8da-6fc0-54e0-9bce-b9c61b678733", "KMS key used by an account that is not of the organisation", "high"),
    "break-glass": ("3d1a5f0e-9f6b-5b1c-8a3c-6f5a0b7e9d42", "Break-glass access to a key used", "medium"),
    "decoy": ("270129f8-2d70-513e-9a99-f68796b58a69", "Decoy key touched", "critical"),
    "disabled": ("4daed01f-9d7c-5a9e-8f09-185a1d245064", "KMS key disabled", "high"),
    "used disabled": ("13352b02-12cb-5884-a7bb-672e857f8c12", "Use of a KMS key that is disabled", "medium"),
    "enabled": ("e4110ab0-6115-5d3e-ab74-a8532240c40e", "KMS key enabled", "low"),
    "deletion": ("85518a3a-7810-5724-84f9-86003884fe5d", "KMS key scheduled for deletion with the shortest waiting period", "critical"),
    "used pending": ("22f6cfb6-90ea-5e10-b731-4aa1d0364ede", "Use of a KMS key that is pending deletion", "high"),
    "cancelled": ("219aca42-7fee-52d2-ad06-ca9192f17114", "Deletion of a KMS key cancelled", "low"),
    "destruction denied": ("1544558d-3741-5c10-976d-847dbaf47572", "Attempt to disable or delete a KMS key was denied", "medium"),
    "policy": ("ecf8b1c0-6d2f-5c8b-a3a4-80614e43d4f7", "KMS key policy allows another account", "high"),
    "policy public": ("3a3e598c-1122-5f8c-9eb8-15b4f5edbe14", "KMS key policy opened to everybody", "critical"),
    "root": ("0f6f172e-8206-55df-880c-7af3602735aa", "Root user uses or changes KMS keys", "high"),
    "grant": ("d043db77-e116-54eb-9723-7f283faf95ca", "KMS grant to another account", "high"),
    "alias": ("ce17b279-889c-5f2a-b518-d7eac2411c53", "Alias of a KMS key moved or deleted", "medium"),
    "rotation off": ("e0389dfe-9cba-5768-bf9a-c1ddd007e859", "Automatic rotation of a KMS key switched off", "medium"),
    "replica": ("5b605f19-3c3a-5a67-b6b1-c57147a51199", "KMS key replicated to a Region that is not approved", "high"),
    "trail": ("b1e4ce6d-1311-535f-a438-8f366cc4692d", "The trail that kmswatch hears by is cut", "critical"),
    "own attempt": ("9525faf1-fa36-5ac6-be0f-026e33a7314b", "An attempt on what kmswatch lives by failed", "high"),
    "event rule": ("e1b62dfa-b150-50c4-b172-64296c0ada96", "The event rule or bus that feeds kmswatch is cut", "critical"),
    "rotated": ("5dac5469-33fb-50f4-a1c5-d789ef65e4a5", "KMS key rotated", "informational"),
    "described": ("1047f8a8-9b0f-5c7a-a1d9-54a0ce3912f9", "Description of a KMS key changed", "informational"),
    "alias created": ("235a5852-ae69-5650-8ea9-14aa5f240b27", "KMS alias created", "informational"),
}
rng = random.Random(20260310)


def arn(key):
    return f"arn:aws:kms:{REGION}:{BANK}:key/{KEYS[key]}"


def at(text):
    """Seconds of the day, from HH:MM or HH:MM:SS."""
    parts = [int(part) for part in text.split(":")] + [0]
    return parts[0] * 3600 + parts[1] * 60 + parts[2]


def clock(seconds):
    return (DAY + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id():
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def letters(seed, count):
    """Text that is always the same for a seed, as the unique ids of IAM are for a role."""
    return "".join(random.Random(str(seed)).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=count))


# ---- who -------------------------------------------------------------------------------------------------------


def role(path, session, seconds=0, mfa=False, **more):
    """A session of a role; its credentials last six hours."""
    name, unique, since = path.rsplit("/", 1)[-1], "AROA" + letters(path, 17), seconds // 21600 * 21600
    return {
        "type": "AssumedRole", "principalId": f"{unique}:{session}", "arn": f"arn:aws:sts::{BANK}:assumed-role/{name}/{session}",
        "accountId": BANK, "accessKeyId": "ASIA" + letters((path, session, since), 16),
        "sessionContext": {
            "sessionIssuer": {"type": "Role", "principalId": unique, "arn": f"arn:aws:iam::{BANK}:role/{path}", "accountId": BANK, "userName": name},
            "attributes": {"creationDate": clock(since), "mfaAuthenticated": "true" if mfa else "false"},
        },
        **more,
    }


def function(path, name, seconds):
    """Code of a Lambda function: the session has the function's name, and the scope is the function."""
    scope = {"issuerType": "AWS::Lambda::Function", "credentialsIssuedTo": f"arn:aws:lambda:{REGION}:{BANK}:function:{name}"}
    return role(path, name, seconds, inScopeOf=scope)


def tokenise(seconds):
    return function(TOKENISE, "banking-tokenise", seconds)


def detokenise(seconds):
    return function(DETOKENISE, "banking-detokenise", seconds)


def person(path, address, seconds):
    return role(path, address, seconds, mfa=True)


def service(name):
    return {"type": "AWSService", "invokedBy": name}


def canonical(who):
    """What kmswatch calls the caller."""
    match who.get("type"):
        case "AssumedRole":
            return who["sessionContext"]["sessionIssuer"]["arn"]
        case "AWSService":
            return f"service:{who['invokedBy']}"
        case "Root":
            return who["arn"]
        case "AWSAccount":
            return f"account:{who['accountId']}/{who['principalId'].split(':')[0]}"
        case _:
            return "service:aws-internal"


# ---- what ------------------------------------------------------------------------------------------------------


def record(seconds, name, who, source="kms", **fields):
    base = {
        "eventVersion": "1.11", "userIdentity": who, "eventTime": clock(seconds), "eventSource": f"{source}.amazonaws.com",
        "eventName": name, "awsRegion": REGION, "sourceIPAddress": "203.0.113.40", "userAgent": "aws-sdk-rust/1.3 os/linux lang/rust",
        "requestParameters": None, "responseElements": None, "requestID": new_id(), "eventID": new_id(), "readOnly": True,
        "eventType": "AwsApiCall", "managementEvent": True, "recipientAccountId": BANK, "eventCategory": "Management",
    }
    return base | fields


def on(*keys):
    return {"resources": [{"accountId": BANK, "type": "AWS::KMS::Key", "ARN": arn(key)} for key in keys]}


def inside(seconds):
    """From the functions' network, through its endpoint."""
    return {"sourceIPAddress": f"10.20.{seconds % 4}.{10 + seconds % 200}", "vpcEndpointId": ENDPOINT, "vpcEndpointAccountId": BANK}


def through(name):
    return {"sourceIPAddress": name, "userAgent": name}


def use(seconds, name, who, key, context=None, **fields):
    """A cryptographic call. Decrypt names no key but in `resources`; a forwarded one comes from the service."""
    parameters = {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"} if name in ("Encrypt", "Decrypt") else {"keySpec": "AES_256"}
    parameters |= {} if name == "Decrypt" else {"keyId": arn(key)}
    parameters |= {"encryptionContext": context} if context else {}
    forwarded = through(who["invokedBy"]) if "invokedBy" in who else {}
    material = {"additionalEventData": {"keyMaterialId": f"{int(KEYS[key][-4:], 16):064x}"}} if name != "Encrypt" and "errorCode" not in fields else {}
    return record(seconds, name, who, **{**on(key), "requestParameters": parameters, **material, **forwarded, **fields})


def refused(seconds, name, who, key, **fields):
    """AccessDenied: the key is named in the message alone."""
    caller = who.get("arn") or who["invokedBy"]
    text = f"User: {caller} is not authorized to perform: kms:{name} on resource: {arn(key)} because no resource-based policy allows the kms:{name} action"
    return record(seconds, name, who, errorCode="AccessDenied", errorMessage=text, **fields)


def change(seconds, name, who, key, response=None, **parameters):
    return record(seconds, name, who, **on(key), readOnly=False, requestParameters={"keyId": arn(key), **parameters},
                  responseElements={"keyId": arn(key)} | (response or {}))


PURPOSE = {"purpose": "tokenisation"}


def secret(name):
    return {"SecretARN": f"arn:aws:secretsmanager:{REGION}:{BANK}:secret:{name}", "SecretVersionId": str(uuid.UUID(int=random.Random(name).getrandbits(128), version=4))}


def bucket(name):
    return {"aws:s3:arn": f"arn:aws:s3:::{name}"}


TABLE = {"aws:dynamodb:tableName": "banking-customers", "aws:dynamodb:subscriberId": BANK}
MANAGER, S3, DYNAMO = "secretsmanager.amazonaws.com", "s3.amazonaws.com", "dynamodb.amazonaws.com"


# ---- an ordinary day -------------------------------------------------------------------------------------------

# Calls an hour, by the hour in UTC: the bank wakes at 12, is busiest from 15 to 21, and sleeps from 04 to 10.
RHYTHM = [14, 10, 8, 6, 4, 3, 3, 3, 4, 5, 8, 16, 34, 52, 66, 78, 84, 80, 76, 78, 72, 60, 40, 24]
# While a key is away (planted below) nothing ordinary uses it.
AWAY = {"fraud": (at("13:01"), at("13:07")), "pii": (at("20:10"), at("20:21"))}


def moments(share):
    """Seconds of the day at which something happens, `share` of the rhythm."""
    for hour, weight in enumerate(RHYTHM):
        for _ in range(round(weight * share)):
            yield hour * 3600 + rng.randrange(3600)


def ordinary():
    found = []

    def add(one, key=None):
        first, last = AWAY.get(key, (0, 0))
        if not first <= at(one["eventTime"][11:19]) < last:
            found.append(one)

    for second in moments(1.3):
        add(use(second, "Encrypt", tokenise(second), "vault", PURPOSE, **inside(second)))
    for second in moments(0.5):
        add(use(second, "Decrypt", detokenise(second), "vault", PURPOSE, **inside(second)))
    for second in range(240, 86400, 600):
        for name in ("model-store", "watchlist"):
            add(use(second, "Decrypt", role(ENGINE, f"scoring-{second // 600 % 3}", second, invokedBy=MANAGER), "fraud", secret(f"banking/fraud/{name}")), "fraud")
    for second, name in ((at("07:10"), "model-store"), (at("07:25"), "watchlist")):
        rotation = role(ROTATION, "banking-fraud-rotation", second, invokedBy=MANAGER)
        for after, call in enumerate(["Decrypt", "GenerateDataKey", "Decrypt"]):
            add(use(second + after, call, rotation, "fraud", secret(f"banking/fraud/{name}")))
    for second in moments(0.35):
        # Under bucket keys S3 asks KMS now and then for the bucket, not for each object.
        who = role(RECORDS, f"records-{second % 4}", second, invokedBy=S3)
        add(use(second, rng.choice(["Decrypt", "Decrypt", "GenerateDataKey"]), who, "pii", bucket("banking-customer-pii")), "pii")
    for second in range(75, 86400, 600):
        add(use(second, "Decrypt", role(RECORDS, f"records-{second % 4}", second, invokedBy=DYNAMO), "pii", TABLE), "pii")
    logs_of_the_bank(add)
    services_at_work(add)
    people_at_work(add)
    return found


def logs_of_the_bank(add):
    trail = f"arn:aws:cloudtrail:{REGION}:{BANK}:trail/banking-trail"
    for second in range(0, 86400, 300):
        file = f"banking-audit-logs/AWSLogs/{ORGANISATION}/{BANK}/CloudTrail/{REGION}/2026/03/10/{BANK}_CloudTrail_{REGION}_20260310T{second // 3600:02d}{second // 60 % 60:02d}Z"
        add(use(second, "GenerateDataKey", service("cloudtrail.amazonaws.com"), "logs", {"aws:cloudtrail:arn": trail, **bucket(file)}, sharedEventID=new_id()))
    for second in range(1800, 86400, 3600):
        add(use(second, "GenerateDataKey", service("logs.amazonaws.com"), "logs", {"aws:logs:arn": f"arn:aws:logs:{REGION}:{BANK}:log-group:/banking/audit"}))
    for number in range(60):
        # The night's export reads yesterday's files.
        second = at("05:30") + number * 12
        file = f"banking-audit-logs/AWSLogs/{ORGANISATION}/{BANK}/CloudTrail/{REGION}/2026/03/09/{number:02d}.json.gz"
        add(use(second, "Decrypt", role(EXPORT, "nightly", second, invokedBy=S3), "logs", {"aws:cloudtrail:arn": trail, **bucket(file)}))


def services_at_work(add):
    config = role("aws-service-role/config.amazonaws.com/AWSServiceRoleForConfig", "configLambdaSession", invokedBy="config.amazonaws.com")
    for hour in range(24):
        for number, key in enumerate(KEYS):
            second = hour * 3600 + 900 + number * 3
            for after, name in enumerate(["DescribeKey", "GetKeyPolicy", "GetKeyRotationStatus"]):
                add(record(second + after, name, config, **on(key), **through("config.amazonaws.com"), requestParameters={"keyId": arn(key)}))
        for number in range(3):
            # By design AWS Config may not read what the bank encrypts.
            add(refused(hour * 3600 + 960 + number, "Decrypt", service("config.amazonaws.com"), "pii", **through("config.amazonaws.com")))
    scaling = role("aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", "AutoScaling", invokedBy="autoscaling.amazonaws.com")
    for number in range(6):
        # Instances start with encrypted disks in the morning and are gone in the evening.
        second, instance, grant = at("12:40") + number * 40, f"i-0c0ffee{number:010x}", f"{number + 1:064x}"
        grantee = f"{BANK}:aws:ec2-infrastructure:{instance}"
        disk = {"aws:ebs:id": f"vol-0d15c{number:012x}"}
        add(change(second, "CreateGrant", scaling, "disks", {"grantId": grant}, granteePrincipal=grantee, operations=["Decrypt"], constraints={"encryptionContextSubset": disk}) | through("autoscaling.amazonaws.com"))
        issuer = {"type": "Role", "principalId": f"{BANK}:aws:ec2-infrastructure", "arn": f"arn:aws:iam::{BANK}:role/aws:ec2-infrastructure", "accountId": BANK, "userName": "aws:ec2-infrastructure"}
        machine = {"type": "AssumedRole", "principalId": grantee, "arn": f"arn:aws:sts::{BANK}:assumed-role/aws:ec2-infrastructure/{instance}", "accountId": BANK, "accessKeyId": "ASIA" + letters(instance, 16),
                   "sessionContext": {"sessionIssuer": issuer, "attributes": {"creationDate": clock(second), "mfaAuthenticated": "false"}}, "invokedBy": "AWS Internal"}
        add(use(second + 2, "Decrypt", machine, "disks", disk))
        add(record(at("22:10") + number * 40, "RetireGrant", service("ec2.amazonaws.com"), **on("disks"), **through("ec2.amazonaws.com"), readOnly=False,
                   requestParameters={"keyId": arn("disks"), "grantId": grant}))
    database = role("banking-database-admin-role", "release", invokedBy="rds.amazonaws.com")
    add(change(at("14:20"), "CreateGrant", database, "disks", {"grantId": "a" * 64}, granteePrincipal=f"{BANK}:aws:rds:db-LEDGER", operations=["Decrypt", "GenerateDataKey", "CreateGrant"],
               constraints={"encryptionContextSubset": {"aws:rds:db-id": "db-LEDGER"}}) | through("rds.amazonaws.com"))


def people_at_work(add):
    reader = f"{SSO}_ReadOnly_0a1b2c3d4e5f6071"
    for hour in range(13, 22):
        second, who = hour * 3600 + 420, person(reader, "auditor@bank.example", hour * 3600)
        add(record(second, "ListKeys", who, requestParameters={"limit": 100}, sessionCredentialFromConsole="true"))
        add(record(second + 1, "ListAliases", who, requestParameters={"limit": 100}, sessionCredentialFromConsole="true"))
        for after, key in enumerate(["vault", "pii", "logs"]):
            add(record(second + 5 + after, "DescribeKey", who, **on(key), requestParameters={"keyId": arn(key)}, sessionCredentialFromConsole="true"))
    for second in (at("13:30"), at("18:30")):
        for number, key in enumerate(["vault", "fraud", "pii", "logs"]):
            for after, name in enumerate(["DescribeKey", "GetKeyPolicy", "ListGrants", "GetKeyRotationStatus"]):
                add(record(second + number * 20 + after, name, person(ADMIN, "keyadmin@bank.example", second), **on(key), requestParameters={"keyId": arn(key)}))


def for_the_record():
    """Ordinary work that is written down, and wakes nobody."""
    admin = person(ADMIN, "keyadmin@bank.example", at("15:00"))
    internal = {"accountId": BANK, "invokedBy": "AWS Internal"}
    details = {"keyId": arn("fraud"), "rotationType": "AUTOMATIC", "keyOrigin": "AWS_KMS", "previousKeyMaterialId": f"{1:064x}", "currentKeyMaterialId": f"{2:064x}"}
    rotated = record(at("02:14:09"), "RotateKey", internal, **on("fraud"), readOnly=False, eventType="AwsServiceEvent", serviceEventDetails=details, **through("AWS Internal"))
    described = change(at("13:45"), "UpdateKeyDescription", admin, "logs", description="Audit logs and their export, owner platform")
    aliased = record(at("14:05"), "CreateAlias", role(DEPLOY, "release-118", at("14:05")), readOnly=False,
                     requestParameters={"aliasName": "alias/banking-disks-key-green", "targetKeyId": arn("disks")},
                     resources=[{"accountId": BANK, "type": "AWS::KMS::Key", "ARN": arn("disks")},
                                {"accountId": BANK, "type": "AWS::KMS::Key", "ARN": f"arn:aws:kms:{REGION}:{BANK}:alias/banking-disks-key-green"}])
    return [("a key rotated by itself", [rotated], "rotated"), ("a description mended", [described], "described"), ("an alias for the next release", [aliased], "alias created")]


# ---- what must not be ------------------------------------------------------------------------------------------


def planted():
    """What each is, its records, and the rules that must fire on them.

    A rule alone fires on all records; with numbers, on those of them; with a level, at that. The last is part of what the
    alert must give as its reason.
    """
    developer = person(f"{SSO}_DeveloperAccess_0a1b2c3d4e5f6072", "developer@bank.example", at("14:00"))
    sandbox = role("developer-sandbox-role", "debug", at("16:00"))
    pipeline = role(DEPLOY, "release-118", at("18:00"))
    admin = person(ADMIN, "keyadmin@bank.example", at("12:00"))
    yield "Encrypt by the detokenisation function", [use(at("03:10:20"), "Encrypt", detokenise(at("03:10")), "vault", PURPOSE, **inside(77))], ["unexpected"], "but not for Encrypt"
    yield "Decrypt by the tokenisation function", [use(at("04:20:31"), "Decrypt", tokenise(at("04:20")), "vault", PURPOSE, **inside(78))], ["unexpected"], "but not for Decrypt"
    yield "data keys by the tokenisation function", [use(at("09:05:02"), "GenerateDataKey", tokenise(at("09:05")), "vault", PURPOSE, **inside(79))], ["unexpected"], "but not for GenerateDataKey"
    yield "Encrypt without a purpose", [use(at("06:30:44"), "Encrypt", tokenise(at("06:30")), "vault", **inside(80))], ["unexpected"], "context's `purpose` is not what is expected"
    yield "Decrypt for another purpose", [use(at("10:02:15"), "Decrypt", detokenise(at("10:02")), "vault", {"purpose": "marketing"}, **inside(81))], ["unexpected"], "context's `purpose` is not what is expected"
    # The function's credentials, but not its network.
    yield "Decrypt from outside the network", [use(at("11:40:58"), "Decrypt", detokenise(at("11:40")), "vault", PURPOSE, sourceIPAddress="198.51.100.77", userAgent="Boto3/1.40.1")], ["unexpected"], "but not from 198.51.100.77"
    # The role was set on another function of the same network.
    reports = function(DETOKENISE, "banking-reports", at("13:05"))
    yield "Decrypt by another function with the role", [use(at("13:05:41"), "Decrypt", reports, "vault", PURPOSE, **inside(85))], ["unexpected"], "but not with the credentials of arn:aws:lambda:us-east-2:111122223333:function:banking-reports"
    gateway = role("banking-api-gateway-role", "BackplaneAssumeRoleSession", at("12:15"), invokedBy="apigateway.amazonaws.com")
    yield "Decrypt in API Gateway", [use(at("12:15:07"), "Decrypt", gateway, "vault", PURPOSE)], ["never"], "fits `arn:aws:iam::*:role/*api-gateway*`"
    yield "Decrypt by a TPP client", [use(at("12:48:33"), "Decrypt", role("banking-tpp-client-role", "aisp-1", at("12:48")), "vault", PURPOSE)], ["never"], "fits `arn:aws:iam::*:role/*tpp-*`"
    portal = function("banking-customer-portal-role", "banking-customer-portal", at("13:22"))
    yield "Decrypt in a customer-facing function", [use(at("13:22:19"), "Decrypt", portal, "vault", PURPOSE, **inside(82))], ["never"], "fits `arn:aws:iam::*:role/*customer-portal*`"
    yield "Decrypt in a developer environment", [use(at("14:31:40"), "Decrypt", developer, "vault", PURPOSE)], ["never"], "AWSReservedSSO_Developer*`"
    yield "a developer environment is refused", [refused(at("16:11:02"), "Decrypt", sandbox, "vault")], ["denied"], "fits `arn:aws:iam::*:role/developer-*`"
    yield "payments role on the PII key", [use(at("07:45:12"), "GenerateDataKey", tokenise(at("07:45")), "pii", PURPOSE, **inside(83))], ["unexpected"], "it is in token-vault's"
    yield "fraud role on the vault", [use(at("08:12:55"), "Decrypt", role(ENGINE, "scoring-1", at("08:12")), "vault", PURPOSE, **inside(84))], ["unexpected"], "it is in fraud-engine's"
    yield "fraud role past Secrets Manager", [use(at("09:50:28"), "Decrypt", role(ENGINE, "scoring-1", at("09:50")), "fraud", secret("banking/fraud/watchlist"))], ["unexpected"], "but not directly"
    yield "a secret of another domain under the fraud key", [use(at("11:05:36"), "Decrypt", role(ENGINE, "scoring-2", at("11:05"), invokedBy=MANAGER), "fraud", secret("banking/cards/issuer"))], ["unexpected"], "context's `SecretARN` is not what is expected"
    yield "secrets rotated by day", [use(at("17:32:10"), "GenerateDataKey", role(ROTATION, "banking-fraud-rotation", at("17:32"), invokedBy=MANAGER), "fraud", secret("banking/fraud/watchlist"))], ["unexpected"], "only 02:00-04:00 America/New_York"
    yield "customer records in another bucket", [use(at("15:20:03"), "GenerateDataKey", role(RECORDS, "records-2", at("15:20"), invokedBy=S3), "pii", bucket("banking-analytics-scratch"))], ["unexpected"], "context's `aws:s3:arn` is not what is expected"
    person_reads = person(f"{SSO}_PlatformAdministrator_0a1b2c3d4e5f6073", "platform@bank.example", at("15:40"))
    yield "logs decrypted by a person", [use(at("15:41:26"), "Decrypt", {**person_reads, "invokedBy": S3}, "logs", bucket("banking-audit-logs/03.json.gz"), sessionCredentialFromConsole="true")], ["unexpected", "console"], "is not in log-export's principals"
    yield "logs exported by day", [use(at("16:40:48"), "Decrypt", role(EXPORT, "nightly", at("16:40"), invokedBy=S3), "logs", bucket("banking-audit-logs/04.json.gz"))], ["unexpected"], "only 01:00-03:00 America/New_York"
    outsider = {"type": "AWSAccount", "principalId": "AROA" + letters("collector", 17) + ":job", "accountId": STRANGER}
    yield "an account outside the organisation", [use(at("16:55:09"), "Decrypt", outsider, "fraud", secret("banking/fraud/watchlist"), sharedEventID=new_id())], ["unexpected", "foreign use"], "is not in fraud-engine's principals"
    yield "the decoy looked at", [record(at("14:44:51"), "DescribeKey", developer, **on("decoy"), requestParameters={"keyId": ALIASES["decoy"]})], ["decoy"]
    glass = person(GLASS, "oncall@bank.example", at("18:40"))
    yield "break-glass access used", [use(at("18:42:17"), "Decrypt", glass, "vault", PURPOSE, **inside(85))], ["break-glass"], "under INC-2071"
    yield "break-glass access used after its end", [use(at("20:47:30"), "Decrypt", glass, "vault", PURPOSE, **inside(86))], ["unexpected"], "INC-2071 ended 2026-03-10T20:00:00Z"
    root = {"type": "Root", "principalId": BANK, "arn": f"arn:aws:iam::{BANK}:root", "accountId": BANK}
    yield "the root user opens the vault", [use(at("19:25:54"), "Decrypt", root, "vault", PURPOSE)], ["unexpected", "root"], "is not in token-vault's principals"
    yield "DisableKey, and what it stops", [
        change(at("13:01:10"), "DisableKey", pipeline, "fraud"),
        use(at("13:04:00"), "Decrypt", role(ENGINE, "scoring-0", at("13:04"), invokedBy=MANAGER), "fraud", secret("banking/fraud/watchlist"),
            errorCode="DisabledException", errorMessage=f"{arn('fraud')} is disabled."),
        change(at("13:06:30"), "EnableKey", admin, "fraud"),
    ], [("disabled", (0, 1, 2), "critical"), ("used disabled", (1,)), ("enabled", (2,))]
    yield "DisableKey refused", [refused(at("17:05:44"), "DisableKey", sandbox, "pii", readOnly=False)], ["destruction denied"]
    yield "ScheduleKeyDeletion, and what it stops", [
        change(at("20:10:05"), "ScheduleKeyDeletion", pipeline, "pii", {"keyState": "PendingDeletion", "deletionDate": "Mar 17, 2026, 8:10:05 PM", "pendingWindowInDays": 7}, pendingWindowInDays=7),
        use(at("20:12:15"), "Decrypt", role(RECORDS, "records-1", at("20:12"), invokedBy=DYNAMO), "pii", TABLE,
            errorCode="KMSInvalidStateException", errorMessage=f"{arn('pii')} is pending deletion."),
        change(at("20:18:40"), "CancelKeyDeletion", admin, "pii"),
        change(at("20:20:02"), "EnableKey", admin, "pii"),
    ], [("deletion", (0, 1, 2)), ("used pending", (1,)), ("cancelled", (2,)), ("enabled", (3,))]
    opened = json.loads((HERE / "key-policies" / "customer-pii.json").read_text())
    opened["Statement"].insert(0, {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{STRANGER}:root"}, "Action": "kms:Decrypt", "Resource": "*"})
    yield "PutKeyPolicy for a stranger", [change(at("21:30:12"), "PutKeyPolicy", pipeline, "pii", policyName="default", policy=json.dumps(opened), bypassPolicyLockoutSafetyCheck=False)], ["policy"]
    public = json.loads((HERE / "key-policies" / "log-export.json").read_text())
    # With the Deny for callers from outside the organisation in it, it would be open to the organisation only.
    public["Statement"] = [one for one in public["Statement"] if one["Effect"] == "Allow"]
    public["Statement"].insert(0, {"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"})
    yield "PutKeyPolicy for everybody", [change(at("21:52:48"), "PutKeyPolicy", pipeline, "logs", policyName="default", policy=json.dumps(public), bypassPolicyLockoutSafetyCheck=False)], ["policy public"]
    yield "a grant to a stranger", [change(at("22:04:33"), "CreateGrant", pipeline, "pii", {"grantId": "f" * 64}, granteePrincipal=f"arn:aws:iam::{STRANGER}:role/collector", operations=["Decrypt"])], ["grant"]
    moved = record(at("22:21:09"), "UpdateAlias", pipeline, readOnly=False, requestParameters={"aliasName": ALIASES["vault"], "targetKeyId": arn("disks")},
                   resources=[{"accountId": BANK, "type": "AWS::KMS::Key", "ARN": f"arn:aws:kms:{REGION}:{BANK}:{ALIASES['vault']}"}, {"accountId": BANK, "type": "AWS::KMS::Key", "ARN": arn("disks")}])
    yield "the vault's alias moved", [moved], ["alias"]
    yield "rotation of the vault's key switched off", [change(at("22:33:57"), "DisableKeyRotation", pipeline, "vault")], ["rotation off"]
    yield "the log key copied to a Region that is not approved", [change(at("22:40:20"), "ReplicateKey", pipeline, "logs", replicaRegion="ap-southeast-2", bypassPolicyLockoutSafetyCheck=False)], ["replica"]
    selectors = [{"readWriteType": "All", "includeManagementEvents": True, "dataResources": [], "excludeManagementEventSources": ["kms.amazonaws.com"]}]
    yield "PutEventSelectors without KMS", [record(at("23:02:11"), "PutEventSelectors", pipeline, source="cloudtrail", readOnly=False, requestParameters={"trailName": "banking-trail", "eventSelectors": selectors})], ["trail"]
    text = f"User: {pipeline['arn']} is not authorized to perform: cloudtrail:StopLogging on resource: arn:aws:cloudtrail:{REGION}:{BANK}:trail/banking-trail with an explicit deny in a service control policy"
    yield "StopLogging refused", [record(at("23:10:38"), "StopLogging", pipeline, source="cloudtrail", readOnly=False, errorCode="AccessDenied", errorMessage=text)], ["own attempt"]
    yield "the event rule of the detector disabled", [record(at("23:15:29"), "DisableRule", pipeline, source="events", readOnly=False, requestParameters={"name": "kmswatch-kms"})], ["event rule"]


def expected(records, fires, reason=None):
    """What the alerts must say."""
    for fire in fires:
        rule, numbers, level = (fire, None, None) if isinstance(fire, str) else (*fire, None)[:3]
        of = records if numbers is None else [records[number] for number in numbers]
        id_, title, usual = RULES[rule]
        keys = {one["ARN"] for record in of for one in record.get("resources") or [] if ":key/" in one["ARN"]}
        keys |= {text.split(" ")[0] for record in of for text in record.get("errorMessage", "").split("on resource: ")[1:] if ":key/" in text}
        yield {
            "rule": id_, "title": title, "level": level or usual, "principals": sorted({canonical(record["userIdentity"]) for record in of}),
            "keys": sorted(keys), "first": min(record["eventTime"] for record in of), "last": max(record["eventTime"] for record in of),
            "event_ids": sorted(record["eventID"] for record in of),
            **({"reason": reason} if reason else {}),
        }


# ---- files -----------------------------------------------------------------------------------------------------


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def deliver(records):
    """Files as CloudTrail delivers them: each a few minutes late, unordered, some records again in the next. One for each half hour."""
    folder = OUT / "day" / "AWSLogs" / ORGANISATION / BANK / "CloudTrail" / REGION / "2026" / "03" / "10"
    files = {}
    for one in records:
        second = at(one["eventTime"][11:19])
        files.setdefault(min(second + rng.randrange(60, 600), 86399) // 1800, []).append(one)
    copies = {}
    for number, part in sorted(files.items()):
        recent = [one for one in part if at(one["eventTime"][11:19]) % 1800 >= 900]
        copies[number] = rng.sample(recent, k=min(2, len(recent)))
    for number, part in sorted(files.items()):
        part = part + copies.get(number - 1, [])
        rng.shuffle(part)
        name = f"{BANK}_CloudTrail_{REGION}_20260310T{number // 2:02d}{number % 2 * 30 + 25:02d}Z_{letters(number, 16)}.json.gz"
        write(folder / name, gzip.compress(json.dumps({"Records": part}, separators=(",", ":")).encode(), mtime=0))
    return sum(len(copies[number]) for number in copies if number + 1 in files)


def main():
    records, truth = ordinary(), {"planted": [], "for_the_record": []}
    for name, what, rule in for_the_record():
        records += what
        truth["for_the_record"].append({"what": name, "alerts": list(expected(what, [rule]))})
    for name, what, *said in planted():
        records += what
        alerts = list(expected(what, *said))
        truth["planted"].append({"what": name, "first": min(one["eventTime"] for one in what), "alerts": alerts})
    truth["planted"].sort(key=lambda one: one["first"])
    records.sort(key=lambda one: (one["eventTime"], one["eventID"]))
    twice = deliver(records)
    truth = {"records": len(records), "delivered_twice": twice, **truth}
    write(OUT / "truth.json", (json.dumps(truth, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
