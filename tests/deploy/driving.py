"""Runs tools/deploy.py with and without a pseudo-terminal against the stand-in for AWS of aws.py."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
import unittest
import zipfile
from pathlib import Path

from aws import Aws

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 90  # seconds that a test waits for an expected text
# Seconds in which the program, on a busy machine, says that Ctrl-C stopped it.
INTERRUPT_LIMIT = 5

# The names of the real template, with what the dialogue reads of them. The metadata makes it too large for a request.
TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Metadata: { Padding: %s }
Parameters:
  IntegrationName: { Type: String, AllowedPattern: "[a-z-]+", ConstraintDescription: must be lower-case letters }
  Description: { Type: String, Default: a default }
  QueueId: { Type: String, Default: "" }
  ChannelId: { Type: String, Default: "" }
  AuthenticationType: { Type: String, Default: api-key, AllowedValues: [api-key, client-credentials, password] }
  ApiKey: { Type: String, NoEcho: true, Default: "", AllowedPattern: "[!-~]*" }
  ApiSecret: { Type: String, NoEcho: true, Default: "" }
  Username: { Type: String, Default: "" }
  Password: { Type: String, NoEcho: true, Default: "" }
  AccessTokenUrl: { Type: String, Default: "https://api.8x8.com/oauth/v2/token", AllowedPattern: "https://.+" }
  CredentialsRevision: { Type: String, Default: "0" }
  AiseraTenant: { Type: String, Default: "" }
  BotEndpoint: { Type: String, Default: "" }
  AppToken: { Type: String, NoEcho: true }
  Public: { Type: String, Default: "yes", AllowedValues: ["yes", "no"] }
  SubnetIds: { Type: CommaDelimitedList, Default: "" }
  SecurityGroupIds: { Type: CommaDelimitedList, Default: "" }
  DomainName: { Type: String, Default: "" }
  CertificateArn: { Type: String, Default: "" }
  HostedZoneId: { Type: String, Default: "" }
  LogRetentionDays: { Type: Number, Default: 30, AllowedValues: [30, 90] }
  Architecture: { Type: String, Default: arm64, AllowedValues: [arm64, x86_64] }
  ReserveConcurrency: { Type: String, Default: "yes", AllowedValues: ["yes", "no"] }
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: provided.al2023
      Handler: bootstrap
      CodeUri: functions/converse
""" % ("x" * 60_000)

SECRETS = ["S3cret-api-key", "S3cret-app-token", "S3cret-api-secret"]
# Question → answer of a first deployment.
ANSWERS = [
    ("Architecture", "x86_64"), ("IntegrationName", "acme"), ("AuthenticationType", ""), ("ApiKey", SECRETS[0]),
    ("ChannelId", ""), ("QueueId", "101"), ("AiseraTenant", "acme"), ("AppToken", SECRETS[1]), ("Public", ""),
    ("DomainName", ""),
]


class Terminal:
    """The program behind a real pseudo-terminal that is its controlling one."""

    def __init__(self, command, environment):
        self.output = ""
        self.position = 0
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.execve(command[0], command, environment)

    def read(self, deadline):
        """Returns False at the end of the output."""
        ready, _, _ = select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more came within {LIMIT} s:\n{self.output}")
        try:
            data = os.read(self.terminal, 65536)
        except OSError:
            data = b""
        self.output += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def expect(self, pattern):
        deadline = time.monotonic() + LIMIT
        while not (found := re.compile(pattern, re.MULTILINE).search(self.output, self.position)):
            if not self.read(deadline):
                raise AssertionError(f"{pattern!r} did not come:\n{self.output[self.position:]}\n(all:)\n{self.output}")
        self.position = found.end()
        return found

    def send(self, text):
        os.write(self.terminal, text.encode())

    def interrupt(self):
        """Ctrl-C; again if it came between the prompt and the reading, where Python notices it only at the next key."""
        for _ in range(3):
            position = len(self.output)
            self.send("\x03")
            deadline = time.monotonic() + INTERRUPT_LIMIT
            while select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                if not self.read(deadline) or self.output[position:].replace("^C", "").strip():
                    return

    def answer(self, name, text):
        self.expect(rf"(?:\({name}\)|^{name})\n(?:  .*\n)*> ?(?:\(not shown\))?[^\n]* $")
        self.send(text + "\n")

    def end(self):
        deadline = time.monotonic() + LIMIT
        while self.read(deadline):
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        self.echoes = bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)
        os.close(self.terminal)
        self.process = None
        return code

    def kill(self):
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            os.close(self.terminal)


class Case(unittest.TestCase):
    """`program` is tools/deploy.py, or that with a quick stand-in for `sam package`."""

    program = ROOT / "tools" / "deploy.py"
    # What no command line may hold while AWS is called.
    watched = SECRETS

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.template = self.folder / "template.yaml"
        self.template.write_text(TEMPLATE)
        self.config = self.folder / "samconfig.toml"
        for function in sorted(path.name for path in (ROOT / "functions").iterdir() if path.is_dir()):
            zips = self.folder / "zips" / function
            zips.mkdir(parents=True)
            with zipfile.ZipFile(zips / "bootstrap.zip", "w") as archive:
                archive.writestr("bootstrap", "the program")
        self.aws = Aws()
        self.aws.watched = self.watched
        self.addCleanup(self.aws.close)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1",
        }

    def command(self, verb, *more):
        files = ["--template", str(self.template), "--zips", str(self.folder / "zips")] if verb == "deploy" else []
        return [sys.executable, str(self.program), verb, "acme", "--config", str(self.config), "--poll",
                "0.05", *files, *more]

    def on_terminal(self, verb, *more):
        terminal = Terminal(self.command(verb, *more), self.environment)
        self.addCleanup(terminal.kill)
        return terminal

    def without_terminal(self, verb, *more, **variables):
        return subprocess.run(self.command(verb, *more), env={**self.environment, **variables}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LIMIT)

    def first_deployment(self, **variables):
        variables = {"LIVE_AGENT_INTEGRATION_NAME": "acme", "LIVE_AGENT_API_KEY": SECRETS[0], "LIVE_AGENT_QUEUE_ID": "101",
                     "LIVE_AGENT_AISERA_TENANT": "acme", "LIVE_AGENT_APP_TOKEN": SECRETS[1], **variables}
        return self.without_terminal("deploy", **variables)

    def deployed(self):
        done = self.first_deployment()
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def nothing_changed(self):
        self.assertEqual([name for name, _ in self.aws.requests if not name.startswith(("Describe", "Get"))], [])
        self.assertFalse(self.config.exists())

    def values(self):
        return self.aws.find("acme").values


class QuickCase(Case):
    """For what does not depend on the upload."""

    program = ROOT / "tests" / "deploy" / "quick.py"
    # Reading all command lines at each call doubles the time of one.
    watched = ()
