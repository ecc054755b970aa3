"""What leads `make deploy` off its usual way: profiles, interruptions, others at work, options, new templates, stuck stacks.

    target/python/sam/bin/python -m unittest discover -s tests/deploy
"""

import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from driving import ROOT, SECRETS, TEMPLATE, Case, QuickCase

EXPIRED = "ExpiredToken", "The security token included in the request is expired"
# What an operator reads while TenantId is empty.
EVERY_TENANT = "While TenantId is empty, genuine events of every 8x8 tenant are accepted"
# Answers to what the real template asks first, whatever the options.
BEGINNING = [("Architecture", ""), ("IntegrationName", "acme")]
# What writes; reading, and asking who one is, changes nothing.
READING = ("Describe", "Get")


class Profiles(Case):
    def profiles(self, **keys):
        folder = self.folder / ".aws"
        folder.mkdir(exist_ok=True)
        (folder / "config").write_text("".join(
            f"[profile {name}]\nregion = eu-west-1\naws_access_key_id = {key}\naws_secret_access_key = x\n"
            for name, key in keys.items()))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            self.environment.pop(name, None)

    def test_a_profile_is_used_for_everything_and_saved_for_the_next_deployment(self):
        self.profiles(ops="OPSKEY", other="OTHERKEY")
        terminal = self.on_terminal("deploy", "--profile", "ops", "--arch", "arm64")
        for name, answer in (("IntegrationName", "acme"), ("AuthenticationType", ""), ("ApiKey", SECRETS[0]), ("ChannelId", ""),
                             ("QueueId", "101"), ("AiseraTenant", "acme"), ("AppToken", SECRETS[1]), ("Public", ""),
                             ("DomainName", "")):
            terminal.answer(name, answer)
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertTrue(terminal.echoes)
        self.assertIn('profile = "ops"', self.config.read_text())
        done = self.without_terminal("deploy", "--set", "QueueId=102")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.values()["QueueId"], "102")
        # `sam package` as well.
        self.assertEqual(self.aws.access_keys, {"OPSKEY"})


class UnknownProfiles(QuickCase):
    profiles = Profiles.profiles

    def test_an_unknown_profile_is_named_and_nothing_is_changed(self):
        self.profiles(ops="OPSKEY")
        for verb in ("deploy", "delete"):
            done = self.without_terminal(verb, "--profile", "oops")
            self.assertEqual(done.returncode, 2)
            self.assertIn("There is no profile oops", done.stderr)
            self.assertIn("ops", done.stderr.replace("oops", ""))
            self.assertNotIn("Traceback", done.stderr)
        self.nothing_changed()

    def test_a_saved_profile_that_this_machine_lacks_is_said_to_be_saved(self):
        self.profiles(ops="OPSKEY")
        self.assertEqual(self.first_deployment().returncode, 2)  # neither credentials nor a region
        self.config.write_text('[acme.deploy.parameters]\nregion = "eu-west-1"\nprofile = "gone"\n')
        before = self.config.read_text()
        done = self.without_terminal("deploy")
        self.assertEqual(done.returncode, 2)
        self.assertIn("There is no profile gone", done.stderr)
        self.assertIn("samconfig.toml", done.stderr)
        self.assertEqual(self.config.read_text(), before)
        self.assertEqual(self.aws.requests, [])


