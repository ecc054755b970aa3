"""docs/deploy-role.json is enough for the template's resources, and docs/guides/deploy.md names what the template has.

Run with: target/python/sam/bin/python tests/deploy/test_deploy_role.py
"""

import copy
import json
import os
import re
import unittest
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).resolve().parents[2]
STACK = "live-agent-acme"
ACCOUNT = "123456789012"
# IAM refuses a longer managed policy (white space is not counted).
LONGEST_POLICY = 6144

# Resource type: ARN of a resource, and the actions by which CloudFormation creates, updates and deletes it. From the
# handlers of CloudFormation's resource schemas
# (https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resource-type-schemas.html) and each service's table of
# actions (https://docs.aws.amazon.com/service-authorization/latest/reference/). {id} is the logical id.
NEEDED = {
    "AWS::ApiGatewayV2::Api": (
        "arn:aws:apigateway:us-east-1::/apis/a1b2c3",
        ["apigateway:POST", "apigateway:PUT", "apigateway:PATCH", "apigateway:DELETE", "apigateway:TagResource"],
    ),
    "AWS::ApiGatewayV2::ApiMapping": (
        "arn:aws:apigateway:us-east-1::/domainnames/live-agent.acme.example/apimappings",
        ["apigateway:POST", "apigateway:PATCH", "apigateway:DELETE"],
    ),
    "AWS::ApiGatewayV2::DomainName": (
        "arn:aws:apigateway:us-east-1::/domainnames/live-agent.acme.example",
        ["apigateway:POST", "apigateway:PATCH", "apigateway:DELETE", "apigateway:AddCertificateToDomain"],
    ),
    "AWS::ApiGatewayV2::Stage": (
        "arn:aws:apigateway:us-east-1::/apis/a1b2c3/stages",
        ["apigateway:POST", "apigateway:PATCH", "apigateway:DELETE", "apigateway:TagResource"],
    ),
    "AWS::CloudWatch::Alarm": (
        "arn:aws:cloudwatch:us-east-1:{account}:alarm:{stack}-{id}",
        ["cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms", "cloudwatch:TagResource"],
    ),
    "AWS::CloudWatch::Dashboard": (
        "arn:aws:cloudwatch::{account}:dashboard/{stack}",
        ["cloudwatch:PutDashboard", "cloudwatch:GetDashboard", "cloudwatch:DeleteDashboards"],
    ),
    "AWS::DynamoDB::Table": (
        "arn:aws:dynamodb:us-east-1:{account}:table/{stack}-{id}-1ABC",
        [
            "dynamodb:CreateTable", "dynamodb:DescribeTable", "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive",
            "dynamodb:DeleteTable", "dynamodb:TagResource",
        ],
    ),
    "AWS::IAM::Role": (
        "arn:aws:iam::{account}:role/{stack}-{id}-1ABC",
        [
            "iam:CreateRole", "iam:GetRole", "iam:UpdateRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy",
            "iam:DeleteRolePolicy", "iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePermissionsBoundary",
            "iam:PassRole", "iam:TagRole", "iam:DeleteRole",
        ],
    ),
    "AWS::Lambda::EventInvokeConfig": (
        "arn:aws:lambda:us-east-1:{account}:function:{stack}-{id}-1ABC",
        [
            "lambda:PutFunctionEventInvokeConfig", "lambda:UpdateFunctionEventInvokeConfig",
            "lambda:DeleteFunctionEventInvokeConfig",
        ],
    ),
    "AWS::Lambda::EventSourceMapping": (
        "arn:aws:lambda:us-east-1:{account}:event-source-mapping:5fa9ad3a",
        ["lambda:CreateEventSourceMapping", "lambda:UpdateEventSourceMapping", "lambda:DeleteEventSourceMapping"],
    ),
    "AWS::Lambda::Function": (
        "arn:aws:lambda:us-east-1:{account}:function:{stack}-{id}-1ABC",
        [
            "lambda:CreateFunction", "lambda:GetFunction", "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration", "lambda:PutFunctionConcurrency", "lambda:DeleteFunctionConcurrency",
            "lambda:TagResource", "lambda:DeleteFunction",
        ],
    ),
    "AWS::Lambda::Permission": (
        "arn:aws:lambda:us-east-1:{account}:function:{stack}-{id}-1ABC",
        ["lambda:AddPermission", "lambda:GetPolicy", "lambda:RemovePermission"],
    ),
    "AWS::Logs::LogGroup": (
        "arn:aws:logs:us-east-1:{account}:log-group:{stack}-{id}-1ABC",
        ["logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:DeleteLogGroup", "logs:TagResource"],
    ),
    # A metric filter belongs to its log group, which is the resource that IAM knows.
    "AWS::Logs::MetricFilter": (
        "arn:aws:logs:us-east-1:{account}:log-group:{stack}-DeliverMessageLogs-1ABC",
        ["logs:PutMetricFilter", "logs:DescribeMetricFilters", "logs:DeleteMetricFilter"],
    ),
    # A saved query has an id that CloudWatch Logs makes, and no resource in IAM.
    "AWS::Logs::QueryDefinition": (
        "*", ["logs:PutQueryDefinition", "logs:DeleteQueryDefinition", "logs:DescribeQueryDefinitions"],
    ),
    "AWS::Route53::RecordSet": (
        "arn:aws:route53:::hostedzone/Z1ABC",
        ["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets"],
    ),
    "AWS::SQS::Queue": (
        "arn:aws:sqs:us-east-1:{account}:{stack}-{id}-1ABC",
        ["sqs:CreateQueue", "sqs:GetQueueAttributes", "sqs:SetQueueAttributes", "sqs:DeleteQueue", "sqs:TagQueue"],
    ),
    "AWS::Scheduler::Schedule": (
        "arn:aws:scheduler:us-east-1:{account}:schedule/default/{stack}-{id}-1ABC",
        ["scheduler:CreateSchedule", "scheduler:GetSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule"],
    ),
    # CloudFormation names a secret by its logical id, without the stack's name.
    "AWS::SecretsManager::Secret": (
        "arn:aws:secretsmanager:us-east-1:{account}:secret:{id}-1ABC",
        [
            "secretsmanager:CreateSecret", "secretsmanager:DescribeSecret", "secretsmanager:UpdateSecret",
            "secretsmanager:DeleteSecret", "secretsmanager:TagResource",
        ],
    ),
    "AWS::SecretsManager::RotationSchedule": (
        "arn:aws:secretsmanager:us-east-1:{account}:secret:CallerSecret-1ABC",
        ["secretsmanager:RotateSecret", "secretsmanager:DescribeSecret", "secretsmanager:CancelRotateSecret"],
    ),
    # CloudFormation creates, updates and deletes it by invoking the function.
    "Custom::LiveAgentChannel": (
        "arn:aws:lambda:us-east-1:{account}:function:{stack}-RegisterChannelFunction-1ABC",
        ["lambda:InvokeFunction"],
    ),
}

