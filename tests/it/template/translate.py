"""Prints the template as JSON, as CloudFormation gets it: `written` with SAM's resources, `translated` with AWS's."""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator


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
print(json.dumps({"written": load(), "translated": translated}))