class Interruptions(QuickCase):
    def changes(self):
        return [name for name, _ in self.aws.requests if not name.startswith(READING)]

    def test_ctrl_c_at_a_secret_changes_nothing_and_restores_the_echo(self):
        terminal = self.on_terminal("deploy", "--arch", "arm64")
        terminal.answer("IntegrationName", "acme")
        terminal.answer("AuthenticationType", "")
        terminal.expect(r"\(ApiKey\)|^ApiKey$")
        terminal.expect(r"> \(not shown\) $")
        terminal.send("half of a sec")
        terminal.interrupt()
        self.assertEqual(terminal.end(), 130)
        self.assertTrue(terminal.echoes)
        self.assertIn("Nothing was deployed", terminal.output)
        self.assertNotIn("Traceback", terminal.output)
        self.assertNotIn("half of", terminal.output)
        self.nothing_changed()

    def test_the_end_of_the_input_is_like_ctrl_c(self):
        terminal = self.on_terminal("deploy")
        terminal.expect(r"^> .*$")
        terminal.send("\x04")
        self.assertEqual(terminal.end(), 130)
        self.nothing_changed()

    def test_ctrl_c_at_the_last_question_of_an_update_changes_nothing(self):
        self.deployed()
        self.aws.requests.clear()
        before = self.config.read_text()
        terminal = self.on_terminal("deploy", "--set", "ApiKey")
        terminal.answer("ApiKey", SECRETS[2])
        terminal.expect(r"Deploy now\?")
        terminal.interrupt()
        self.assertEqual(terminal.end(), 130)
        self.assertEqual((self.changes(), self.config.read_text()), ([], before))

    def test_ctrl_c_while_the_stack_is_created_says_that_it_goes_on_and_so_does_the_next_run(self):
        self.aws.held = True
        terminal = self.on_terminal("deploy", "--set", "QueueId=101 AiseraTenant=acme IntegrationName=acme", "--arch", "arm64")
        for name, answer in (("AuthenticationType", ""), ("ApiKey", SECRETS[0]), ("ChannelId", ""), ("AppToken", SECRETS[1]),
                             ("Public", ""), ("DomainName", "")):
            terminal.answer(name, answer)
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        terminal.expect("CREATE_IN_PROGRESS")
        terminal.interrupt()
        self.assertEqual(terminal.end(), 130)
        self.assertIn("CloudFormation goes on", terminal.output)
        self.assertIn("make deploy STACK=acme", terminal.output)
        self.aws.requests.clear()
        done = self.without_terminal("deploy")
        self.assertEqual(done.returncode, 1)
        self.assertIn("acme is CREATE_IN_PROGRESS", done.stderr)
        self.assertIn("Nothing was changed", done.stderr)
        self.assertEqual(self.changes(), [])
        self.aws.held = False
        self.aws.find("acme").status = "CREATE_COMPLETE"
        done = self.without_terminal("deploy")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("up to date", done.stdout)
        self.assertEqual(self.values()["ApiKey"], SECRETS[0])

    def test_a_stack_that_others_are_changing_is_left_alone(self):
        self.deployed()
        self.aws.requests.clear()
        for status in ("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"):
            self.aws.find("acme").status = status
            done = self.without_terminal("deploy", "--set", "QueueId=102")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"acme is {status}", done.stderr)
            self.assertIn("Try again when that has ended", done.stderr)
        self.assertEqual(self.changes(), [])

    def test_an_update_that_others_began_meanwhile_is_left_alone(self):
        self.deployed()
        before = self.config.read_text()
        self.aws.find("acme").next_status = "UPDATE_IN_PROGRESS"  # after the first look
        done = self.without_terminal("deploy", "--set", "QueueId=102")
        self.assertEqual(done.returncode, 1)
        self.assertIn("UPDATE_IN_PROGRESS", done.stderr)
        self.assertEqual((self.values()["QueueId"], self.config.read_text()), ("101", before))

    def test_a_creation_that_others_began_meanwhile_is_not_deleted(self):
        self.deployed()
        stack = self.aws.find("acme")
        # As it is between the creation of a change set and its execution, and as it is after the build.
        stack.status, stack.next_status = "REVIEW_IN_PROGRESS", "CREATE_COMPLETE"
        done = self.first_deployment()
        self.assertEqual(self.aws.called("DeleteStack"), [])
        self.assertEqual(done.returncode, 1)
        self.assertIn("acme is now CREATE_COMPLETE", done.stderr)

    def test_what_begins_late_is_waited_for(self):
        self.deployed()
        self.aws.lag, self.aws.fail = 2, ["8x8 does not know queue 999"]
        done = self.without_terminal("deploy", "--set", "QueueId=999")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("8x8 does not know queue 999", done.stderr)
        done = self.without_terminal("delete", "--yes")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.aws.stacks[-1].status, "DELETE_COMPLETE")

    def test_two_updates_within_a_second_do_not_collide(self):
        self.deployed()
        names = set()
        for queue in ("102", "103"):
            done = self.without_terminal("deploy", "--set", f"QueueId={queue}")
            self.assertEqual(done.returncode, 0, done.stderr)
            names.add(self.aws.called("CreateChangeSet")[-1]["ChangeSetName"])
        for name in names:
            self.assertRegex(name, r"^deploy-\d{14}-[0-9a-f]{8}$")

    def test_credentials_that_expire_while_it_waits(self):
        self.deployed()
        before = self.config.read_text()
        self.aws.held = True
        terminal = self.on_terminal("deploy", "--set", "QueueId=102")
        terminal.expect("UPDATE_IN_PROGRESS")
        self.aws.refused = {"DescribeStacks": EXPIRED, "DescribeStackEvents": EXPIRED}
        self.assertEqual(terminal.end(), 1)
        for text in ("ExpiredToken", "CloudFormation goes on", "Log in", "make deploy STACK=acme"):
            self.assertIn(text, terminal.output)
        self.assertNotIn("Traceback", terminal.output)
        self.assertEqual(self.config.read_text(), before)

    def test_credentials_that_expire_while_it_waits_for_a_deletion(self):
        self.deployed()
        self.aws.held = True
        terminal = self.on_terminal("delete", "--yes")
        terminal.expect("DELETE_IN_PROGRESS")
        self.aws.refused = {"DescribeStacks": EXPIRED, "DescribeStackEvents": EXPIRED}
        self.assertEqual(terminal.end(), 1)
        for text in ("ExpiredToken", "CloudFormation goes on", "Log in", "make delete STACK=acme"):
            self.assertIn(text, terminal.output)

    def test_credentials_that_expire_before_the_change_set_is_there(self):
        self.aws.refused = {name: EXPIRED for name in ("DescribeChangeSet", "DeleteChangeSet", "DeleteStack")}
        done = self.first_deployment()
        self.assertEqual(done.returncode, 1)
        for text in ("ExpiredToken", "Log in"):
            self.assertIn(text, done.stderr)
        self.aws.refused = {}
        self.deployed()
        self.assertEqual(self.aws.find("acme").status, "CREATE_COMPLETE")

    def test_a_refusal_stays_the_reason_when_the_change_set_cannot_be_removed(self):
        self.deployed()
        self.aws.refused = {"ExecuteChangeSet": ("AccessDenied", "not authorized to execute"),
                            "DeleteChangeSet": ("AccessDenied", "not authorized to delete")}
        done = self.without_terminal("deploy", "--set", "QueueId=102")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not authorized to execute", done.stderr)


