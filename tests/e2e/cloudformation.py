"""A CloudFormation template as Python data: `!Sub x` is {"Fn::Sub": x}, `!Ref x` is {"Ref": x}."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def _function(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


Loader.add_multi_constructor("!", _function)


def load(path: Path) -> dict:
    return yaml.load(path.read_text(), Loader=Loader)


def resources(template: dict, kind: str) -> dict[str, dict]:
    """Properties of all resources of a type, by logical name."""
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}


def pattern(rule: dict, prefix: str) -> dict:
    """A rule's event pattern with the source prefix filled in."""
    return json.loads(json.dumps(rule["EventPattern"]), object_hook=lambda o: _filled(o, prefix))


def _filled(value: dict, prefix: str):
    if set(value) == {"Fn::Sub"}:
        return value["Fn::Sub"].replace("${EventSourcePrefix}", prefix)
    return value


def statements(value) -> list[dict]:
    """Every policy statement anywhere below, both sides of an Fn::If."""
    if isinstance(value, list):
        return [found for item in value for found in statements(item)]
    if not isinstance(value, dict):
        return []
    own = [value] if "Effect" in value else []
    return own + [found for item in value.values() for found in statements(item)]


def resolved(value, names: dict):
    """The value with its references filled in: `names` gives each `Name` of a Ref or Sub and each `Name.Attribute`."""
    if isinstance(value, list):
        return [resolved(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": name} if len(value) == 1:
            return names[name]
        case {"Fn::GetAtt": [name, attribute]} if len(value) == 1:
            return names[f"{name}.{attribute}"]
        case {"Fn::Sub": str(text)} if len(value) == 1:
            return re.sub(r"\$\{([^}]+)\}", lambda found: names[found[1]], text)
    return {key: resolved(item, names) for key, item in value.items()}
