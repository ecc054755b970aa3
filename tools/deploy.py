"""Deploys the bridge as a CloudFormation stack, updates it and deletes it.

A first deployment asks for the parameters that the chosen options need. Later deployments ask nothing and keep every
value, secrets included: CloudFormation uses the previous value of each parameter that is not changed.

Each parameter can also be given in the environment, as LIVE_AGENT_<PARAMETER> in upper snake case: LIVE_AGENT_QUEUE_ID
is QueueId, LIVE_AGENT_API_KEY is ApiKey. Priority: --set, environment, --parameters, the stack, samconfig.toml, the
template's default. A secret is read from the environment, from a --parameters file or from the terminal without echo;
it is never accepted on the command line, because other users of the machine can read command lines.
"""

import argparse
import contextlib
import datetime
import difflib
import getpass
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import tomlkit
import yaml
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound, SSOError, TokenRetrievalError)

from release import TEMPLATE, Release, ReleaseError

ROOT = Path(__file__).resolve().parent.parent
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
ENVIRONMENT_PREFIX = "LIVE_AGENT_"
# `sam package` uploads seven zips of a few megabytes.
PACKAGE_TIMEOUT = 900
# Lambda keeps at least this many executions unreserved:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
MIN_UNRESERVED = 100
# Above this a template must be in S3:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_TEMPLATE_BODY = 51_200
AWS_CALLS = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})

# A creation that never succeeded. CloudFormation accepts nothing but the deletion of such a stack.
NEVER_CREATED = {"REVIEW_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}
# Seconds after a request until CloudFormation must show that it has begun; usually it does at once.
BEGIN_LIMIT = 60
# AWS's codes for credentials that have expired or were never valid; lost_credentials() has the SDK's errors of that meaning.
LOST_CREDENTIALS = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId",
                    "UnrecognizedClientException"}
# Parameters whose change gives CredentialsRevision a new value, so that the registration at 8x8 is updated.
CREDENTIALS = {"ApiKey", "ApiSecret", "Username", "Password"}


class Failure(Exception):
    """Ends the program with this message and exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


# ---- the template --------------------------------------------------------------------------------------------------


class TemplateLoader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (!Ref, !Sub, …) as plain data: only Parameters and Metadata are used here."""


def _plain(loader, _suffix, node):
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


TemplateLoader.add_multi_constructor("!", _plain)


@dataclass
class Parameter:
    name: str
    spec: dict
    label: str = ""

    @property
    def secret(self):
        return str(self.spec.get("NoEcho", False)).lower() == "true"

    @property
    def default(self):
        return None if "Default" not in self.spec else str(self.spec["Default"])

    @property
    def allowed(self):
        return [str(value) for value in self.spec.get("AllowedValues", [])]

    @property
    def variable(self):
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.name)
        return ENVIRONMENT_PREFIX + snake.upper()

    def problem(self, value):
        """Returns why `value` is invalid, without the value itself, or None."""
        spec = self.spec
        constraint = spec.get("ConstraintDescription")
        if self.allowed and value not in self.allowed:
            return constraint or f"must be one of: {', '.join(self.allowed)}"
        if spec.get("Type") == "Number":
            try:
                number = float(value)
            except ValueError:
                return constraint or "must be a number"
            if "MinValue" in spec and number < float(spec["MinValue"]):
                return constraint or f"must be at least {spec['MinValue']}"
            if "MaxValue" in spec and number > float(spec["MaxValue"]):
                return constraint or f"must be at most {spec['MaxValue']}"
        if "MinLength" in spec and len(value) < int(spec["MinLength"]):
            return constraint or f"must have at least {spec['MinLength']} characters"
        if "MaxLength" in spec and len(value) > int(spec["MaxLength"]):
            return constraint or f"must have at most {spec['MaxLength']} characters"
        pattern = spec.get("AllowedPattern")
        # CloudFormation applies the pattern to each item of a list.
        items = value.split(",") if spec.get("Type") == "CommaDelimitedList" else [value]
        if pattern and not all(re.fullmatch(pattern, item) for item in items):
            return constraint or f"must match {pattern}"
        return None


# Where a function's code stands: (what precedes it, the function's name).
CODE = re.compile(r"^(\s*CodeUri:\s*)(?:\./)?(?:functions|target/lambda)/([\w-]+)(?:/bootstrap\.zip)?\s*$", re.MULTILINE)