class Options(QuickCase):
    """The questions of the real template."""

    def setUp(self):
        super().setUp()
        self.template = ROOT / "template.yaml"

    def asked(self, answers, **environment):
        """Gives the answers in their order; returns the values of the stack."""
        self.environment.update(environment)
        terminal = self.on_terminal("deploy")
        for name, answer in answers:
            terminal.answer(name, answer)
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertTrue(terminal.echoes)
        for _, answer in answers:
            if answer.startswith("S3cret"):
                self.assertNotIn(answer, terminal.output)
        return self.values(), terminal.output

    def test_password_another_platform_a_private_network_and_a_domain(self):
        values, output = self.asked(BEGINNING + [
            ("AuthenticationType", "password"), ("ApiKey", SECRETS[0]), ("Username", "api@acme.example"),
            ("Password", SECRETS[2]), ("AccessTokenUrl", ""), ("Endpoint", ""), ("ContactCenterApi", ""), ("TenantId", "acme"),
            ("ChannelId", ""), ("QueueId", "101"), ("CallbackUrl", ""), ("CallbackAuthentication", ""), ("AiseraTenant", ""),
            ("BotEndpoint", "https://bot.example/"), ("AppToken", SECRETS[1]), ("BotUsername", "bridge"),
            ("BotPassword", "S3cret-bot-password"), ("Public", "no"), ("SubnetIds", "subnet-1,subnet-2"),
            ("SecurityGroupIds", "sg-1"), ("DomainName", "live-agent.acme.example"), ("CertificateArn", "arn:aws:acm:x"),
            ("HostedZoneId", "Z1")])
        expected = {
            "Username": "api@acme.example", "Password": SECRETS[2], "AccessTokenUrl": "https://api.8x8.com/oauth/v2/token",
            "BotEndpoint": "https://bot.example/", "BotUsername": "bridge", "BotPassword": "S3cret-bot-password",
            "AiseraTenant": "", "Public": "no", "SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1",
            "DomainName": "live-agent.acme.example", "CertificateArn": "arn:aws:acm:x", "HostedZoneId": "Z1"}
        self.assertEqual({name: values[name] for name in expected}, expected)
        self.assertEqual(output.count(EVERY_TENANT), 1, "said with the question, and not again")

    def test_an_empty_tenant_id_is_a_warning_after_every_deployment_until_it_is_set(self):
        values, output = self.asked(BEGINNING + [
            ("AuthenticationType", ""), ("ApiKey", SECRETS[0]), ("Endpoint", ""), ("ContactCenterApi", ""), ("TenantId", ""),
            ("ChannelId", ""), ("QueueId", "101"), ("CallbackUrl", ""), ("CallbackAuthentication", ""),
            ("AiseraTenant", "acme"), ("AppToken", SECRETS[1]), ("BotUsername", "bridge"),
            ("BotPassword", "S3cret-bot-password"), ("Public", ""), ("DomainName", "")])
        self.assertEqual(values["TenantId"], "")
        question, _, after = output.partition("Deploy now?")
        self.assertIn(EVERY_TENANT, question)
        self.assertIn(f"Warning: {EVERY_TENANT}", after)
        self.assertIn("`make deploy STACK=acme SET=TenantId`", after)
        done = self.without_terminal("deploy", "--set", "TenantId=' '")
        self.assertIn("TenantId must not begin or end with a space", done.stderr)
        self.assertIn(f"Warning: {EVERY_TENANT}", self.without_terminal("deploy").stdout)
        terminal = self.on_terminal("deploy", "--set", "TenantId")
        terminal.answer("TenantId", "acmetenant")
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertEqual(self.values()["TenantId"], "acmetenant")
        self.assertNotIn("Warning", terminal.output.partition("Deploy now?")[2])

    def test_a_channel_to_take_over_needs_no_queue_and_giving_it_back_asks_for_one(self):
        values, output = self.asked(BEGINNING + [
            ("AuthenticationType", ""), ("ApiKey", SECRETS[0]), ("Endpoint", ""), ("ContactCenterApi", ""), ("TenantId", ""),
            ("ChannelId", "channel-of-aisera"), ("CallbackUrl", ""), ("CallbackAuthentication", ""), ("AiseraTenant", "acme"),
            ("AppToken", SECRETS[1]), ("BotUsername", "bridge"), ("BotPassword", "S3cret-bot-password"), ("Public", ""),
            ("DomainName", "")])
        self.assertEqual((values["ChannelId"], values["QueueId"]), ("channel-of-aisera", ""))
        for absent in ("QueueId", "BotEndpoint", "SubnetIds", "SecurityGroupIds", "CertificateArn", "HostedZoneId", "Password)"):
            self.assertNotIn(f"({absent}", output)
        done = self.without_terminal("deploy", "--set", "ChannelId=")
        self.assertEqual(done.returncode, 2)
        self.assertIn("LIVE_AGENT_QUEUE_ID", done.stderr)
        terminal = self.on_terminal("deploy", "--set", "ChannelId=")
        terminal.answer("QueueId", "101")
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertEqual((self.values()["ChannelId"], self.values()["QueueId"]), ("", "101"))


