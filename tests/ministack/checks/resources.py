"""How the resources of a stack are made: read back, without a use of them."""

import json

from .calls import queue_arn, queue_attributes
from .expectations import check, expect, expect_equal, expect_may

# Whose silence is no good news: a token's life is reported every five minutes, a review takes place once a day.
MISSING_DATA = {"BotTokenLife": "missing", "ContactCenterTokenLife": "missing", "NobodyJoins": "missing",
                "ChannelDrift": "ignore"}
ROUTES = ["ANY /v1/liveAgent/conversations", "ANY /v1/liveAgent/conversations/{proxy+}", "POST /tenant-users/oauth2/token",
          "POST /v1/liveAgent/receiveMessage"]


@check()
def the_outputs_name_what_exists(world, stack):
    outputs, resources = stack.outputs, stack.resources()
    registered = world.peers.registered()
    webhook = world.peers.webhook(outputs["WebhookId"])
    channel = world.peers.channel(outputs["ChannelId"])
    expect(webhook and channel, f"8x8 has no such webhook or channel: {registered}")
    expect_equal(channel["webHookId"], webhook["id"], "the channel's webhook")
    expect_equal(webhook["uri"], outputs["CallbackUrl"], "the webhook's URL")
    expect_equal(outputs["ReceiveMessageUrl"], outputs["CallbackUrl"], "the API's own address, where no other is given")
    expect(outputs["CallbackUrl"].endswith("/v1/liveAgent/receiveMessage"), outputs["CallbackUrl"])
    expect(outputs["TokenUrl"].endswith("/tenant-users/oauth2/token"), outputs["TokenUrl"])
    expect(outputs["ConversationsUrl"].endswith("/v1/liveAgent/conversations"), outputs["ConversationsUrl"])
    for output, logical_id in (("CallerSecretArn", "CallerSecret"), ("ContactCenterSecretArn", "ContactCenterSecret"),
                               ("BotSecretArn", "BotSecret"), ("ChannelSecretArn", "ChannelSecret")):
        expect_equal(outputs[output], resources[logical_id][0], output)
        expect(outputs[output].startswith("arn:aws:secretsmanager:"), f"{output} is no ARN: {outputs[output]}")
    for name in ("RegisterChannelFunction", "ManageDeadLettersFunction"):
        expect_equal(outputs[name], resources[name][0], name)


@check()
def the_queues_are_as_the_readme_says(world, stack):
    """What MiniStack's SQS would take hours to show: the redrive after many receives, the retention."""
    events, dead = (queue_attributes(world, stack.physical_id(name)) for name in ("EventQueue", "DeadLetterQueue"))
    policy = json.loads(events.get("RedrivePolicy", "{}"))
    expect_equal(policy.get("deadLetterTargetArn"), dead["QueueArn"], "the target of the event queue's redrive policy")
    # Six hours of outage are fewer receives than this: 75 s apart they are 288.
    expect(int(policy["maxReceiveCount"]) >= 288, f"maxReceiveCount {policy['maxReceiveCount']}")
    for name, attributes in (("event queue", events), ("dead-letter queue", dead)):
        expect_equal(attributes.get("FifoQueue"), "true", f"FifoQueue of the {name}")
        expect_equal(attributes["MessageRetentionPeriod"], "1209600", f"retention of the {name}, 14 days")
    timeout = world.client("lambda").get_function_configuration(
        FunctionName=stack.physical_id("DeliverMessageFunction"))["Timeout"]
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    expect(int(events["VisibilityTimeout"]) >= 6 * timeout, f"VisibilityTimeout {events['VisibilityTimeout']}")
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"):
        expect_may(world, stack.physical_id("DeliverMessageRole"), action, events["QueueArn"])
    mappings = world.client("lambda").list_event_source_mappings(
        FunctionName=stack.physical_id("DeliverMessageFunction"))["EventSourceMappings"]
    expect_equal([(mapping["EventSourceArn"], mapping.get("FunctionResponseTypes")) for mapping in mappings],
                 [(events["QueueArn"], ["ReportBatchItemFailures"])], "what deliver-message is invoked by")