class Template:
    def __init__(self, path):
        self.text = path.read_text(encoding="utf-8")
        data = yaml.load(self.text, TemplateLoader)
        labels = data.get("Metadata", {}).get("AWS::CloudFormation::Interface", {}).get("ParameterLabels", {})
        self.parameters = {
            name: Parameter(name, spec, labels.get(name, {}).get("default", name))
            for name, spec in data["Parameters"].items()
        }
        self.reserved = sum(
            int(value) for value in re.findall(r"^\s*ReservedConcurrentExecutions:.*?(\d+)", self.text, re.MULTILINE)
        )

    @property
    def functions(self):
        """The functions' names."""
        return [match[2] for match in CODE.finditer(self.text)]

    def with_zips(self, folder):
        """Returns the template's text with every function's code at `folder`/<function>/bootstrap.zip."""

        def code(match):
            path = folder / match[2] / "bootstrap.zip"
            if not path.is_file():
                raise Failure(f"{path} does not exist: the build did not make it")
            return f"{match[1]}{json.dumps(str(path))}"

        text, count = CODE.subn(code, self.text)
        if count != len(re.findall(r"^\s*CodeUri:", self.text, re.MULTILINE)):
            raise Failure("template.yaml has a CodeUri that is neither functions/<name> nor target/lambda/<name>/bootstrap.zip")
        return text


# ---- questions -----------------------------------------------------------------------------------------------------


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
    Question("CallbackAuthentication", "signature, unless a load balancer of yours adds x-app-token and a bearer token."),
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


def show(text=""):
    print(text, flush=True)


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


# ---- values that were given ----------------------------------------------------------------------------------------


def read_parameter_file(path):
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}", 2) from None
    if text.lstrip().startswith(("{", "[")):
        try:
            data = json.loads(text)
        except ValueError as error:
            raise Failure(f"{path} is not valid JSON (line {error.lineno})", 2) from None
        if isinstance(data, dict):
            data = data.get("Parameters", data)
        try:
            if isinstance(data, list):
                data = {item["ParameterKey"]: item["ParameterValue"] for item in data}
            return {name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
                    for name, value in data.items()}
        except (AttributeError, KeyError, TypeError):
            raise Failure(f"{path} must hold an object of names and values", 2) from None
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, equal, value = line.strip().partition("=")
            if not equal:
                raise Failure(f"{path}, line {number}: expected KEY=VALUE", 2)
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            values[name.strip()] = value
    return values


def key_values(text, option):
    """Splits 'a=1 b="two words"' as a shell does. A name without "=" gets None."""
    try:
        words = shlex.split(text or "")
    except ValueError as error:
        raise Failure(f"{option} cannot be read: {error}", 2) from None
    pairs = [word.partition("=") for word in words]
    return {name: value if equal else None for name, equal, value in pairs}


def given_values(template, arguments):
    """Returns (values, names to ask again) from --parameters, the environment and --set."""
    problems, ask_again = [], set()
    values = read_parameter_file(arguments.parameters) if arguments.parameters else {}
    for parameter in template.parameters.values():
        if parameter.variable in os.environ:
            values[parameter.name] = os.environ[parameter.variable]
    for name, value in key_values(arguments.set, "SET").items():
        parameter = template.parameters.get(name)
        if value is None:
            if parameter and name not in values:
                ask_again.add(name)
            elif not parameter:
                values[name] = ""
        elif parameter and parameter.secret:
            problems.append(
                f"{name} is secret and other users can read command lines. Use SET={name} to be asked for it, "
                f"or the variable {parameter.variable}.")
        else:
            values[name] = value
    if arguments.arch:
        if values.get("Architecture", arguments.arch) != arguments.arch:
            problems.append(f"ARCH is {arguments.arch}, but Architecture is set to another value")
        values["Architecture"] = arguments.arch
    for name, value in values.items():
        parameter = template.parameters.get(name)
        if parameter is None:
            close = difflib.get_close_matches(name, template.parameters, 1)
            problems.append(f"the template has no parameter {name}" + (f"; did you mean {close[0]}?" if close else ""))
        elif not (value == "" and parameter.default == "") and parameter.problem(value):
            problems.append(f"{name} {parameter.problem(value)}")
    if problems:
        raise Failure("Nothing was changed:\n" + "\n".join(f"  {problem}" for problem in problems), 2)
    return values, ask_again


# ---- samconfig.toml ------------------------------------------------------------------------------------------------


