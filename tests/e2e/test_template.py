"""The templates: what they promise is checked in their text, what an emulator can show is shown on it.

No emulator enforces queue, topic or key policies; so those are compared word for word.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import lab
from cloudformation import load, pattern, resources, statements
from conftest import ROOT

DEPLOY = ROOT / "deploy"
MAIN = load(DEPLOY / "kmswatch.template.yaml")
FORWARDER = load(DEPLOY / "kmswatch-forwarder.template.yaml")
TEMPLATES = {"main": MAIN, "forwarder": FORWARDER}
RULES = resources(MAIN, "AWS::Events::Rule")
QUEUES = resources(MAIN, "AWS::SQS::Queue")
ALARMS = resources(MAIN, "AWS::CloudWatch::Alarm")
ALL_EVENTS = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
CLOUDTRAIL = "AWS API Call via CloudTrail"
QUEUE_KEY = f"arn:aws:kms:{lab.REGION}:{lab.ACCOUNT}:key/0a11ce00-1111-4222-8333-00000000000a"
TOPIC_KEY = f"arn:aws:kms:{lab.REGION}:{lab.ACCOUNT}:key/0a11ce00-1111-4222-8333-00000000000b"


def test_cfn_lint_finds_nothing():
    program = [str(Path(sys.executable).with_name("cfn-lint")), "--regions", "us-east-1", "eu-west-1", "eu-central-1", "--template"]
    done = subprocess.run(
        [*program, *map(str, sorted(DEPLOY.rglob("*.template.yaml")))], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- rules ----------------------------------------------------------------------------------------------------


def test_rule_states():
    for template in TEMPLATES.values():
        assert template["Parameters"]["RuleState"]["Default"] == ALL_EVENTS
        states = {name: rule["State"] for name, rule in resources(template, "AWS::Events::Rule").items()}
        # Reads come only with the parameter's state; the other rules ask for writes and direct events alone.
        others = ["KmsDirectRule", "TamperingRule", "GuardrailRule", "StorageRule", "ObjectRule"]
        assert states == {"KmsRule": {"Ref": "RuleState"}} | dict.fromkeys(others, "ENABLED")


def test_sources_are_those_of_aws_by_default():
    assert MAIN["Parameters"]["EventSourcePrefix"]["Default"] == "aws"
    sources = {source for rule in RULES.values() for source in pattern(rule, "aws")["source"]}
    services = "kms cloudtrail events sqs sns config guardduty monitoring logs organizations dynamodb lambda s3 ec2 rds " \
        "secretsmanager ssm redshift elasticfilesystem backup kinesis"
    assert sources == {f"aws.{service}" for service in services.split()}


@pytest.mark.parametrize("name", RULES)
def test_patterns_are_under_the_limit(name):
    longest_prefix = "x" * 21
    assert len(json.dumps(pattern(RULES[name], longest_prefix), separators=(",", ":"))) < 2048


@pytest.mark.parametrize("name", RULES)
def test_forwarder_asks_for_the_same(name):
    assert resources(FORWARDER, "AWS::Events::Rule")[name]["EventPattern"] == RULES[name]["EventPattern"]


@pytest.mark.parametrize("name", RULES)
def test_what_cannot_be_delivered_is_kept(name):
    (target,) = RULES[name]["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["Queue", "Arn"]}
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["UndeliveredQueue", "Arn"]}}
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    # A transformer would destroy evidence.
    assert not {"Input", "InputPath", "InputTransformer"} & set(target)


def event(source: str, detail_type: str, detail: dict) -> dict:
    return {"version": "0", "id": "1", "detail-type": detail_type, "source": source, "account": lab.ACCOUNT,
            "time": "2026-01-05T10:00:00Z", "region": lab.REGION, "resources": [], "detail": detail}


def api(service: str, name: str, detail_type: str = CLOUDTRAIL) -> dict:
    return event(f"aws.{service}", detail_type, {"eventSource": f"{service}.amazonaws.com", "eventName": name})


def under_key(name: str) -> dict:
    sample = api("s3", name)
    key = f"arn:aws:kms:{lab.REGION}:{lab.ACCOUNT}:key/k"
    sample["detail"]["requestParameters"] = {"x-amz-server-side-encryption-aws-kms-key-id": key}
    return sample


def under_own_key(name: str) -> dict:
    sample = api("s3", name)
    sample["detail"]["requestParameters"] = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
    return sample


MATCHES = {
    "KmsRule": [
        *(api("kms", name) for name in ("Decrypt", "GenerateDataKey", "DescribeKey", "ScheduleKeyDeletion", "CreateGrant")),
        api("kms", "DeleteKey", "AWS Service Event via CloudTrail"),
        api("kms", "ListKeys", "AWS Network Activity Event via CloudTrail"),
    ],
    "KmsDirectRule": [
        event("aws.kms", name, {"key-id": "1"})
        for name in ("KMS CMK Deletion", "KMS CMK Rotation", "KMS Imported Key Material Expiration")
    ],
    "TamperingRule": [
        api("cloudtrail", "StopLogging"), api("cloudtrail", "PutEventSelectors"), api("events", "DisableRule"),
        api("events", "RemoveTargets"), api("sqs", "PurgeQueue"), api("sqs", "SetQueueAttributes"),
        api("sns", "DeleteTopic"), api("sns", "Unsubscribe"),
    ],
    "GuardrailRule": [
        api("config", "StopConfigurationRecorder"), api("guardduty", "DeleteDetector"), api("monitoring", "DeleteAlarms"),
        api("logs", "DeleteLogGroup"), api("organizations", "LeaveOrganization"), api("dynamodb", "DeleteTable"),
        api("lambda", "DeleteFunction20150331"),
    ],
    "StorageRule": [
        api("s3", "PutBucketEncryption"), api("ec2", "CopySnapshot"), api("ec2", "ModifySnapshotAttribute"),
        api("rds", "StartExportTask"), api("ec2", "RunInstances"), api("secretsmanager", "UpdateSecret"), api("ssm", "PutParameter"),
    ],
    "ObjectRule": [under_key("CopyObject"), under_key("PutObject"), under_own_key("CopyObject")],
}
FOREIGN = [
    api("s3", "GetObject"), api("s3", "PutObject"), api("ec2", "StartInstances"), api("sqs", "CreateQueue"), api("sns", "CreateTopic"), api("cloudtrail", "DescribeTrails"),
    event("aws.kms", "Something else", {}), event("my.app", CLOUDTRAIL, {"eventSource": "kms.amazonaws.com"}),
    event("aws.kms", CLOUDTRAIL, {"eventSource": "s3.amazonaws.com"}),
]


@pytest.mark.parametrize("name", RULES)
def test_patterns_match_their_own_events_and_no_other(emulator, name):
    client = emulator.client("events")

    def matches(sample):
        return client.test_event_pattern(EventPattern=json.dumps(pattern(RULES[name], "aws")), Event=json.dumps(sample))["Result"]

    assert [sample for sample in MATCHES[name] if not matches(sample)] == []
    others = [sample for other in MATCHES if other != name for sample in MATCHES[other]]
    assert [sample for sample in FOREIGN + others if matches(sample)] == []


# Named by rules to leave them out.
READS = {"Get", "List", "Describe", "Receive", "Decrypt", "GenerateDataKey"}


def test_every_event_that_a_shipped_rule_reads_is_asked_for():
    """A rule over an event that no EventBridge rule asks for would never fire."""
    asked = [rule["EventPattern"]["detail"] for rule in RULES.values() if "detail" in rule["EventPattern"]]
    services = {service for detail in asked for service in detail["eventSource"]}
    calls = {name for detail in asked for name in detail.get("eventName", [])}
    # These read what other services say of KMS callers; a call to every service would be too much to ask for.
    beyond = {"iam.amazonaws.com", "sts.amazonaws.com"}
    missing = []
    for path in sorted((ROOT / "rules").rglob("*.yml")):
        for rule in yaml.safe_load_all(path.read_text()):
            selections = (rule.get("detection") or {}).values()
            maps = [m for s in selections for m in (s if isinstance(s, list) else [s]) if isinstance(m, dict)]
            sources = {s for m in maps for s in as_list(m.get("eventSource"))} - {"kms.amazonaws.com", "kmswatch.internal"}
            missing += [f"{path.name}: {source}" for source in sources - services - beyond]
            if sources - beyond:
                names = {n for m in maps for n in as_list(m.get("eventName"))}
                missing += [f"{path.name}: {name}" for name in names - calls]
                starts = {n for m in maps for n in as_list(m.get("eventName|startswith"))} - READS
                missing += [f"{path.name}: {n}*" for n in starts if not any(call.startswith(n) for call in calls)]
    assert missing == []


def as_list(value) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


# ---- queues, topic, permissions -------------------------------------------------------------------------------


def test_queues_keep_long_enough():
    assert QUEUES["Queue"]["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}, "maxReceiveCount": 5,
    }
    assert QUEUES["DeadLetterQueue"]["MessageRetentionPeriod"] == QUEUES["UndeliveredQueue"]["MessageRetentionPeriod"] == 1209600
    # The age counts from the first enqueueing: a message must not arrive in the dead letters about to expire.
    assert QUEUES["Queue"]["MessageRetentionPeriod"] <= 1209600 / 2
    assert "sourceQueueArns" in QUEUES["DeadLetterQueue"]["RedriveAllowPolicy"]


@pytest.mark.parametrize("name", QUEUES)
def test_queues_are_encrypted_either_way(name):
    assert QUEUES[name]["SqsManagedSseEnabled"] == {"Fn::If": ["HasQueueKey", {"Ref": "AWS::NoValue"}, True]}
    assert QUEUES[name]["KmsMasterKeyId"]["Fn::If"][:2] == ["HasQueueKey", {"Ref": "QueueKeyArn"}]


def tls_only(arn: str, action: str) -> dict:
    return {"Sid": "OnlyTls", "Effect": "Deny", "Principal": "*", "Action": action, "Resource": arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}}


RULE_NAMES = ["kms", "kms-direct", "tampering", "guardrail", "storage", "object"]


def rules_send(arn: str, name: str) -> dict:
    rule = f"arn:aws:events:{lab.REGION}:{lab.ACCOUNT}:rule/{name}"
    return {
        "Sid": "RulesSend", "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage", "Resource": arn,
        "Condition": {
            "ArnEquals": {"aws:SourceArn": [f"{rule}-{name}" for name in RULE_NAMES]},
            "StringEquals": {"aws:SourceAccount": lab.ACCOUNT},
        },
    }


def test_policies_as_deployed(stack):
    expected = {"events": True, "dead-letter": False, "undelivered": True}
    urls = {"events": stack.queue, "dead-letter": stack.dead_letters, "undelivered": stack.undelivered}
    for queue, rules_may_send in expected.items():
        attributes = stack.sqs.get_queue_attributes(QueueUrl=urls[queue], AttributeNames=["Policy"])["Attributes"]
        arn = f"arn:aws:sqs:{lab.REGION}:{lab.ACCOUNT}:{stack.name}-{queue}"
        allowed = [rules_send(arn, stack.name)] if rules_may_send else []
        assert json.loads(attributes["Policy"])["Statement"] == [*allowed, tls_only(arn, "sqs:*")], queue
    topic = json.loads(stack.sns.get_topic_attributes(TopicArn=stack.topic)["Attributes"]["Policy"])["Statement"]
    assert topic[1:] == [tls_only(stack.topic, "sns:Publish")]
    assert topic[0]["Principal"] == {"Service": "cloudwatch.amazonaws.com"} and topic[0]["Action"] == "sns:Publish"
    assert topic[0]["Condition"]["StringEquals"] == {"aws:SourceAccount": lab.ACCOUNT}
    assert len(topic[0]["Condition"]["ArnEquals"]["aws:SourceArn"]) == len(ALARMS)


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_is_allowed_by_wildcard(name):
    found = statements(TEMPLATES[name]["Resources"])
    assert found
    for statement in found:
        if statement["Effect"] == "Deny":
            continue
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), statement
        assert "*" not in json.dumps(statement.get("Action")), statement
        assert "*" not in json.dumps(statement.get("Resource", "")) or statement.get("Sid") in READING, statement
        if statement.get("Principal") == "*":
            assert statement["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": {"Ref": "OrganizationId"}}}, statement
        principal = statement.get("Principal", {})
        # Whoever a service acts for must be this account; EC2 and EKS do not send the key.
        if isinstance(principal, dict) and principal.get("Service") in ("events.amazonaws.com", "cloudwatch.amazonaws.com"):
            assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}, statement


# Wildcards over keys: each may only be looked at, and only here.
READING = {
    "ListKeys": {"kms:ListKeys", "kms:ListAliases"},
    "ReadKeys": {"kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListGrants", "kms:ListResourceTags"},
}
CONSUMER = {
    "Consume": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"},
    "Alert": {"sns:Publish"},
    "ReadEncryptedQueue": {"kms:Decrypt"},
    "PublishToEncryptedTopic": {"kms:GenerateDataKey", "kms:Decrypt"},
}


def test_the_consumer_may_do_what_it_needs_and_no_more():
    policy = resources(MAIN, "AWS::IAM::ManagedPolicy")["ConsumerPolicy"]
    assert {s["Sid"]: set(as_list(s["Action"])) for s in statements(policy)} == CONSUMER | READING
    assert {s["Sid"]: s["Resource"] for s in statements(policy)} == {
        "ListKeys": "*",
        "ReadKeys": {"Fn::Sub": "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*"},
        "Consume": {"Fn::GetAtt": ["Queue", "Arn"]}, "Alert": {"Ref": "Topic"},
        "ReadEncryptedQueue": {"Ref": "QueueKeyArn"}, "PublishToEncryptedTopic": {"Ref": "TopicKeyArn"},
    }


def test_documents_for_those_who_do_not_use_the_template_say_the_same():
    document = json.loads((DEPLOY / "iam" / "consumer-policy.json").read_text())
    assert {s["Sid"]: set(as_list(s["Action"])) for s in document["Statement"]} == CONSUMER
    assert all("*" not in json.dumps(s) for s in document["Statement"])
    reading = json.loads((DEPLOY / "iam" / "import-policy.json").read_text())["Statement"]
    assert {s["Sid"]: set(as_list(s["Action"])) for s in reading} == READING
    assert {s["Sid"]: s["Resource"] for s in reading} == {"ListKeys": "*", "ReadKeys": "arn:aws:kms:*:ACCOUNT:key/*"}
    key = json.loads((DEPLOY / "iam" / "key-policy.json").read_text())
    for statement in key["Statement"]:
        assert "*" not in json.dumps(statement["Action"]) and statement["Principal"] != "*"
        uses_key = {"kms:Decrypt", "kms:GenerateDataKey"} & set(as_list(statement["Action"]))
        assert not uses_key or statement["Condition"], f"{statement['Sid']} may use the key without a condition"


def create(emulator, name: str, template: str, **parameters: str) -> dict[str, str]:
    formation = emulator.client("cloudformation")
    formation.create_stack(
        StackName=name, TemplateBody=(DEPLOY / template).read_text(), Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )

    def settled():
        stack = formation.describe_stacks(StackName=name)["Stacks"][0]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    stack = lab.wait_for("the stack", settled, 60)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def policy_of(emulator, arn: str) -> list[dict]:
    iam = emulator.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]["Statement"]


def test_with_keys_of_ones_own(emulator):
    outputs = create(emulator, "keyed", "kmswatch.template.yaml", Name="keyed", QueueKeyArn=QUEUE_KEY, TopicKeyArn=TOPIC_KEY)
    by_sid = {statement["Sid"]: statement for statement in policy_of(emulator, outputs["ConsumerPolicyArn"])}
    assert by_sid["ReadEncryptedQueue"]["Resource"] == QUEUE_KEY
    assert by_sid["PublishToEncryptedTopic"]["Resource"] == TOPIC_KEY
    sqs = emulator.client("sqs")
    for url in (outputs["QueueUrl"], outputs["DeadLetterQueueUrl"], outputs["UndeliveredQueueUrl"]):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["KmsMasterKeyId"] == QUEUE_KEY


def test_without_keys_no_key_may_be_used(emulator, stack):
    assert {s["Sid"] for s in policy_of(emulator, stack.outputs["ConsumerPolicyArn"])} == {"Consume", "Alert"}


def test_keys_are_read_only_where_that_is_wanted(emulator):
    assert MAIN["Parameters"]["ReadKeys"]["Default"] == "false"
    outputs = create(emulator, "reading", "kmswatch.template.yaml", Name="reading", ReadKeys="true")
    by_sid = {statement["Sid"]: statement for statement in policy_of(emulator, outputs["ConsumerPolicyArn"])}
    assert set(by_sid) == {"Consume", "Alert"} | set(READING)
    assert by_sid["ReadKeys"]["Resource"] == f"arn:aws:kms:{lab.REGION}:{lab.ACCOUNT}:key/*"
    assert by_sid["ListKeys"]["Condition"] == {"StringEquals": {"aws:RequestedRegion": lab.REGION}}


def test_the_adapter_asks_for_nothing_that_is_not_allowed():
    source = (ROOT / "src" / "kms" / "ask.rs").read_text()
    calls = set(re.findall(r"client\s*\.([a-z_]+)\(\)", source))
    actions = {"kms:" + "".join(word.capitalize() for word in call.split("_")) for call in calls}
    assert actions == set().union(*READING.values())


def test_without_a_role(emulator):
    outputs = create(emulator, "roleless", "kmswatch.template.yaml", Name="roleless", ConsumerTrust="none")
    assert "ConsumerRoleArn" not in outputs and "ConsumerPolicyArn" in outputs


# ---- alarms ---------------------------------------------------------------------------------------------------


def test_alarms_watch_every_way_to_lose_something():
    watched = {(a["MetricName"], json.dumps(a["Dimensions"][0]["Value"])) for a in ALARMS.values()}
    names = {metric for metric, _ in watched}
    assert names == {
        "ApproximateAgeOfOldestMessage", "NumberOfMessagesSent", "ApproximateNumberOfMessagesVisible", "FailedInvocations",
        "InvocationsFailedToBeSentToDLQ", "NumberOfNotificationsFailed",
    }
    for rule in RULES.values():
        value = json.dumps(rule["Name"])
        assert ("FailedInvocations", value) in watched and ("InvocationsFailedToBeSentToDLQ", value) in watched
    for queue in ("DeadLetterQueue", "UndeliveredQueue"):
        assert ("ApproximateNumberOfMessagesVisible", json.dumps({"Fn::GetAtt": [queue, "QueueName"]})) in watched
    for name, alarm in ALARMS.items():
        action = [{"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "Topic"}]}]
        assert alarm["AlarmActions"] == alarm["OKActions"] == action, name
        # Silence is the one thing that shows by missing data.
        assert alarm["TreatMissingData"] == ("breaching" if name == "SilenceAlarm" else "notBreaching"), name


def test_every_alarm_may_publish():
    policy = resources(MAIN, "AWS::SNS::TopicPolicy")["TopicPolicy"]
    (allowed,) = [s for s in statements(policy) if s["Effect"] == "Allow"]
    arns = [arn["Fn::GetAtt"][0] for arn in allowed["Condition"]["ArnEquals"]["aws:SourceArn"]]
    assert sorted(arns) == sorted(ALARMS)


# ---- delivery -------------------------------------------------------------------------------------------------


def received(stack, wait: int = 3) -> list[dict]:
    answer = stack.sqs.receive_message(QueueUrl=stack.queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def test_an_event_arrives_once_and_whole(stack):
    record = {"eventSource": "kms.amazonaws.com", "eventName": "Decrypt", "eventID": "e-1", "eventTime": lab.timestamp(time.time())}
    stack.put([record])
    (body,) = received(stack)
    assert body["detail"] == record and body["detail-type"] == CLOUDTRAIL
    assert received(stack, 1) == []


def test_what_nobody_asked_for_does_not_arrive(stack):
    stack.put([
        {"eventSource": "s3.amazonaws.com", "eventName": "GetObject"},
        {"eventSource": "sqs.amazonaws.com", "eventName": "CreateQueue"},
    ])
    assert received(stack, 1) == []


def test_an_organisation_forwards_to_its_central_bus(emulator):
    central = create(emulator, "central", "kmswatch.template.yaml", Name="central", RuleState="ENABLED",
                     EventSourcePrefix="orga", EventBusName="kmswatch-central", OrganizationId="o-exampleorg0")
    create(emulator, "member", "kmswatch-forwarder.template.yaml", RuleState="ENABLED", EventSourcePrefix="orga",
           CentralBusArn=central["BusArn"])
    record = {"eventSource": "kms.amazonaws.com", "eventName": "ScheduleKeyDeletion", "eventID": "e-2"}
    emulator.client("events").put_events(Entries=[lab.as_entry(record, "orga")])
    answer = emulator.client("sqs").receive_message(QueueUrl=central["QueueUrl"], WaitTimeSeconds=5)
    assert json.loads(answer["Messages"][0]["Body"])["detail"] == record


def test_bus_policy_is_for_the_organisation_alone():
    (policy,) = statements(resources(MAIN, "AWS::Events::EventBus"))
    assert policy["Action"] == "events:PutEvents"
    assert policy["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": {"Ref": "OrganizationId"}}}


# ---- container ------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_container_is_small_and_without_rights():
    found = instructions()
    bases = [rest.split()[0] for word, rest in found if word == "FROM"]
    assert len(bases) == 2, "one stage builds, the other runs"
    assert all(":" in base and "latest" not in base for base in bases)
    last = found[max(index for index, (word, _) in enumerate(found) if word == "FROM") :]
    words = [word for word, _ in last]
    assert "ADD" not in words
    (user,) = [rest for word, rest in last if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, so that an orchestrator can see that it is not root"
    assert words.index("USER") > max(index for index, word in enumerate(words) if word == "RUN")
    (entry,) = [rest for word, rest in last if word == "ENTRYPOINT"]
    assert json.loads(entry) == ["/usr/local/bin/kmswatch"], "exec form, so that SIGTERM reaches kmswatch"
    (volume,) = [rest for word, rest in last if word == "VOLUME"]
    assert json.loads(volume) == ["/var/lib/kmswatch"]
    assert any(word == "RUN" and "ca-certificates" in rest for word, rest in last)
    rust = re.search(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())[1]
    assert bases[0].startswith(f"rust:{rust}-")


def test_container_copies_all_that_the_build_needs(tmp_path):
    """No container engine here: what is copied into the build stage is laid out, and cargo reads it."""
    ignore = (DEPLOY / "Containerfile.dockerignore").read_text().split()
    assert ignore[0] == "*"
    for word, rest in instructions():
        if word != "COPY" or rest.startswith("--from"):
            continue
        *sources, target = rest.split()
        for source in sources:
            assert f"!{source}" in ignore, f"{source} is copied but ignored"
            into = tmp_path / target / (source if target == "./" else "")
            into.parent.mkdir(parents=True, exist_ok=True)
            into.symlink_to(ROOT / source)
    command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    targets = [target["name"] for package in json.loads(done.stdout)["packages"] for target in package["targets"]]
    assert "kmswatch" in targets
