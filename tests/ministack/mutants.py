"""Mutants of the template: each has one fault that a reviewer could miss, and a check that must notice it.

`change` gets the template as data. `noticed_by` is the check that is run first; the others follow if it notices nothing.
"""

from dataclasses import dataclass

from checks import paths, resources

# Not checks of checks/: the deployment itself is what notices.
CREATION = "the creation"
DELETION = "the deletion, which must leave nothing"


@dataclass(frozen=True)
class Mutant:
    name: str
    change: object
    noticed_by: object


def properties(template, logical_id):
    return template["Resources"][logical_id]["Properties"]


def as_list(value):
    return value if isinstance(value, list) else [value]


def without_action(role, action, resource=None):
    """Takes `action` out of the statements of a role, or only where they name `resource`."""

    def change(template):
        statements = properties(template, role)["Policies"][0]["PolicyDocument"]["Statement"]
        taken = 0
        for statement in list(statements):
            # Under a condition: the statement is the second member of Fn::If.
            actual = statement["Fn::If"][1] if "Fn::If" in statement else statement
            actions = as_list(actual["Action"])
            if action not in actions or resource and resource not in str(actual["Resource"]):
                continue
            taken += 1
            rest = [each for each in actions if each != action]
            if rest:
                actual["Action"] = rest
            else:
                statements.remove(statement)
        if not taken:
            raise AssertionError(f"{role} has no {action}: the mutant is out of date")

    return change


def variable(function, name, value):
    def change(template):
        variables = properties(template, function)["Environment"]["Variables"]
        if name not in variables:
            raise AssertionError(f"{function} has no {name}: the mutant is out of date")
        if value is None:
            del variables[name]
        else:
            variables[name] = value

    return change


def without(logical_id, *path):
    """Takes a property away."""

    def change(template):
        place = properties(template, logical_id)
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def put(logical_id, value, *path):
    """Sets a property that is there."""

    def change(template):
        place = properties(template, logical_id)
        for step in path[:-1]:
            place = place[step]
        place[path[-1]]  # a KeyError: the mutant is out of date
        place[path[-1]] = value

    return change


def retained(logical_id):
    def change(template):
        template["Resources"][logical_id]["DeletionPolicy"] = "Retain"

    return change


def ref(name):
    return {"Ref": name}


