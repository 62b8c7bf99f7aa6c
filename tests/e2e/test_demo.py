"""The demo and the example files of deploy/local work as they are."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import lab
from conftest import ROOT

LOCAL = ROOT / "deploy" / "local"


def test_demo_shows_the_attack():
    environment = os.environ | {"LAB_KMSWATCH": str(lab.program()), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, str(LOCAL / "demo.py")], env=environment, capture_output=True, text=True, timeout=180, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    for word in ("[CRITICAL]", "[HIGH]", "alias/banking-token-vault-key", "StopLogging", "mallory"):
        assert word in done.stdout, f"{word} is missing in\n{done.stdout}"


def test_laptop_configuration_needs_no_aws():
    settings = tomllib.loads((LOCAL / "kmswatch.toml").read_text())
    assert settings["source"]["kind"] == "directory"
    assert {sink["kind"] for sink in settings["sink"]} == {"terminal", "file"}
    assert (ROOT / settings["keys"]["file"]).exists()


def test_laptop_configuration_runs(tmp_path):
    """Once over a folder with one attack in it, with the paths of the file moved into a folder of its own."""
    import json
    import time

    from attack import attack

    captures = tmp_path / "captures"
    captures.mkdir()
    records = [record for _, step in attack(time.time()) for record in step]
    (captures / "attack.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    text = (LOCAL / "kmswatch.toml").read_text()
    for old, new in {
        '"tests/captures/morning"': f'"{captures}"',
        "target/local": str(tmp_path),
        "tests/keys.yml": str(lab.KEYS),
    }.items():
        assert old in text, f"kmswatch.toml no longer has {old}"
        text = text.replace(old, new)
    config = tmp_path / "kmswatch.toml"
    config.write_text(text)
    (tmp_path / "state").mkdir()
    done = subprocess.run(
        [str(lab.program()), "run", "--once", "--config", str(config)],
        env=lab.clean_environment(), capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    names = {record["eventName"] for alert in alerts for record in alert["evidence"]}
    assert {"StopLogging", "DisableKey", "ScheduleKeyDeletion", "CreateGrant"} <= names
    assert "ScheduleKeyDeletion" in done.stdout or "deletion" in done.stdout
