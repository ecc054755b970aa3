"""What must hold for a deployed stack. The life cycle runs these checks; a mutant of the template must fail one of them.

A check is a function of (world, stack) that raises AssertionError. `@check` names the entries of the add-on that it rests
on beside those that every check rests on: without them no stack is deployed at all.
"""

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request

from world import wait_for

CHECKS = []
# Without these there is no stack that could be checked, or no route that answers.
EVERY_CHECK = ("secret-ref", "rotation-schedule", "query-definition", "http-api-body", "metric-math-alarm")
# The time limit of API Gateway, 30 s, and some.
HTTP_LIMIT = 35
# deliver-message hides a refused message for 2 s, then 4 s: five refusals within three invocations.
OUTAGE_LIMIT = 30
# An event whose bytes must arrive as they are: a member order, spaces and escapes that no JSON library writes, and every
# kind of Unicode.
TEXT = r'é 😀 \u00e9 \ud83d\ude00 \ud83d alone, \u0000, <&>, ${ApiKey} {{resolve:ssm:x}}'
# Whose silence is no good news: a token's life is reported every five minutes, a review takes place once a day.
MISSING_DATA = {"BotTokenLife": "missing", "ContactCenterTokenLife": "missing", "NobodyJoins": "missing",
                "ChannelDrift": "ignore"}
ROUTES = ["ANY /v1/liveAgent/conversations", "ANY /v1/liveAgent/conversations/{proxy+}", "POST /tenant-users/oauth2/token",
          "POST /v1/liveAgent/receiveMessage"]


def check(*entries):
    def register(function):
        function.entries = entries
        function.sentence = function.__name__.replace("_", " ")
        CHECKS.append(function)
        return function

    return register


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def expect_equal(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


# ---- calls ---------------------------------------------------------------------------------------------------------


def request(url, body=None, headers=None, method="POST"):
    """Returns (status, headers, body) whatever the status is."""
    call = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(call, timeout=HTTP_LIMIT) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()
    except (OSError, http.client.HTTPException) as error:
        raise AssertionError(f"{method} {url}: {error}") from None


def secret(world, arn):
    return json.loads(world.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])


def versions(world, stack):
    """Logical id → the current version of each secret."""
    ids = {}
    for logical_id, (physical_id, kind) in stack.resources().items():
        if kind == "AWS::SecretsManager::Secret":
            stages = world.client("secretsmanager").describe_secret(SecretId=physical_id)["VersionIdsToStages"]
            ids[logical_id] = next(version for version, names in stages.items() if "AWSCURRENT" in names)
    return ids


def invoke(world, stack, function, event):
    """Invokes by logical id; returns the function's answer, or fails with its error."""
    answer = world.client("lambda").invoke(FunctionName=stack.physical_id(function), Payload=json.dumps(event).encode())
    payload = json.loads(answer["Payload"].read() or b"null")
    expect("FunctionError" not in answer, f"{function} failed: {payload}")
    return payload


def event_of(conversation_id, number=1):
    body = (f'{{ "data":{{"text":"{TEXT}"}} ,\n\t"number":{number}, "conversationId" : "{conversation_id}",'
            f'"eventType":"MESSAGE" }}')
    return body.encode()


def send_signed(world, stack, body, **headers):
    return request(stack.outputs["CallbackUrl"], body,
                   {**world.peers.sign(body), "content-type": "application/json", **headers})


def token_of(world, stack):
    """Logs in at our token endpoint as a caller does; returns the two headers of a call."""
    caller = secret(world, stack.outputs["CallerSecretArn"])
    form = urllib.parse.urlencode({
        "grant_type": "password", "username": caller["username"], "password": caller["password"],
        "clientid": caller["app_token"]}).encode()
    status, headers, body = request(
        stack.outputs["TokenUrl"], form, {"content-type": "application/x-www-form-urlencoded"})
    expect_equal(status, 200, f"status of the token endpoint ({body[:200]!r})")
    expect_equal(headers["Cache-Control"], "no-store", "Cache-Control of the token endpoint")
    answer = json.loads(body)
    expect_equal((answer["token_type"], answer["expires_in"]), ("bearer", 3600), "the answer of the token endpoint")
    return {"x-app-token": caller["app_token"], "authorization": f"Bearer {answer['access_token']}"}


def dead_letters(world, stack):
    """Receives, and deletes, what waits in the dead-letter queue."""
    queue = stack.physical_id("DeadLetterQueue")
    sqs = world.client("sqs")
    messages = sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return messages


