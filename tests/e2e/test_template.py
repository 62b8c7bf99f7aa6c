"""The CloudFormation template, where no emulator would notice a mistake: policies, patterns, alarms."""

import json

import pytest
import yaml

from emulator import TEMPLATE


class Loader(yaml.SafeLoader):
    pass


def tagged(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {f"!{suffix}": value}


Loader.add_multi_constructor("!", tagged)


@pytest.fixture(scope="module")
def resources():
    return yaml.load(TEMPLATE.read_text(), Loader)["Resources"]


def of_type(resources, kind):
    return {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind}


def plain(value):
    """A pattern with the default parameters filled in."""
    if isinstance(value, dict) and "!Sub" in value:
        return value["!Sub"].replace("${EventSourcePrefix}", "aws.")
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_every_rule_reaches_the_queue_by_a_policy_that_names_it(resources):
    rules = of_type(resources, "AWS::Events::Rule")
    allow = resources["QueuePolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    assert (allow["Effect"], allow["Principal"], allow["Action"]) == ("Allow", {"Service": "events.amazonaws.com"}, "sqs:SendMessage")
    named = [arn["!GetAtt"] for arn in allow["Condition"]["ArnEquals"]["aws:SourceArn"]]
    assert sorted(named) == sorted(f"{rule}.Arn" for rule in rules)
    assert "aws:SourceAccount" in allow["Condition"]["StringEquals"]
    queues = {arn["!GetAtt"] for arn in allow["Resource"]}
    for properties in rules.values():
        for target in properties["Targets"]:
            assert target["Arn"]["!GetAtt"] in queues
            assert target["DeadLetterConfig"]["Arn"]["!GetAtt"] in queues
            assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 86400


def test_reads_are_delivered_by_default(resources):
    template = yaml.load(TEMPLATE.read_text(), Loader)
    assert resources["KmsRule"]["Properties"]["State"] == {"!Ref": "RuleState"}
    assert template["Parameters"]["RuleState"]["Default"] == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


def test_patterns_are_short_enough_and_name_their_sources(resources):
    for name, properties in of_type(resources, "AWS::Events::Rule").items():
        pattern = plain(properties["EventPattern"])
        assert len(json.dumps(pattern)) < 2048, name
        assert all(source.startswith("aws.") for source in pattern["source"])


def test_nothing_unencrypted_or_unbounded(resources):
    for name, document in [(n, p["PolicyDocument"]) for n, p in of_type(resources, "AWS::SQS::QueuePolicy").items()] + [
        ("TopicPolicy", resources["TopicPolicy"]["Properties"]["PolicyDocument"])
    ]:
        denied = [s for s in document["Statement"] if s["Effect"] == "Deny"]
        assert any(s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for s in denied), name
        for statement in document["Statement"]:
            assert statement["Effect"] == "Deny" or statement["Principal"] != "*", name
    policed = {ref["!Ref"] for p in of_type(resources, "AWS::SQS::QueuePolicy").values() for ref in p["Queues"]}
    assert policed == set(of_type(resources, "AWS::SQS::Queue"))


def test_the_consumer_may_do_what_it_needs_and_no_more(resources):
    (policy,) = resources["ConsumerRole"]["Properties"]["Policies"]
    allowed = set()
    for statement in policy["PolicyDocument"]["Statement"]:
        statement = statement["!If"][1] if "!If" in statement else statement
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert statement["Resource"] != "*" and not any("*" in action for action in actions)
        allowed.update(actions)
    assert allowed == {
        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes",
        "sns:Publish", "kms:Decrypt", "kms:GenerateDataKey",
    }


def test_poison_goes_to_the_dead_letter_queue_and_keeps_for_fourteen_days(resources):
    queue = resources["Queue"]["Properties"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"!GetAtt": "DeadLetterQueue.Arn"}
    for name, properties in of_type(resources, "AWS::SQS::Queue").items():
        assert properties["MessageRetentionPeriod"] == 14 * 86400, name


def test_the_supply_line_has_alarms(resources):
    watched = {(p["Namespace"], p["MetricName"]) for p in of_type(resources, "AWS::CloudWatch::Alarm").values()}
    assert watched == {
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"), ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/Events", "FailedInvocations"), ("AWS/SNS", "NumberOfNotificationsFailed"),
    }
    for name, properties in of_type(resources, "AWS::CloudWatch::Alarm").items():
        assert properties["AlarmActions"] == [{"!Ref": "Topic"}], name


def test_the_rules_of_the_pack_are_supplied(resources, examples):
    """Every record that a shipped rule fires on is matched by some rule of the template."""
    patterns = [plain(p["EventPattern"]) for p in of_type(resources, "AWS::Events::Rule").values()]

    def matched(record):
        source = "aws." + record["eventSource"].split(".")[0]
        direct = record["eventName"].startswith("KMS ")
        for pattern in patterns:
            names = pattern.get("detail", {}).get("eventName")
            right_kind = (record["eventName"] in pattern["detail-type"]) == direct
            if source in pattern["source"] and right_kind and (names is None or record["eventName"] in names):
                return True
        return False

    missing = {
        (record["eventSource"], record["eventName"])
        for example in examples
        if example["fires"]
        for record in example["records"]
        if record["eventSource"] != "kmswatch.internal" and not matched(record)
    }
    assert not missing