class Saved:
    """The stack's section of samconfig.toml, as `sam … --config-env <stack>` reads it. Holds no secret."""

    def __init__(self, path, stack):
        self.path, self.stack = path, stack
        try:
            self.document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
        except (OSError, ValueError) as error:
            raise Failure(f"cannot read {path}: {error}", 2) from None
        section = self.document.get(stack, {}).get("deploy", {}).get("parameters", {})
        self.options = {name: str(section[name]) for name in ("region", "profile", "role_arn", "tags") if name in section}
        overrides = section.get("parameter_overrides", "")
        self.values = {name: value or "" for name, value in key_values(str(overrides), str(path)).items()}

    def write(self, options, values):
        parameters = tomlkit.table()
        parameters["stack_name"] = self.stack
        for name, value in options.items():
            if value:
                parameters[name] = value
        parameters["capabilities"] = " ".join(CAPABILITIES)
        parameters["parameter_overrides"] = " ".join(f"{name}={quote(value)}" for name, value in values.items())
        self.document.setdefault("version", 0.1)
        stack = self.document.setdefault(self.stack, tomlkit.table(is_super_table=True))
        stack.setdefault("deploy", tomlkit.table(is_super_table=True))["parameters"] = parameters
        # A rename is atomic: an interrupted run leaves the old file or the new one.
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".samconfig-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(tomlkit.dumps(self.document))
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def quote(value):
    """Quotes a value as SAM's parser and shlex both read it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# ---- CloudFormation ------------------------------------------------------------------------------------------------


def aws_message(error):
    if isinstance(error, ClientError):
        details = error.response["Error"]
        return f"{details.get('Code')}: {details.get('Message')}"
    return str(error)


def lost_credentials(error):
    if isinstance(error, ClientError):
        return error.response["Error"].get("Code") in LOST_CREDENTIALS
    return isinstance(error, (NoCredentialsError, SSOError, TokenRetrievalError))


def login_hint(error):
    return "\nLog in again: `aws sso login` or `aws configure`, or new AWS_… variables." if lost_credentials(error) else ""


@dataclass
class Stack:
    """A stack of CloudFormation and what happens to it."""

    name: str
    session: object
    role_arn: str
    poll: float
    timeout: float
    secrets: list = field(default_factory=list)
    seen: set = field(default_factory=set)
    failures: list = field(default_factory=list)
    # Whether something has happened since forget_events().
    begun: bool = False

    def __post_init__(self):
        self.api = self.session.client("cloudformation", config=AWS_CALLS)
        self.role = {"RoleARN": self.role_arn} if self.role_arn else {}

    @property
    def place(self):
        """What the AWS CLI needs to know to find the stack."""
        profile = f" --profile {self.session.profile_name}" if self.session.profile_name != "default" else ""
        return f"--stack-name {self.name} --region {self.session.region_name}{profile}"

    def describe(self, name=None):
        try:
            return self.api.describe_stacks(StackName=name or self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response["Error"].get("Message", ""):
                return None
            raise

    def redact(self, text):
        for secret in self.secrets:
            if len(secret) >= 4:
                text = text.replace(secret, "****")
        return text

    def new_events(self, identity):
        """The events that were not returned before, oldest first."""
        new, page = [], {}
        try:
            while True:
                answer = self.api.describe_stack_events(StackName=identity, **page)
                events = answer["StackEvents"]
                unseen = [event for event in events if event["EventId"] not in self.seen]
                new += unseen
                if len(unseen) < len(events) or "NextToken" not in answer:
                    break
                page = {"NextToken": answer["NextToken"]}
        except ClientError as error:
            if "does not exist" not in error.response["Error"].get("Message", ""):
                raise
        self.seen.update(event["EventId"] for event in new)
        return new[::-1]

    def print_events(self, identity):
        for event in self.new_events(identity):
            self.begun = True
            reason = self.redact(event.get("ResourceStatusReason", ""))
            status = event["ResourceStatus"]
            show(f"  {event['Timestamp']:%H:%M:%S}  {status:<28} {event['LogicalResourceId']}" + (f": {reason}" if reason else ""))
            # What was cancelled because of another failure is not a reason.
            if status.endswith("_FAILED") and "cancelled" not in reason:
                self.failures.append(f"{event['LogicalResourceId']} ({event.get('ResourceType')}): {reason or status}")

    def waits(self):
        """Yields at once and after each pause, until the time limit."""
        deadline = time.monotonic() + self.timeout
        while True:
            yield
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} did not finish within {self.timeout / 60:.0f} minutes. CloudFormation goes on; "
                              "see its console.")
            time.sleep(self.poll)

    def wait(self, identity):
        """Prints events until what was requested has begun and nothing is in progress any more; returns the last status.

        What was requested begins a moment later: until then the stack has the status of before.
        """
        start = time.monotonic()
        for _ in self.waits():
            # Only the stack's status after the first event shows what has begun.
            begun = self.begun or time.monotonic() - start > BEGIN_LIMIT
            stack = self.describe(identity)
            self.print_events(identity)
            status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
            if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
                self.begun = True
            elif begun or status == "DELETE_COMPLETE":
                return status

    def forget_events(self, identity):
        self.new_events(identity)
        self.failures.clear()
        self.begun = False

    @contextlib.contextmanager
    def goes_on(self, verb):
        """Around waiting: says that what was begun goes on in CloudFormation, whatever ends the waiting."""
        again = f"CloudFormation goes on without this program. `make {verb} STACK={self.name}` works again when it has ended."
        try:
            yield
        except KeyboardInterrupt:
            raise Failure(f"\n{again}", 130) from None
        except (ClientError, BotoCoreError) as error:
            raise Failure(f"AWS: {aws_message(error)}{login_hint(error)}\n{again}") from None

    def delete(self, identity, force=False, verb="delete"):
        mode = {"DeletionMode": "FORCE_DELETE_STACK"} if force else {}
        self.forget_events(identity)
        self.api.delete_stack(StackName=identity, **self.role, **mode)
        with self.goes_on(verb):
            for _ in self.waits():
                status = self.wait(identity)
                # The deletion of a stack that has no resources yet starts a moment after the request.
                if status not in NEVER_CREATED:
                    return status

    def create_change_set(self, create, parameters, tags, template):
        """Returns the change set's id, or None if there is nothing to change. Leaves nothing behind if it fails."""
        # The time is for people; the rest distinguishes what is made within a second.
        name = f"deploy-{datetime.datetime.now(datetime.timezone.utc):%Y%m%d%H%M%S}-{uuid.uuid4().hex[:8]}"
        first = {"OnStackFailure": "DELETE"} if create else {}
        change_set = self.api.create_change_set(
            StackName=self.name, ChangeSetName=name, ChangeSetType="CREATE" if create else "UPDATE",
            Capabilities=CAPABILITIES, Parameters=parameters, **template, **first, **self.role,
            **({"Tags": [{"Key": key, "Value": value or ""} for key, value in tags.items()]} if tags else {}),
        )
        identity = change_set["StackId"]
        try:
            for _ in self.waits():
                state = self.api.describe_change_set(ChangeSetName=change_set["Id"], StackName=identity)
                if state["Status"] == "CREATE_COMPLETE":
                    return identity, change_set["Id"]
                if state["Status"] in ("FAILED", "DELETE_COMPLETE"):
                    break
            reason = state.get("StatusReason", "")
            if not create and ("didn't contain changes" in reason or "No updates are to be performed" in reason):
                self.api.delete_change_set(ChangeSetName=change_set["Id"], StackName=identity)
                return identity, None
            raise Failure(f"CloudFormation does not accept the deployment: {self.redact(reason)}")
        except BaseException:
            self.discard(create, identity, change_set["Id"])
            raise

    def discard(self, create, identity, change_set):
        """Removes a change set that is not executed; a stack that consists of nothing else, too.

        Where that fails, the caller reports the original reason, not this failure. The next deployment deletes such a stack.
        """
        try:
            self.api.delete_change_set(ChangeSetName=change_set, StackName=identity)
            if create:
                self.api.delete_stack(StackName=identity, **self.role)
        except (ClientError, BotoCoreError) as error:
            show(f"Note: the change set {change_set} is left ({aws_message(error)}).")


