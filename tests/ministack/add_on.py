"""Fills gaps of MiniStack 1.5.33 inside its own process, so that our template can be judged on it.

Each entry names the gap and AWS's page that its replacement follows. `install()` puts all of them in force; launcher.py
calls it before MiniStack serves its first request. The tests name for each check the entries that it rests on: such a
check judges our template against our own reading of that page, not against MiniStack's.
"""

import contextvars
import json
import re
import string
import threading
import time
import uuid
from dataclasses import dataclass
from functools import wraps


@dataclass(frozen=True)
class Entry:
    name: str
    gap: str
    page: str
    fill: object


ENTRIES = {}


def entry(name, gap, page):
    """Registers a function that replaces a part of MiniStack."""

    def register(fill):
        ENTRIES[name] = Entry(name, gap, page, fill)
        return fill

    return register


def install():
    for each in ENTRIES.values():
        each.fill()


def after_create_and_update(kind, apply):
    """Makes `apply(physical id, properties)` follow on what MiniStack does for a type of resource."""
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS[kind]
    create, update = handlers["create"], handlers["update"]

    def create_and_apply(logical_id, props, stack_name):
        physical_id, attributes = create(logical_id, props, stack_name)
        apply(physical_id, props)
        return physical_id, attributes

    def update_and_apply(physical_id, old, new, stack_name, logical_id=None):
        physical_id, attributes = update(physical_id, old, new, stack_name, logical_id)
        apply(physical_id, new)
        return physical_id, attributes

    handlers.update(create=create_and_apply, update=update_and_apply)


# ---- Secrets Manager -----------------------------------------------------------------------------------------------


@entry(
    "secret-ref",
    "Ref of AWS::SecretsManager::Secret is the secret's name instead of its ARN",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html"
    "#aws-resource-secretsmanager-secret-return-values",
)
def secret_ref():
    from ministack.services import secretsmanager
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def name_of(arn):
        return secretsmanager._resolve(arn)[0] or arn

    def create_by_arn(logical_id, props, stack_name):
        _, attributes = create(logical_id, props, stack_name)
        return attributes["Arn"], attributes

    def update_by_arn(arn, old, new, stack_name, logical_id=None):
        _, attributes = update(name_of(arn), old, new, stack_name, logical_id)
        return attributes["Arn"], attributes

    def delete_by_arn(arn, props):
        delete(name_of(arn), props)

    handlers.update(create=create_by_arn, update=update_by_arn, delete=delete_by_arn)


@entry(
    "generated-secret",
    "GenerateSecretString ignores ExcludePunctuation",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/"
    "aws-properties-secretsmanager-secret-generatesecretstring.html",
)
def generated_secret():
    from ministack.services.cloudformation import provisioners

    generate = provisioners._sm_secret_string

    def without_punctuation(props):
        generation = props.get("GenerateSecretString")
        if generation and provisioners._cfn_bool(generation.get("ExcludePunctuation")):
            excluded = generation.get("ExcludeCharacters", "") + string.punctuation
            props = {**props, "GenerateSecretString": {**generation, "ExcludeCharacters": excluded}}
        return generate(props)

    provisioners._sm_secret_string = without_punctuation


