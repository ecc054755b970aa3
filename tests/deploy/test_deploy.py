"""Drives tools/deploy.py through a pseudo-terminal against a stand-in for AWS.

    target/python/sam/bin/python -m unittest discover -s tests/deploy
"""

import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "deploy")]

import deploy
from driving import ANSWERS, SECRETS, Case, QuickCase


class Deploy(Case):
    """With the real `sam package`."""

    def test_a_first_deployment_asks_what_the_options_need_and_shows_and_saves_no_secret(self):
        terminal = self.on_terminal("deploy", "--tags", "team=bots", "--role-arn", "arn:aws:iam::123456789012:role/deployer")
        for name, answer in ANSWERS:
            terminal.answer(name, answer)
        terminal.expect(r"Deploy now\?")
        terminal.send("y\n")
        terminal.expect("Channel id: +channel-7")
        terminal.expect("Callback URL: +https://callback.example/v1")
        terminal.expect("Next step: ")
        self.assertEqual(terminal.end(), 0, terminal.output)
        for absent in ("ApiSecret", "Password", "AccessTokenUrl", "BotEndpoint", "SubnetIds", "CertificateArn", "Log"):
            self.assertNotIn(f"\n{absent}\n", terminal.output)
        values = self.values()
        self.assertEqual((values["ApiKey"], values["AppToken"], values["Architecture"]), (*SECRETS[:2], "x86_64"))
        self.assertNotEqual(values["CredentialsRevision"], "0")
        [request] = self.aws.called("CreateChangeSet")
        self.assertEqual(request["OnStackFailure"], "DELETE")
        self.assertEqual((request["Tags.member.1.Key"], request["Tags.member.1.Value"]), ("team", "bots"))
        self.assertEqual(request["RoleARN"], "arn:aws:iam::123456789012:role/deployer")
        zip_file = (self.folder / "zips/converse/bootstrap.zip").read_bytes()
        self.assertTrue(any(zip_file in body for body in self.aws.objects.values()), "the zip was not uploaded")
        saved = self.config.read_text()
        self.assertIn('QueueId=\\"101\\"', saved)
        for secret in SECRETS:
            self.assertNotIn(secret, terminal.output)
            self.assertNotIn(secret, saved)
        self.assertEqual(self.aws.seen_in_argv, [])
        self.assertEqual(self.aws.errors, [])

    def test_the_next_deployment_asks_nothing_and_set_changes_one_value(self):
        self.deployed()
        before = dict(self.values())
        terminal = self.on_terminal("deploy")
        terminal.expect("the stack is up to date")
        self.assertEqual(terminal.end(), 0)
        self.assertNotIn("\n> ", terminal.output)
        terminal = self.on_terminal("deploy", "--set", "QueueId=102 Description='two words'")
        terminal.expect("acme is deployed")
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(self.values(), {**before, "QueueId": "102", "Description": "two words"})
        self.assertIn("102", self.config.read_text())

    def test_values_are_kept_without_the_saved_file(self):
        self.deployed()
        self.config.unlink()
        done = self.without_terminal("deploy", "--set", "LogRetentionDays=90")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.values()["ApiKey"], self.values()["LogRetentionDays"]), (SECRETS[0], "90"))