# ---- deploy --------------------------------------------------------------------------------------------------------


def open_session(arguments, saved):
    """Returns (session, options to save) after a call that needs credentials."""
    options = {
        "region": arguments.region or saved.options.get("region"),
        "profile": arguments.profile or saved.options.get("profile"),
        "role_arn": arguments.role_arn or saved.options.get("role_arn"),
        "tags": arguments.tags or saved.options.get("tags"),
    }
    try:
        # boto3 reads AWS_DEFAULT_REGION but not AWS_REGION, which the AWS CLI reads as well.
        region = options["region"] or os.environ.get("AWS_REGION")
        session = boto3.session.Session(profile_name=options["profile"], region_name=region)
        if not session.region_name:
            raise NoRegionError()
        options["region"] = session.region_name
        identity = session.client("sts", config=AWS_CALLS).get_caller_identity()
    except ProfileNotFound:
        known = ", ".join(boto3.session.Session().available_profiles) if not os.environ.get("AWS_PROFILE") else ""
        origin = ("" if arguments.profile else f" It is saved in {arguments.config.name}; PROFILE=<name> gives another."
                  if options["profile"] else " AWS_PROFILE names it.")
        raise Failure(f"There is no profile {options['profile'] or os.environ.get('AWS_PROFILE')} in ~/.aws/config."
                      + origin + (f" There are: {known}." if known else "") + " Nothing was changed.", 2) from None
    except NoRegionError:
        raise Failure("No AWS region is set. Add REGION=<region>, e.g. REGION=eu-west-1, or set AWS_REGION.", 2) from None
    except (BotoCoreError, ClientError) as error:
        raise Failure(
            f"AWS does not accept the credentials ({aws_message(error)}).\n"
            "Log in first: `aws sso login` or `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;\n"
            "PROFILE=<name> chooses a profile of ~/.aws/config. Nothing was changed.", 2) from None
    show(f"AWS account {identity['Account']}, region {session.region_name}, as {identity['Arn']}")
    return session, options


