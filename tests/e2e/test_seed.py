"""kmswatch seed: what was seen before the service started is known to it, and nobody was told."""

from __future__ import annotations

import json
import subprocess
import time

from conftest import ROOT

BINARY = ROOT / "target" / "debug" / "kmswatch"
NEWCOMER = "First use of a KMS key by a principal"


def record(number: int, seconds_ago: float, user: str) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))
    return json.dumps({
        "eventVersion": "1.11", "eventID": f"e{number}", "eventSource": "kms.amazonaws.com", "eventName": "Decrypt", "eventTime": at,
        "awsRegion": "eu-west-1", "recipientAccountId": "111122223333",
        "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::111122223333:user/{user}", "accountId": "111122223333"},
        "resources": [{"ARN": "arn:aws:kms:eu-west-1:111122223333:key/k", "accountId": "111122223333"}],
    })


def run(*arguments):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_known_from_captures_and_new_is_still_new(tmp_path):
    config = tmp_path / "kmswatch.toml"
    config.write_text(f"""
[source]
kind = "directory"
path = "{tmp_path}/in"
[[sink]]
kind = "file"
path = "{tmp_path}/alerts.jsonl"
[state]
dir = "{tmp_path}/state"
[admin]
listen = "off"
""")
    (tmp_path / "in").mkdir()
    (tmp_path / "captures.jsonl").write_text("".join(record(day, day * 86400, "app") + "\n" for day in range(1, 30)))
    seeded = run("seed", "--config", config, tmp_path / "captures.jsonl")
    assert seeded.returncode == 0, seeded.stderr
    assert "29 received" in seeded.stderr and "groups of them learnt" in seeded.stderr

    (tmp_path / "in" / "now.jsonl").write_text(record(100, 20, "app") + "\n" + record(101, 10, "stranger") + "\n")
    ran = run("run", "--config", config, "--once")
    assert ran.returncode == 0, ran.stderr
    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    told = {alert["group"]["kms.principal"].rsplit("/", 1)[-1] for alert in alerts if alert["rule"]["title"] == NEWCOMER}
    assert told == {"stranger"}
    assert not [alert for alert in alerts if alert["status"] == "resolved"], "what was learnt opened nothing that could end"


def test_a_broken_configuration_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "bad.toml").write_text("[source]\nkind = \"nonsense\"\n")
    done = run("seed", "--config", tmp_path / "bad.toml", tmp_path)
    assert done.returncode == 2 and "nonsense" in done.stderr
