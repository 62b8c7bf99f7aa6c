"""A short run of tests/chaos: kills, freezes and a bad network, and nothing lost, doubled or left."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "chaos"))

import chaos  # noqa: E402
import judge  # noqa: E402
import truth  # noqa: E402


def test_under_fire_nothing_is_lost_doubled_or_left(tmp_path):
    failures = chaos.run(tmp_path, records=2500, minutes=3, kills=10, faults=50, seed=1, calm=0.4, outages=0, sending=15)
    assert not failures, "\n".join(failures)


def page(rule: str, group: str, ids: list[str], **more) -> dict:
    """What a subscriber hears of an incident that is over."""
    return {
        "id": f"i-{ids[0]}", "dedup_key": f"d-{group}", "detected_at": "2026-01-05T10:00:00Z", "status": "resolved",
        "merged_into": None, "late": False, "saturated": False, "rule": {"id": rule}, "level": "high",
        "group": {"kms.principal": group}, "count": len(ids), "event_ids": ids,
        "first_event_time": "2026-01-05T09:00:00Z", "last_event_time": "2026-01-05T09:01:00Z",
    } | more


def verdict(pages: list[dict], incidents: list[list[str]]) -> list[str]:
    expected = {(truth.WRITTEN, "ann"): incidents} if incidents else {}
    return judge.judge(pages, truth.Truth(expected), {}).failures()


def test_the_judge_sees_what_is_lost_doubled_and_wrong():
    told = [page(truth.WRITTEN, "ann", ["a"], status="open"), page(truth.WRITTEN, "ann", ["a", "b"], id="i-a")]
    assert verdict(told, [["a", "b"]]) == []
    assert verdict(told + told, [["a", "b"]]) == [], "the same again is allowed"
    assert "lost" in verdict([], [["a", "b"]])[0]
    assert "lost" in verdict(told[:1], [["a"]])[0], "it never ended"
    assert "lost" in verdict(told, [["a", "b", "c"]])[0]
    assert "lost" in verdict(told, [["a", "b"], ["c"]])[0]
    assert "doubled" in verdict([*told, page(truth.WRITTEN, "ann", ["b"]) | {"status": "open"}, page(truth.WRITTEN, "ann", ["b"])], [["a", "b"]])[0]
    assert "doubled" in verdict(told + [told[1] | {"detected_at": "2026-01-05T11:00:00Z"}], [["a", "b"]])[0]
    assert "doubled" in verdict(told + [told[1] | {"event_ids": ["a", "c"]}], [["a", "b"]])[0]
    assert "wrong" in verdict(told[1:], [["a", "b"]])[0], "nobody heard it open"
    assert "wrong" in verdict(told, [])[0]
    assert "lost" in judge.judge([], truth.Truth(), {"m-1": "garbage"}).failures()[0]
    assert "wrong" in judge.judge([page(truth.UNREADABLE, "m-2", ["x"], status="open")], truth.Truth(), {}).failures()[0]
    assert "lost" in judge.judge([], truth.Truth(cases={"key": (1, 0, {"a"})}), {}).failures()[0]