# The four steps, in the order in which Secrets Manager invokes the function.
ROTATION_STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@entry(
    "rotation",
    "RotateSecret copies the current value and never invokes the rotation function",
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html",
)
def rotation():
    from ministack.core.responses import error_response_json, json_response, new_uuid
    from ministack.services import lambda_svc, secretsmanager

    def may_invoke(function, secret):
        """Whether the function's policy allows Secrets Manager to invoke it for this secret."""
        for statement in function.get("policy", {}).get("Statement", []):
            principal = statement.get("Principal", {})
            condition = json.dumps(statement.get("Condition", {}))
            if (principal.get("Service") == "secretsmanager.amazonaws.com"
                    and ("SourceArn" not in condition or secret["ARN"] in condition)):
                return True
        return False

    def run(function, config, secret, version):
        """Invokes the steps one after another. A step that fails ends the rotation; its version stays pending."""
        record = lambda_svc._execution_record_for_config(function, config)
        for step in ROTATION_STEPS:
            event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": version}
            result = lambda_svc._execute_function_with_config_scope(record, event)
            if result.get("error"):
                return
        secret["LastRotatedDate"] = int(time.time())

    def rotate(data):
        _, secret = secretsmanager._resolve(data.get("SecretId"))
        if not secret:
            return error_response_json(
                "ResourceNotFoundException", "Secrets Manager can't find the specified secret.", 400)
        arn = data.get("RotationLambdaARN") or secret.get("RotationLambdaARN")
        function, config, _ = lambda_svc._get_func_record_for_ref(arn or "")
        if function is None or not may_invoke(function, secret):
            return error_response_json(
                "AccessDeniedException",
                "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants "
                "access to the principal secretsmanager.amazonaws.com.", 400)
        # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
        if any("AWSPENDING" in each["Stages"] and "AWSCURRENT" not in each["Stages"] for each in secret["Versions"].values()):
            return error_response_json(
                "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.", 400)
        secret.update(RotationEnabled=True, RotationLambdaARN=arn,
                      RotationRules=data.get("RotationRules") or secret.get("RotationRules"))
        version = data.get("ClientRequestToken") or new_uuid()
        if str(data.get("RotateImmediately", True)).lower() != "false":
            # The version exists, pending and without a value, before the first step: each step finds its label, which no
            # other version has.
            secretsmanager._remove_stage_everywhere(secret, "AWSPENDING")
            secret["Versions"][version] = {
                "SecretString": None, "SecretBinary": None, "CreatedDate": int(time.time()), "Stages": ["AWSPENDING"]}
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(run, function, config, secret, version), daemon=True).start()
        return json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": version})

    get_secret_value, describe_secret = secretsmanager._get_secret_value, secretsmanager._describe_secret

    def get_a_value(data):
        """A pending version has no value before the function has put one."""
        status, headers, body = get_secret_value(data)
        answer = json.loads(body)
        if status == 200 and "SecretString" not in answer and "SecretBinary" not in answer:
            return error_response_json(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for VersionId: " + answer["VersionId"], 400)
        return status, headers, body

    def describe_with_rotation(data):
        status, headers, body = describe_secret(data)
        _, secret = secretsmanager._resolve(data.get("SecretId"))
        if status == 200 and "LastRotatedDate" in secret:
            return json_response({**json.loads(body), "LastRotatedDate": secret["LastRotatedDate"]})
        return status, headers, body

    secretsmanager._rotate_secret = rotate
    secretsmanager._get_secret_value = get_a_value
    secretsmanager._describe_secret = describe_with_rotation


@entry(
    "rotation-schedule",
    "AWS::SecretsManager::RotationSchedule is unknown",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/"
    "aws-resource-secretsmanager-rotationschedule.html",
)
def rotation_schedule():
    from ministack.services import secretsmanager
    from ministack.services.cloudformation import provisioners

    def schedule(props, immediately):
        status, _, body = secretsmanager._rotate_secret({
            "SecretId": props["SecretId"], "RotationLambdaARN": props.get("RotationLambdaARN"),
            "RotationRules": props.get("RotationRules"), "RotateImmediately": immediately})
        answer = json.loads(body)
        if status >= 400:
            raise ValueError(answer.get("message") or answer.get("Message"))
        return answer["ARN"], {}

    def create(_logical_id, props, _stack_name):
        # The creation of the schedule rotates the secret at once.
        return schedule(props, True)

    def update(_physical_id, _old, new, _stack_name):
        # RotateImmediatelyOnUpdate is true when the template leaves it out.
        return schedule(new, new.get("RotateImmediatelyOnUpdate", True))

    def delete(physical_id, _props):
        _, secret = secretsmanager._resolve(physical_id)
        if secret:
            secret.update(RotationEnabled=False, RotationLambdaARN=None, RotationRules=None)

    provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::RotationSchedule"] = {
        "create": create, "update": update, "delete": delete}


@entry(
    "query-definition",
    "AWS::Logs::QueryDefinition is unknown",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-querydefinition.html",
)
def query_definition():
    from ministack.services.cloudformation import provisioners

    def create(_logical_id, props, _stack_name):
        missing = [name for name in ("Name", "QueryString") if not props.get(name)]
        if missing:
            raise ValueError(f"AWS::Logs::QueryDefinition requires {missing}")
        # A saved query does nothing until a person opens it in the console, which MiniStack does not have.
        return str(uuid.uuid4()), {}

    def update(physical_id, _old, _new, _stack_name):
        return physical_id, {}

    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": create, "update": update, "delete": lambda _physical_id, _props: None}


# ---- CloudFormation ------------------------------------------------------------------------------------------------


