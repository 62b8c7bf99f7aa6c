#!/usr/bin/env python3
"""Writes a synthetic month of a bank's KMS records, with first uses planted in its second half.

Usage: generate.py FOLDER [--records N] [--seed N]. Standard library only; the same records for the same
numbers. FOLDER gets `trail/` (gzipped CloudTrail files), and `truth.json`: when the second half begins, what
is planted in it, each with its event IDs, and how many records there are.

What the month has of real ones: a daily and a weekly rhythm, nights of batch and an end of month, sessions and
access keys that change by the hour, addresses that wander within networks or anywhere, S3 with and without
Bucket Keys and two buckets switched over in mid-month, versions of secrets and functions, volumes that come and
go, records delivered twice, in no order, and the denied calls of AWS Config. None of that may alert.
"""

import argparse
import datetime
import gzip
import json
import pathlib
import random
import uuid

PROD, DATA = "111122223333", "222233334444"
REGION, OTHER_REGION = "eu-west-1", "us-east-1"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
DAYS, HALF = 31, 16
SWITCHED_ON = 17
S3, LAMBDA, SECRETS, SQS = "s3.amazonaws.com", "lambda.amazonaws.com", "secretsmanager.amazonaws.com", "sqs.amazonaws.com"

# Uses by hour of the day (UTC), as weights.
STEADY = [1] * 24
BUSINESS = [2, 1, 1, 1, 2, 4, 8, 14, 20, 22, 22, 20, 18, 20, 22, 21, 18, 14, 10, 8, 6, 5, 4, 3]
OFFICE = [0] * 8 + [3, 6, 6, 5, 3, 5, 6, 6, 4] + [0] * 7
NIGHT = [0, 6, 8, 3] + [0] * 20
EVERY_DAY, WORKDAYS, SUNDAYS = (1, 1, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 0, 0), (0, 0, 0, 0, 0, 0, 1)
QUIET_WEEKENDS = (1, 1, 1, 1, 1, 0.4, 0.3)


