"""kmswatch keys import, and run with keys_refresh, against an emulator with a thousand keys."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import boto3
import pytest
import yaml
from botocore.config import Config

import lab
from kms_proxy import Proxy, busiest_second

ACCOUNT = "222233334444"  # a tenant of its own: what other tests make is not in the way
KEYS, ALIASES, GRANTS = 1000, 200, 2000
PER_SECOND = 300
BURST = PER_SECOND // 10
# Asked at the same time: so many requests of the second before may arrive late.
IN_FLIGHT = 8


@dataclass
class Bank:
    """What was made."""

    kms: object
    arns: list[str]
    aliases: dict[str, str] = field(default_factory=dict)
    grants: dict[str, int] = field(default_factory=dict)


def environment(emulator, account: str = ACCOUNT) -> dict[str, str]:
    return emulator.environment() | {"AWS_ACCESS_KEY_ID": account}


def client(emulator, account: str = ACCOUNT):
    return boto3.client(
        "kms", endpoint_url=emulator.endpoint, region_name=lab.REGION, aws_access_key_id=account,
        aws_secret_access_key="test", config=Config(retries={"max_attempts": 2}, max_pool_connections=4),
    )


def policy(number: int, account: str = ACCOUNT) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Sid": "Enable IAM", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "kms:*",
         "Resource": "*"},
        {"Sid": "Use", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:role/app-{number % 50}"},
         "Action": ["kms:Decrypt", "kms:GenerateDataKey*"], "Resource": "*",
         "Condition": {"StringEquals": {"kms:ViaService": f"s3.{lab.REGION}.amazonaws.com"}}},
    ]})


@pytest.fixture(scope="module")
def bank(emulator) -> Bank:
    kms = client(emulator)

    def make(number: int) -> str:
        tags = [{"TagKey": "data-domain", "TagValue": f"domain-{number % 20}"}, {"TagKey": "number", "TagValue": str(number)}]
        return kms.create_key(Policy=policy(number), Description=f"key {number}", Tags=tags)["KeyMetadata"]["Arn"]

    with ThreadPoolExecutor(4) as pool:
        bank = Bank(kms, list(pool.map(make, range(KEYS))))

        def name(number: int) -> None:
            bank.aliases[f"alias/app/{number:03}"] = bank.arns[number]
            kms.create_alias(AliasName=f"alias/app/{number:03}", TargetKeyId=bank.arns[number])

        # One key with more grants than a page has, and the rest over all keys.
        holders = [bank.arns[0]] * 250 + [bank.arns[number % KEYS] for number in range(GRANTS - 250)]

        def give(one: tuple[int, str]) -> None:
            number, arn = one
            kms.create_grant(
                KeyId=arn, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:role/worker-{number % 7}",
                Operations=["Decrypt", "GenerateDataKey"],
                Constraints={"EncryptionContextSubset": {"table": f"t{number % 3}"}},
            )

        list(pool.map(name, range(ALIASES)))
        list(pool.map(give, enumerate(holders)))
    for arn in holders:
        bank.grants[arn] = bank.grants.get(arn, 0) + 1
    return bank


@pytest.fixture
def proxy(emulator):
    proxy = Proxy(emulator.endpoint)
    try:
        yield proxy
    finally:
        proxy.stop()


def command(proxy: Proxy, *arguments: str) -> list[str]:
    return [str(lab.program()), "keys", "import", "--endpoint-url", proxy.endpoint, "--region", lab.REGION, *arguments]


def check(keys) -> str:
    done = subprocess.run([str(lab.program()), "check", "--keys", str(keys)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_import_that_is_killed_goes_on(emulator, bank, proxy, tmp_path):
    denied = {bank.arns[3]: "GetKeyPolicy", bank.arns[4]: "ListGrants", bank.arns[5]: "ListResourceTags",
              bank.arns[6]: "ListAliases", bank.arns[7]: "GetKeyRotationStatus", bank.arns[8]: "DescribeKey"}
    throttled = set(bank.arns[100:900:100])

    def fault(operation, key, before):
        if denied.get(key) == operation:
            return "AccessDeniedException", f"User: x is not authorized to perform: kms:{operation}"
        if key in throttled and operation == "ListGrants" and before == 0:
            return "ThrottlingException", "Rate exceeded"
        return None

    proxy.fault = fault
    snapshot, inventory = tmp_path / "keys.jsonl", tmp_path / "keys.yml"
    partial = tmp_path / "keys.jsonl.partial"
    arguments = command(proxy, "--snapshot", str(snapshot), "--out", str(inventory), "--per-second", str(PER_SECOND),
                        "--domain-tag", "data-domain")
    process = subprocess.Popen(arguments, env=environment(emulator), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        lab.wait_for("some answers", lambda: proxy.count() > 1500 or process.poll() is not None, 60)
        assert process.poll() is None, process.communicate()
    finally:
        process.kill()
        process.communicate()
    time.sleep(0.2)  # what was under way arrives yet
    first = proxy.clear()
    assert not snapshot.exists() and not inventory.exists()
    lines = partial.read_bytes().split(b"\n")
    answered = {json.loads(line)["arn"] for line in lines[1:-1]}
    assert 50 < len(answered) < KEYS
    # As if the machine had been cut off in the middle of a line.
    with partial.open("ab") as torn:
        torn.write(b'{"arn":"arn:aws:kms:eu-west-1:222233334444:key/torn","as_')

    done = subprocess.run(arguments, env=environment(emulator), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    second = proxy.clear()
    assert f"{len(answered)} keys are answered" in done.stderr
    again = {key for _, operation, key in second if key is not None} & answered
    assert again == set(), "what was answered is not asked again"
    # Each page and each try is a request that waited for its turn.
    for asked in (first, second):
        assert busiest_second(asked) <= PER_SECOND + BURST + IN_FLIGHT

    assert not partial.exists()
    keys = {facts["arn"]: facts for facts in map(json.loads, snapshot.read_text().splitlines())}
    assert list(keys) == sorted(bank.arns)
    for arn, operation in denied.items():
        what = {"GetKeyPolicy": "policy", "ListGrants": "grants", "ListResourceTags": "tags", "ListAliases": "aliases",
                "GetKeyRotationStatus": "rotation", "DescribeKey": "description"}[operation]
        (name, reason), = keys[arn]["unknown"].items()
        assert name == what and reason.startswith("AccessDeniedException: User: x is not authorized"), keys[arn]
    for number, arn in enumerate(bank.arns):
        if arn in denied:
            continue
        facts = keys[arn]
        assert "unknown" not in facts and facts["description"] == f"key {number}" and facts["state"] == "Enabled", facts
        assert facts["tags"] == {"data-domain": f"domain-{number % 20}", "number": str(number)}
        assert facts.get("aliases", []) == [alias for alias, of in bank.aliases.items() if of == arn]
        assert len(facts.get("grants", [])) == bank.grants[arn], f"{arn}: all pages"
        assert json.loads(facts["policy"]) == json.loads(policy(number))
        assert facts["rotation"]["enabled"] is False

    assert "domains" in check(inventory)
    text = inventory.read_text()
    read = yaml.safe_load(text)
    domains = {domain["name"]: domain for domain in read["domains"]}
    # The key whose tags may not be read is a domain of its own, after its alias.
    assert set(domains) == {f"domain-{number}" for number in range(20)} | {"app/005"}
    assert sum(len(domain["keys"]) for domain in domains.values()) == KEYS
    principals = {who for line in domains["domain-1"]["expect"] for who in line["principals"]}
    assert principals >= {f"arn:aws:iam::{ACCOUNT}:role/app-1", f"arn:aws:iam::{ACCOUNT}:role/worker-1"}
    assert f"# policy statement 'Use' of {bank.arns[1]}" in text
    assert f"IAM policies of account {ACCOUNT} decide" in text and f"{ACCOUNT}:root" not in text

    # The same keys in another order of answers are the same text; nothing is overwritten unasked.
    other = tmp_path / "other.yml"
    again = [str(lab.program()), "keys", "import", "--read-snapshot", str(snapshot), "--domain-tag", "data-domain"]
    subprocess.run([*again, "--out", str(other)], check=True, capture_output=True, timeout=60)
    assert other.read_text() == text
    refused = subprocess.run([*again, "--out", str(other)], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "--force" in refused.stderr
    assert subprocess.run([*again, "--out", str(other), "--force"], capture_output=True, timeout=60).returncode == 0


def test_who_may_not_list_keys_is_told_what_is_missing(emulator, proxy, tmp_path):
    proxy.fault = lambda operation, *_: ("AccessDeniedException", "no") if operation == "ListKeys" else None
    out = tmp_path / "keys.yml"
    done = subprocess.run(command(proxy, "--out", str(out)), env=environment(emulator), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 3 and not out.exists()
    assert "kms:ListKeys is not allowed" in done.stderr and "deploy/iam/import-policy.json" in done.stderr
    assert [operation for _, operation, _ in proxy.clear()] == ["ListKeys"], "a denial is not asked again"


def test_credentials_that_expire_end_it_without_a_false_answer(emulator, proxy, tmp_path):
    account = "333344445555"
    kms = client(emulator, account)
    arns = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(20)]
    state = {"left": 40}

    def fault(*_):
        state["left"] -= 1
        return None if state["left"] > 0 else ("ExpiredTokenException", "The security token is expired")

    proxy.fault = fault
    snapshot = tmp_path / "keys.jsonl"
    arguments = command(proxy, "--snapshot", str(snapshot), "--per-second", "200")
    done = subprocess.run(arguments, env=environment(emulator, account), capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "ExpiredTokenException" in done.stderr and not snapshot.exists(), done.stderr
    proxy.fault = lambda *_: None
    done = subprocess.run(arguments, env=environment(emulator, account), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    keys = [json.loads(line) for line in snapshot.read_text().splitlines()]
    assert [facts["arn"] for facts in keys] == sorted(arns) and not any("unknown" in facts for facts in keys)
    assert yaml.safe_load(done.stdout)["domains"], "without --out the inventory is printed"


def test_policy_documents_on_disk(tmp_path):
    key = "00000001-0000-4000-8000-000000000000"
    arn = f"arn:aws:kms:{lab.REGION}:{ACCOUNT}:key/{key}"
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / f"{key}.json").write_text(json.dumps({"Policy": policy(1), "PolicyName": "default"}))
    (folder / "vault.json").write_text(policy(2))
    (folder / "stray.json").write_text(policy(3))
    (folder / "vault.describe-key.json").write_text(json.dumps({"KeyMetadata": {"KeyId": key[:-1] + "2", "Arn": arn[:-1] + "2"}}))
    (tmp_path / "map.yml").write_text(f"- {{file: {key}.json, key: '{arn}', alias: alias/pay, domain: payments}}\n")
    out = tmp_path / "keys.yml"
    done = subprocess.run(
        [str(lab.program()), "keys", "import", "--policies", str(folder), "--map", str(tmp_path / "map.yml"), "--out", str(out),
         "--expect-accounts"],
        env=lab.clean_environment(), capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 1 and "stray.json: whose policy is it?" in done.stderr, done.stderr
    check(out)
    domains = {domain["name"]: domain for domain in yaml.safe_load(out.read_text())["domains"]}
    assert domains["payments"]["keys"] == [{"alias": "alias/pay", "arn": arn}]
    (other,) = set(domains) - {"payments"}
    assert domains[other]["keys"] == [arn[:-1] + "2"]
    assert {"principals": [f"arn:aws:iam::{ACCOUNT}:*"]} in domains["payments"]["expect"]


KEYS_BY_TAG = """domains:
  - name: token-vault
    keys: [{tag: {data-domain: token-vault}}]
    expect: [{principals: ['arn:aws:iam::111122223333:role/payments']}]
