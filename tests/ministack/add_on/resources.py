"""The gaps of single types of resource: unknown ones, and properties that are ignored."""

import json
import re
import uuid
from functools import wraps

from .entries import after_create_and_update, entry


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