MUTANTS = [
    # ---- rights
    Mutant("receive-message may not send to the queue",
           without_action("ReceiveMessageRole", "sqs:SendMessage"), paths.a_signed_event_reaches_the_bot_byte_for_byte),
    Mutant("deliver-message may not read its secrets",
           without_action("DeliverMessageRole", "secretsmanager:GetSecretValue"),
           paths.a_signed_event_reaches_the_bot_byte_for_byte),
    Mutant("deliver-message may not send to the dead-letter queue",
           without_action("DeliverMessageRole", "sqs:SendMessage"),
           paths.an_event_that_the_bot_rejects_goes_to_the_dead_letter_queue),
    Mutant("deliver-message may not record hand-overs",
           without_action("DeliverMessageRole", "dynamodb:UpdateItem"), paths.a_hand_over_is_recorded_and_shown_and_watched),
    Mutant("watch-handovers may not read its index",
           without_action("WatchHandoversRole", "dynamodb:Query"), paths.a_hand_over_is_recorded_and_shown_and_watched),
    Mutant("manage-dead-letters may not release a letter",
           without_action("ManageDeadLettersRole", "sqs:ChangeMessageVisibility"),
           paths.a_dead_letter_is_listed_and_redriven),
    Mutant("manage-dead-letters may not send to the event queue",
           without_action("ManageDeadLettersRole", "sqs:SendMessage"), paths.a_dead_letter_is_listed_and_redriven),
    Mutant("refresh-tokens may not store a token",
           without_action("RefreshTokensRole", "secretsmanager:PutSecretValue"), paths.refresh_tokens_keeps_the_tokens_fresh),
    Mutant("register-channel may not save what it registers",
           without_action("RegisterChannelRole", "secretsmanager:PutSecretValue"), CREATION),
    Mutant("issue-token may not read the caller secret",
           without_action("IssueTokenRole", "secretsmanager:GetSecretValue"),
           paths.a_caller_gets_a_token_and_a_wrong_password_gets_none),
    Mutant("rotate-signing-key may not move the label of a version",
           without_action("RotateSigningKeyRole", "secretsmanager:UpdateSecretVersionStage"),
           paths.the_signing_key_is_rotated_when_the_stack_is_created),
    Mutant("Secrets Manager may not invoke rotate-signing-key",
           put("RotateSigningKeyPermission", "events.amazonaws.com", "Principal"), CREATION),
    Mutant("converse may not write to its table",
           without_action("ConverseRole", "dynamodb:PutItem"), paths.the_bot_opens_a_conversation_and_speaks_in_it),
    Mutant("converse may not update its table",
           without_action("ConverseRole", "dynamodb:UpdateItem"), paths.the_bot_opens_a_conversation_and_speaks_in_it),
    Mutant("converse may not read the channel secret",
           without_action("ConverseRole", "secretsmanager:GetSecretValue", "ChannelSecret"),
           paths.the_bot_opens_a_conversation_and_speaks_in_it),
    Mutant("what fails for good may not be sent to the schedules' dead-letter queue",
           without_action("RefreshTokensRole", "sqs:SendMessage"),
           resources.what_fails_for_good_goes_to_the_schedules_dead_letter_queue),
    Mutant("Lambda may not poll the queue for deliver-message",
           without_action("DeliverMessageRole", "sqs:ReceiveMessage"), resources.the_queues_are_as_the_readme_says),
    Mutant("issue-token may not write its log",
           without_action("IssueTokenRole", "logs:PutLogEvents"), resources.the_functions_write_to_the_log_groups_of_the_stack),
    # ---- routes
    Mutant("the token endpoint has another path",
           put("IssueTokenFunction", "/oauth2/token", "Events", "Token", "Properties", "Path"),
           paths.a_caller_gets_a_token_and_a_wrong_password_gets_none),
    Mutant("a conversation has no route below it",
           put("ConverseFunction", "/v1/liveAgent/conversation/{proxy+}", "Events", "Conversation", "Properties", "Path"),
           paths.the_bot_opens_a_conversation_and_speaks_in_it),
    # ---- queues
    Mutant("Lambda deletes what deliver-message reports back",
           without("DeliverMessageFunction", "Events", "EventQueue", "Properties", "FunctionResponseTypes"),
           paths.events_that_meet_an_outage_of_the_bot_are_retried_and_stay_in_order),
    Mutant("the event queue has no redrive policy",
           without("EventQueue", "RedrivePolicy"), resources.the_queues_are_as_the_readme_says),
    Mutant("the event queue outlives the stack", retained("EventQueue"), DELETION),
    # ---- the environment of the functions
    Mutant("receive-message sends to the dead-letter queue",
           variable("ReceiveMessageFunction", "EVENT_QUEUE_URL", ref("DeadLetterQueue")),
           paths.a_signed_event_reaches_the_bot_byte_for_byte),
    Mutant("deliver-message has no dead-letter queue",
           variable("DeliverMessageFunction", "DEAD_LETTER_QUEUE_URL", None),
           paths.a_signed_event_reaches_the_bot_byte_for_byte),
    Mutant("deliver-message reads 8x8's secret instead of the bot's",
           variable("DeliverMessageFunction", "BOT_SECRET_ID", ref("ContactCenterSecret")),
           paths.a_signed_event_reaches_the_bot_byte_for_byte),
    Mutant("issue-token reads the bot's secret",
           variable("IssueTokenFunction", "CALLER_SECRET_ID", ref("BotSecret")),
           paths.a_caller_gets_a_token_and_a_wrong_password_gets_none),
    Mutant("refresh-tokens stores the bot's token elsewhere",
           variable("RefreshTokensFunction", "BOT_TOKEN_SECRET_ID", ref("ChannelSecret")),
           paths.refresh_tokens_keeps_the_tokens_fresh),
    Mutant("the bot's secret has the password in place of the user",
           put("BotSecret", {"Fn::Sub": '{"app_token":"${AppToken}","username":"${BotPassword}","password":"${BotPassword}"}'},
               "SecretString"),
           paths.refresh_tokens_keeps_the_tokens_fresh),
    # ---- operation
    Mutant("the review has no operation",
           without("RegisterChannelFunction", "Events", "DailyReview", "Properties", "Input"),
           paths.the_daily_review_finds_everything_in_sync),
    Mutant("an alarm watches the wrong queue",
           put("DeadLettersAlarm", [{"Name": "QueueName", "Value": "live-agent-dead-letters"}], "Dimensions"),
           resources.every_alarm_watches_a_function_or_queue_of_the_stack),
    Mutant("the age of events is looked for in receive-message's lines",
           put("EventAgeFilter", ref("ReceiveMessageLogs"), "LogGroupName"),
           resources.the_metrics_of_the_ordinary_path_are_made_of_the_lines_of_its_functions),
    Mutant("the dashboard is not JSON",
           put("Dashboard", {"Fn::Sub": '{"widgets": [{"title": "${IdempotencyTable}"}'}, "DashboardBody"),
           resources.the_dashboard_is_json_and_names_the_functions_and_queues_of_the_stack),
    Mutant("the idempotency table keeps everything",
           without("IdempotencyTable", "TimeToLiveSpecification"), resources.the_tables_forget),
    Mutant("a log group keeps its lines for ever",
           without("ConverseLogs", "RetentionInDays"), resources.the_functions_write_to_the_log_groups_of_the_stack),
]