@check()
def what_fails_for_good_goes_to_the_schedules_dead_letter_queue(world, stack):
    target = queue_arn(world, stack.physical_id("ScheduleDeadLetterQueue"))
    for function, role in (("RefreshTokensFunction", "RefreshTokensRole"), ("RegisterChannelFunction", "RegisterChannelRole")):
        configs = world.client("lambda").list_function_event_invoke_configs(
            FunctionName=stack.physical_id(function))["FunctionEventInvokeConfigs"]
        targets = [config["DestinationConfig"]["OnFailure"].get("Destination") for config in configs]
        expect_equal(targets, [target], f"OnFailure of {function}")
        expect_may(world, stack.physical_id(role), "sqs:SendMessage", target)


@check("metric-math-alarm")
def the_dashboard_is_json_and_names_the_functions_and_queues_of_the_stack(world, stack):
    body = world.client("cloudwatch").get_dashboard(DashboardName=stack.name)["DashboardBody"]
    text = json.dumps(json.loads(body))
    resources = stack.resources()
    for logical_id, (physical_id, kind) in resources.items():
        # check-integration runs only when an operator invokes it, who sees its errors at once.
        if kind == "AWS::Lambda::Function" and logical_id != "CheckIntegrationFunction":
            expect(physical_id in text, f"the dashboard does not show {logical_id}")
        if kind == "AWS::Logs::LogGroup" and logical_id != "ApiLogs":
            expect(physical_id in text, f"the dashboard does not show {logical_id}")
    for name in ("EventQueue", "DeadLetterQueue"):
        expect(resources[name][0].rsplit("/", 1)[-1] in text, f"the dashboard does not show {name}")
    expect("${" not in text, "the dashboard has a name that was not replaced")


@check("metric-math-alarm")
def every_alarm_watches_a_function_or_queue_of_the_stack(world, stack):
    resources = stack.resources()
    wanted = {physical_id for physical_id, kind in resources.values() if kind == "AWS::CloudWatch::Alarm"}
    expect(wanted, "the stack has no alarms")
    alarms = {}
    for page in world.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack.name}-"):
        alarms.update({alarm["AlarmName"]: alarm for alarm in page["MetricAlarms"]})
    expect_equal(sorted(alarms), sorted(wanted), "the alarms")
    known = {physical_id.rsplit("/", 1)[-1] for physical_id, kind in resources.values()
             if kind in ("AWS::Lambda::Function", "AWS::SQS::Queue", "AWS::ApiGatewayV2::Api")}
    for name, alarm in alarms.items():
        metrics = [metric["MetricStat"]["Metric"] for metric in alarm.get("Metrics", []) if "MetricStat" in metric]
        for metric in metrics or [alarm]:
            expect(metric.get("MetricName") and metric.get("Namespace"), f"{name} has no metric: {alarm}")
            for dimension in metric.get("Dimensions", []):
                if dimension["Name"] in ("FunctionName", "QueueName", "ApiId"):
                    expect(dimension["Value"] in known, f"{name} watches {dimension}, which is not of this stack")
        expected = MISSING_DATA.get(name.removeprefix(f"{stack.name}-"), "notBreaching")
        expect_equal(alarm.get("TreatMissingData"), expected, f"TreatMissingData of {name}")
        expect(alarm.get("AlarmDescription"), f"{name} has no description")


def filtered_metrics(world, stack):
    """(logical id of the log group, namespace, name, value) of each metric that a metric filter makes."""
    found = []
    for logical_id, (physical_id, kind) in stack.resources().items():
        if kind == "AWS::Logs::LogGroup":
            for metric_filter in world.client("logs").describe_metric_filters(logGroupName=physical_id)["metricFilters"]:
                for metric in metric_filter["metricTransformations"]:
                    found.append((logical_id, metric["metricNamespace"], metric["metricName"], metric["metricValue"]))
    return sorted(found)