@entry(
    "failed-create-is-deleted",
    "the rollback sends no Delete to a custom resource whose Create failed",
    # "Handling Lifecycle Events: Error Handling"; the reference of custom resources itself does not mention this Delete.
    "https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.custom_resources-readme.html",
)
def failed_create_is_deleted():
    from ministack.services.cloudformation import custom_resource, provisioners

    deliver, create = custom_resource.deliver_response, provisioners._custom_resource_create
    # (stack id, logical id) → the physical id of the last response.
    physical_ids = {}

    @wraps(deliver)
    def deliver_response(token, response):
        key = response.get("StackId"), response.get("LogicalResourceId")
        physical_ids[key] = response.get("PhysicalResourceId")
        return deliver(token, response)

    @wraps(create)
    def create_or_delete(logical_id, props, stack_name, *rest):
        try:
            return create(logical_id, props, stack_name, *rest)
        except (RuntimeError, TimeoutError) as failure:
            # CloudFormation sends it when the rollback reaches the resource: first, since it was the last in creation.
            physical_id = physical_ids.get((provisioners._cr_stack_id(stack_name), logical_id))
            try:
                provisioners._custom_resource_delete(
                    physical_id or f"{stack_name}-{logical_id}", props, stack_name, logical_id, *rest)
            except (RuntimeError, TimeoutError) as deletion:
                raise RuntimeError(f"{failure}; and its deletion failed: {deletion}") from None
            raise

    custom_resource.deliver_response = deliver_response
    provisioners._custom_resource_create = create_or_delete


@entry(
    "what-a-failed-deletion-needs-stays",
    "a resource that could not be deleted loses what it depends on: the function that would delete it next time",
    # It says of a forced deletion that what a failed resource depends on is kept; the first deletion has kept it as well.
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cfn-console-delete-stack.html",
)
def what_a_failed_deletion_needs_stays():
    from ministack.services.cloudformation import _stacks, stacks

    delete = stacks._delete_resource
    # (stack, logical id) → the resource that needs it and could not be deleted.
    needed = {}

    @wraps(delete)
    def delete_or_keep(kind, physical_id, props, stack_name=None, logical_id=None):
        if needed_by := needed.get((stack_name, logical_id)):
            raise ValueError(f"{needed_by}, which depends on it, could not be deleted")
        # It is tried again.
        for key in [key for key, name in needed.items() if (key[0], name) == (stack_name, logical_id)]:
            del needed[key]
        try:
            delete(kind, physical_id, props, stack_name, logical_id)
        except (RuntimeError, TimeoutError):
            stack = _stacks.get(stack_name) or {}
            resources = (stack.get("_template") or {}).get("Resources", {})
            for name in stacks._with_dependencies([logical_id], resources, set(stack.get("_resources", {}))):
                if name != logical_id:
                    needed[stack_name, name] = logical_id
            raise

    stacks._delete_resource = delete_or_keep


# ---- API Gateway ---------------------------------------------------------------------------------------------------

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "x-amazon-apigateway-any-method"}


@entry(
    "http-api-body",
    "AWS::ApiGatewayV2::Api ignores Body, the OpenAPI document in which SAM puts all routes",
    "https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-open-api.html",
)
def http_api_body():
    from ministack.services import apigateway

    def read(body):
        """Yields (route key, integration) for each operation of the document."""
        for path, operations in body.get("paths", {}).items():
            for method, operation in operations.items():
                if method in METHODS and "x-amazon-apigateway-integration" in operation:
                    integration = operation["x-amazon-apigateway-integration"]
                    verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
                    yield path if path == "$default" else f"{verb} {path}", {
                        "integrationType": integration["type"].upper(),
                        "integrationUri": integration["uri"],
                        "integrationMethod": integration.get("httpMethod", "POST"),
                        "payloadFormatVersion": str(integration.get("payloadFormatVersion", "1.0")),
                    }

    def take_over(api_id, props):
        body = props.get("Body") or {}
        if "Name" not in props and "title" in body.get("info", {}):
            apigateway._apis[api_id]["name"] = body["info"]["title"]
        apigateway._routes[api_id], apigateway._integrations[api_id] = {}, {}
        for route_key, integration in read(body):
            created = json.loads(apigateway._create_integration(api_id, integration)[2])
            apigateway._create_route(
                api_id, {"routeKey": route_key, "target": f"integrations/{created['integrationId']}"})

    after_create_and_update("AWS::ApiGatewayV2::Api", take_over)


# ---- CloudWatch ----------------------------------------------------------------------------------------------------