class Updates(QuickCase):
    def test_another_bot_platform_in_one_command(self):
        self.deployed()
        for change in ("AiseraTenant= BotEndpoint=https://bot.example/", "AiseraTenant=acme BotEndpoint=",
                       "BotEndpoint=https://bot.example/"):
            with self.subTest(change):
                done = self.without_terminal("deploy", "--set", change)
                self.assertEqual(done.returncode, 0, done.stderr)
                aisera = "BotEndpoint=h" not in change
                self.assertEqual((self.values()["AiseraTenant"], self.values()["BotEndpoint"]),
                                 ("acme", "") if aisera else ("", "https://bot.example/"))
                self.assertEqual(self.values()["AppToken"], SECRETS[1])

    def test_a_stack_without_a_bot_platform_is_not_made(self):
        self.deployed()
        done = self.without_terminal("deploy", "--set", "AiseraTenant=")
        self.assertEqual(done.returncode, 2)
        self.assertIn("LIVE_AGENT_BOT_ENDPOINT", done.stderr)
        self.assertEqual(self.values()["AiseraTenant"], "acme")

    def test_options_that_an_update_turns_on_ask_for_what_they_need(self):
        self.deployed()
        done = self.without_terminal("deploy", "--set", "Public=no DomainName=live-agent.acme.example")
        self.assertEqual(done.returncode, 2)
        for name in ("SUBNET_IDS", "SECURITY_GROUP_IDS", "CERTIFICATE_ARN", "HOSTED_ZONE_ID"):
            self.assertIn(f"LIVE_AGENT_{name}", done.stderr)
        self.assertEqual(len(self.aws.called("CreateChangeSet")), 1)
        terminal = self.on_terminal("deploy", "--set", "Public=no DomainName=live-agent.acme.example")
        for name, answer in (("SubnetIds", "subnet-1"), ("SecurityGroupIds", "sg-1"), ("CertificateArn", "arn:x"),
                             ("HostedZoneId", "Z1")):
            terminal.answer(name, answer)
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertEqual((self.values()["SubnetIds"], self.values()["HostedZoneId"]), ("subnet-1", "Z1"))

    def test_a_new_parameter_without_a_default_is_asked_or_named(self):
        self.deployed()
        self.template.write_text(TEMPLATE.replace(
            "\nParameters:\n",
            "\nParameters:\n  Region8x8: { Type: String }\n  NewSecret: { Type: String, NoEcho: true }\n"
            "  NewOption: { Type: String, Default: later }\n"))
        done = self.without_terminal("deploy")
        self.assertEqual(done.returncode, 2)
        for name in ("LIVE_AGENT_REGION8X8", "LIVE_AGENT_NEW_SECRET"):
            self.assertIn(name, done.stderr)
        self.assertNotIn("NEW_OPTION", done.stderr)
        terminal = self.on_terminal("deploy")
        terminal.answer("Region8x8", "eu")
        terminal.answer("NewSecret", SECRETS[2])
        terminal.expect(r"Deploy now\?")
        terminal.send("\n")
        self.assertEqual(terminal.end(), 0, terminal.output)
        self.assertNotIn(SECRETS[2], terminal.output)
        values = self.values()
        self.assertEqual((values["Region8x8"], values["NewSecret"], values["NewOption"], values["ApiKey"]),
                         ("eu", SECRETS[2], "later", SECRETS[0]))
        self.assertNotIn(SECRETS[2], self.config.read_text())

    def test_a_parameter_that_the_template_no_longer_has_is_dropped(self):
        self.deployed()
        self.assertEqual(self.without_terminal("deploy").returncode, 0)
        # Saved and deployed differ, as after a change in AWS's console.
        self.assertIn("a default", self.config.read_text())
        self.config.write_text(self.config.read_text().replace("a default", "another"))
        self.template.write_text(TEMPLATE.replace("  Description: { Type: String, Default: a default }\n", ""))
        done = self.without_terminal("deploy")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Description", self.values())
        self.assertEqual(self.values()["ApiKey"], SECRETS[0])
        self.assertNotIn("Description", self.config.read_text())


