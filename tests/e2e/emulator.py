"""An AWS emulator on the loopback address with the stack of deploy/kmswatch.template.yaml on it.

Shared by the end-to-end tests and deploy/local/demo. The emulator refuses events that claim to be of
AWS and does not deliver for the rule state that AWS needs, so both are template parameters.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import boto3

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "deploy" / "kmswatch.template.yaml"
REGION = "eu-west-1"
SOURCE_PREFIX = "lab."


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process, patience_secs=15):
    """Stops a process of ours by its own id; kills it when it does not listen."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience_secs)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def environment():
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KMSWATCH_"))}
    return cleared | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Emulator:
    def __init__(self, log_path):
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self.log = open(log_path, "w")
        binary = pathlib.Path(sys.executable).with_name("ministack")
        settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}
        self.process = subprocess.Popen(
            [str(binary)], env=environment() | settings, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.close()
            raise

    def _wait_until_healthy(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the emulator ended with {self.process.returncode}; see {self.log.name}")
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the emulator did not become healthy within a minute")

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def close(self):
        stop(self.process)
        self.log.close()


class Stack:
    """The deployed stack, and a queue that listens to its topic."""

    def __init__(self, emulator, name="kmswatch"):
        self.emulator = emulator
        self.sqs, self.sns, self.events = (emulator.client(service) for service in ("sqs", "sns", "events"))
        formation = emulator.client("cloudformation")
        formation.create_stack(
            StackName=name,
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": "RuleState", "ParameterValue": "ENABLED"},
                {"ParameterKey": "EventSourcePrefix", "ParameterValue": SOURCE_PREFIX},
            ],
        )
        deadline = time.monotonic() + 60
        while True:
            described = formation.describe_stacks(StackName=name)["Stacks"][0]
            if described["StackStatus"] == "CREATE_COMPLETE":
                break
            if "FAILED" in described["StackStatus"] or "ROLLBACK" in described["StackStatus"] or time.monotonic() > deadline:
                raise RuntimeError(f"stack {described['StackStatus']}: {described.get('StackStatusReason')}")
            time.sleep(0.1)
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        self.queue_url, self.dead_letter_queue_url = outputs["QueueUrl"], outputs["DeadLetterQueueUrl"]
        self.topic_arn = outputs["TopicArn"]
        self.subscriber_url = self.subscribe("subscriber")

    def subscribe(self, name, filter_policy=None):
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"FilterPolicy": json.dumps(filter_policy)} if filter_policy else {}
        self.sns.subscribe(TopicArn=self.topic_arn, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        return url

    def put(self, *records):
        """Sends CloudTrail records, or whole envelopes, through EventBridge."""
        entries = [entry(record) for record in records]
        for start in range(0, len(entries), 10):
            answer = self.events.put_events(Entries=entries[start : start + 10])
            assert answer["FailedEntryCount"] == 0, answer

    def alerts(self, url=None, wait_secs=1):
        """The alerts that the subscriber has got since the last call."""
        url, found = url or self.subscriber_url, []
        while True:
            got = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_secs).get("Messages", [])
            if not got:
                return found
            for message in got:
                found.append(json.loads(json.loads(message["Body"])["Message"]))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def depth(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in attributes.values())


DIRECT = ["KMS CMK Deletion", "KMS CMK Rotation", "KMS Imported Key Material Expiration"]


def entry(record):
    """A record as an entry of PutEvents, with the detail-type that CloudTrail gives it."""
    service = record["eventSource"].split(".")[0]
    detail_type, detail = "AWS API Call via CloudTrail", record
    if record["eventName"] in DIRECT:
        detail_type, detail = record["eventName"], {"key-id": "k"}
    elif record.get("eventType") == "AwsServiceEvent":
        detail_type = "AWS Service Event via CloudTrail"
    resources = [resource["ARN"] for resource in record.get("resources") or []] if detail_type in DIRECT else []
    return {
        "Source": SOURCE_PREFIX + service,
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
        "Time": record["eventTime"],
        "Resources": resources,
    }


class Kmswatch:
    """A `kmswatch run` on a stack."""

    def __init__(self, stack, directory, binary, keys=None, pollers=2):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        keys_line = f'[keys]\nfile = "{keys}"\n' if keys else ""
        endpoint = stack.emulator.endpoint
        (self.directory / "kmswatch.toml").write_text(
            f'[source]\nkind = "sqs"\nqueue_url = "{stack.queue_url}"\nendpoint_url = "{endpoint}"\nregion = "{REGION}"\n'
            f"pollers = {pollers}\nwait_secs = 1\nvisibility_secs = 10\n"
            f'[[sink]]\nkind = "sns"\ntopic_arn = "{stack.topic_arn}"\nendpoint_url = "{endpoint}"\nregion = "{REGION}"\n'
            f'[state]\ndir = "{self.directory}/state"\n[admin]\nlisten = "127.0.0.1:{self.port}"\n{keys_line}'
        )
        self.binary = str(binary)
        self.process = None

    def start(self):
        self.log = open(self.directory / "kmswatch.log", "a")
        command = [self.binary, "run", "--config", str(self.directory / "kmswatch.toml")]
        self.process = subprocess.Popen(command, env=environment(), stdout=self.log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError((self.directory / "kmswatch.log").read_text())
            try:
                if self.get("/ready") == "ready\n":
                    return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("kmswatch did not become ready")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
            return answer.read().decode()

    def metric(self, name):
        for line in self.get("/metrics").splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def stop(self):
        code = stop(self.process)
        self.log.close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
