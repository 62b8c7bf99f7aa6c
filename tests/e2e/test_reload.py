"""kmswatch run while its rules folder changes: taken up, refused, told."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

import lab
from conftest import ROOT

BINARY = ROOT / "target" / "debug" / "kmswatch"
INTERNAL = ["rules_refused", "rules_removed", "rules_changed"]


def rule(number: int, name: str) -> str:
    return f"""title: {name} called
id: 11111111-2222-4333-8444-{number:012d}
level: high
logsource: {{product: aws, service: cloudtrail}}
detection: {{call: {{eventSource: kms.amazonaws.com, eventName: {name}}}, condition: call}}
kmswatch: {{group-by: [kms.key_arn], summary: "{name}"}}
"""


class Running:
    """A run over a folder that records are dropped into."""

    def __init__(self, folder):
        self.folder = folder
        for name in ["rules", "in"]:
            (folder / name).mkdir()
        for name in INTERNAL:
            text = (ROOT / "rules" / "tampering" / f"{name}.yml").read_text()
            (folder / "rules" / f"{name}.yml").write_text(text)
        (folder / "kmswatch.toml").write_text(f"""
[source]
kind = "directory"
path = "{folder}/in"
scan_millis = 100
[[sink]]
kind = "file"
path = "{folder}/alerts.jsonl"
[state]
dir = "{folder}/state"
[rules]
dir = "{folder}/rules"
reload_secs = 1
[admin]
listen = "off"
""")
        self.log = (folder / "log").open("w")
        self.process = None
        self.count = 0

    def start(self):
        arguments = [BINARY, "run", "--config", self.folder / "kmswatch.toml"]
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0
        self.log.close()

    def put(self, name: str):
        self.count += 1
        record = {
            "eventVersion": "1.11", "eventID": f"e{self.count}", "eventSource": "kms.amazonaws.com", "eventName": name,
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "awsRegion": "eu-west-1", "recipientAccountId": "111122223333",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ann", "accountId": "111122223333"},
            "resources": [{"ARN": f"arn:aws:kms:eu-west-1:111122223333:key/k-{self.count}"}],
        }
        part = self.folder / f"{self.count}.part"
        part.write_text(json.dumps(record) + "\n")
        part.rename(self.folder / "in" / f"{self.count}.jsonl")

    def rule(self, file: str, text: str):
        (self.folder / "rules" / file).write_text(text)

    def alerts(self) -> list[dict]:
        path = self.folder / "alerts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def titles(self) -> list[str]:
        return [alert["rule"]["title"] for alert in self.alerts()]

    def wait(self, title: str):
        lab.wait_for(title, lambda: title in self.titles(), 30, 0.1)


@pytest.fixture
def running(tmp_path):
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.stop()


def test_a_new_rule_fires_a_bad_one_is_refused_and_a_removed_one_is_told(running):
    running.rule("a.yml", rule(1, "DisableKey"))
    running.start()
    running.put("DisableKey")
    running.wait("DisableKey called")

    running.rule("b.yml", rule(2, "EnableKey"))
    running.wait("Rules of a running kmswatch changed")
    running.put("EnableKey")
    running.wait("EnableKey called")

    running.rule("b.yml", rule(2, "EnableKey").replace("eventName", "eventNme"))
    running.wait("Changed rules of kmswatch refused")
    (refused,) = [alert for alert in running.alerts() if alert["rule"]["title"] == "Changed rules of kmswatch refused"]
    assert "b.yml:5:52" in refused["summary"] and "did you mean `eventName`?" in refused["summary"], refused["summary"]
    before = running.titles().count("EnableKey called")
    running.put("EnableKey")
    lab.wait_for("the old rule", lambda: running.titles().count("EnableKey called") > before, 30, 0.1)

    (running.folder / "rules" / "b.yml").unlink()
    running.wait("Rules taken away from a running kmswatch")
    removed = [alert for alert in running.alerts() if alert["rule"]["title"] == "Rules taken away from a running kmswatch"]
    assert removed[0]["summary"] == "rules were taken away: EnableKey called"
    # What was open under the rule that is gone does not stay open.
    lab.wait_for("the ends", lambda: ends(running) == 2, 30, 0.1)


def ends(running) -> int:
    return sum(alert["rule"]["title"] == "EnableKey called" and alert["status"] == "resolved" for alert in running.alerts())


def test_a_hangup_looks_at_once(running):
    running.rule("a.yml", rule(1, "DisableKey"))
    text = (running.folder / "kmswatch.toml").read_text()
    (running.folder / "kmswatch.toml").write_text(text.replace("reload_secs = 1", "reload_secs = 0"))
    running.start()
    running.put("DisableKey")
    running.wait("DisableKey called")
    running.rule("b.yml", rule(2, "EnableKey"))
    running.process.send_signal(signal.SIGHUP)
    running.wait("Rules of a running kmswatch changed")
