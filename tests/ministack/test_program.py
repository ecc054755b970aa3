"""Runs tools/deploy.py as a user's command, with the real `sam package`, against MiniStack.

    target/python/ministack/bin/python -m unittest discover -s tests/ministack

The tests run in the order in which they stand here: each continues with the stack as the one before left it. No entry of the
add-on stands for what SAM does: MiniStack itself makes SAM's managed stack and bucket, and takes the uploads.
"""

import base64
import hashlib
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import deploy
import template_copy
from checks import calls, paths
from checks.inventory import expect_nothing_left, inventory
from deployment import POLL, ROOT
from world import World

PYTHON = ROOT / "target" / "python" / "sam" / "bin" / "python"
CREDENTIALS = {"ApiKey": "Program-api-key", "AppToken": "Program-app-token", "BotUsername": "bridge",
               "BotPassword": "Program-bot-password"}
SECRETS = ("ApiKey", "AppToken", "BotPassword")
NAME = "program"
# A deployment takes about six seconds; a custom resource that does not answer has 180 s.
LIMIT = 240


class Program(unittest.TestCase):
    world = stack = None

    @classmethod
    def setUpClass(cls):
        if not PYTHON.is_file():
            raise AssertionError(f"{PYTHON.relative_to(ROOT)} does not exist: make target/python/sam/.installed")
        cls.world = World(CREDENTIALS, "api-key", "sandboxtenant")
        cls.peers = cls.world.peers
        cls.nothing = inventory(cls.world)
        folder = cls.world.ministack.folder
        cls.template, cls.config, cls.file = folder / "template.yaml", folder / "samconfig.toml", folder / "parameters"
        cls.template.write_text(cls.world.template_to_build(), encoding="utf-8")
        parameters = {"IntegrationName": NAME, **cls.world.parameters(NAME)}
        secrets = {name: parameters.pop(name) for name in SECRETS}
        cls.file.write_text("".join(f"{name}={value}\n" for name, value in parameters.items()), encoding="utf-8")
        specifications = deploy.Template(ROOT / "template.yaml").parameters
        cls.secrets = {specifications[name].variable: value for name, value in secrets.items()}

    @classmethod
    def tearDownClass(cls):
        cls.world.close()

    def setUp(self):
        if self.stack is None and not self._testMethodName.startswith(("test_a_first_deployment", "test_it_is_deployed")):
            self.skipTest("there is no stack")

    def run_program(self, verb, *more, **variables):
        """`make` sets the same environment, MiniStack's server.py the rest."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(deploy.ENVIRONMENT_PREFIX)}
        environment = {**inherited, "SAM_CLI_TELEMETRY": "0", "PYTHONDONTWRITEBYTECODE": "1",
                       "HOME": str(self.world.ministack.folder), **variables}
        files = ["--template", str(self.template), "--zips", str(self.world.zips.folder)] if verb == "deploy" else []
        done = subprocess.run(
            [str(PYTHON), str(ROOT / "tools" / "deploy.py"), verb, NAME, "--config", str(self.config), "--poll", str(POLL),
             *files, *more],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT)
        for secret in self.secrets.values():
            self.assertNotIn(secret, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def first(self):
        return self.run_program("deploy", "--parameters", str(self.file), **self.secrets)

    def state(self):
        """What an update that does nothing, or is rolled back, leaves alike."""
        present = self.stack.stack.describe()
        functions = {name: self.configuration(name)["CodeSha256"] for name in self.functions()}
        return (present["Parameters"], present["Outputs"], self.stack.resources(), functions, self.peers.registered(),
                calls.versions(self.world, self.stack))

    def functions(self):
        """Logical id → the folder of the function's zip."""
        resources = template_copy.as_data(self.template.read_text(encoding="utf-8"))["Resources"]
        return {logical_id: Path(resource["Properties"]["CodeUri"]).parts[2]
                for logical_id, resource in resources.items() if resource["Type"] == "AWS::Serverless::Function"}

    def configuration(self, logical_id):
        return self.world.client("lambda").get_function_configuration(FunctionName=self.stack.physical_id(logical_id))

    def test_a_first_deployment_that_8x8_refuses_leaves_no_stack(self):
        self.peers.fail_next("POST", "channels")
        done = self.first()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("Channel (Custom::LiveAgentChannel): 8x8", done.stderr)
        self.assertIn("400", done.stderr)
        self.assertIn("Everything was removed", done.stderr)
        self.assertIsNone(self.world.new_stack(NAME).stack.describe())
        self.assertEqual(self.peers.registered(), {"webhooks": [], "channels": []})
        expect_nothing_left(self.world, self.nothing)

    def test_it_is_deployed_at_once_and_says_what_comes_next(self):
        done = self.first()
        self.assertEqual(done.returncode, 0, done.stderr)
        stack = self.world.new_stack(NAME)
        stack.identity = stack.stack.describe()["StackId"]
        type(self).stack = stack
        self.assertEqual(stack.status, "CREATE_COMPLETE")
        for key in ("ChannelId", "CallbackUrl", "DashboardUrl", "ConversationsUrl"):
            self.assertIn(stack.outputs[key], done.stdout)
        self.assertRegex(done.stdout, r"Next step: .*queue 101")
        self.assertEqual([each["id"] for each in self.peers.registered()["channels"]], [stack.outputs["ChannelId"]])
        saved = self.config.read_text(encoding="utf-8")
        self.assertIn("QueueId", saved)
        for secret in self.secrets.values():
            self.assertNotIn(secret, saved)

    def test_the_zips_that_were_given_are_deployed(self):
        functions = self.functions()
        self.assertEqual(sorted(functions.values()), sorted(path.name for path in self.world.zips.folder.iterdir()))
        for logical_id, name in functions.items():
            content = (self.world.zips.folder / name / "bootstrap.zip").read_bytes()
            self.assertEqual(self.configuration(logical_id)["CodeSha256"],
                             base64.b64encode(hashlib.sha256(content).digest()).decode(), logical_id)
        buckets = [each["Name"] for each in self.world.client("s3").list_buckets()["Buckets"]]
        self.assertEqual(len([name for name in buckets if name.startswith("aws-sam-cli-managed-default-")]), 1, buckets)

    def test_an_event_reaches_the_bot(self):
        paths.a_signed_event_reaches_the_bot_byte_for_byte(self.world, self.stack)

    def test_the_next_deployment_asks_nothing_and_changes_nothing(self):
        before, saved = self.state(), self.config.read_text(encoding="utf-8")
        events = len(self.stack.events())
        done = self.run_program("deploy")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the stack is up to date", done.stdout)
        self.assertIn(self.stack.outputs["ChannelId"], done.stdout)
        self.assertEqual((self.state(), len(self.stack.events())), (before, events))
        names = {line.split("=")[0] for line in saved.split('"') if "=" in line}
        self.assertLessEqual(names, {line.split("=")[0] for line in self.config.read_text().split('"') if "=" in line})

    def test_one_value_is_changed_and_secrets_are_kept(self):
        outputs = self.stack.outputs
        done = self.run_program("deploy", "--set", "QueueId=102")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.peers.channel(outputs["ChannelId"])["routingOptions"]["id"], "102")
        self.assertEqual(self.stack.outputs, outputs)
        self.assertEqual(calls.secret(self.world, outputs["ContactCenterSecretArn"])["api_key"], CREDENTIALS["ApiKey"])
        paths.a_signed_event_reaches_the_bot_byte_for_byte(self.world, self.stack)

    def test_an_update_that_8x8_refuses_says_why_and_changes_nothing(self):
        before, saved = self.state(), self.config.read_text(encoding="utf-8")
        done = self.run_program("deploy", "--set", "QueueId=999")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr, r"1\. Channel \(Custom::LiveAgentChannel\): 8x8 .*400.*999")
        self.assertIn("UPDATE_ROLLBACK_COMPLETE", done.stderr)
        parameters, outputs, resources, functions, registered, _ = self.state()
        self.assertEqual((parameters, outputs, resources, functions, registered), before[:5])
        self.assertEqual(self.config.read_text(encoding="utf-8"), saved)
        paths.a_signed_event_reaches_the_bot_byte_for_byte(self.world, self.stack)

    def test_the_deletion_leaves_nothing(self):
        done = self.run_program("delete")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(self.stack.status, "UPDATE_ROLLBACK_COMPLETE")
        done = self.run_program("delete", "--yes")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{NAME} is deleted", done.stdout)
        self.assertIsNone(self.stack.stack.describe())
        self.assertEqual(self.peers.registered(), {"webhooks": [], "channels": []})
        expect_nothing_left(self.world, self.nothing)
        self.assertEqual(self.peers.violations(), [])


def load_tests(_loader, _tests, _pattern):
    """The tests in the order of this file."""
    return unittest.TestSuite(Program(name) for name in vars(Program) if name.startswith("test_"))


if __name__ == "__main__":
    unittest.main()