# The property by which the template can give a resource a name of its own.
NAME_PROPERTIES = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::Scheduler::Schedule": "Name",
    "AWS::SecretsManager::Secret": "Name",
}

# What `make deploy` and `sam package` call themselves.
DEPLOYING = {
    f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/{STACK}/1abc": [
        "cloudformation:CreateChangeSet", "cloudformation:DeleteChangeSet", "cloudformation:DeleteStack",
        "cloudformation:DescribeChangeSet", "cloudformation:DescribeStackEvents", "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet",
    ],
    "arn:aws:cloudformation:us-east-1:aws:transform/Serverless-2016-10-31": ["cloudformation:CreateChangeSet"],
    f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/aws-sam-cli-managed-default/1abc": ["cloudformation:DescribeStacks"],
    "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-1abc": [
        "s3:CreateBucket", "s3:ListBucket", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging",
        "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration",
    ],
    "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-1abc/key": ["s3:GetObject", "s3:PutObject"],
    "*": ["lambda:GetAccountSettings"],
}

# IAM actions that are no API operation: permission-only ones, and those whose operation has another name.
NO_OPERATION = {
    "cloudformation:TagResource", "iam:PassRole", "lambda:InvokeFunction",
    # Needed to send an HTTP API's access log to CloudWatch Logs.
    "logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:GetLogDelivery", "logs:ListLogDeliveries",
    "logs:UpdateLogDelivery",
}


def template():
    return yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))


def translated(template):
    """The template as CloudFormation gets it: with the resources that SAM generates."""
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        # The translator accepts only code that was uploaded.
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    parameters = {name: parameter.get("Default", "x") for name, parameter in template["Parameters"].items()}
    session = boto3.session.Session(region_name="us-east-1")
    return Translator({}, Parser(), boto_session=session).translate(template, parameters)["Resources"]


def policy():
    return json.loads((ROOT / "docs/deploy-role.json").read_text(encoding="utf-8"))


def as_list(value):
    return value if isinstance(value, list) else [value]


def allows(policy, action, arn):
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(action.lower(), pattern.lower()) for pattern in as_list(statement["Action"]))
        and any(fnmatchcase(arn, pattern) for pattern in as_list(statement["Resource"]))
        for statement in policy["Statement"]
    )


