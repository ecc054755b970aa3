"""How a check is registered, and what it fails by."""

import json
import urllib.parse

CHECKS = []
# Without these there is no stack that could be checked, or no route that answers.
EVERY_CHECK = ("secret-ref", "rotation-schedule", "query-definition", "http-api-body", "metric-math-alarm")


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
