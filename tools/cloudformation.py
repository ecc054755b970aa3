"""A CloudFormation stack: change sets, waiting, and the reasons of a failure."""

import contextlib
import datetime
import time
import uuid
from dataclasses import dataclass, field

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, SSOError, TokenRetrievalError

from parameters import CAPABILITIES
from terminal import Failure, show

AWS_CALLS = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})
# A creation that never succeeded. CloudFormation accepts nothing but the deletion of such a stack.
NEVER_CREATED = {"REVIEW_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}
# Seconds after a request until CloudFormation must show that it has begun; usually it does at once.
BEGIN_LIMIT = 60
# AWS's codes for credentials that have expired or were never valid; lost_credentials() has the SDK's errors of that meaning.
LOST_CREDENTIALS = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId",
                    "UnrecognizedClientException"}


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
                response = self.api.describe_stack_events(StackName=identity, **page)
                events = response["StackEvents"]
                unseen = [event for event in events if event["EventId"] not in self.seen]
                new += unseen
                if len(unseen) < len(events) or "NextToken" not in response:
                    break
                page = {"NextToken": response["NextToken"]}
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