def can_reserve(session, template):
    """Says whether the account has enough concurrency for the template's reservations; None if that is unknown."""
    try:
        limit = session.client("lambda", config=AWS_CALLS).get_account_settings()["AccountLimit"]
    except (BotoCoreError, ClientError) as error:
        show(f"Warning: the Lambda limits of the account are unknown ({aws_message(error)}).")
        return None
    unreserved = limit["UnreservedConcurrentExecutions"]
    if unreserved - max(template.reserved, 1) >= MIN_UNRESERVED:
        return True
    show(f"Warning: {unreserved} of the account's {limit['ConcurrentExecutions']} concurrent Lambda executions are "
         f"unreserved, and Lambda keeps at least {MIN_UNRESERVED} unreserved: no function can reserve any. A higher quota: "
         "Service Quotas console > AWS Lambda > Concurrent executions.")
    return False


def changed_values(template, given, ask_again, existing, saved, reserve, terminal):
    """Returns (the values that are set now, whether questions were asked)."""
    # NoEcho values come back as asterisks: they are known to be set, nothing else.
    before = {name: value for name, value in existing.items() if name in template.parameters}
    base = {name: parameter.default for name, parameter in template.parameters.items() if parameter.default is not None}
    if not existing:
        usable = {name: value for name, value in saved.items()
                  if name in template.parameters and not template.parameters[name].secret
                  and (value == "" or template.parameters[name].problem(value) is None)}
    else:
        usable = {}
    new = dict(given)
    for name, other in (("AiseraTenant", "BotEndpoint"), ("BotEndpoint", "AiseraTenant")):
        if given.get(name) and before.get(other) and other not in given and other in template.parameters:
            show(f"{name} replaces {other}.")
            new[other] = ""
    if "ReserveConcurrency" in template.parameters and reserve is False:
        if "ReserveConcurrency" not in new and not existing:
            show("ReserveConcurrency is set to no.")
            new["ReserveConcurrency"] = usable["ReserveConcurrency"] = "no"
    values = {**base, **usable, **before, **new}
    missing, asked = [], False
    asking = questions(template)
    asking += [Question(name) for name in ask_again if name not in {question.name for question in asking}]
    for question in asking:
        name, parameter = question.name, template.parameters[question.name]
        if name in new and name not in ask_again:
            continue
        if name in ask_again:
            needs = True
        elif not question.when(values):
            # CloudFormation needs some value for a parameter without a default.
            if name not in values and parameter.problem("") is None:
                new[name] = values[name] = ""
                continue
            needs = name not in values
        elif existing:
            newly_relevant = not (question.when(before) and (not question.required(values) or question.required(before)))
            unset = not values.get(name) or parameter.secret and newly_relevant
            needs = name not in values or question.required(values) and unset
        else:
            # Nothing is asked twice but secrets, which are not saved. Without a terminal a default is an answer.
            open_question = terminal and (parameter.secret or not saved)
            lacking = not values.get(name) and must_have_value(parameter, question, values)
            needs = name not in usable and (open_question or lacking)
        if not needs:
            continue
        if not terminal:
            missing.append(parameter)
            continue
        asked = True
        offered = None if parameter.secret else values.get(name)
        new[name] = values[name] = ask(parameter, question, values, offered)
    if missing:
        raise Failure(
            "There is no terminal to ask on, and these parameters have no value (nothing was changed):\n"
            + "\n".join(f"  {parameter.name:<22} {parameter.variable}" for parameter in missing)
            + "\nSet the variables, or give a file with PARAMETERS=<file> (JSON, or KEY=VALUE lines).", 2)
    for name, value in usable.items():
        new.setdefault(name, value)
    revision = template.parameters.get("CredentialsRevision")
    if revision and "CredentialsRevision" not in given and CREDENTIALS & new.keys():
        now = datetime.datetime.now(datetime.timezone.utc)
        compact = f"{now:%Y%m%d%H%M%S}"
        candidates = [compact, str(int(now.timestamp()))]
        new["CredentialsRevision"] = next((value for value in candidates if revision.problem(value) is None), compact)
    return new, asked


def open_release(template, arguments):
    """Returns the release whose zips are deployed. Its template must be this one: functions of another version can need
    variables and rights that this one does not give them."""
    try:
        release = Release(arguments.prebuilt, arguments.releases)
        same = release.read(TEMPLATE) == template.text.encode()
    except ReleaseError as error:
        raise Failure(f"{error}. Nothing was changed.", 2) from None
    if not same:
        raise Failure(f"{arguments.template.name} is not that of the release {arguments.prebuilt}: check out the version whose "
                      "functions you deploy (`git checkout <version>`), without changes. Nothing was changed.", 2)
    return release