class Dialogue(QuickCase):
    def test_a_secret_is_asked_again_by_its_name_and_changes_the_revision(self):
        self.deployed()
        self.aws.find("acme").values["CredentialsRevision"] = "old"
        terminal = self.on_terminal("deploy", "--set", "ApiKey")
        terminal.answer("ApiKey", SECRETS[2])
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(self.values()["ApiKey"], SECRETS[2])
        self.assertNotEqual(self.values()["CredentialsRevision"], "old")
        self.assertNotIn(SECRETS[2], terminal.output)

    def test_another_authentication_type_asks_for_its_secret_only(self):
        self.deployed()
        terminal = self.on_terminal("deploy", "--set", "AuthenticationType=client-credentials")
        terminal.answer("ApiSecret", SECRETS[2])
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertEqual((self.values()["ApiKey"], self.values()["ApiSecret"]), (SECRETS[0], SECRETS[2]))

    def test_a_secret_on_the_command_line_is_refused(self):
        done = self.without_terminal("deploy", "--set", "ApiKey=abc")
        self.assertEqual(done.returncode, 2)
        self.assertIn("ApiKey is secret", done.stderr)
        self.nothing_changed()

    def test_missing_credentials_are_found_before_any_question(self):
        self.aws.valid_credentials = False
        terminal = self.on_terminal("deploy")
        terminal.expect("AWS does not accept the credentials")
        terminal.expect("aws configure")
        self.assertEqual(terminal.end(), 2)
        self.assertNotIn("\n> ", terminal.output)
        self.nothing_changed()

    def test_without_a_terminal_everything_missing_is_named_at_once(self):
        done = self.without_terminal("deploy", LIVE_AGENT_QUEUE_ID="101")
        self.assertEqual(done.returncode, 2)
        for variable in ("LIVE_AGENT_INTEGRATION_NAME", "LIVE_AGENT_API_KEY", "LIVE_AGENT_BOT_ENDPOINT", "LIVE_AGENT_APP_TOKEN"):
            self.assertIn(variable, done.stderr)
        for variable in ("LIVE_AGENT_QUEUE_ID", "LIVE_AGENT_PASSWORD", "LIVE_AGENT_LOG_RETENTION_DAYS"):
            self.assertNotIn(variable, done.stderr)
        self.nothing_changed()

    def test_without_a_terminal_a_file_gives_the_values(self):
        for name, text in (
            ("values.json", '{"IntegrationName": "acme", "ApiKey": "S3cret-api-key", "QueueId": 101, "BotEndpoint": '
                            '"https://bot.example/", "AppToken": "S3cret-app-token"}'),
            ("values.env", "# a comment\nQueueId=103\nDescription=\"two words\"\n"),
        ):
            (self.folder / name).write_text(text)
            done = self.without_terminal("deploy", "--parameters", str(self.folder / name))
            self.assertEqual(done.returncode, 0, done.stderr)
        values = self.values()
        self.assertEqual((values["ApiKey"], values["QueueId"], values["Description"]), (SECRETS[0], "103", "two words"))

    def test_invalid_values_are_named_together_and_nothing_is_changed(self):
        done = self.without_terminal("deploy", "--set", "LogRetentionDays=31 QueuId=1", LIVE_AGENT_INTEGRATION_NAME="A!")
        self.assertEqual(done.returncode, 2)
        self.assertIn("LogRetentionDays must be one of: 30, 90", done.stderr)
        self.assertIn("did you mean QueueId?", done.stderr)
        self.assertIn("must be lower-case letters", done.stderr)
        self.nothing_changed()

    def test_an_invalid_answer_is_asked_again_with_the_reason(self):
        terminal = self.on_terminal("deploy", "--arch", "arm64")
        terminal.answer("IntegrationName", "ACME!")
        terminal.expect("Invalid: IntegrationName must be lower-case letters\n> $")
        terminal.send("acme\n")
        terminal.answer("AuthenticationType", "magic")
        terminal.expect("must be one of: api-key, client-credentials, password")
        terminal.send("password\n")
        terminal.answer("ApiKey", "")  # optional for password
        terminal.answer("Username", "")
        terminal.expect("a value is needed")
        terminal.interrupt()
        self.assertEqual(terminal.end(), 130)
        self.nothing_changed()

    def test_a_no_at_the_end_deploys_and_saves_nothing(self):
        terminal = self.on_terminal("deploy")
        for name, answer in ANSWERS:
            terminal.answer(name, answer)
        terminal.expect(r"Deploy now\?")
        terminal.send("n\n")
        self.assertEqual(terminal.end(), 1)
        self.nothing_changed()

    def test_a_failed_creation_prints_its_reason_and_can_be_repeated_at_once(self):
        self.aws.fail = ["8x8 rejected the channel: status 400"]
        done = self.first_deployment()
        self.assertEqual(done.returncode, 1)
        self.assertIn("1. Channel (Custom::Channel): 8x8 rejected the channel: status 400", done.stderr)
        self.assertNotIn("cancelled", done.stderr)
        terminal = self.on_terminal("deploy")  # only secrets are asked again
        terminal.answer("ApiKey", SECRETS[0])
        terminal.answer("AppToken", SECRETS[1])
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertEqual(self.values()["QueueId"], "101")

    def test_the_remains_of_a_failed_creation_are_deleted_first(self):
        for status in ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"):
            with self.subTest(status):
                self.deployed()
                self.aws.find("acme").status = status
                self.deployed()
                self.assertEqual(self.aws.find("acme").status, "CREATE_COMPLETE")

    def test_a_failed_update_prints_its_reason_and_is_not_saved(self):
        self.deployed()
        self.aws.fail = ["8x8 does not know queue 999"]
        done = self.without_terminal("deploy", "--set", "QueueId=999")
        self.assertEqual(done.returncode, 1)
        self.assertIn("1. Channel (Custom::Channel): 8x8 does not know queue 999", done.stderr)
        self.assertNotIn("999", self.config.read_text())

    def test_a_new_account_reserves_nothing(self):
        self.aws.concurrency = (10, 10)
        done = self.deployed()
        self.assertIn("10 of the account's 10", done.stdout)
        self.assertEqual(self.values()["ReserveConcurrency"], "no")

    def test_a_deletion_asks_waits_and_names_the_way_out(self):
        self.deployed()
        self.assertEqual(self.without_terminal("delete").returncode, 2)
        terminal = self.on_terminal("delete")
        terminal.expect("to confirm: $")
        terminal.send("no\n")
        self.assertEqual(terminal.end(), 1)
        self.assertEqual(self.aws.called("DeleteStack"), [])
        self.aws.fail = ["8x8 is not reachable"]
        done = self.without_terminal("delete", "--yes")
        self.assertEqual(done.returncode, 1)
        self.assertIn("8x8 is not reachable", done.stderr)
        self.assertIn("--deletion-mode FORCE_DELETE_STACK", done.stderr)
        terminal = self.on_terminal("delete")
        terminal.expect("to confirm: $")
        terminal.send("acme\n")
        terminal.expect("acme is deleted")
        self.assertEqual(terminal.end(), 0)


class RealTemplate(unittest.TestCase):
    def test_every_parameter_without_a_default_is_asked_and_every_function_gets_its_zip(self):
        template = deploy.Template(ROOT / "template.yaml")
        asked = {question.name for question in deploy.questions(template)}
        for parameter in template.parameters.values():
            if parameter.default is None and parameter.name != "CredentialsRevision":
                self.assertIn(parameter.name, asked)
        with tempfile.TemporaryDirectory() as folder:
            for function in (ROOT / "functions").iterdir():
                (Path(folder) / function.name).mkdir()
                (Path(folder) / function.name / "bootstrap.zip").touch()
            text = template.with_zips(Path(folder))
            self.assertEqual(text.count("/bootstrap.zip"), len(list((ROOT / "functions").iterdir())))


if __name__ == "__main__":
    unittest.main()