@check()
def the_metrics_of_the_ordinary_path_are_made_of_the_lines_of_its_functions(world, stack):
    """MiniStack keeps metric filters and applies none; tests/it/template/monitoring.rs holds their patterns against real lines."""
    namespace = f"LiveAgentBridge/{stack.name}"
    expect_equal(filtered_metrics(world, stack), [
        ("DeliverMessageLogs", namespace, "EventAge", "$.age_ms"),
        ("DeliverMessageLogs", namespace, "EventsDelivered", "1"),
        ("ReceiveMessageLogs", namespace, "EventsReceived", "1")], "the metric filters")
    alarm = world.client("cloudwatch").describe_alarms(AlarmNames=[f"{stack.name}-DeliveryAge"])["MetricAlarms"][0]
    expect_equal((alarm["Namespace"], alarm["MetricName"], alarm.get("Dimensions", [])), (namespace, "EventAge", []),
                 "the metric of DeliveryAge")


@check()
def the_functions_write_to_the_log_groups_of_the_stack(world, stack):
    logs = world.client("logs")
    known = {group["logGroupName"]: group for page in logs.get_paginator("describe_log_groups").paginate()
             for group in page["logGroups"]}
    for logical_id, (physical_id, kind) in stack.resources().items():
        if kind == "AWS::Logs::LogGroup":
            expect(physical_id in known, f"there is no log group {physical_id}")
            expect_equal(known[physical_id].get("retentionInDays"), 30, f"retention of {logical_id}")
        if kind == "AWS::Lambda::Function":
            config = world.client("lambda").get_function_configuration(FunctionName=physical_id)["LoggingConfig"]
            group = stack.physical_id(logical_id.removesuffix("Function") + "Logs")
            expect_equal((config.get("LogGroup"), config.get("LogFormat")), (group, "JSON"), f"LoggingConfig of {logical_id}")
            for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
                expect_may(world, stack.physical_id(logical_id.removesuffix("Function") + "Role"), action, known[group]["arn"])


@check()
def api_gateway_may_invoke_the_function_of_each_route(world, stack):
    api = stack.physical_id("Api")
    gateway, functions = world.client("apigatewayv2"), world.client("lambda")
    integrations = {each["IntegrationId"]: each for each in gateway.get_integrations(ApiId=api)["Items"]}
    routes = gateway.get_routes(ApiId=api)["Items"]
    expect_equal(sorted(route["RouteKey"] for route in routes), ROUTES, "the routes")
    for route in routes:
        integration = integrations[route["Target"].removeprefix("integrations/")]
        expect_equal(integration["PayloadFormatVersion"], "2.0", f"payload format of {route['RouteKey']}")
        function = integration["IntegrationUri"].rsplit(":function:", 1)[-1].removesuffix("/invocations")
        statements = json.loads(functions.get_policy(FunctionName=function)["Policy"])["Statement"]
        verb, path = route["RouteKey"].split(" ")
        # The ARN of a route, with * for any method and for a greedy path variable:
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
        suffix = f"/*/{'*' if verb == 'ANY' else verb}{path.replace('{proxy+}', '*')}"
        allowed = [str(statement.get("Condition")) for statement in statements
                   if statement["Principal"] == {"Service": "apigateway.amazonaws.com"}
                   and statement["Action"] == "lambda:InvokeFunction"]
        expect(any(f":{api}{suffix}'" in condition for condition in allowed),
               f"API Gateway may not invoke {function} for {route['RouteKey']}: {allowed}")


@check("time-to-live")
def the_tables_forget(world, stack):
    for table in ("IdempotencyTable", "HandoverTable"):
        response = world.client("dynamodb").describe_time_to_live(TableName=stack.physical_id(table))
        description = response["TimeToLiveDescription"]
        expect_equal((description["TimeToLiveStatus"], description.get("AttributeName")), ("ENABLED", "expires_at"),
                     f"time to live of {table}")
