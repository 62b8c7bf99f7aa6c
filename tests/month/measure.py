#!/usr/bin/env python3
"""Learns the first half of the synthetic month, replays the second, and says what was found of what is planted.

Usage: measure.py KMSWATCH [--records N] [--seed N] [--folder DIR]. Standard library only.

Counted are alerts of level low and above of the second half. An alert belongs to a planted first use when one of
the use's records is among its own (`event_ids`); a planted use is found when some alert belongs to it. Every other
alert is a false one, whatever it says. Rates are per record of the second half, copies not counted.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import generate


def run(program, *arguments):
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=900)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
    return done


def measure(program, folder, records, seed):
    """A dict of what was found; the files stay in `folder`."""
    began = time.monotonic()
    month = generate.Month(records, seed)
    month.ordinary()
    month.first_uses()
    month.write(folder)
    generated = time.monotonic()
    truth = json.loads((folder / "truth.json").read_text())
    half = truth["second_half"]
    keys, seeds = folder / "keys.yml", folder / "seeds.jsonl"
    learnt = run(program, "keys", "learn", folder / "trail", "--until", half, "--out", keys, "--seeds", seeds, "--schedule-weeks", 2)
    taught = time.monotonic()
    replay = run(program, "replay", folder / "trail", "--since", half, "--keys", keys, "--seeds", seeds, "--level", "low", "--format", "jsonl")
    ended = time.monotonic()
    alerts = [json.loads(line) for line in replay.stdout.splitlines()]
    of_event = {event: at for at, use in enumerate(truth["planted"]) for event in use["event_ids"]}
    found, false = {}, []
    for alert in alerts:
        uses = {of_event[event] for event in alert["event_ids"] if event in of_event}
        for use in uses:
            found.setdefault(use, []).append(alert)
        if not uses:
            false.append(alert)
    missed = [use for at, use in enumerate(truth["planted"]) if at not in found]
    return {
        "records": truth["records"], "replayed": truth["records_of_second_half"], "planted": len(truth["planted"]),
        "found": len(found), "missed": missed, "alerts": len(alerts), "false": false,
        "learnt": learnt.stderr.strip(), "replay": replay.stderr.strip(),
        "seconds": {"generate": generated - began, "learn": taught - generated, "replay": ended - taught},
        "by_use": [(use, found.get(at, [])) for at, use in enumerate(truth["planted"])],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--records", type=int, default=220_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=pathlib.Path, help="keep the month and what was learnt here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or pathlib.Path(temporary)
        result = measure(given.program.resolve(), folder, given.records, given.seed)
    for use, alerts in result["by_use"]:
        rules = sorted({f"{alert['level']}: {alert['rule']['title']}" for alert in alerts})
        print(f"{'found ' if alerts else 'MISSED'}  {use['kind']:<10} {use['what']:<46} {'; '.join(rules)}")
    for alert in result["false"]:
        print(f"FALSE   {alert['level']:<10} {alert['first_event_time']} {alert['rule']['title']}: {alert['summary']}")
    per = 100_000 * len(result["false"]) / result["replayed"]
    print(result["learnt"])
    print(result["replay"])
    print(f"recall {result['found']} of {result['planted']} planted first uses; {len(result['false'])} false alerts in "
          f"{result['replayed']:,} records of the second half ({per:.2f} per 100,000), {result['records']:,} in all")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in result["seconds"].items()))
    return 0 if not result["missed"] else 1


if __name__ == "__main__":
    sys.exit(main())
