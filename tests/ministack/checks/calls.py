"""The calls that the checks make: to the public addresses of a stack, and to AWS for what is in it."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

from .expectations import expect, expect_equal, expect_may

# The time limit of API Gateway, 30 s, and some.
HTTP_LIMIT = 35
# An event whose bytes must arrive as they are: a member order, spaces and escapes that no JSON library writes, and every
# kind of Unicode.
TEXT = r'é 😀 \u00e9 \ud83d\ude00 \ud83d alone, \u0000, <&>, ${ApiKey} {{resolve:ssm:x}}'


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
    """Invokes by logical id; returns the function's response, or fails with its error."""
    response = world.client("lambda").invoke(FunctionName=stack.physical_id(function), Payload=json.dumps(event).encode())
    payload = json.loads(response["Payload"].read() or b"null")
    expect("FunctionError" not in response, f"{function} failed: {payload}")
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
    response = json.loads(body)
    expect_equal((response["token_type"], response["expires_in"]), ("bearer", 3600), "the response of the token endpoint")
    return {"x-app-token": caller["app_token"], "authorization": f"Bearer {response['access_token']}"}


def dead_letters(world, stack):
    """Receives, and deletes, what waits in the dead-letter queue."""
    queue = stack.physical_id("DeadLetterQueue")
    sqs = world.client("sqs")
    messages = sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return messages


def queue_attributes(world, url):
    return world.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def queue_arn(world, url):
    return queue_attributes(world, url)["QueueArn"]


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