@contextlib.contextmanager
def zips_for(template, architecture, arguments, release):
    """Yields the folder of the zips: a given one, that of the release's, or that of a build."""
    if release:
        with tempfile.TemporaryDirectory() as folder:
            show(f"Reading the zips of {arguments.prebuilt} …")
            try:
                release.unpack(template.functions, architecture, Path(folder))
            except ReleaseError as error:
                raise Failure(f"{error}. Nothing was deployed.") from None
            yield Path(folder)
    elif arguments.zips:
        yield arguments.zips
    else:
        run(["make", "--no-print-directory", "build", f"ARCH={architecture}"], "make build")
        yield ROOT / "target" / "lambda"


def package(template, zips, arguments, session, options):
    """Uploads the zips with `sam package` and returns CloudFormation's arguments for the packaged template."""
    work = ROOT / "target" / "deploy"
    work.mkdir(parents=True, exist_ok=True)
    # Its own folder, since another run may deploy at the same time.
    with tempfile.TemporaryDirectory(dir=work, prefix=f"{arguments.stack}-") as folder:
        body = packaged_template(template, zips, arguments, session, options, Path(folder))
    if len(body.encode()) <= MAX_TEMPLATE_BODY:
        return {"TemplateBody": body}
    bucket = re.search(r"s3://([^/\s]+)/", body)[1]
    s3 = session.client("s3", config=AWS_CALLS)
    # Named by its content: another run does not replace it before CloudFormation has read it.
    key = f"{arguments.stack}/{hashlib.sha256(body.encode()).hexdigest()[:32]}.template"
    s3.put_object(Bucket=bucket, Key=key, Body=body.encode())
    return {"TemplateURL": f"{s3.meta.endpoint_url}/{bucket}/{key}"}


def packaged_template(template, zips, arguments, session, options, folder):
    source, packaged = folder / "template.yaml", folder / "packaged.yaml"
    source.write_text(template.with_zips(zips), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "sam"), "package", "--resolve-s3", "--s3-prefix", arguments.stack,
               "--template-file", str(source), "--output-template-file", str(packaged), "--region", session.region_name]
    if options["profile"]:
        command += ["--profile", options["profile"]]
    show("Uploading the zips …")
    run(command, "sam package", PACKAGE_TIMEOUT, quiet=True)
    return packaged.read_text(encoding="utf-8")


def run(command, name, timeout=None, quiet=False):
    # The child processes need no parameters, and cannot print what they do not get.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ENVIRONMENT_PREFIX)}
    environment["SAM_CLI_TELEMETRY"] = "0"
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=timeout, stdin=subprocess.DEVNULL, **output)
    except subprocess.TimeoutExpired:
        raise Failure(f"{name} did not finish within {timeout} s") from None
    except OSError as error:
        raise Failure(f"{name} cannot be run: {error.strerror}") from None
    if done.returncode:
        text = done.stdout.decode(errors="replace").strip() if quiet else ""
        raise Failure(f"{name} failed (exit code {done.returncode})" + (f":\n{text}" if text else ".")
                      + "\nNothing was deployed.")


