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
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError, ProfileNotFound

from cloudformation import AWS_CALLS, NEVER_CREATED, Stack, aws_message, login_hint
from parameters import Saved, given_values, key_values
from questions import EVERY_TENANT, Question, ask, must_have_value, questions
from release import Release, ReleaseError, TEMPLATE
from template import ENVIRONMENT_PREFIX, Template
from terminal import Failure, show

ROOT = Path(__file__).resolve().parent.parent
# `sam package` uploads seven zips of a few megabytes.
PACKAGE_TIMEOUT = 900
# Lambda keeps at least this many executions unreserved:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
MIN_UNRESERVED = 100
# Above this a template must be in S3:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_TEMPLATE_BODY = 51_200
# Parameters whose change gives CredentialsRevision a new value, so that the registration at 8x8 is updated.
CREDENTIALS = {"ApiKey", "ApiSecret", "Username", "Password"}


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
