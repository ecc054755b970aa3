"""The questions of a first deployment: which parameters are asked for, when, and where to find the values."""

import getpass
from dataclasses import dataclass

from terminal import show


@dataclass
class Question:
    """When a parameter is asked, whether it must have a value, and where to find that value."""

    name: str
    find: str = ""
    when: object = lambda values: True
    # A condition under which the template's empty default is not enough.
    required: object = lambda values: False


def equals(name, *expected):
    return lambda values: values.get(name) in expected


def filled(name):
    return lambda values: bool(values.get(name))


def empty(name):
    return lambda values: not values.get(name)


EVERY_TENANT = "While TenantId is empty, genuine events of every 8x8 tenant are accepted, and an alarm says so."

# Each question comes after those that its conditions read.
QUESTIONS = [
    Question("Architecture", "Your choice; arm64 costs less. The functions are built for it."),
    Question("IntegrationName", "Your choice. It must be unique within your 8x8 tenant."),
    Question("AuthenticationType", "8x8 Admin Console > API Keys: the key's product decides. api-key is the usual one."),
    Question("ApiKey", "8x8 Admin Console > API Keys > your app. Owner: 8x8 administrator.",
             required=equals("AuthenticationType", "api-key", "client-credentials")),
    Question("ApiSecret", "8x8 Admin Console > API Keys > your app, beside the key. Owner: 8x8 administrator.",
             equals("AuthenticationType", "client-credentials"), lambda values: True),
    Question("Username", "The 8x8 user who is used for API access. Owner: 8x8 administrator.",
             equals("AuthenticationType", "password"), lambda values: True),
    Question("Password", "The password of that 8x8 user. Owner: 8x8 administrator.",
             equals("AuthenticationType", "password"), lambda values: True),
    Question("AccessTokenUrl", "8x8's API documentation. Press Enter unless 8x8 gave you another URL.",
             equals("AuthenticationType", "client-credentials", "password"), lambda values: True),
    Question("Endpoint", "8x8's API documentation, for the region of your tenant. Owner: 8x8 administrator."),
    Question("ContactCenterApi", "It must fit the endpoint: chat-api-v2 only for an endpoint that ends in /tenant/<tenant id>/."),
    Question("TenantId", "8x8 Configuration Manager > Home > Profile; 8x8 sends it as x-8x8-tenant-id with every event, and "
             f"receive-message logs it while this is empty. Owner: 8x8 administrator. {EVERY_TENANT}"),
    Question("ChannelId", "Aisera's configuration of the live agent, if Aisera registered a channel at 8x8. Leave it empty "
             "to register a new channel. Owner: Aisera administrator."),
    Question("QueueId", "8x8 Configuration Manager > Queues: the id of a chat queue. Owner: 8x8 administrator.",
             empty("ChannelId"), lambda values: True),
    Question("CallbackUrl", "The address of your load balancer, if 8x8 must call that one. Otherwise leave it empty. "
             "Owner: network administrator."),
    Question("CallbackAuthentication", "signature, unless your load balancer adds x-app-token and a bearer token."),
    Question("AiseraTenant", "The first part of https://<tenant>.api.aisera.cloud. Leave it empty for another bot platform. "
             "Owner: Aisera administrator."),
    Question("BotEndpoint", "The bot platform's documentation. Owner: administrator of the bot platform.",
             empty("AiseraTenant"), lambda values: True),
    Question("AppToken", "Aisera > Settings > Integrations, or the administrator of your bot platform."),
    Question("BotUsername", "A user of the bot platform with access to its API. Owner: its administrator."),
    Question("BotPassword", "The password of that user. Owner: the bot platform's administrator."),
    Question("Public", "yes, unless the bot platform can only be reached from your VPC. Owner: network administrator."),
    Question("SubnetIds", "VPC console > Subnets, separated by commas. Owner: network administrator.",
             equals("Public", "no"), lambda values: True),
    Question("SecurityGroupIds", "VPC console > Security groups, separated by commas. Owner: network administrator.",
             equals("Public", "no"), lambda values: True),
    Question("DomainName", "Your choice, in a Route 53 zone of this account. Leave it empty for API Gateway's address."),
    Question("CertificateArn", "ACM console, in this region.", filled("DomainName"), lambda values: True),
    Question("HostedZoneId", "Route 53 console > Hosted zones.", filled("DomainName"), lambda values: True),
]
KNOWN = {question.name for question in QUESTIONS}


def questions(template):
    """The questions for this template: a parameter that is not known here is asked if it has no default."""
    known = [question for question in QUESTIONS if question.name in template.parameters]
    return known + [
        Question(name) for name, parameter in template.parameters.items()
        if name not in KNOWN and parameter.default is None and name != "CredentialsRevision"
    ]


def must_have_value(parameter, question, values):
    return question.required(values) or parameter.default is None and not (
        question.name == "ApiKey" and parameter.problem("") is None
    )


def ask(parameter, question, values, offered):
    """Asks until the answer is valid. `offered` is used if the answer is empty."""
    show(f"\n{parameter.label} ({parameter.name})" if parameter.label != parameter.name else f"\n{parameter.name}")
    for line in (parameter.spec.get("Description"), question.find and f"Where to find it: {question.find}",
                 parameter.allowed and f"Allowed: {', '.join(parameter.allowed)}"):
        if line:
            show(f"  {line}")
    needed = must_have_value(parameter, question, values)
    hint = f" [{offered}]" if offered and not parameter.secret else "" if needed else " (Enter: none)"
    while True:
        if parameter.secret:
            answer = getpass.getpass(f"> (not shown){hint} ")
        else:
            answer = input(f">{hint} ").strip() or offered or ""
        if answer == "" and needed:
            problem = "a value is needed"
        elif answer == "" and parameter.default == "":
            problem = None
        else:
            problem = parameter.problem(answer)
        if problem is None:
            return answer
        show(f"  Invalid: {parameter.name} {problem}")
