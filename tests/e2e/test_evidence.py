"""kmswatch evidence says what plain jq queries over the same files say.

The queries below are written against CloudTrail records and know nothing of kmswatch; the files are
opened by Python's own gzip and json.
"""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import ROOT

import evidence_jq

CAPTURES = ROOT / "tests" / "captures" / "morning"
KEYS = {
    "vault": "arn:aws:kms:eu-west-1:111122223333:key/00000001-0000-4000-8000-000000000000",
    "fraud": "arn:aws:kms:eu-west-1:111122223333:key/00000002-0000-4000-8000-000000000000",
    "pii": "arn:aws:kms:eu-west-1:111122223333:key/00000003-0000-4000-8000-000000000000",
    "logs": "arn:aws:kms:eu-west-1:111122223333:key/00000004-0000-4000-8000-000000000000",
}


@pytest.fixture(scope="module")
def records():
    return evidence_jq.records_of(CAPTURES)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("question", ["who-used", "who-changed", "denied"])
def test_agrees_with_jq(records, question, key):
    evidence_jq.compare(question, KEYS[key], records, CAPTURES)


def test_all_that_was_denied(records):
    assert evidence_jq.compare("denied", None, records, CAPTURES)


def test_the_planted_theft_is_among_the_answers(records):
    """A comparison of two empty sets would prove nothing."""
    answers = {
        (question, key): evidence_jq.compare(question, KEYS[key], records, CAPTURES)
        for question in ["who-used", "who-changed", "denied"]
        for key in ["vault", "pii"]
    }
    thief = "arn:aws:iam::111122223333:role/batch-export"
    assert [answer for answer in answers["who-used", "vault"] if answer[3] == thief and answer[2] == "Decrypt"]
    assert [answer[2] for answer in answers["who-changed", "vault"]] == ["ScheduleKeyDeletion", "CancelKeyDeletion"]
    assert {answer[2] for answer in answers["who-changed", "pii"]} == {"CreateGrant", "PutKeyPolicy"}
    assert len(answers["denied", "pii"]) == 24


def test_a_window_and_an_alias_agree_too(records):
    since, until = "2026-01-05T10:00:00Z", "2026-01-05T10:30:00Z"
    inside = [one for one in records if since <= one["eventTime"] < until]
    expected = evidence_jq.ask("who-used", KEYS["vault"], inside)
    arguments = ["--key", "alias/banking-token-vault-key", "--keys", ROOT / "tests" / "keys.yml", "--since", since, "--until", until]
    assert evidence_jq.answer("who-used", arguments, CAPTURES) == expected


def test_each_row_says_where_its_record_stands():
    done = subprocess.run(
        [evidence_jq.BINARY, "evidence", "who-used", "--key", KEYS["vault"], CAPTURES, "--format", "jsonl"], capture_output=True, text=True, check=True
    )
    opened = {}
    checked = 0
    for row in map(json.loads, done.stdout.splitlines()):
        for found in row["found"]:
            if found["file"] not in opened:
                opened[found["file"]] = evidence_jq.records_in(ROOT / found["file"])
            assert opened[found["file"]][found["record"] - 1]["eventID"] == row["event_id"]
            checked += 1
    assert checked > 800