class StuckStacks(QuickCase):
    def stuck(self, status, *arguments):
        self.deployed()
        self.aws.find("acme").status = status
        self.aws.requests.clear()
        return self.without_terminal("deploy", *arguments)

    def test_a_rollback_that_failed_is_continued_first(self):
        folder = self.folder / ".aws"
        folder.mkdir()
        (folder / "config").write_text("[profile ops]\naws_access_key_id = K\naws_secret_access_key = x\n")
        done = self.stuck("UPDATE_ROLLBACK_FAILED", "--profile", "ops")
        self.assertEqual(done.returncode, 1)
        self.assertIn("aws cloudformation continue-update-rollback --stack-name acme --region eu-west-1 --profile ops", done.stderr)
        self.assertIn("--resources-to-skip", done.stderr)
        self.assertEqual(self.aws.called("CreateChangeSet"), [])

    def test_an_update_whose_rollback_fails_says_at_once_what_to_do(self):
        self.deployed()
        self.aws.fail, self.aws.ended_as = ["8x8 is not reachable"], "UPDATE_ROLLBACK_FAILED"
        done = self.without_terminal("deploy", "--set", "QueueId=102")
        self.assertEqual(done.returncode, 1)
        self.assertIn("8x8 is not reachable", done.stderr)
        self.assertIn("continue-update-rollback --stack-name acme", done.stderr)

    def test_a_deletion_that_failed_is_finished_first(self):
        done = self.stuck("DELETE_FAILED")
        self.assertEqual(done.returncode, 1)
        self.assertIn("make delete STACK=acme", done.stderr)
        self.assertIn("--deletion-mode FORCE_DELETE_STACK", done.stderr)
        self.assertEqual(self.aws.called("DeleteStack"), [])

    def test_a_creation_whose_remains_cannot_be_deleted_says_at_once_what_to_do(self):
        self.aws.fail, self.aws.ended_as = ["8x8 is not reachable"], "DELETE_FAILED"
        done = self.first_deployment()
        self.assertEqual(done.returncode, 1)
        self.assertIn("8x8 is not reachable", done.stderr)
        self.assertIn("make delete STACK=acme", done.stderr)
        self.assertEqual(self.without_terminal("delete", "--yes").returncode, 0)
        self.deployed()

    def test_a_creation_whose_rollback_failed_is_deleted_and_repeated(self):
        done = self.stuck("ROLLBACK_FAILED")
        self.assertEqual(done.returncode, 2)  # secrets are asked again
        self.deployed()
        self.assertEqual(self.aws.find("acme").status, "CREATE_COMPLETE")
        self.assertEqual(len(self.aws.called("DeleteStack")), 1)

    def test_a_creation_whose_remains_stay_names_them_and_the_way_out(self):
        self.deployed()
        self.aws.find("acme").status = "ROLLBACK_FAILED"
        self.aws.fail = ["the queue is in use"]
        done = self.first_deployment()
        self.assertEqual(done.returncode, 1)
        self.assertIn("the queue is in use", done.stderr)
        self.assertIn("--deletion-mode FORCE_DELETE_STACK", done.stderr)


class Builds(QuickCase):
    def test_a_build_that_fails_ends_the_deployment(self):
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "make").write_text(f"#!/bin/sh\necho \"$@\" >{self.folder}/make.args\nenv >{self.folder}/make.env\n"
                                       "echo 'error: linking failed'\nexit 3\n")
        (programs / "make").chmod(0o755)
        self.environment["PATH"] = f"{programs}{os.pathsep}{self.environment['PATH']}"
        command = self.command("deploy", "--arch", "x86_64")
        place = command.index("--zips")
        del command[place:place + 2]
        self.command = lambda *_: command
        done = self.first_deployment()
        self.assertEqual(done.returncode, 1)
        self.assertIn("make build failed (exit code 3)", done.stderr)
        self.assertIn("Nothing was deployed", done.stderr)
        self.assertIn("error: linking failed", done.stdout)
        self.assertIn("build ARCH=x86_64", (self.folder / "make.args").read_text())
        for secret in SECRETS:
            self.assertNotIn(secret, (self.folder / "make.env").read_text())
        self.assertEqual([name for name, _ in self.aws.requests if not name.startswith(READING)], [])


if __name__ == "__main__":
    unittest.main()
