"""What a deleted stack may leave: nothing."""

from .expectations import expect


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