def deploy(arguments):
    template = Template(arguments.template)
    given, ask_again = given_values(template, arguments)
    release = open_release(template, arguments) if arguments.prebuilt else None
    saved = Saved(arguments.config, arguments.stack)
    session, options = open_session(arguments, saved)
    tags = key_values(options["tags"], "TAGS")
    stack = Stack(arguments.stack, session, options["role_arn"], arguments.poll, arguments.timeout * 60)
    present = stack.describe()
    status = present["StackStatus"] if present else None
    create = present is None or status in NEVER_CREATED
    if not create:
        if status.endswith("_IN_PROGRESS"):
            raise Failure(f"{stack.name} is {status}. Try again when that has ended. Nothing was changed.")
        if status == "UPDATE_ROLLBACK_FAILED":
            raise Failure(f"{stack.name} is {status}. Nothing was changed.\n" + way_back(stack))
        if status == "DELETE_FAILED":
            raise Failure(f"{stack.name} is {status}: its deletion has to be finished first. Nothing was changed.\n"
                          + way_out(stack))
    existing = {} if create else {item["ParameterKey"]: item["ParameterValue"] for item in present.get("Parameters", [])}
    reserve = can_reserve(session, template)

    terminal = sys.stdin.isatty()
    new, asked = changed_values(template, given, ask_again, existing, saved.values, reserve, terminal)
    stack.secrets = [value for name, value in new.items() if template.parameters[name].secret]
    if asked:
        show("\nThe deployment:")
        for name, value in new.items():
            shown = ("(set)" if value else "(none)") if template.parameters[name].secret else value or "(none)"
            show(f"  {name:<24} {shown}")
        if input("\nDeploy now? [Y/n] ").strip().lower() not in ("", "y", "yes"):
            raise Failure("Nothing was changed or saved.")

    def record():
        values = {name: value for name, value in {**existing, **new}.items()
                  if name in template.parameters and not template.parameters[name].secret}
        saved.write(options, values)

    for name, value in saved.values.items():
        if (name in existing and name in template.parameters and name not in new and existing[name] != value
                and not template.parameters[name].secret):
            show(f"Note: {arguments.config.name} has {name}={value}, the stack has {existing[name]}. The stack's value is "
                 f"kept; SET={name}=<value> changes it.")
    if create:
        # The values of a first deployment stay saved if it fails.
        record()
    architecture = new.get("Architecture") or existing.get("Architecture") or template.parameters["Architecture"].default
    with zips_for(template, architecture, arguments, release) as zips:
        location = package(template, zips.resolve(), arguments, session, options)

    if status in NEVER_CREATED:
        # The build took minutes, in which another creation may have begun.
        now = (stack.describe(present["StackId"]) or present)["StackStatus"]
        if now not in NEVER_CREATED | {"DELETE_COMPLETE"}:
            raise Failure(f"{stack.name} is now {now}: another process has begun to create it. Nothing was changed; repeat "
                          f"`make deploy STACK={stack.name}` when that has ended.")
        show(f"An earlier creation of {stack.name} failed ({status}). Deleting what it left …")
        deleted = stack.delete(present["StackId"], verb="deploy")
        if deleted != "DELETE_COMPLETE":
            raise Failure(failed("delete", stack, deleted) + "\n" + way_out(stack))
        stack.failures.clear()
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in new.items()]
    parameters += [{"ParameterKey": name, "UsePreviousValue": True}
                   for name in existing if name in template.parameters and name not in new]
    identity, change_set = stack.create_change_set(create, parameters, tags, location)
    if change_set is None:
        show("Nothing has changed: the stack is up to date.")
    else:
        execute(stack, create, identity, change_set)
    record()
    print_success(stack.describe(identity), template)


def execute(stack, create, identity, change_set):
    show(f"{'Creating' if create else 'Updating'} {stack.name} …")
    stack.forget_events(identity)
    try:
        stack.api.execute_change_set(ChangeSetName=change_set, StackName=identity)
    except BaseException:
        stack.discard(create, identity, change_set)
        raise
    with stack.goes_on("deploy"):
        for _ in stack.waits():
            status = stack.wait(identity)
            if status != "REVIEW_IN_PROGRESS":
                break
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        end = "Everything was removed" if status == "DELETE_COMPLETE" else f"The stack is {status}"
        if status in ("UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"):
            way = way_back(stack) if status == "UPDATE_ROLLBACK_FAILED" else way_out(stack)
            raise Failure(f"{failed('deploy', stack, status)}\n{end}.\n{way}")
        raise Failure(failed("deploy", stack, status) + f"\n{end}. Correct the reason and repeat `make deploy "
                      f"STACK={stack.name}`: the answers are saved" + (", secrets are asked again." if create else "."))


def failed(verb, stack, status):
    reasons = stack.failures or [f"CloudFormation gives no reason; the stack is {status}"]
    return f"Cannot {verb} {stack.name}:\n" + "\n".join(f"  {number}. {reason}" for number, reason in enumerate(reasons, 1))


def print_success(present, template):
    outputs = {item["OutputKey"]: item["OutputValue"] for item in present.get("Outputs", [])}
    values = {item["ParameterKey"]: item["ParameterValue"] for item in present.get("Parameters", [])}
    name = present["StackName"]
    show(f"\n{name} is deployed.")
    for key, label in (("ChannelId", "Channel id"), ("CallbackUrl", "Callback URL"), ("DashboardUrl", "Dashboard")):
        if key in outputs:
            show(f"  {label + ':':<14} {outputs[key]}")
    agents = f"of queue {values['QueueId']}" if values.get("QueueId") else "of the channel's queue"
    show(f"Next step: log in to 8x8 Agent Workspace as an agent {agents} and set the status to available. Then ask the bot for "
         "a person: the conversation is offered to that agent.")
    if not values.get("ChannelId") and "ChannelId" in outputs:
        show(f"The bot platform opens its conversations on channel {outputs['ChannelId']}; enter this id there.")
    if "TenantId" in template.parameters and not values.get("TenantId"):
        show(f"Warning: {EVERY_TENANT} `make deploy STACK={name} SET=TenantId` asks for it.")
    if "ConversationsUrl" in outputs:
        show(f"A bot platform that calls the bridge uses {outputs['ConversationsUrl']}")


