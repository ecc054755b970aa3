"""Prints the template as JSON, as CloudFormation gets it: `written` with SAM's resources, `translated` with AWS's.

The transform that turns Fn::ToJsonString into a string runs at AWS; here the same is written as Fn::Sub.
"""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator


def is_intrinsic(value):
    return isinstance(value, dict) and any(key == "Ref" or key.startswith("Fn::") for key in value)


def to_json_string(value):
    """{"Fn::ToJsonString": x} → {"Fn::Sub": [x as text, its intrinsic functions]}"""
    if isinstance(value, list):
        return [to_json_string(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "Fn::ToJsonString" not in value:
        return {key: to_json_string(item) for key, item in value.items()}
    variables = {}

    def placeholders(item):
        if is_intrinsic(item):
            name = f"Variable{len(variables)}"
            variables[name] = item
            return "${%s}" % name
        if isinstance(item, dict):
            return {key: placeholders(value) for key, value in item.items()}
        if isinstance(item, list):
            return [placeholders(value) for value in item]
        return item

    return {"Fn::Sub": [json.dumps(placeholders(value["Fn::ToJsonString"])), variables]}


def load():
    with open(sys.argv[1], encoding="utf-8") as template:
        return yaml_parse(template.read())


template = load()
# The translator wants code that `sam package` has uploaded.
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = "s3://bucket/key"
parameters = {name: parameter.get("Default", "x") for name, parameter in template["Parameters"].items()}
session = boto3.session.Session(region_name="us-east-1")
translated = Translator({}, Parser(), boto_session=session).translate(template, parameters)
translated.pop("Transform", None)
print(json.dumps({"written": load(), "translated": to_json_string(translated)}))