class Month:
    def __init__(self, records, seed):
        self.rng = random.Random(seed)
        self.wanted = records
        self.records = []
        self.planted = []
        self.sessions = {}
        self.keys = {}

    # --- who, where, on what ------------------------------------------------------------------------------------

    def id(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def letters(self, count, alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):
        return "".join(self.rng.choices(alphabet, k=count))

    def key(self, name, account=PROD, multi_region=False):
        """The ARN of a key by the name that its alias has."""
        if name not in self.keys:
            made = "mrk-" + self.letters(32, "0123456789abcdef") if multi_region else self.id()
            self.keys[name] = f"arn:aws:kms:{REGION}:{account}:key/{made}"
        return self.keys[name]

    def role(self, name, second, account=PROD, path="", session=None):
        """A session of a role; credentials change by the hour."""
        at = (name, account, session, second // 3600)
        if at not in self.sessions:
            self.sessions[at] = ("ASIA" + self.letters(16), session or f"{name}-{self.letters(10, '0123456789abcdef')}")
        access, session = self.sessions[at]
        unique = "AROA" + name.upper().replace("-", "X").replace("_", "X")[:17]
        began = (START + datetime.timedelta(seconds=second // 3600 * 3600)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "type": "AssumedRole", "principalId": f"{unique}:{session}", "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
            "accountId": account, "accessKeyId": access,
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "principalId": unique, "arn": f"arn:aws:iam::{account}:role/{path}{name}", "accountId": account, "userName": name},
                "attributes": {"creationDate": began, "mfaAuthenticated": "false"},
            },
        }

    def human(self, name, second):
        """A person by way of Identity Center, at the console."""
        return self.role("AWSReservedSSO_Support_0a1b2c3d4e5f6071", second, path="aws-reserved/sso.amazonaws.com/eu-west-1/", session=f"{name}@bank.example")

    @staticmethod
    def service(name):
        return {"type": "AWSService", "invokedBy": name}

    # --- records ------------------------------------------------------------------------------------------------

    def record(self, second, name, who, key=None, via=None, source="203.0.113.10", context=None, account=PROD, region=REGION, request=None, **more):
        if via:
            who = dict(who, invokedBy=via)
            source = via
        request = dict(request or {})
        if context is not None:
            request["encryptionContext"] = context
        if name in ("Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt"):
            request.setdefault("encryptionAlgorithm", "SYMMETRIC_DEFAULT")
        one = {
            "eventVersion": "1.11", "userIdentity": who, "eventTime": (START + datetime.timedelta(seconds=int(second))).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": "kms.amazonaws.com", "eventName": name, "awsRegion": region, "sourceIPAddress": source,
            "userAgent": source if via else "aws-sdk-java/2.25 os/linux", "requestParameters": request or None, "responseElements": None,
            "requestID": self.id(), "eventID": self.id(), "readOnly": True, "eventType": "AwsApiCall", "managementEvent": True,
            "recipientAccountId": account, "eventCategory": "Management",
        }
        if key:
            one["resources"] = [{"accountId": key.split(":")[4], "type": "AWS::KMS::Key", "ARN": key}]
        one.update(more)
        self.records.append((int(second), one))
        return one

    def plant(self, kind, what, *records):
        """A first use, to be told."""
        self.planted.append({"kind": kind, "what": what, "time": records[0]["eventTime"], "event_ids": [one["eventID"] for one in records]})

    # --- the ordinary month -------------------------------------------------------------------------------------

    def spread(self, share, hours, days, make, end_of_month=1):
        """`share` of all records, spread over the month by its rhythm; `make(second, n)` makes one. The last two
        days have `end_of_month` times as much."""
        busy = [end_of_month if day >= DAYS - 2 else 1 for day in range(DAYS)]
        weights = [busy[day] * days[(day + 3) % 7] * self.rng.uniform(0.92, 1.08) for day in range(DAYS)]
        total = sum(weights)
        number = 0
        for day, weight in enumerate(weights):
            count = share * self.wanted * weight / total
            count = int(count) + (self.rng.random() < count % 1)
            for hour in self.rng.choices(range(24), weights=hours, k=count):
                make(day * 86400 + hour * 3600 + self.rng.randrange(3600), number)
                number += 1

    def ordinary(self):
        rng, record, role, key = self.rng, self.record, self.role, self.key
        vault = [key(f"banking-token-vault-{part}-key") for part in ("cards", "ibans", "wallets")]

        def customer():
            return f"C-{rng.randrange(10**8):08d}"

        def tokenise(second, n):
            purpose = {"purpose": "token-vault", "customer": customer()}
            record(second, "Encrypt", role("tokenisation-service", second), vault[n % 3], LAMBDA, context=purpose,
                   request={"keyId": f"alias/{['banking-token-vault-cards-key', 'banking-token-vault-ibans-key', 'banking-token-vault-wallets-key'][n % 3]}"})

        def detokenise(second, n):
            record(second, "Decrypt", role("detokenisation-service", second), vault[n % 5 % 3 if n % 5 < 3 else 0], LAMBDA, context={"purpose": "token-vault", "customer": customer()})

        self.spread(0.10, BUSINESS, QUIET_WEEKENDS, tokenise, end_of_month=2)
        self.spread(0.16, BUSINESS, QUIET_WEEKENDS, detokenise, end_of_month=2)

        # S3: a key for each bucket; two get Bucket Keys in mid-month, two have had them all along.
        buckets = ["bank-pii", "bank-kyc", "bank-statements", "bank-letters", "bank-archive", "bank-reports"]
        has_bucket_key = {"bank-archive", "bank-reports"}
        for number, bucket in enumerate(buckets):
            of_bucket = key(f"banking-{bucket.split('-')[1]}-key")

            def context(second, bucket=bucket):
                switched = bucket in has_bucket_key or (bucket in ("bank-pii", "bank-kyc") and second >= SWITCHED_ON * 86400)
                return {"aws:s3:arn": f"arn:aws:s3:::{bucket}" + ("" if switched else f"/{rng.randrange(10**6):06d}/{customer()}.json")}

            def read(second, n, of_bucket=of_bucket, context=context):
                record(second, "Decrypt", role("crm-service", second), of_bucket, S3, context=context(second))

            def write(second, n, of_bucket=of_bucket, context=context):
                record(second, "GenerateDataKey", role("document-ingest", second), of_bucket, S3, context=context(second))

            def etl(second, n, of_bucket=of_bucket, context=context):
                record(second, "Decrypt", role("analytics-etl", second, DATA), of_bucket, S3, context=context(second), account=DATA)

            self.spread(0.018, BUSINESS, QUIET_WEEKENDS, read)
            self.spread(0.012, BUSINESS, QUIET_WEEKENDS, write)
            if number < 3:
                self.spread(0.006, NIGHT, EVERY_DAY, etl)

        # Secrets, their versions rotated each week; parameters.
        secrets = {name: self.letters(6, "ABCDEFabcdef123456") for name in ("fraud/model", "fraud/graph", "payments/switch", "crm/database")}
        fraud = key("banking-fraud-secrets-key")

        def secret(who, name):
            def make(second, n):
                arn = f"arn:aws:secretsmanager:{REGION}:{PROD}:secret:{name}-{secrets[name]}"
                record(second, "Decrypt", role(who, second), fraud, SECRETS, context={"SecretARN": arn, "SecretVersionId": f"week-{second // 604800}-{n % 2}"})
            return make

        self.spread(0.01, STEADY, EVERY_DAY, secret("fraud-scoring", "fraud/model"))
        self.spread(0.008, STEADY, EVERY_DAY, secret("fraud-scoring", "fraud/graph"))
        self.spread(0.006, BUSINESS, QUIET_WEEKENDS, secret("payments-switch", "payments/switch"))
        parameters = [f"arn:aws:ssm:{REGION}:{PROD}:parameter/payments/prod/{n}" for n in ("limits", "routes", "partners", "fees")]
        self.spread(0.01, STEADY, EVERY_DAY, lambda second, n: record(
            second, "Decrypt", role("payments-switch", second), key("banking-parameters-key"), "AWS Internal", context={"PARAMETER_ARN": parameters[n % 4]}))

        # Signatures through a VPC endpoint, checked by partners.
        signing = key("payments-signing-key")
        endpoint = {"vpcEndpointId": "vpce-0a11ce0000000001", "vpcEndpointAccountId": PROD}
        self.spread(0.05, BUSINESS, QUIET_WEEKENDS, lambda second, n: record(
            second, "Sign", role("payment-signer", second), signing, source=f"10.20.{rng.randrange(48, 64)}.{rng.randrange(1, 255)}",
            request={"signingAlgorithm": "RSASSA_PSS_SHA_256", "messageType": "DIGEST"}, **endpoint))
        self.spread(0.004, STEADY, EVERY_DAY, lambda second, n: record(second, "GetPublicKey", role("partner-gateway", second), signing, readOnly=True))

        # Applications with two keys each, behind three NAT gateways; some put a purpose into the context.
        for number in range(1, 13):
            pair = [key(f"app-{number:02d}-{use}-key", multi_region=number == 7) for use in ("data", "cache")]
            gateways = [f"203.0.113.{number * 4 + gateway}" for gateway in range(3)]

            def use(second, n, number=number, pair=pair, gateways=gateways):
                context = [{"purpose": "session"}, {"purpose": f"app-{number:02d}"}, {"aws-crypto-public-key": self.letters(64)}][number % 3]
                record(second, ["Decrypt", "GenerateDataKey"][n % 2], role(f"app-{number:02d}", second), pair[n // 2 % 2], source=gateways[n % 3], context=context)

            self.spread(0.006 + 0.001 * (number % 4), BUSINESS if number % 2 else STEADY, QUIET_WEEKENDS, use)

        # Queues, volumes, logs, the trail itself.
        self.spread(0.02, STEADY, EVERY_DAY, lambda second, n: record(
            second, ["GenerateDataKey", "Decrypt"][n % 2], role("ledger-poster", second), key("banking-queues-key"), SQS,
            context={"aws:sqs:arn": f"arn:aws:sqs:{REGION}:{PROD}:ledger-{['in', 'out'][n // 2 % 2]}"}))

        def volume(second, n):
            instance = f"i-{n // 3:017x}"
            infrastructure = {
                "type": "AssumedRole", "principalId": f"{PROD}:aws:ec2-infrastructure:{instance}", "arn": f"arn:aws:sts::{PROD}:assumed-role/aws:ec2-infrastructure/{instance}",
                "accountId": PROD, "accessKeyId": "ASIA" + self.letters(16),
                "sessionContext": {"sessionIssuer": {"type": "Role", "principalId": f"{PROD}:aws:ec2-infrastructure", "arn": f"arn:aws:iam::{PROD}:role/aws:ec2-infrastructure", "accountId": PROD, "userName": "aws:ec2-infrastructure"}},
            }
            of_volumes = key("banking-volumes-key")
            context = {"aws:ebs:id": f"vol-{n:017x}"}
            scaling = role("AWSServiceRoleForAutoScaling", second, path="aws-service-role/autoscaling.amazonaws.com/")
            grant = {"granteePrincipal": f"{PROD}:aws:ec2-infrastructure:{instance}", "operations": ["Decrypt"], "keyId": of_volumes, "constraints": {"encryptionContextSubset": context}}
            record(second, "GenerateDataKeyWithoutPlaintext", scaling, of_volumes, "autoscaling.amazonaws.com", context=context)
            record(second + 1, "CreateGrant", scaling, of_volumes, "autoscaling.amazonaws.com", request=grant, readOnly=False, responseElements={"grantId": self.letters(64, "0123456789abcdef")})
            record(second + 2, "Decrypt", infrastructure, of_volumes, "AWS Internal", context=context)

        self.spread(0.004, BUSINESS, EVERY_DAY, volume)
        trail = f"arn:aws:cloudtrail:{REGION}:{PROD}:trail/main"
        self.spread(0.20, STEADY, EVERY_DAY, lambda second, n: record(
            second, "GenerateDataKey", self.service("cloudtrail.amazonaws.com"), key("banking-log-export-key"), "cloudtrail.amazonaws.com",
            context={"aws:cloudtrail:arn": trail, "aws:s3:arn": f"arn:aws:s3:::bank-logs/AWSLogs/{PROD}/{n}.json.gz"}, sharedEventID=self.id()))
        self.spread(0.02, STEADY, EVERY_DAY, lambda second, n: record(
            second, "Decrypt", self.service(f"logs.{REGION}.amazonaws.com"), key("banking-log-groups-key"), f"logs.{REGION}.amazonaws.com",
            context={"aws:logs:arn": f"arn:aws:logs:{REGION}:{PROD}:log-group:/aws/lambda/{['tokenise', 'detokenise', 'switch'][n % 3]}"}))

        # People: support from the office at office hours; engineers on call from anywhere.
        def support(second, n):
            record(second, "Decrypt", self.human(["ann", "bo", "kim", "lee"][n % 4], second), key("banking-support-key"),
                   source=f"198.51.100.{rng.randrange(1, 255)}", context={"purpose": "support-case", "case": f"CS-{rng.randrange(10**7):07d}"}, sessionCredentialFromConsole="true")

        self.spread(0.012, OFFICE, WORKDAYS, support)
        self.spread(0.003, STEADY, EVERY_DAY, lambda second, n: record(
            second, "Decrypt", role("oncall-engineer", second), key("banking-runbook-key"), source=f"{rng.choice([81, 82, 91, 178])}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            context={"purpose": "runbook"}))

        # Nightly and weekly jobs, with more to do at the end of the month.
        def statements(second, n):
            record(second, "GenerateDataKey", role("statements-batch", second), key("banking-batch-key"), source="203.0.113.3", context={"purpose": "statement"})

        self.spread(0.02, NIGHT, EVERY_DAY, statements, end_of_month=4)
        self.spread(0.004, NIGHT, SUNDAYS, lambda second, n: record(
            second, "Decrypt", role("backup-verify", second), key("banking-backup-key"), source="203.0.113.3", context={"purpose": "backup"}))

        # Deployments on workdays: look at keys, list them, write a parameter.
        def deploy(second, n):
            pipeline = role("deployment-pipeline", second)
            record(second, "ListAliases", pipeline, source="203.0.113.2")
            record(second + 1, "DescribeKey", pipeline, key("banking-parameters-key"), source="203.0.113.2", request={"keyId": "alias/banking-parameters-key"})
            record(second + 2, "Encrypt", pipeline, key("banking-parameters-key"), "AWS Internal", context={"PARAMETER_ARN": parameters[n % 4]})

        self.spread(0.003, OFFICE, WORKDAYS, deploy)
        # AWS Config tries everything; a developer's script tries what it may not.
        self.spread(0.01, STEADY, EVERY_DAY, lambda second, n: record(
            second, "Decrypt", self.service("config.amazonaws.com"), via="config.amazonaws.com", errorCode="AccessDenied",
            errorMessage=f"User: config.amazonaws.com is not authorized to perform: kms:Decrypt on resource: {vault[n % 3]}"))
        for name, arn in list(self.keys.items()):
            if name.startswith(("banking-", "app-", "payments-")):
                request = {"aliasName": f"alias/{name}", "targetKeyId": arn}
                alias = f"{arn.rsplit(':', 1)[0]}:alias/{name}"
                self.record(60, "CreateAlias", role("platform", 60), request=request, readOnly=False,
                            resources=[{"accountId": PROD, "ARN": alias, "type": "AWS::KMS::Key"}, {"accountId": PROD, "ARN": arn, "type": "AWS::KMS::Key"}])

    # --- what is planted ----------------------------------------------------------------------------------------

    def first_uses(self):
        record, role, key, plant = self.record, self.role, self.key, self.plant
        vault, pii, signing = key("banking-token-vault-cards-key"), key("banking-pii-key"), key("payments-signing-key")

        def at(day, hour, minute=0):
            return day * 86400 + hour * 3600 + minute * 60

        token = {"purpose": "token-vault", "customer": "C-00000001"}

        def pair(second, *arguments, **named):
            return [record(second + more, *arguments, **named) for more in (0, 40)]

        second = at(17, 3, 12)
        plant("principal", "a batch role on the token vault", *pair(second, "Decrypt", role("batch-export", second), vault, source="203.0.113.10", context=token))
        second = at(18, 11)
        user = {"type": "IAMUser", "principalId": "AIDAEXAMPLE", "arn": f"arn:aws:iam::{PROD}:user/legacy-sync", "accountId": PROD, "accessKeyId": "AKIAEXAMPLE", "userName": "legacy-sync"}
        plant("principal", "a user on the keys of an application", record(second, "Decrypt", user, key("app-02-data-key"), source="203.0.113.8", context={"purpose": "app-02"}))
        second = at(19, 15, 30)
        plant("principal", "a role of one domain on the keys of another", record(second, "Decrypt", role("fraud-scoring", second), pii, S3, context={"aws:s3:arn": "arn:aws:s3:::bank-pii"}))
        second = at(20, 9)
        plant("principal", "a new deployment, as it should be", *pair(second, "GenerateDataKey", role("app-13", second), key("app-04-data-key"), source="203.0.113.16", context={"purpose": "app-04"}))
        second = at(28, 10, 5)
        foreign = {"type": "AWSAccount", "principalId": "AROAFOREIGN:job", "accountId": "999988887777"}
        plant("principal", "another account", record(second, "Decrypt", foreign, key("banking-statements-key"), source="192.0.2.7", context={"aws:s3:arn": "arn:aws:s3:::bank-statements/1"}))

        second = at(21, 10)
        plant("operation", "detokenisation encrypts", record(second, "Encrypt", role("detokenisation-service", second), vault, LAMBDA, context=token))
        second = at(21, 14)
        plant("operation", "the signer checks signatures", record(second, "Verify", role("payment-signer", second), signing, source="10.20.50.9", vpcEndpointId="vpce-0a11ce0000000001"))
        second = at(22, 2)
        both = [{"accountId": PROD, "type": "AWS::KMS::Key", "ARN": arn} for arn in (key("app-06-data-key"), key("app-06-cache-key"))]
        plant("operation", "an application re-encrypts", record(second, "ReEncrypt", role("app-06", second), source="203.0.113.25", resources=both))
        second = at(24, 12)
        plant("operation", "a public key fetched by somebody new", record(second, "GetPublicKey", role("token-forger", second), signing))

        second = at(22, 12)
        plant("service", "the CRM calls directly", record(second, "Decrypt", role("crm-service", second), pii, source="203.0.113.10", context={"aws:s3:arn": "arn:aws:s3:::bank-pii/1"}))
        second = at(23, 8)
        plant("service", "an application by way of S3", record(second, "Decrypt", role("app-03", second), key("app-03-data-key"), S3, context={"aws-crypto-public-key": "A"}))
        second = at(23, 17)
        plant("service", "secrets by way of Lambda", record(second, "Decrypt", role("fraud-scoring", second), key("banking-fraud-secrets-key"), LAMBDA, context={
            "SecretARN": f"arn:aws:secretsmanager:{REGION}:{PROD}:secret:fraud/model-AbCdEf", "SecretVersionId": "v"}))

        second = at(24, 10)
        plant("context", "the vault for another purpose", record(second, "Encrypt", role("tokenisation-service", second), vault, LAMBDA, context={"purpose": "debugging", "customer": "C-1"}))
        second = at(24, 16)
        plant("context", "a bucket whose name begins as another's", record(second, "Decrypt", role("crm-service", second), pii, S3, context={"aws:s3:arn": "arn:aws:s3:::bank-pii-copy/1"}))
        second = at(25, 6)
        plant("context", "a secret that is not for fraud scoring", record(second, "Decrypt", role("fraud-scoring", second), key("banking-fraud-secrets-key"), SECRETS, context={
            "SecretARN": f"arn:aws:secretsmanager:{REGION}:{PROD}:secret:payments/switch-AbCdEf", "SecretVersionId": "v"}))
        second = at(25, 13)
        plant("context", "no context at all", record(second, "Decrypt", role("app-01", second), key("app-01-data-key"), source="203.0.113.4"))

        second = at(26, 4)
        plant("network", "an application from elsewhere", *pair(second, "Decrypt", role("app-05", second), key("app-05-data-key"), source="192.0.2.99", context={"aws-crypto-public-key": "B"}))
        second = at(26, 9)
        plant("network", "the signer through another endpoint", record(second, "Sign", role("payment-signer", second), signing, source="10.99.1.4", vpcEndpointId="vpce-0bad000000000002"))
        second = at(26, 14)
        plant("network", "support from home", record(second, "Decrypt", self.human("bo", second), key("banking-support-key"), source="91.12.13.14", context={"purpose": "support-case", "case": "CS-0000001"}, sessionCredentialFromConsole="true"))

        second = at(27, 11)
        replica = key("app-07-data-key").replace(REGION, OTHER_REGION)
        plant("region", "a replica in another Region", record(second, "Decrypt", role("app-07", second), replica, source="203.0.113.28", context={"purpose": "app-07"}, region=OTHER_REGION))

        second = at(27, 2, 30)
        plant("hour", "support at night", record(second, "Decrypt", self.human("kim", second), key("banking-support-key"), source="198.51.100.77", context={"purpose": "support-case", "case": "CS-0000002"}, sessionCredentialFromConsole="true"))
        second = at(28, 14)
        plant("hour", "the nightly batch in the afternoon", record(second, "GenerateDataKey", role("statements-batch", second), key("banking-batch-key"), source="203.0.113.3", context={"purpose": "statement"}))

        fresh = key("without an alias")
        second = at(29, 9)
        record(second, "CreateKey", role("platform", second), fresh, source="203.0.113.2", readOnly=False, request={"keySpec": "SYMMETRIC_DEFAULT", "origin": "AWS_KMS"},
               responseElements={"keyMetadata": {"arn": fresh, "keyId": fresh.rsplit("/", 1)[1]}})
        plant("key", "a new key of the vault", *[record(second + 600 + more * 60, "Encrypt", role("tokenisation-service", second), fresh, LAMBDA, context=token) for more in range(5)])
        second = at(30, 3)
        plant("principal", "the books are closed once a month", *[record(second + more, "Decrypt", role("ledger-close", second), key("banking-batch-key"), source="203.0.113.3", context={"purpose": "statement"}) for more in range(20)])
        # It was there once while the history was made, and must not be known by that.
        for day in (9, 29):
            second = at(day, 5, 20)
            visit = pair(second, "Decrypt", role("quiet-visitor", second), key("banking-kyc-key"), S3, context={"aws:s3:arn": "arn:aws:s3:::bank-kyc"})
            if day >= HALF:
                plant("principal", "one who was there for a minute before", *visit)

    # --- files --------------------------------------------------------------------------------------------------

    def write(self, folder):
        """A file for each account, Region and hour or so, delivered late, in no order and partly twice."""
        files = {}
        for second, one in self.records:
            late = second + self.rng.randrange(30, 600)
            copies = 2 if self.rng.random() < 0.04 else 1
            for _ in range(copies):
                slot = late // 7200
                files.setdefault((one["recipientAccountId"], one["awsRegion"], slot), []).append(one)
                late += 7200
        trail = folder / "trail"
        count = 0
        for (account, region, slot), records in sorted(files.items()):
            at = START + datetime.timedelta(seconds=slot * 7200 + 7200)
            self.rng.shuffle(records)
            path = trail / account / region / at.strftime("%Y/%m/%d") / f"{account}_CloudTrail_{region}_{at:%Y%m%dT%H%MZ}_{self.letters(16)}.json.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"Records": records}, separators=(",", ":"))
            path.write_bytes(gzip.compress(text.encode(), compresslevel=1, mtime=0))
            count += len(records)
        half = START + datetime.timedelta(days=HALF)
        unique = len(self.records)
        later = sum(second >= HALF * 86400 for second, _ in self.records)
        truth = {"second_half": half.strftime("%Y-%m-%dT%H:%M:%SZ"), "delivered": count, "records": unique, "records_of_second_half": later, "planted": self.planted}
        (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--records", type=int, default=220_000, help="about so many records, copies not counted")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    month = Month(given.records, given.seed)
    month.ordinary()
    month.first_uses()
    month.write(given.folder)


if __name__ == "__main__":
    main()