@entry(
    "metric-math-alarm",
    "an alarm with Metrics, of metric math, is refused",
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html",
)
def metric_math_alarm():
    from ministack.services.cloudformation import provisioners

    record = provisioners._cw_metric_alarm_record
    # What belongs to the members of Metrics, and may not stand beside them.
    of_one_metric = {"MetricName", "Namespace", "Dimensions", "Period", "Statistic", "ExtendedStatistic", "Unit"}

    def check(name, props):
        metrics = props["Metrics"]
        beside = sorted(of_one_metric & props.keys())
        if beside:
            raise ValueError(f"{name}: {', '.join(beside)} cannot stand beside Metrics")
        ids = [metric["Id"] for metric in metrics]
        if len(set(ids)) != len(ids) or not all(re.fullmatch("[a-z][a-zA-Z0-9_]*", each) for each in ids):
            raise ValueError(f"{name}: the ids of Metrics must differ and start with a lower-case letter")
        if sum(provisioners._cfn_bool(metric.get("ReturnData", True)) for metric in metrics) != 1:
            raise ValueError(f"{name}: exactly one member of Metrics must have ReturnData true")
        for metric in metrics:
            if ("Expression" in metric) == ("MetricStat" in metric):
                raise ValueError(f"{name}: {metric['Id']} needs either Expression or MetricStat")
            used = set(re.findall(r"\b[a-z][a-zA-Z0-9_]*\b", metric.get("Expression", "")))
            unknown = sorted(used - set(ids))
            if unknown:
                raise ValueError(f"{name}: {metric['Id']} uses unknown ids: {', '.join(unknown)}")

    def record_with_metrics(name, props):
        if not props.get("Metrics"):
            return record(name, props)
        check(name, props)
        alarm = record(name, {**{key: value for key, value in props.items() if key != "Metrics"},
                              "MetricName": "-", "Namespace": "-"})
        for key in of_one_metric:
            alarm.pop(key, None)
        alarm["Metrics"] = [
            {**metric, "ReturnData": provisioners._cfn_bool(metric.get("ReturnData", True))} for metric in props["Metrics"]]
        return alarm

    provisioners._cw_metric_alarm_record = record_with_metrics


# ---- DynamoDB and Lambda -------------------------------------------------------------------------------------------


@entry(
    "time-to-live",
    "AWS::DynamoDB::Table ignores TimeToLiveSpecification (items still never expire)",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/"
    "aws-properties-dynamodb-table-timetolivespecification.html",
)
def time_to_live():
    from ministack.services import dynamodb
    from ministack.services.cloudformation import provisioners

    def apply(table, props):
        specification = props.get("TimeToLiveSpecification")
        if specification:
            enabled = provisioners._cfn_bool(specification.get("Enabled"))
            dynamodb._update_ttl({"TableName": table, "TimeToLiveSpecification": {**specification, "Enabled": enabled}})

    after_create_and_update("AWS::DynamoDB::Table", apply)


@entry(
    "reserved-concurrency",
    "AWS::Lambda::Function ignores ReservedConcurrentExecutions",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-function.html"
    "#cfn-lambda-function-reservedconcurrentexecutions",
)
def reserved_concurrency():
    from ministack.services import lambda_svc

    def apply(name, props):
        reserved = props.get("ReservedConcurrentExecutions")
        lambda_svc._functions[name]["concurrency"] = None if reserved is None else int(reserved)

    after_create_and_update("AWS::Lambda::Function", apply)


@entry(
    "log-groups",
    "a function whose log group is deleted makes it again, without the right to; a role of ours lacks logs:CreateLogGroup",
    "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html",
)
def log_groups():
    from ministack.services import cloudwatch_logs, lambda_svc

    emit = lambda_svc._emit_lambda_logs

    @wraps(emit)
    def emit_into_what_exists(func, *rest, **options):
        config = func.get("config") or func
        group = (config.get("LoggingConfig") or {}).get("LogGroup")
        if group is None or group in cloudwatch_logs._log_groups:
            emit(func, *rest, **options)

    lambda_svc._emit_lambda_logs = emit_into_what_exists


# ---- properties that CloudFormation passes on ----------------------------------------------------------------------


@entry(
    "permissions-boundary",
    "AWS::IAM::Role ignores PermissionsBoundary",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-role.html"
    "#cfn-iam-role-permissionsboundary",
)
def permissions_boundary():
    from ministack.services import iam

    def apply(name, props):
        iam._roles[name]["PermissionsBoundary"] = props.get("PermissionsBoundary")

    after_create_and_update("AWS::IAM::Role", apply)


@entry(
    "vpc-config",
    "AWS::Lambda::Function ignores VpcConfig",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-lambda-function-vpcconfig.html",
)
def vpc_config():
    from ministack.services import lambda_svc

    def apply(name, props):
        lambda_svc._functions[name]["config"]["VpcConfig"] = lambda_svc._vpc_config_with_id(props.get("VpcConfig"))

    after_create_and_update("AWS::Lambda::Function", apply)
