"""The parts of a local lab: an emulator of AWS, the stack of the template on it, a kmswatch process, a pager.

Used by the demo beside this file and by the end-to-end tests. Everything listens on 127.0.0.1, every process is
stopped by its own id, every file is in one temporary folder.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "deploy" / "kmswatch.template.yaml"
CONFIG = ROOT / "deploy" / "local" / "kmswatch-emulator.toml"
KEYS = ROOT / "deploy" / "local" / "keys.yml"

REGION = "eu-west-1"
ACCOUNT = "111122223333"  # the emulator takes a 12-digit access key as the account
# What kmswatch-emulator.toml says; replaced by what the lab really uses.
ENDPOINT_IN_CONFIG = "http://127.0.0.1:4566"
ADMIN_IN_CONFIG = "127.0.0.1:9464"
STATE_IN_CONFIG = "target/kmswatch-emulator"
KEYS_IN_CONFIG = "deploy/local/keys.yml"
NAME_IN_CONFIG = "kmswatch"


class LabError(Exception):
    """The lab could not be set up; the text says what to do."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: str, check, timeout: float, pause: float = 0.05):
    """The first true result of check(); LabError after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > end:
            raise LabError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(pause)


def fetch(url: str) -> tuple[int, str]:
    """Status and text; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def clean_environment() -> dict[str, str]:
    """Without what would lead a process to a real AWS account, or through a proxy."""
    drop = re.compile(r"(?i)^(AWS_|KMSWATCH_|(https?|all|no)_proxy$)")
    return {name: value for name, value in os.environ.items() if not drop.match(name)}


def stop(process: subprocess.Popen, timeout: float = 20) -> int:
    """Asks to stop, waits, and insists when that does not help. The exit code; negative for a signal."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


class Emulator:
    """ministack on a free port of the loopback."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process: subprocess.Popen | None = None
        self.endpoint = ""

    def start(self) -> "Emulator":
        program = Path(sys.executable).with_name("ministack")
        if not program.exists():
            raise LabError(f"{program} is missing; make the environment with deploy/local/venv")
        # Between asking for a free port and binding it another process may take it.
        for _ in range(3):
            port = free_port()
            environment = clean_environment() | {
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",
                "MINISTACK_HOST": "127.0.0.1",
                "LOG_LEVEL": "WARNING",
            }
            log = self.folder / "emulator.log"
            with log.open("ab") as out:
                self.process = subprocess.Popen(
                    [str(program)], env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.folder
                )
            self.endpoint = f"http://127.0.0.1:{port}"
            with contextlib.suppress(LabError):
                wait_for(
                    "the emulator",
                    lambda: self.process.poll() is not None or fetch(f"{self.endpoint}/_ministack/health")[0] == 200,
                    30,
                )
                if self.process.poll() is None:
                    return self
            stop(self.process)
        raise LabError(f"the emulator did not start: {log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)

    def environment(self) -> dict[str, str]:
        """For a process that shall talk to the emulator."""
        return clean_environment() | {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 2}, read_timeout=30),
        )