def own_name(resource):
    """The name that the template gives to a resource, or None where CloudFormation makes one from the stack's name."""
    value = resource.get("Properties", {}).get(NAME_PROPERTIES.get(resource["Type"]))
    if value is None:
        return None
    text = value.get("Fn::Sub", value.get("Ref", "")) if isinstance(value, dict) else value
    text = text[0] if isinstance(text, list) else text
    text = STACK if text == "AWS::StackName" else text.replace("${AWS::StackName}", STACK)
    return re.sub(r"\$\{[^}]*\}", "x", text)


def arn_of(pattern, logical_id, resource):
    name = own_name(resource)
    if name is not None:
        pattern = re.sub(r"(\{stack\}-)?\{id\}(-1ABC)?|\{stack\}$", lambda _: name, pattern)
    return pattern.format(account=ACCOUNT, stack=STACK, id=logical_id)


def missing(policy, resources):
    """What the policy lacks, as sentences."""
    found = []
    for logical_id, resource in sorted(resources.items()):
        if resource["Type"] not in NEEDED:
            found.append(f"{resource['Type']} ({logical_id}) has no row in NEEDED: add it there and to docs/deploy-role.json")
            continue
        pattern, actions = NEEDED[resource["Type"]]
        arn = arn_of(pattern, logical_id, resource)
        found += [f"{resource['Type']} ({logical_id}) needs {action} on {arn}" for action in actions if not allows(policy, action, arn)]
    return found


def guide():
    return (ROOT / "docs/guides/deploy.md").read_text(encoding="utf-8")


def idle_cost():
    """The table of the cost of an idle stack as two columns: with an API key and with a token at 8x8. The keys are the first
    words of the items."""
    table = guide().split("## Cost of an idle stack")[1]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", table, re.MULTILINE)[2:]]
    items = [re.split(r"[,;:] | of the empty", item)[0] if not item.startswith("all of it") else item for item, *_ in rows]
    return dict(zip(items, (row[1] for row in rows))), dict(zip(items, (row[2] for row in rows)))


def custom_metrics(tokens):
    """The metrics that an idle stack writes all the time: those of each token, and those of the customers who wait."""
    telemetry = (ROOT / "shared/src/telemetry.rs").read_text(encoding="utf-8")
    return tokens * telemetry.count('"Token" => token)') + len(re.findall(r'histogram!\("(?:HandoversWaiting|OldestWaiting)"\)', telemetry))


# What an account has for nothing: number and price of one.
FREE = {
    "alarm metrics": (10, Decimal("0.10")),
    "dashboard": (3, Decimal("3.00")),
    "custom metrics": (10, Decimal("0.30")),
    "Lambda's polling": (1_000_000, Decimal("0.50") / 1_000_000),
}


def product(formula):
    """What a formula of the table is: `5 × 131,400 × $0.50 / million`."""
    factors, _, divisor = formula.replace("$", "").replace(",", "").partition(" / ")
    result = Decimal(1)
    for factor in factors.split(" × "):
        result *= Decimal(factor)
    return result / Decimal(divisor.replace("million", "1000000") or 1)


def to_five_cents(dollars):
    return round(dollars * 20) / Decimal(20)