"""
def test_a_running_service_asks_for_what_no_record_says(emulator, stack, proxy, tmp_path):
    """That the key has the tag is said by no record: only KMS knows."""
    from attack import call, role

    kms = emulator.client("kms")
    tag = {"TagKey": "data-domain", "TagValue": "token-vault"}
    arn = kms.create_key(Tags=[tag])["KeyMetadata"]["Arn"]
    keys = tmp_path / "keys.yml"
    keys.write_text(KEYS_BY_TAG)
    service = lab.Kmswatch(stack, tmp_path, keys=keys)
    text = lab.configuration
    lab.configuration = lambda *arguments: text(*arguments) + (
        f'\n[keys_refresh]\nevery = "1h"\nregions = ["{lab.REGION}"]\nper_second = 100\nendpoint_url = "{proxy.endpoint}"\n'
    )
    try:
        service.start()
    finally:
        lab.configuration = text
    try:
        lab.wait_for("the keys to be asked", lambda: service.count("kmswatch_key_refresh_timestamp_seconds") > 0, 60)
        assert service.count("kmswatch_keys_asked_total") >= 1
        pager = stack.subscribe("pager")
        stack.put([call(time.time() - 5, role("stranger", "s"), "Decrypt", key=arn)])
        pager.wait("a use that the domain does not expect", lambda pages: any(
            key["domain"] == "token-vault" for page in pages for key in page["keys"]))
    finally:
        service.stop()
