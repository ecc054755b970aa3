"""Creates the translated template (from standard input) as a stack on moto and prints what came of it.

Resources of types that moto's CloudFormation does not know are left out and listed; what refers to them gets an ARN.
Secrets are among them: their texts are made by moto as outputs of the stack.

Arguments: NAME=VALUE, parameters of the stack beside those that have no default.
"""

import io
import json
import os
import re
import sys
import zipfile

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")

import boto3
from moto import mock_aws
from moto.cloudformation.parsing import get_model_map

PARAMETERS = {
    "IntegrationName": "acme",
    "QueueId": "101",
    "ApiKey": "key",
    "AiseraTenant": "acme",
    "AppToken": "token",
    "BotUsername": "user",
    "BotPassword": "password",
} | dict(argument.split("=", 1) for argument in sys.argv[1:])


def without(value, names):
    """`value` with an ARN of its name in the place of everything that refers to one of `names`."""
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)(\.\w+)?\}", lambda found: arn(found[1]) if found[1] in names else found[0], value)
    if isinstance(value, list):
        return [without(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    attribute = value.get("Fn::GetAtt", [])
    referred = value.get("Ref") or (attribute if isinstance(attribute, list) else attribute.split("."))[:1]
    name = referred if isinstance(referred, str) else "".join(referred)
    return arn(name) if name in names else {key: without(item, names) for key, item in value.items()}


def arn(name):
    return f"arn:aws:test:us-east-1:123456789012:{name}"


template = json.load(sys.stdin)
template.pop("Rules", None)
secrets = {name: resource for name, resource in template["Resources"].items() if resource["Type"] == "AWS::SecretsManager::Secret"}
for name, resource in secrets.items():
    if "SecretString" in resource["Properties"] and "Condition" not in resource:
        template["Outputs"]["Text" + name] = {"Value": resource["Properties"]["SecretString"]}
unknown = {name for name, resource in template["Resources"].items() if resource["Type"] not in get_model_map()}
unknown_types = sorted({template["Resources"][name]["Type"] for name in unknown})
known = {name: resource for name, resource in template["Resources"].items() if name not in unknown}
template["Resources"] = without(known, unknown)
template["Outputs"] = without(template["Outputs"], unknown)

with mock_aws():
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("bootstrap", "")
    storage = boto3.client("s3")
    storage.create_bucket(Bucket="bucket")
    storage.put_object(Bucket="bucket", Key="key", Body=code.getvalue())
    cloud_formation = boto3.client("cloudformation")
    cloud_formation.create_stack(
        StackName="acme",
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in PARAMETERS.items()],
    )
    stack = cloud_formation.describe_stacks(StackName="acme")["Stacks"][0]
    created = cloud_formation.list_stack_resources(StackName="acme")["StackResourceSummaries"]
    cloud_watch = boto3.client("cloudwatch")
    dashboards = [entry["DashboardName"] for entry in cloud_watch.list_dashboards()["DashboardEntries"]]
    bodies = [cloud_watch.get_dashboard(DashboardName=name)["DashboardBody"] for name in dashboards]
    groups = [group["logGroupName"] for group in boto3.client("logs").describe_log_groups()["logGroups"]]
    queues = boto3.client("sqs").list_queues()["QueueUrls"]
    attributes = [boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"] for url in queues]

print(
    json.dumps(
        {
            "status": stack["StackStatus"],
            "created": sorted({resource["ResourceType"] for resource in created if resource["ResourceType"]}),
            "unknown": unknown_types,
            "outputs": {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]},
            "queues": attributes,
            "dashboards": bodies,
            "log_groups": groups,
        }
    )
)
