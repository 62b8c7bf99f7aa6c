"""The synthetic captures are what their generator writes."""

import base64
import gzip
import json
import subprocess
import sys

from conftest import ROOT


def content(path):
    data = path.read_bytes()
    # Compression may differ between versions of zlib, what is compressed may not.
    if path.name == "cloudwatch-logs.json":
        data = base64.b64decode(json.loads(data)["awslogs"]["data"])
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def test_the_generator_writes_them(tmp_path):
    captures = ROOT / "tests" / "captures"
    subprocess.run([sys.executable, captures / "generate.py", tmp_path], check=True)
    written = {path.relative_to(tmp_path): content(path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(captures): content(path) for path in captures.rglob("*") if path.is_file()}
    kept = {path: data for path, data in kept.items() if path.suffix != ".py" and path.name != "README.md"}
    assert written.keys() == kept.keys()
    assert not [path for path, data in written.items() if data != kept[path]]
