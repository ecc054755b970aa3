"""A deployed stack, as the operator's commands see it: `make doctor`, `make trace`, `make dead-letters`.

Each command is a script beside this file: it names what it invokes or reads by the logical id of template.yaml. Profile and
region are the ones of `make deploy`: PROFILE and REGION, else what samconfig.toml saved, else the AWS CLI's own settings.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cloudformation import aws_message, login_hint
from deploy import ROOT, open_session, stack_name
from parameters import Saved
from terminal import Failure

# Seconds. manage-dead-letters ends after two minutes, check-integration after half a minute. boto3 must not begin a second
# invocation after a time-out: it would do the work twice.
INVOKE = Config(connect_timeout=10, read_timeout=130, retries={"total_max_attempts": 1})


class DeployedStack:
    """A stack that exists: its resources by logical id, and its functions."""

    def __init__(self, name, session):
        self.name = name
        self.session = session
        self.resources = {}

    def physical_id(self, logical_id):
        """Returns what AWS calls the resource; fails if the stack or the resource does not exist."""
        if logical_id not in self.resources:
            api = self.session.client("cloudformation")
            try:
                found = api.describe_stack_resource(StackName=self.name, LogicalResourceId=logical_id)
            except ClientError as error:
                if error.response["Error"].get("Code") != "ValidationError":
                    raise
                raise Failure(f"{aws_message(error)}.\nIs {self.name} a stack of this version of the bridge in "
                              f"{self.session.region_name}? `make deploy STACK={self.name}` updates it.") from None
            self.resources[logical_id] = found["StackResourceDetail"]["PhysicalResourceId"]
        return self.resources[logical_id]

    def invoke(self, logical_id, payload):
        """Invokes a function and returns its result; fails with the function's own error."""
        response = self.session.client("lambda", config=INVOKE).invoke(
            FunctionName=self.physical_id(logical_id), Payload=json.dumps(payload).encode())
        result = json.loads(response["Payload"].read() or b"null")
        if "FunctionError" in response:
            message = result.get("errorMessage") if isinstance(result, dict) else None
            raise Failure(f"{logical_id} failed: {message or 'it ended without a result; its log says why'}")
        return result


def run(description, add_options, command):
    """The main function of a command: reads the command line, calls command(stack, options), returns the exit code."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", type=stack_name, metavar="STACK")
    parser.add_argument("--profile", help="profile of ~/.aws/config (make: PROFILE)")
    parser.add_argument("--region", help="AWS region (make: REGION)")
    parser.add_argument("--config", type=Path, default=ROOT / "samconfig.toml", help="where `make deploy` saved its options")
    parser.set_defaults(role_arn=None, tags=None)
    add_options(parser)
    options = parser.parse_args()
    try:
        # Standard output is the command's result alone, which another program may read.
        with contextlib.redirect_stdout(sys.stderr):
            session, _ = open_session(options, Saved(options.config, options.stack))
        return command(DeployedStack(options.stack, session), options)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except (ClientError, BotoCoreError) as error:
        print(f"AWS: {aws_message(error)}{login_hint(error)}", file=sys.stderr)
        return 1
