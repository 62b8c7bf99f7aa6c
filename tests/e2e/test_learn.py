"""kmswatch keys learn: half a month teaches what the other half is judged by."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "month"))

import measure  # noqa: E402

BINARY = ROOT / "target" / "debug" / "kmswatch"


def run(*arguments):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    folder = tmp_path_factory.mktemp("month")
    return folder, measure.measure(BINARY, folder, records=220_000, seed=1)


def test_every_first_use_is_told_and_hardly_anything_else(month):
    _, result = month
    assert result["records"] >= 200_000
    assert not result["missed"], "\n".join(f"{use['kind']}: {use['what']}" for use in result["missed"])
    false = [f"{alert['first_event_time']} {alert['rule']['title']}: {alert['summary']}" for alert in result["false"]]
    assert len(false) * 100_000 <= result["replayed"], "\n".join(false)


def test_what_was_learnt_is_what_the_first_half_shows(month):
    """Compared with its own history the inventory has no drift but what stands under review."""
    folder, _ = month
    half = json.loads((folder / "truth.json").read_text())["second_half"]
    done = run("keys", "learn", folder / "trail", "--until", half, "--diff", folder / "keys.yml", "--format", "json")
    drift = json.loads(done.stdout)
    assert done.returncode == 1 and drift["schema"] == 1
    assert not drift["keys_in_no_domain"] and not drift["never_seen"]
    visitors = {one["principal"].rsplit("/", 1)[-1] for one in drift["unexpected"] if one["new"] == "principal"}
    assert visitors == {"quiet-visitor"}
    assert all(one["seen"]["days"] < 3 for one in drift["unexpected"])


def test_threads_and_order_do_not_show(month):
    folder, _ = month
    parts = sorted((folder / "trail").rglob("*.gz"))[:60]
    one = run("keys", "learn", *parts, "--threads", 1)
    many = run("keys", "learn", *reversed(parts), *parts[:7], "--threads", 4)
    assert one.returncode == many.returncode == 0
    assert one.stdout == many.stdout and "domains:" in one.stdout
