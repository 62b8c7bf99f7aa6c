"""kmswatch under fire: a known stream of records through real processes, an emulator of AWS and a bad network.

At random, from a seed: kill -9, SIGTERM and SIGSTOP of kmswatch, SIGSTOP of the emulator, faults of the network
(proxy.py). Then everything is healed, what is left is drained, and what a subscriber of the topic heard is compared
with what had to be told (truth.py, judge.py). Exit code 1 when something was lost, doubled, wrong or left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "deploy" / "local")]

import lab  # noqa: E402
from judge import Verdict, judge  # noqa: E402
from proxy import AFTER, BEFORE, KINDS, Proxy  # noqa: E402
from truth import Stream  # noqa: E402

VISIBILITY_SECS = 5
# The emulator slows down with the depth of its queues.
MAX_DEPTH = 600
# A stop that takes longer is cut short, as service managers do.
STOP_SECS = 25
# kmswatch tries to acknowledge for less than this.
OUTAGE_SECS = 45
ACCOUNT = re.compile(
    r"records: (\d+) received = (\d+) applied \+ (\d+) duplicate \+ (\d+) filtered \+ (\d+) late \+ (\d+) unreadable"
)


class Process:
    """kmswatch, one at a time on a state folder; started again whenever it is gone, as a service manager does."""

    def __init__(self, stack: lab.Stack, proxy: Proxy, folder: Path):
        self.stack = stack
        self.folder = folder
        self.log = folder / "kmswatch.log"
        self.admin_port = lab.free_port()
        self.config = folder / "kmswatch.toml"
        text = lab.configuration(stack, folder, self.admin_port, rules=HERE / "rules")
        text = text.replace(stack.emulator.endpoint, proxy.endpoint)
        text = re.sub(r"(?m)^pollers = .*$", "pollers = 8", text)
        text = re.sub(r"(?m)^visibility_secs = .*$", f"visibility_secs = {VISIBILITY_SECS}", text)
        self.config.write_text(text)
        (folder / "state").mkdir()
        self.process: subprocess.Popen | None = None
        self.did: Counter[str] = Counter()
        self.ended_by_itself: list[int] = []

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(lab.program()), "run", "--config", str(self.config)], env=self.stack.emulator.environment(),
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.folder,
            )
        self.did["started"] += 1

    def revive(self) -> None:
        code = self.process.poll()
        if code is not None:
            self.ended_by_itself.append(code)
            self.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.did["killed"] += 1
        self.start()

    def terminate(self) -> None:
        self.stop()
        self.did["terminated"] += 1
        self.start()

    def stop(self) -> int:
        return lab.stop(self.process, STOP_SECS)

    def freeze(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)
        self.did["frozen"] += 1

    def metrics(self) -> dict[str, int]:
        """Counters by their short names; nothing when it does not answer."""
        status, text = lab.fetch(f"http://127.0.0.1:{self.admin_port}/metrics")
        found = re.findall(r"(?m)^kmswatch_(\w+?)(?:_total)? ([0-9.e+]+)$", text if status == 200 else "")
        return {name: round(float(value)) for name, value in found}


class Subscriber(threading.Thread):
    """Hears the topic, from beginning to end, in order."""

    def __init__(self, stack: lab.Stack):
        super().__init__(name="subscriber", daemon=True)
        self.pager = stack.subscribe("subscriber")
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(OSError, lab.LabError):
                self.pager.poll(1)

    @property
    def pages(self) -> list[dict]:
        return list(self.pager.pages)


class Sender(threading.Thread):
    """Puts bodies into the queue, no more than the emulator bears; over the time given."""

    def __init__(self, stack: lab.Stack, stream: Stream, seconds: float):
        super().__init__(name="sender", daemon=True)
        self.stack = stack
        self.waiting = list(stream.bodies)
        self.poison = set(stream.poison)
        self.labels: dict[str, str] = {}
        self.messages = len(self.waiting)
        self.sent = 0
        self.pause = seconds / max(1, self.messages / 10)
        self.over = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for number, batch in enumerate(lab.batches(self.waiting, 10)):
                while number % 20 == 0 and not self.over.is_set() and self.stack.depth(self.stack.queue) > MAX_DEPTH:
                    time.sleep(0.2)
                self.send(batch)
                self.sent += len(batch)
                self.over.wait(self.pause)
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.error = error

    def send(self, bodies: list[str]) -> None:
        """What cannot be read is noted by the id of its message."""
        entries = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)]
        answer = self.stack.sqs.send_message_batch(QueueUrl=self.stack.queue, Entries=entries)
        if answer.get("Failed"):
            raise lab.LabError(f"SendMessageBatch refused {answer['Failed']}")
        for sent in answer["Successful"]:
            body = bodies[int(sent["Id"])]
            if body in self.poison:
                self.labels[sent["MessageId"]] = body


class Fire:
    """What goes wrong, and when."""

    def __init__(self, world: "World", seed: int):
        self.world = world
        self.random = random.Random(seed)
        self.frozen_emulator = 0

    def weather(self) -> None:
        """Fair, bad, or one kind of fault alone."""
        some = self.random.random()
        if some < 0.15:
            chances = {}
        elif some < 0.6:
            return self.bad_weather()
        elif some < 0.8:
            chances = {kind: 0.06 for kind in KINDS} | {"hang": 0.01}
        else:
            chances = {self.random.choice(BEFORE + AFTER): 0.5}
        self.world.proxy.weather = chances

    def bad_weather(self) -> None:
        self.world.proxy.weather = {kind: 0.03 for kind in KINDS} | {"hang": 0.004}

    def strike(self) -> None:
        process, some = self.world.process, self.random.random()
        process.revive()
        if some < 0.56:
            process.kill()
        elif some < 0.63:
            process.terminate()
        elif some < 0.71:
            # Now and then longer than its messages are claimed.
            process.freeze(self.random.choice((0.2, 0.5, 1, VISIBILITY_SECS + 1.5)))
        elif some < 0.77:
            emulator = self.world.emulator.process
            emulator.send_signal(signal.SIGSTOP)
            time.sleep(self.random.uniform(0.2, 2))
            emulator.send_signal(signal.SIGCONT)
            self.frozen_emulator += 1
        elif some < 0.83:
            self.part(self.random.uniform(0.3, 3))
        else:
            self.weather()

    def part(self, seconds: float) -> None:
        self.world.proxy.part()
        time.sleep(seconds)
        self.world.proxy.heal()

    def burn(self, until: float, kills: int, faults: int) -> None:
        """Until all is sent and enough has gone wrong, or time is up."""
        sender = self.world.sender
        self.bad_weather()
        while time.monotonic() < until and not sender.error:
            time.sleep(min(4, self.random.expovariate(1 / self.world.calm)))
            self.strike()
            enough = self.world.process.did["killed"] >= kills and self.world.proxy.faults.total() >= faults
            if enough and not sender.is_alive():
                break
        for _ in range(self.world.outages):
            self.outage()

    def outage(self) -> None:
        """The queue takes no deletion until every try at it is spent, and no start of kmswatch follows."""
        world = self.world
        world.proxy.weather = {}
        world.process.revive()
        world.proxy.refused = "DeleteMessageBatch"
        world.stack.send([body for body in world.stream.bodies if body not in world.sender.poison][:100])
        time.sleep(OUTAGE_SECS)
        world.proxy.refused = ""


class World:
    """Everything, and its end."""

    def __init__(self, folder: Path, records: int, seed: int, seconds: float, outages: int):
        self.folder = folder
        self.emulator = lab.Emulator(folder).start()
        self.stack = lab.Stack(self.emulator, name=f"chaos{seed}", prefix=f"chaos{seed}")
        self.proxy = Proxy(int(self.emulator.endpoint.rsplit(":", 1)[1]), seed).start()
        self.stream = Stream(records, seed, time.time())
        self.process = Process(self.stack, self.proxy, folder)
        self.subscriber = Subscriber(self.stack)
        self.sender = Sender(self.stack, self.stream, seconds)
        self.fire = Fire(self, seed)
        self.outages = outages
        self.calm = 1.0
        self.dead: list[tuple[str, str]] = []
        self.redriven = 0
        self.left: list[str] = []

    def live(self, until: float, kills: int, faults: int, calm: float) -> Verdict:
        self.calm = calm
        self.subscriber.start()
        self.process.start()
        self.sender.start()
        try:
            self.fire.burn(until, kills, faults)
            self.settle()
        finally:
            self.sender.over.set()
            self.sender.join(30)
            self.subscriber.over.set()
            self.subscriber.join(60)
            self.process.stop()
            self.proxy.stop()
            self.emulator.stop()
        if self.sender.error:
            raise self.sender.error
        return judge(self.subscriber.pages, self.stream.truth(), self.sender.labels)

    def settle(self) -> None:
        """Everything works again; until nothing is left."""
        self.proxy.weather = {}
        self.proxy.heal()
        self.process.revive()
        self.sender.pause = 0
        print(f"healed after {self.process.did['killed']} kills and {self.proxy.faults.total()} faults, with {self.sender.sent} of "
              f"{self.sender.messages} messages sent; draining", flush=True)
        self.drain(600)
        self.stack.send(self.stream.closing(time.time()))
        self.drain(120)

        def told() -> bool:
            # A resolved page for what must end; the outbox is empty.
            before = len(self.subscriber.pages)
            if self.process.metrics().get("outbox_pending", 1) != 0:
                return False
            time.sleep(4)
            return len(self.subscriber.pages) == before and self.process.metrics().get("outbox_pending", 1) == 0

        self.until("the outbox to be empty", told, 600)

    def drain(self, seconds: float) -> None:
        """The queue, and the dead letters as an operator does: what can be read is put back."""

        def done() -> bool:
            self.process.revive()
            self.redrive()
            return not self.sender.is_alive() and self.stack.depth(self.stack.queue) == 0 and not self.redrive()

        self.until("the queue to drain", done, seconds)

    def until(self, what: str, check, seconds: float) -> None:
        try:
            lab.wait_for(what, check, seconds, 0.5)
        except lab.LabError as error:
            self.left.append(str(error))

    def redrive(self) -> int:
        """Empties the dead-letter queue; how many of its messages were put back."""
        again, sqs, queue = [], self.stack.sqs, self.stack.dead_letters
        while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                if message["Body"] in self.sender.poison and self.is_told(message["MessageId"]):
                    self.dead.append((message["MessageId"], message["Body"]))
                else:
                    again.append(message["Body"])
        for batch in lab.batches(again, 10):
            self.sender.send(batch)
        self.redriven += len(again)
        return len(again)

    def is_told(self, label: str) -> bool:
        """Whether a page told of a dead letter. One that every receive lost to a kill never reached kmswatch."""
        told = lambda: any(label in page["group"].values() for page in self.subscriber.pages)  # noqa: E731
        with contextlib.suppress(lab.LabError):
            return lab.wait_for("the page", told, 5, 0.2)
        return False


def accounts(log: Path) -> list[list[int]]:
    """What each process that ended in order said: received, applied, duplicate, filtered, late, unreadable."""
    return [[int(part) for part in line] for line in ACCOUNT.findall(log.read_text(errors="replace"))]


def report(world: World, verdict: Verdict) -> list[str]:
    """Prints what happened; what of it must not be."""
    failures = verdict.failures() + world.left
    process, proxy, fire = world.process, world.proxy, world.fire
    sums = accounts(process.log)
    failures += [f"the account does not close: {line}" for line in sums if line[0] != sum(line[1:])]
    total = [sum(column) for column in zip(*sums, strict=True)] if sums else [0] * 6
    if total[4]:
        failures.append(f"{total[4]} records were late, and none was")
    found = Counter(body for _, body in world.dead)
    failures += [f"not among the dead letters: {body[:60]!r}" for body in world.sender.poison - set(found)]
    failures += [f"{count} times among the dead letters: {body[:60]!r}" for body, count in found.items() if count > 1]
    if (gone := process.folder / "state" / "dead-letters.jsonl").exists():
        failures.append(f"alerts were given up: {gone.read_text()[:500]}")
    failures += [f"kmswatch ended by itself with exit code {code}" for code in process.ended_by_itself]
    if "panicked" in (log := process.log.read_text(errors="replace")):
        failures.append("kmswatch panicked: " + log[log.index("panicked") :][:300])
    pages = world.subscriber.pages
    print(f"sent: {world.stream.records} records in {world.sender.messages} messages, {len(world.sender.poison)} of them unreadable")
    print(f"kmswatch: {process.did['started']} starts, {process.did['killed']} kills, {process.did['terminated']} stops, "
          f"{process.did['frozen']} times frozen; emulator {fire.frozen_emulator} times frozen")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(proxy.faults.items()))
    print(f"network: {proxy.requests} requests, {proxy.faults.total()} faults: {kinds}")
    print(f"alerts: {len(pages)} pages, {verdict.again} of them again; incidents: {verdict.expected} expected, "
          f"{verdict.delivered} delivered, {len(verdict.lost)} lost, {len(verdict.doubled)} doubled, {len(verdict.wrong)} wrong")
    print(f"dead letters: {len(world.sender.poison)} expected, {len(found)} found; {world.redriven} readable or untold put back")
    print("accounts of {} stops in order: {} received = {} applied + {} duplicate + {} filtered + {} late + {} unreadable".format(
        len(sums), *total))
    return failures


def run(folder: Path, records: int, minutes: float, kills: int, faults: int, seed: int, calm: float, outages: int,
        sending: float | None = None) -> list[str]:
    """One world, from beginning to end; what must not be in it."""
    began = time.monotonic()
    world = World(folder, records, seed, minutes * 60 * 0.7 if sending is None else sending, outages)
    verdict = world.live(began + minutes * 60, kills, faults, calm)
    failures = report(world, verdict)
    for what, count, wanted in (("kills", world.process.did["killed"], kills), ("faults", world.proxy.faults.total(), faults)):
        if count < wanted:
            failures.append(f"{count} {what}, and {wanted} were asked for; give it more minutes")
    if failures:
        (folder / "pages.jsonl").write_text("".join(json.dumps(page) + "\n" for page in world.subscriber.pages))
    print(f"seed {seed}: {time.monotonic() - began:.0f} s")
    for line in failures[:40]:
        print(f"FAILED {line}")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=2, help="of trouble at most; draining comes after")
    parser.add_argument("--sending", type=float, metavar="SECONDS", help="that the records are spread over; else most of the minutes")
    parser.add_argument("--kills", type=int, default=10, help="at least, or the run has failed")
    parser.add_argument("--faults", type=int, default=50, help="at least, or the run has failed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calm", type=float, default=1.0, help="seconds between blows, on the average")
    parser.add_argument("--outages", type=int, default=0, help="at the end: nothing can be deleted from the queue for a while")
    parser.add_argument("--keep", metavar="FOLDER", help="logs, state and pages stay there")
    given = vars(parser.parse_args())
    keep = given.pop("keep")
    with contextlib.ExitStack() as stack:
        if keep:
            folder = Path(keep).resolve()
            folder.mkdir(parents=True)
        else:
            folder = stack.enter_context(lab.temporary_folder("kmswatch-chaos-"))
        return 1 if run(folder, **given) else 0


if __name__ == "__main__":
    raise SystemExit(main())