class DeployRole(unittest.TestCase):
    maxDiff = None

    def test_allows_every_resource_of_the_template(self):
        self.assertEqual(missing(policy(), translated(template())), [])

    def test_allows_what_the_deployment_itself_calls(self):
        lacking = [(action, arn) for arn, actions in DEPLOYING.items() for action in actions if not allows(policy(), action, arn)]
        self.assertEqual(lacking, [])

    def test_a_made_up_resource_type_is_noticed(self):
        changed = template()
        changed["Resources"]["Extra"] = {"Type": "AWS::MadeUp::Thing", "Properties": {}}
        self.assertIn("AWS::MadeUp::Thing (Extra)", "\n".join(missing(policy(), translated(changed))))

    def test_every_missing_action_is_noticed(self):
        resources = translated(template())
        for kind in {resource["Type"] for resource in resources.values()} & NEEDED.keys():
            for needed in NEEDED[kind][1]:
                changed = policy()
                for statement in changed["Statement"]:
                    statement["Action"] = [
                        action for action in as_list(statement["Action"]) if not fnmatchcase(needed.lower(), action.lower())
                    ]
                self.assertIn(f"needs {needed} on", "\n".join(missing(changed, resources)), kind)

    def test_another_stack_name_is_not_covered(self):
        for arn in [f"arn:aws:iam::{ACCOUNT}:role/admin", f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:other"]:
            for action in ["iam:PassRole", "iam:PutRolePolicy", "lambda:UpdateFunctionCode"]:
                self.assertFalse(allows(policy(), action, arn), (action, arn))

    def test_its_conditions_hold_for_the_templates_roles(self):
        conditions = {key: value for statement in policy()["Statement"]
                      for operator in statement.get("Condition", {}).values() for key, value in operator.items()}
        attachable = {arn.rsplit(":", 1)[1] for arn in as_list(conditions["iam:PolicyARN"])}
        passable = set(as_list(conditions["iam:PassedToService"]))
        for logical_id, resource in translated(template()).items():
            if resource["Type"] != "AWS::IAM::Role":
                continue
            attached = json.dumps(resource["Properties"].get("ManagedPolicyArns", []))
            self.assertLessEqual(set(re.findall(r":(policy/[\w/-]+)", attached)), attachable, logical_id)
            trusted = json.dumps(resource["Properties"]["AssumeRolePolicyDocument"])
            self.assertLessEqual(set(re.findall(r"[\w.-]+\.amazonaws\.com", trusted)), passable, logical_id)

    def test_every_action_exists(self):
        operations = {}
        for action in sorted({action for statement in policy()["Statement"] for action in as_list(statement["Action"])}):
            service, name = action.split(":")
            # API Gateway's actions are HTTP methods, and S3's have other names than its operations.
            if service in ("apigateway", "s3") or action in NO_OPERATION:
                continue
            if service not in operations:
                client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
                operations[service] = client.meta.service_model.operation_names
            self.assertTrue(any(fnmatchcase(operation, name) for operation in operations[service]), action)

    def test_fits_into_a_managed_policy(self):
        self.assertLessEqual(len(re.sub(r"\s", "", json.dumps(policy()))), LONGEST_POLICY)


class Guide(unittest.TestCase):
    def test_the_example_of_a_parameter_file_is_complete(self):
        example = json.loads(re.search(r"```json\n(.*?)```", guide(), re.DOTALL).group(1))
        parameters = template()["Parameters"]
        self.assertLessEqual(example.keys(), parameters.keys())
        environment = set(re.findall(r"LIVE_AGENT_([A-Z_]+)=", guide()))
        given = {name for name in parameters if re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() in environment}
        required = {name for name, parameter in parameters.items() if "Default" not in parameter}
        self.assertLessEqual(required, example.keys() | given)

    def test_the_cost_counts_what_the_template_has_in_both_cases(self):
        with_key, with_token = idle_cost()
        for column, has_token in ((with_key, False), (with_token, True)):
            resources = [resource for resource in template()["Resources"].values()
                         if has_token or resource.get("Condition") != "HasToken"]
            kinds = [resource["Type"] for resource in resources]
            alarms = [resource for resource in resources if resource["Type"] == "AWS::CloudWatch::Alarm"]
            # An alarm of a metric expression is billed by the metrics that it reads.
            metrics = sum(max(1, sum("MetricStat" in metric for metric in alarm["Properties"].get("Metrics", [])))
                          for alarm in alarms)
            expected = {
                "secrets": kinds.count("AWS::SecretsManager::Secret"),
                "alarm metrics": metrics,
                "dashboard": kinds.count("AWS::CloudWatch::Dashboard"),
                "custom metrics": custom_metrics(tokens=1 + has_token),
            }
            counts = {item: int(cell.split(" × ")[0]) for item, cell in column.items() if item in expected}
            self.assertEqual(counts, expected, f"{has_token=}")
            alarms_of_the_case = f"or {len(alarms)} with a token;" if has_token else f"of {len(alarms)} alarms,"
            self.assertIn(alarms_of_the_case, re.search(r"^\| alarm metrics(.*?)\|", guide(), re.MULTILINE).group(1))

    def test_the_cost_is_calculated_correctly_in_both_cases(self):
        for column in idle_cost():
            total = free = Decimal(0)
            for item, cell in column.items():
                if item.startswith("all of it"):
                    continue
                formula, dollars = re.fullmatch(r"(?:(.*) = |< )\$(\d+\.\d\d)", cell).groups()
                dollars = Decimal(dollars)
                if formula:
                    self.assertEqual(round(product(formula), 2), dollars, (item, cell))
                total += dollars
                allowance, price = FREE.get(item, (0, 0))
                free += max(Decimal(0), dollars - allowance * price)
            totals = [Decimal(cell.removeprefix("≈ $")) for item, cell in column.items() if item.startswith("all of it")]
            self.assertEqual(totals, [to_five_cents(total), to_five_cents(free)])


if __name__ == "__main__":
    unittest.main()