# ---- delete --------------------------------------------------------------------------------------------------------


def way_back(stack):
    return ("CloudFormation has to finish the rollback first. Correct the reason that it gives, then run:\n"
            f"  aws cloudformation continue-update-rollback {stack.place}\n"
            "If the reason cannot be corrected, add --resources-to-skip <logical id> for what fails. When the stack is "
            f"UPDATE_ROLLBACK_COMPLETE, repeat `make deploy STACK={stack.name}`.")


def way_out(stack):
    return (f"Correct the reason and repeat the deletion: `make delete STACK={stack.name}`. If that is impossible, this "
            "removes the stack and leaves behind what cannot be deleted:\n"
            f"  aws cloudformation delete-stack --deletion-mode FORCE_DELETE_STACK {stack.place}")


def delete(arguments):
    saved = Saved(arguments.config, arguments.stack)
    session, options = open_session(arguments, saved)
    stack = Stack(arguments.stack, session, options["role_arn"], arguments.poll, arguments.timeout * 60)
    present = stack.describe()
    if present is None:
        show(f"There is no stack {stack.name} in this account and region.")
        return
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise Failure("There is no terminal to confirm on: add --yes (YES=yes). Nothing was changed.", 2)
        answer = input(f"Delete {stack.name} with its queues, secrets and registration at 8x8? Type its name to confirm: ")
        if answer.strip() != stack.name:
            raise Failure("Nothing was changed.")
    show(f"Deleting {stack.name} …")
    status = stack.delete(present["StackId"])
    if status != "DELETE_COMPLETE":
        raise Failure(failed("delete", stack, status) + "\n" + way_out(stack))
    show(f"{stack.name} is deleted. Its answers stay in {arguments.config.name}; remove [{stack.name}.deploy.parameters] "
         "there if you do not need them.")


# ---- command line --------------------------------------------------------------------------------------------------


def stack_name(text):
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", text):
        raise argparse.ArgumentTypeError("a stack's name starts with a letter and consists of letters, digits and hyphens")
    return text


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("stack", type=stack_name, metavar="STACK")
    common.add_argument("--profile", help="profile of ~/.aws/config (make: PROFILE)")
    common.add_argument("--region", help="AWS region (make: REGION)")
    common.add_argument("--role-arn", help="service role that CloudFormation uses (make: ROLE_ARN)")
    common.add_argument("--tags", help='tags of the stack: "k=v k2=v2" (make: TAGS)')
    common.add_argument("--config", type=Path, default=ROOT / "samconfig.toml", help="where answers are saved")
    common.add_argument("--poll", type=float, default=3, metavar="SECONDS", help="pause between two queries of the stack")
    common.add_argument("--timeout", type=float, default=60, metavar="MINUTES", help="longest wait for CloudFormation")
    first = commands.add_parser("deploy", parents=[common], help="create or update a stack", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    first.add_argument("--set", metavar="VALUES", help='changed parameters: "QueueId=102 Description=\'two words\'"; a name '
                       "without a value is asked again (make: SET)")
    first.add_argument("--parameters", metavar="FILE", help="values as JSON or KEY=VALUE lines (make: PARAMETERS)")
    first.add_argument("--arch", choices=["arm64", "x86_64"], help="architecture to build for (make: ARCH)")
    code = first.add_mutually_exclusive_group()
    code.add_argument("--zips", type=Path, metavar="FOLDER", help="deploy <FOLDER>/<function>/bootstrap.zip; build nothing")
    code.add_argument("--prebuilt", metavar="RELEASE", help="deploy the zips of a release: a version such as v1.2.3, or a folder "
                      "with the release's files; build nothing (make: PREBUILT)")
    first.add_argument("--releases", metavar="URL", help="where the releases of --prebuilt are; without it, at GitHub, beside the "
                       "repository that this folder was cloned from (make: RELEASES)")
    first.add_argument("--template", type=Path, default=ROOT / "template.yaml")
    second = commands.add_parser("delete", parents=[common], help="delete a stack")
    second.add_argument("--yes", action="store_true", help="do not ask for confirmation (make: YES=yes)")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    try:
        (deploy if arguments.command == "deploy" else delete)(arguments)
        return 0
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.code
    except (KeyboardInterrupt, EOFError):
        print("\nStopped. Nothing was deployed." if arguments.command == "deploy" else
              "\nStopped. A deletion that has begun goes on in CloudFormation.", file=sys.stderr)
        return 130
    except (ClientError, BotoCoreError) as error:
        print(f"AWS: {aws_message(error)}{login_hint(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
