"""The bank's keys as a stack: what the template makes is what the documents beside it say, there and on an emulator."""

from __future__ import annotations

import json

import pytest

import lab
from cloudformation import load, resolved, resources, statements
from conftest import ROOT

EXAMPLE = ROOT / "deploy" / "examples" / "banking"
TEMPLATE = EXAMPLE / "keys.template.yaml"
STACK = load(TEMPLATE)
KEYS = {
    "token-vault": ("TokenVaultKey", "alias/banking-token-vault-key"),
    "fraud-engine": ("FraudEngineKey", "alias/banking-fraud-engine-key"),
    "customer-pii": ("CustomerPiiKey", "alias/banking-customer-pii-key"),
    "log-export": ("LogExportKey", "alias/banking-log-export-key"),
}
GIVEN = {"OrganizationId": "o-exampleorg0", "KmsEndpointId": "vpce-0a1b2c3d4e5f60718"}
DAY = "us-east-2"


def document(path: str) -> dict:
    return json.loads((EXAMPLE / path).read_text())


def names(region: str, vault: str = "arn:aws:kms:us-east-2:111122223333:key/1a2b0001-0000-4000-8000-000000000001") -> dict:
    """What references of the template mean, with the values of the example."""
    found = {"AWS::Partition": "aws", "AWS::AccountId": lab.ACCOUNT, "AWS::Region": region, "TokenVaultKey.Arn": vault}
    for name, parameter in STACK["Parameters"].items():
        value = parameter.get("Default", GIVEN.get(name))
        found[name] = value.split(",") if parameter["Type"] == "CommaDelimitedList" else value
    for name, role in resources(STACK, "AWS::IAM::Role").items():
        found[f"{name}.Arn"] = f"arn:aws:iam::{lab.ACCOUNT}:role/{role['RoleName']}"
    return found


@pytest.mark.parametrize("domain", KEYS)
def test_key_policies_are_those_of_the_documents(domain):
    properties = resources(STACK, "AWS::KMS::Key")[KEYS[domain][0]]
    assert resolved(properties["KeyPolicy"], names(DAY)) == document(f"key-policies/{domain}.json")
    assert properties["EnableKeyRotation"] is True and properties["PendingWindowInDays"] == 30
    assert properties["Tags"] == [{"Key": "data-domain", "Value": domain}]


@pytest.mark.parametrize("call", ["Tokenise", "Detokenise"])
def test_policies_of_the_payments_roles_are_those_of_the_documents(call):
    policy = resources(STACK, "AWS::IAM::Policy")[f"{call}Policy"]
    assert policy["Roles"] == [{"Ref": f"{call}Role"}]
    assert resolved(policy["PolicyDocument"], names(DAY)) == document(f"iam/{call.lower()}-policy.json")
    trust = resources(STACK, "AWS::IAM::Role")[f"{call}Role"]["AssumeRolePolicyDocument"]
    assert resolved(trust, names(DAY)) == document("iam/lambda-trust-policy.json")


def test_keys_outlive_the_stack_and_each_has_its_alias():
    keys = {name: r for name, r in STACK["Resources"].items() if r["Type"] == "AWS::KMS::Key"}
    assert sorted(keys) == sorted(name for name, _ in KEYS.values())
    assert {(r["DeletionPolicy"], r["UpdateReplacePolicy"]) for r in keys.values()} == {("Retain", "Retain")}
    aliases = {a["TargetKeyId"]["Ref"]: a["AliasName"] for a in resources(STACK, "AWS::KMS::Alias").values()}
    assert aliases == dict(KEYS.values())


def test_only_services_of_this_account_may_be_a_role():
    for name, role in resources(STACK, "AWS::IAM::Role").items():
        (statement,) = statements(role["AssumeRolePolicyDocument"])
        assert list(statement["Principal"]) == ["Service"], name
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}, name


def test_the_stack_on_an_emulator(emulator):
    formation, kms, iam = (emulator.client(service) for service in ("cloudformation", "kms", "iam"))
    formation.create_stack(
        StackName="banking-keys", TemplateBody=TEMPLATE.read_text(), Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in GIVEN.items()],
    )

    def settled():
        stack = formation.describe_stacks(StackName="banking-keys")["Stacks"][0]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    stack = lab.wait_for("the stack", settled, 60)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    here = names(lab.REGION, vault=outputs["TokenVaultKeyArn"])
    for logical, alias in KEYS.values():
        key = kms.describe_key(KeyId=alias)["KeyMetadata"]
        assert key["Arn"] == outputs[f"{logical}Arn"] and key["KeyState"] == "Enabled"
        policy = json.loads(kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
        assert policy == resolved(resources(STACK, "AWS::KMS::Key")[logical]["KeyPolicy"], here), alias
    for call in ("Tokenise", "Detokenise"):
        role = resources(STACK, "AWS::IAM::Role")[f"{call}Role"]["RoleName"]
        policy = iam.get_role_policy(RoleName=role, PolicyName=f"token-vault-{call.lower()}")["PolicyDocument"]
        assert policy == resolved(resources(STACK, "AWS::IAM::Policy")[f"{call}Policy"]["PolicyDocument"], here)
