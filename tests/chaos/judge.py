"""Compares what a subscriber heard with what had to be told."""

from __future__ import annotations

from collections import defaultdict

from truth import DISABLED, LISTED, UNREADABLE, Truth

# One thing by one id.
SAME = ("dedup_key", "detected_at", "group")


class Verdict:
    """What was lost, doubled or wrong, one line each."""

    def __init__(self):
        self.lost: list[str] = []
        self.doubled: list[str] = []
        self.wrong: list[str] = []
        self.expected = 0
        self.delivered = 0
        self.again = 0

    def failures(self) -> list[str]:
        return [f"{kind}: {line}" for kind in ("lost", "doubled", "wrong") for line in getattr(self, kind)]


def judge(pages: list[dict], truth: Truth, poison_labels: dict[str, str]) -> Verdict:
    """`poison_labels`: of each message that cannot be read, its id and its body."""
    verdict = Verdict()
    words: dict[str, list[dict]] = defaultdict(list)
    for page in pages:
        words[page["id"]].append(page)
    for id, heard in words.items():
        heed(id, heard, verdict)
    last = [final(heard) for heard in words.values()]
    standing: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for page in last:
        if page["merged_into"] is None:
            standing[page["rule"]["id"], group_of(page)].append(page)
        elif page["merged_into"] not in words:
            verdict.lost.append(f"{page['id']} is merged into {page['merged_into']}, which nobody heard of")
    verdict.delivered = sum(len(found) for found in standing.values())
    compare_unreadable(standing, poison_labels, verdict)
    compare_cases(standing, truth, verdict)
    compare_incidents(standing, truth, verdict)
    return verdict


def group_of(page: dict) -> str:
    return " ".join(page["group"].values())


def key_of(page: dict) -> tuple:
    return (page["status"] == "resolved", page["count"])


def final(heard: list[dict]) -> dict:
    """The last word on an incident; what is sent again may come after it."""
    return max(heard, key=key_of)


def heed(id: str, heard: list[dict], verdict: Verdict) -> None:
    """What must hold of all words on one incident."""
    first = heard[0]
    if first["status"] != "open":
        verdict.wrong.append(f"{id}: the first that was heard of it is `{first['status']}`")
    for page in heard:
        if page["rule"]["id"] != first["rule"]["id"] or any(page[name] != first[name] for name in SAME):
            verdict.doubled.append(f"{id} says two things: {short(first)} and {short(page)}")
            break
    if any(page["late"] or page["saturated"] for page in heard):
        verdict.wrong.append(f"{id} is late or saturated")
    # A copy of a word is the word: what has the same status and count says the same.
    said = {}
    for page in heard:
        kind = (page["status"], page["count"], page["level"])
        text = (tuple(page["event_ids"]), page["first_event_time"], page["last_event_time"], page["merged_into"])
        if said.setdefault(kind, text) != text and not is_case(page):
            verdict.doubled.append(f"{id} is told twice as {kind}, with other content")
        verdict.again += said[kind] is not text


def is_case(page: dict) -> bool:
    return page["rule"]["id"] == DISABLED


def short(page: dict) -> dict:
    return {name: page[name] for name in ("status", "count", *SAME)}


def compare_unreadable(standing: dict, poison_labels: dict[str, str], verdict: Verdict) -> None:
    told = {group for rule, group in standing if rule == UNREADABLE}
    bodies = {poison_labels[label] for label in told if label in poison_labels}
    verdict.expected += len(set(poison_labels.values()))
    verdict.lost += [f"nothing told of the body {body[:60]!r}" for body in set(poison_labels.values()) - bodies]
    verdict.wrong += [f"{label} is told as unreadable, and is not" for label in told - set(poison_labels)]
    verdict.doubled += [f"{group} is told as {len(found)} incidents" for (rule, group), found in standing.items()
                        if rule == UNREADABLE and len(found) != 1]


def compare_cases(standing: dict, truth: Truth, verdict: Verdict) -> None:
    for key, (closed, opened, sure) in truth.cases.items():
        found = standing.get((DISABLED, key), [])
        verdict.expected += closed + opened
        resolved = [page for page in found if page["status"] == "resolved"]
        if (len(resolved), len(found) - len(resolved)) != (closed, opened):
            missing = closed + opened - len(found)
            (verdict.lost if missing > 0 else verdict.doubled if missing < 0 else verdict.wrong).append(
                f"{key}: {closed} closed and {opened} open cases, told as {[short(page) for page in found]}"
            )
        elif sure is not None and {id for page in found for id in page["event_ids"]} != sure:
            verdict.wrong.append(f"{key}: its case is {sure} and is told as {[page['event_ids'] for page in found]}")


def compare_incidents(standing: dict, truth: Truth, verdict: Verdict) -> None:
    for (rule, group), incidents in truth.incidents.items():
        found = standing.get((rule, group), [])
        verdict.expected += len(incidents)
        wanted = {(len(ids), tuple(ids[:LISTED])) for ids in incidents}
        told = {(page["count"], tuple(page["event_ids"])) for page in found}
        if len(found) > len(incidents):
            verdict.doubled.append(f"{rule} {group}: {len(incidents)} incidents, told as {[short(page) for page in found]}")
        elif wanted != told:
            verdict.lost.append(
                f"{rule} {group}: incidents of {sorted(count for count, _ in wanted - told)} records, "
                f"told as of {sorted(count for count, _ in told - wanted)}"
            )
        verdict.lost += [f"{rule} {group}: {page['id']} has not ended" for page in found if page["status"] != "resolved"]
    for (rule, group), found in standing.items():
        if rule not in (DISABLED, UNREADABLE) and (rule, group) not in truth.incidents:
            verdict.wrong.append(f"{rule} {group}: told of, and nothing happened: {[short(page) for page in found]}")
        if rule == DISABLED and group not in truth.cases:
            verdict.wrong.append(f"{group}: told of, and was never disabled")