class Stack:
    """The stack of the template, with names of its own, fed by event sources of its own."""

    def __init__(self, emulator: Emulator, name: str = "kmswatch", prefix: str = "lab"):
        self.emulator = emulator
        self.name = name
        self.prefix = prefix
        self.sqs = emulator.client("sqs")
        self.sns = emulator.client("sns")
        self.events = emulator.client("events")
        self.outputs = self._create({"Name": name, "RuleState": "ENABLED", "EventSourcePrefix": prefix})
        self.queue = self.outputs["QueueUrl"]
        self.dead_letters = self.outputs["DeadLetterQueueUrl"]
        self.undelivered = self.outputs["UndeliveredQueueUrl"]
        self.topic = self.outputs["TopicArn"]

    def _create(self, parameters: dict[str, str]) -> dict[str, str]:
        formation = self.emulator.client("cloudformation")
        formation.create_stack(
            StackName=self.name,
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )

        def settled():
            stack = formation.describe_stacks(StackName=self.name)["Stacks"][0]
            return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

        stack = wait_for("the stack", settled, 60)
        if stack["StackStatus"] != "CREATE_COMPLETE":
            events = formation.describe_stack_events(StackName=self.name)["StackEvents"]
            failed = [
                f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason')}" for e in events if "FAILED" in e["ResourceStatus"]
            ]
            raise LabError(f"stack {stack['StackStatus']}: {'; '.join(failed)}")
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def subscribe(self, name: str, filter_policy: dict | None = None) -> "Pager":
        return Pager(self, name, filter_policy)

    def put(self, records: list[dict]) -> list[str]:
        """CloudTrail records, through PutEvents as CloudTrail would. EventBridge's own ids of the events."""
        entries = [as_entry(record, self.prefix) for record in records]
        ids = []
        for batch in batches(entries, 10):
            answer = self.events.put_events(Entries=batch)
            if answer["FailedEntryCount"]:
                raise LabError(f"PutEvents refused {answer['FailedEntryCount']} entries: {answer['Entries']}")
            ids += [entry["EventId"] for entry in answer["Entries"]]
        return ids

    def send(self, bodies: list[str]) -> None:
        """Bodies straight into the queue, past EventBridge."""
        entries = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)]
        for batch in batches(entries, 10):
            failed = self.sqs.send_message_batch(QueueUrl=self.queue, Entries=batch).get("Failed")
            if failed:
                raise LabError(f"SendMessageBatch refused {failed}")

    def depth(self, queue: str) -> int:
        """Messages in a queue, those in flight included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)


def batches(items: list, size: int):
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


DIRECT = {"KMS CMK Deletion", "KMS CMK Rotation", "KMS Imported Key Material Expiration"}
DETAIL_TYPES = {
    "AwsServiceEvent": "AWS Service Event via CloudTrail",
    "AwsVpceEvent": "AWS Network Activity Event via CloudTrail",
}


def as_entry(record: dict, prefix: str) -> dict:
    """A CloudTrail record as CloudTrail hands it to EventBridge; a direct event as KMS does."""
    service = record.get("eventSource", "").removesuffix(".amazonaws.com")
    if record.get("eventName") in DIRECT:
        return {
            "Source": f"{prefix}.{service}",
            "DetailType": record["eventName"],
            "Detail": json.dumps(record.get("serviceEventDetails") or {}),
            "Resources": [resource["ARN"] for resource in record.get("resources") or []],
        }
    return {
        "Source": f"{prefix}.{service}",
        "DetailType": DETAIL_TYPES.get(record.get("eventType", ""), "AWS API Call via CloudTrail"),
        "Detail": json.dumps(record),
    }


class Pager:
    """A queue that subscribes to the topic, as a pager would."""

    def __init__(self, stack: Stack, name: str, filter_policy: dict | None):
        self.sqs = stack.sqs
        self.queue = stack.sqs.create_queue(QueueName=f"{stack.name}-{name}")["QueueUrl"]
        arn = stack.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"FilterPolicy": json.dumps(filter_policy)} if filter_policy else {}
        stack.sns.subscribe(TopicArn=stack.topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        self.pages: list[dict] = []

    def poll(self, wait: int = 0) -> list[dict]:
        """New pages: each the alert, with `subject` and `attributes` of its notification."""
        new = []
        while True:
            answer = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
            messages = answer.get("Messages", [])
            for message in messages:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                note = json.loads(message["Body"])
                attributes = {key: value["Value"] for key, value in note.get("MessageAttributes", {}).items()}
                alert = json.loads(note["Message"])
                new.append(alert | {"subject": note.get("Subject"), "attributes": attributes})
            if len(messages) < 10:
                self.pages += new
                return new
            wait = 0

    def wait(self, what: str, check, timeout: float = 30):
        """Polls until check(pages) is true, and returns that."""

        def look():
            self.poll()
            return check(self.pages)

        return wait_for(f"a page: {what}", look, timeout, 0.1)


def program() -> Path:
    """The kmswatch binary: $LAB_KMSWATCH, or the debug build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("LAB_KMSWATCH", target / "debug" / "kmswatch"))
    if not path.exists():
        raise LabError(f"{path} is missing; run `cargo build` first, or set LAB_KMSWATCH")
    return path


def configuration(stack: Stack, folder: Path, admin: int, keys: Path = KEYS, rules: Path | None = None) -> str:
    """kmswatch-emulator.toml, pointed at the lab."""
    text = CONFIG.read_text()
    for old, new in {
        ENDPOINT_IN_CONFIG: stack.emulator.endpoint,
        ADMIN_IN_CONFIG: f"127.0.0.1:{admin}",
        STATE_IN_CONFIG: str(folder / "state"),
        KEYS_IN_CONFIG: str(keys),
        f"{NAME_IN_CONFIG}-events": f"{stack.name}-events",
        f"{NAME_IN_CONFIG}-alerts": f"{stack.name}-alerts",
    }.items():
        if old not in text:
            raise LabError(f"{CONFIG} no longer has `{old}`, which the lab replaces by `{new}`")
        text = text.replace(old, new)
    if rules is not None:
        text += f'\n[rules]\ndir = "{rules}"\n'
    return text


class Kmswatch:
    """A running `kmswatch run`. Its state outlives it, so that it can be started again."""

    def __init__(self, stack: Stack, folder: Path, keys: Path = KEYS, rules: Path | None = None):
        self.stack = stack
        self.folder = folder
        self.keys = keys
        self.rules = rules
        self.process: subprocess.Popen | None = None
        self.admin = ""
        self.log = folder / "kmswatch.log"

    def start(self) -> "Kmswatch":
        port = free_port()
        self.admin = f"http://127.0.0.1:{port}"
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        config = self.folder / "kmswatch.toml"
        config.write_text(configuration(self.stack, self.folder, port, self.keys, self.rules))
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(program()), "run", "--config", str(config)],
                env=self.stack.emulator.environment(),
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
            )
        try:
            wait_for("kmswatch to be ready", self._ready, 30)
        except LabError as error:
            stop(self.process)
            raise LabError(f"{error}\n{self.tail()}") from None
        return self

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"kmswatch ended with exit code {self.process.returncode}")
        return fetch(f"{self.admin}/ready")[0] == 200

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with labels, as on the metrics page."""
        status, text = fetch(f"{self.admin}/metrics")
        if status != 200:
            raise LabError(f"the metrics page answered {status}")
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def count(self, *words: str) -> int:
        """The sum of all counters whose name or labels hold every word."""
        return round(sum(value for name, value in self.metrics().items() if all(word in name for word in words)))

    def stop(self) -> int:
        return stop(self.process) if self.process is not None else 0

    def kill(self) -> None:
        """As a crash: no chance to tidy up."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def temporary_folder(prefix: str = "kmswatch-"):
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