# ---- the checks ----------------------------------------------------------------------------------------------------


@check("rotation", "generated-secret")
def the_signing_key_is_rotated_when_the_stack_is_created(world, stack):
    """The first rotation fills in what callers log in with: rotate-signing-key takes the four steps."""
    arn = stack.outputs["CallerSecretArn"]

    def rotated():
        return "LastRotatedDate" in world.client("secretsmanager").describe_secret(SecretId=arn)

    wait_for("the first rotation of the caller secret", rotated, limit=15)
    content = secret(world, arn)
    missing = [name for name in ("app_token", "username", "password", "signing_key") if not content.get(name)]
    expect(not missing, f"the caller secret lacks {missing}")
    first = world.client("secretsmanager").get_secret_value(SecretId=arn, VersionStage="AWSPREVIOUS")["SecretString"]
    generated = json.loads(first)["signing_key"]
    expect(generated.isalnum() and len(generated) == 64, "the generated key is not 64 letters and digits")


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


def queue_attributes(world, url):
    return world.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def queue_arn(world, url):
    return queue_attributes(world, url)["QueueArn"]


@check()
def a_signed_event_reaches_the_bot_byte_for_byte(world, stack):
    """The simulated bot platform answers 401 to an event without our app token and its bearer token."""
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    body = event_of(conversation)
    status, _, content = send_signed(world, stack, body)
    expect_equal((status, content), (200, b""), "the answer to a signed event")
    wait_for("the event reaches the bot", lambda: world.peers.receipts(conversation))
    expect_equal(world.peers.receipts(conversation), [body], "what the bot got")


@check()
def an_event_that_8x8_sends_reaches_the_bot(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    body = event_of(conversation)
    world.peers.send_event(conversation, "MESSAGE", body)
    wait_for("the event reaches the bot", lambda: world.peers.receipts(conversation))
    expect_equal(world.peers.receipts(conversation), [body], "what the bot got")


@check()
def an_unsigned_or_forged_event_is_refused_with_401(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    body = event_of(conversation)
    unsigned = request(stack.outputs["CallbackUrl"], body, {"content-type": "application/json"})
    forged = request(stack.outputs["CallbackUrl"], body + b" ",
                     {**world.peers.sign(body), "content-type": "application/json"})
    expect_equal((unsigned[0], forged[0]), (401, 401), "the statuses of an unsigned and of a forged event")
    expect_equal(unsigned[2], forged[2], "the bodies of both refusals")


@check()
def an_event_that_the_bot_rejects_goes_to_the_dead_letter_queue(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    world.peers.refuse(conversation, 400)
    body = event_of(conversation)
    expect_equal(send_signed(world, stack, body)[0], 200, "the status of the event")
    messages = wait_for("the event is in the dead-letter queue", lambda: dead_letters(world, stack))
    kept = base64.b64decode(json.loads(messages[0]["Body"])["body"])
    expect_equal(kept, body, "the body in the dead letter")
    expect_equal(messages[0]["Attributes"]["MessageGroupId"], conversation, "the group of the dead letter")
    expect("400" in json.dumps(messages[0].get("MessageAttributes", {})), "the dead letter does not have the bot's status")
    # The next event of the same conversation is not held up.
    world.peers.accept_again(conversation)
    after = event_of(conversation, 2)
    expect_equal(send_signed(world, stack, after)[0], 200, "the status of the next event")
    wait_for("the next event reaches the bot", lambda: world.peers.receipts(conversation))
    expect_equal(world.peers.receipts(conversation), [after], "what the bot got")


@check()
def a_dead_letter_is_listed_and_redriven(world, stack):
    """Within five minutes after its receipt, in which SQS drops what has the same deduplication id."""
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    world.peers.refuse(conversation, 422)
    bodies = [event_of(conversation, number) for number in (1, 2)]
    for body in bodies:
        expect_equal(send_signed(world, stack, body)[0], 200, "the status of the event")

    def listed():
        letters = invoke(world, stack, "ManageDeadLettersFunction", {"operation": "list"})
        found = [letter for letter in letters if letter["conversation_id"] == conversation]
        return found if len(found) == len(bodies) else None

    letters = wait_for("both events are dead letters", listed)
    expect_equal([(letter["event_type"], letter["status"]) for letter in letters], [("MESSAGE", 422)] * 2, "the letters")
    world.peers.accept_again(conversation)
    done = invoke(world, stack, "ManageDeadLettersFunction", {"operation": "redrive", "conversation_id": conversation})
    ids = [[letter["event_id"] for letter in found] for found in (done["redriven"], letters)]
    expect_equal(ids[0], ids[1], "the letters that were redriven")
    wait_for("both events reach the bot", lambda: len(world.peers.receipts(conversation)) == len(bodies))
    expect_equal(world.peers.receipts(conversation), bodies, "what the bot got, in order")


@check()
def events_that_meet_an_outage_of_the_bot_are_retried_and_stay_in_order(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    before = world.peers.refused(503)
    world.peers.refuse(conversation, 503)
    bodies = [event_of(conversation, number) for number in range(1, 5)]
    for body in bodies:
        expect_equal(send_signed(world, stack, body)[0], 200, "the status of the event")
    wait_for("the bot answered five times with 503", lambda: world.peers.refused(503) - before >= 5, OUTAGE_LIMIT)
    expect_equal(world.peers.receipts(conversation), [], "what the bot accepted while it answered 503")
    world.peers.accept_again(conversation)
    wait_for("all events reach the bot", lambda: len(world.peers.receipts(conversation)) >= len(bodies), OUTAGE_LIMIT)
    expect_equal(world.peers.receipts(conversation), bodies, "what the bot got, in order")


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
def refresh_tokens_keeps_the_tokens_fresh(world, stack):
    """Invoked as its schedule would, which does not fire on MiniStack."""
    clear_token(world, stack, "BotTokenSecret")
    answer = invoke(world, stack, "RefreshTokensFunction", schedule(world, stack, "RefreshTokensFunction"))
    expect_equal(answer["failed"], [], "the tokens that were not refreshed")
    expect("bot" in answer["refreshed"], f"the bot's token is not refreshed: {answer}")
    token = secret(world, stack.physical_id("BotTokenSecret"))
    expect(token.get("access_token") and token.get("expires_at"), "the bot's token is not stored")
    again = invoke(world, stack, "RefreshTokensFunction", schedule(world, stack, "RefreshTokensFunction"))
    expect_equal((again["refreshed"], again["failed"]), ([], []), "a second run")


@check("rotation")
def a_hand_over_is_recorded_and_shown_and_watched(world, stack):
    """watch-handovers is invoked as its schedule would, which does not fire on MiniStack."""
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    queued = {"eventType": "QUEUED", "conversationId": conversation, "timestamp": int(time.time() * 1000),
              "data": {"queueId": "101", "queueName": "Support"}}
    expect_equal(send_signed(world, stack, json.dumps(queued).encode())[0], 200, "the status of the event")
    headers, url = token_of(world, stack), f"{stack.outputs['ConversationsUrl']}/{conversation}/handover"
    wait_for("the hand-over is recorded", lambda: request(url, None, headers, "GET")[0] == 200, 30)
    expect_equal(json.loads(request(url, None, headers, "GET")[2])["state"], "queued", "the state of the hand-over")
    answer = invoke(world, stack, "WatchHandoversFunction", schedule(world, stack, "WatchHandoversFunction"))
    expect(answer["waiting"] >= 1, f"no customer waits: {answer}")


def clear_token(world, stack, logical_id):
    world.client("secretsmanager").put_secret_value(SecretId=stack.physical_id(logical_id), SecretString="{}")


def schedule(world, stack, function):
    """The input of the schedule whose target is `function`, after its role and target were looked at."""
    scheduler = world.client("scheduler")
    arn = world.client("lambda").get_function_configuration(FunctionName=stack.physical_id(function))["FunctionArn"]
    for summary in scheduler.list_schedules()["Schedules"]:
        found = scheduler.get_schedule(Name=summary["Name"], GroupName=summary["GroupName"])
        if found["Target"]["Arn"] == arn:
            expect_equal(found["State"], "ENABLED", f"the state of the schedule of {function}")
            expect_may(world, found["Target"]["RoleArn"], "lambda:InvokeFunction", arn)
            expect_may(world, found["Target"]["RoleArn"], "sqs:SendMessage", found["Target"]["DeadLetterConfig"]["Arn"])
            return json.loads(found["Target"].get("Input") or "{}")
    raise AssertionError(f"no schedule invokes {function}")


def expect_may(world, role_arn, action, resource):
    """What AWS and not a function does with the role, so that MiniStack does not ask: its policies must allow it."""
    iam, role = world.client("iam"), role_arn.rsplit("/", 1)[-1]
    statements = []
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        document = json.loads(urllib.parse.unquote(document)) if isinstance(document, str) else document
        statements += document["Statement"]
    for statement in statements:
        actions, resources = (value if isinstance(value, list) else [value]
                              for value in (statement["Action"], statement["Resource"]))
        if statement["Effect"] == "Allow" and action in actions and resource in resources:
            return
    raise AssertionError(f"{role} may not {action} on {resource}")


@check("rotation")
def a_caller_gets_a_token_and_a_wrong_password_gets_none(world, stack):
    token_of(world, stack)
    form = urllib.parse.urlencode({
        "grant_type": "password", "username": "live-agent", "password": "wrong",
        "clientid": secret(world, stack.outputs["CallerSecretArn"])["app_token"]}).encode()
    status, _, body = request(stack.outputs["TokenUrl"], form, {"content-type": "application/x-www-form-urlencoded"})
    expect((status, json.loads(body).get("error")) in ((400, "invalid_grant"), (401, "invalid_client")),
           f"a wrong password: {status} {body!r}")


@check("rotation")
def the_bot_opens_a_conversation_and_speaks_in_it(world, stack):
    headers = {**token_of(world, stack), "content-type": "application/json"}
    url = stack.outputs["ConversationsUrl"]
    expect_equal(request(url, b"{}", {"content-type": "application/json"})[0], 401, "a call without credentials")
    new = json.dumps({"user": {"name": "Ada Byron é", "language": "en"}}).encode()
    status, _, body = request(url, new, headers)
    expect_equal(status, 202, f"the status of a new conversation ({body[:300]!r})")
    conversation = json.loads(body)["conversationId"]
    message = json.dumps({"authorType": "user", "text": "Où est ma facture ? 😀"}).encode()
    # With the key the answer goes through the table: said once, answered twice.
    for replayed in (None, "true"):
        status, answer_headers, body = request(
            f"{url}/{conversation}/messages", message, {**headers, "idempotency-key": f"key-{conversation}"})
        expect_equal((status, answer_headers.get("Idempotent-Replayed")), (202, replayed),
                     f"the status of a message ({body[:300]!r})")
    expect_equal(world.peers.said(conversation), [["user", "Où est ma facture ? 😀"]], "what was said at 8x8")


@check()
def the_daily_review_finds_everything_in_sync(world, stack):
    answer = invoke(world, stack, "RegisterChannelFunction", schedule(world, stack, "RegisterChannelFunction"))
    expect_equal((answer.get("in_sync"), answer.get("differences")), (True, []), "the review")


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
        answer = world.client("dynamodb").describe_time_to_live(TableName=stack.physical_id(table))
        description = answer["TimeToLiveDescription"]
        expect_equal((description["TimeToLiveStatus"], description.get("AttributeName")), ("ENABLED", "expires_at"),
                     f"time to live of {table}")


# ---- what a deleted stack may leave --------------------------------------------------------------------------------


def inventory(world):
    """(service, name) of everything in the account that a stack of ours can make."""
    client = world.client
    found = set()

    def add(kind, names):
        found.update((kind, name) for name in names)

    def pages(service, operation, member, name, **options):
        for page in client(service).get_paginator(operation).paginate(**options):
            yield from (item[name] if name else item for item in page.get(member, []))

    add("function", pages("lambda", "list_functions", "Functions", "FunctionName"))
    add("event source mapping", pages("lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"))
    add("queue", pages("sqs", "list_queues", "QueueUrls", None))
    add("secret", pages("secretsmanager", "list_secrets", "SecretList", "ARN", IncludePlannedDeletion=True))
    add("table", pages("dynamodb", "list_tables", "TableNames", None))
    add("role", pages("iam", "list_roles", "Roles", "RoleName"))
    add("log group", pages("logs", "describe_log_groups", "logGroups", "logGroupName"))
    add("schedule", pages("scheduler", "list_schedules", "Schedules", "Name"))
    add("api", (api["ApiId"] for api in client("apigatewayv2").get_apis()["Items"]))
    add("alarm", pages("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"))
    add("dashboard", (each["DashboardName"] for each in client("cloudwatch").list_dashboards()["DashboardEntries"]))
    return found


def expect_nothing_left(world, before):
    left = sorted(inventory(world) - before)
    expect(not left, f"these are left: {left}")
