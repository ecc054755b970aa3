"""Deploys the template on MiniStack and takes one stack through its life, from a failed creation to its deletion.

    target/python/ministack/bin/python -m unittest discover -s tests/ministack

The tests run in the order in which they stand here: each continues with the stack as the one before left it.
"""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import checks
import deploy
import report
from botocore.exceptions import ClientError
from checks import calls, paths
from checks.inventory import expect_nothing_left, inventory
from deployment import ROOT
from peers import Peers
from world import World, wait_for

# Every character that the parameters' patterns allow in a header's value: ASCII without quotation mark and backslash.
SIGNS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"\\')
# What could be taken for something else on the way: by Sub, by dynamic references, by a shell, by JSON, by a form.
HOSTILE = "${ApiKey} ${AWS::Region} {{resolve}} it's é € 😀 %41 + & = <x> \u2028"
CREDENTIALS = {
    "ApiKey": f"key{SIGNS}", "ApiSecret": f"secret {HOSTILE}", "Username": f"user {HOSTILE}",
    "Password": f"password {HOSTILE}", "AppToken": f"app{SIGNS}", "BotUsername": f"bot {HOSTILE}",
    "BotPassword": f"bot password {HOSTILE}",
}
# Which parameters hold which members of the two secrets.
MEMBERS = {
    "ContactCenterSecretArn": {"api_key": "ApiKey", "api_secret": "ApiSecret", "username": "Username", "password": "Password"},
    "BotSecretArn": {"app_token": "AppToken", "username": "BotUsername", "password": "BotPassword"},
}
INTEGRATION = "acme"
# Tests that rest on an entry of the add-on and are no checks of checks/.
RESTING = {
    "a creation that 8x8 refuses leaves nothing and can be repeated": ("failed-create-is-deleted", "log-groups"),
    "a second stack of the same integration does not take the first ones webhook": ("failed-create-is-deleted", "log-groups"),
    "an update of the queue changes nothing else": ("rotation",),
    "the deletion leaves nothing": ("log-groups",),
    "a deletion that 8x8 refuses can be repeated": ("what-a-failed-deletion-needs-stays",),
    "a token from before a rotation stays valid": ("rotation",),
    "every option reaches the resources": ("reserved-concurrency", "permissions-boundary", "vpc-config", "rotation"),
    "the older api of 8x8 is spoken as well": ("rotation",),
}


class LifeCycle(unittest.TestCase):
    world = stack = None

    @classmethod
    def setUpClass(cls):
        cls.world = World(CREDENTIALS, "password", "sandboxtenant")
        cls.peers = cls.world.peers
        cls.nothing = inventory(cls.world)

    @classmethod
    def tearDownClass(cls):
        cls.world.close()
        print("\n".join(report.lines(cls.world.relaxations, checks.CHECKS, RESTING)), flush=True)

    def setUp(self):
        if self.stack is None and not self._testMethodName.startswith(("test_a_creation", "test_it_is_created")):
            self.skipTest("there is no stack")

    def reason_of_failure(self, deployment):
        with self.assertRaises(deploy.Failure) as raised:
            deployment()
        return str(raised.exception)

    # ---- creation

    def test_a_creation_that_8x8_refuses_leaves_nothing_and_can_be_repeated(self):
        self.peers.fail_next("POST", "channels")
        stack = self.world.new_stack("acme")
        reason = self.reason_of_failure(lambda: stack.create(self.world.parameters(INTEGRATION)))
        self.assertIn("Channel (Custom::LiveAgentChannel): 8x8", reason)
        self.assertIn("400", reason)
        for event in stack.events():
            for value in CREDENTIALS.values():
                self.assertNotIn(value, json.dumps(event, default=str))
        self.assertEqual(self.peers.registered(), {"webhooks": [], "channels": []})
        expect_nothing_left(self.world, self.nothing)

    def test_it_is_created(self):
        stack = self.world.new_stack("acme")
        stack.create(self.world.parameters(INTEGRATION))
        self.assertEqual(stack.status, "CREATE_COMPLETE")
        type(self).stack = stack
        self.assertNotIn("UncheckedTenantAlarm", stack.resources(), "TenantId is set")
        registered = self.peers.registered()
        self.assertEqual([each["name"] for each in registered["webhooks"]], ["live-agent-acme"])
        self.assertEqual([each["name"] for each in registered["channels"]], ["live-agent-acme"])

    def test_secrets_with_every_allowed_character_arrive_as_they_were_given(self):
        for output, members in MEMBERS.items():
            content = calls.secret(self.world, self.stack.outputs[output])
            self.assertEqual(content, {member: CREDENTIALS[name] for member, name in members.items()})

    def test_an_excluded_character_is_refused_with_its_reason(self):
        specifications = deploy.Template(ROOT / "template.yaml").parameters
        for name in CREDENTIALS:
            for value in ('a"b', "a\\b", "a\nb"):
                constraint = specifications[name].spec["ConstraintDescription"]
                self.assertEqual(specifications[name].problem(value), constraint)
                stack = self.world.new_stack("refused")
                with self.assertRaises(ClientError) as raised:
                    stack.create(self.world.parameters("refused", **{name: value}))
                message = raised.exception.response["Error"]["Message"]
                self.assertIn(name, message)
                self.assertIn(constraint, message)
                self.assertNotIn(value, message)
        self.assertIsNone(stack.stack.describe())

    # ---- the checks stand here, see load_tests

    # ---- updates

    def test_an_update_without_a_change_does_nothing(self):
        self.assertIsNone(self.stack.update())

    def test_an_update_of_the_queue_changes_nothing_else(self):
        outputs, resources, versions = self.stack.outputs, self.stack.resources(), calls.versions(self.world, self.stack)
        headers = calls.token_of(self.world, self.stack)
        webhook = self.peers.webhook(outputs["WebhookId"])
        self.stack.update(QueueId="102")
        self.assertEqual(self.peers.channel(outputs["ChannelId"])["routingOptions"]["id"], "102")
        self.assertEqual(self.stack.outputs, outputs)
        self.assertEqual(self.stack.resources(), resources)
        self.assertEqual(self.peers.webhook(outputs["WebhookId"]), webhook)
        after = calls.versions(self.world, self.stack)
        # The queue stands in the channel's secret.
        self.assertEqual(calls.secret(self.world, outputs["ChannelSecretArn"])["queue_id"], "102")
        self.assertEqual({**after, "ChannelSecret": None}, {**versions, "ChannelSecret": None})
        self.assertEqual(calls.request(outputs["ConversationsUrl"], None, headers, "GET")[0], 200)

    def test_an_update_that_8x8_refuses_rolls_back(self):
        outputs, resources, registered = self.stack.outputs, self.stack.resources(), self.peers.registered()
        self.peers.fail_next("PUT", "channels")
        reason = self.reason_of_failure(lambda: self.stack.update(QueueId="103"))
        self.assertIn("Channel (Custom::LiveAgentChannel): 8x8", reason)
        self.assertEqual(self.stack.status, "UPDATE_ROLLBACK_COMPLETE")
        self.assertEqual(self.stack.outputs, outputs)
        self.assertEqual(self.stack.resources(), resources)
        self.assertEqual(self.peers.registered(), registered)
        paths.a_signed_event_reaches_the_bot_byte_for_byte(self.world, self.stack)

    def test_new_credentials_are_checked_at_8x8(self):
        try:
            reason = self.reason_of_failure(lambda: self.stack.update(ApiKey="wrong", CredentialsRevision="2"))
            self.assertIn("Channel (Custom::LiveAgentChannel)", reason)
            self.assertEqual(self.stack.status, "UPDATE_ROLLBACK_COMPLETE")
        finally:
            self.stack.update(ApiKey=CREDENTIALS["ApiKey"], CredentialsRevision="3")

    def test_a_load_balancers_url_survives_updates(self):
        own = self.stack.outputs["CallbackUrl"]
        self.world.bridge.targets["load-balancer"] = self.stack.physical_id("Api")
        url = f"{self.world.bridge.url}/load-balancer/v1/liveAgent/receiveMessage"
        webhook_id = self.stack.outputs["WebhookId"]
        self.stack.update(CallbackUrl=url)
        self.assertEqual((self.stack.outputs["CallbackUrl"], self.stack.outputs["ReceiveMessageUrl"]), (url, own))
        self.stack.update(QueueId="101")
        self.assertEqual((self.stack.outputs["WebhookId"], self.peers.webhook(webhook_id)["uri"]), (webhook_id, url))
        paths.an_event_that_8x8_sends_reaches_the_bot(self.world, self.stack)
        self.stack.update(CallbackUrl="")
        self.assertEqual(self.peers.webhook(webhook_id)["uri"], own)
        # One that an operator has put in place stays, too.
        calls.invoke(self.world, self.stack, "RegisterChannelFunction", {"operation": "update", "callback_url": url})
        self.stack.update(QueueId="102")
        self.assertEqual(self.peers.webhook(webhook_id)["uri"], url)
        calls.invoke(self.world, self.stack, "RegisterChannelFunction", {"operation": "update", "callback_url": own})
        self.assertEqual(self.peers.webhook(webhook_id)["uri"], own)

    def test_an_integration_can_be_renamed(self):
        outputs = self.stack.outputs
        self.stack.update(IntegrationName="acme-2")
        self.assertEqual(self.stack.outputs, outputs)
        self.assertEqual(self.peers.webhook(outputs["WebhookId"])["name"], "live-agent-acme-2")
        self.assertEqual(self.peers.channel(outputs["ChannelId"])["name"], "live-agent-acme-2")
        self.assertEqual(len(self.peers.registered()["webhooks"]), 1)
        paths.an_event_that_8x8_sends_reaches_the_bot(self.world, self.stack)
        self.stack.update(IntegrationName=INTEGRATION)
        self.assertEqual(self.peers.webhook(outputs["WebhookId"])["name"], "live-agent-acme")

    def test_a_second_stack_of_the_same_integration_does_not_take_the_first_ones_webhook(self):
        registered, before = self.peers.registered(), inventory(self.world)
        second = self.world.new_stack("second")
        reason = self.reason_of_failure(lambda: second.create(self.world.parameters(INTEGRATION)))
        self.assertIn("live-agent-acme", reason)
        self.assertEqual(self.peers.registered(), registered)
        expect_nothing_left(self.world, before)
        paths.an_event_that_8x8_sends_reaches_the_bot(self.world, self.stack)

    def test_two_integrations_live_side_by_side(self):
        registered, before = self.peers.registered(), inventory(self.world)
        second = self.world.new_stack("second")
        second.create(self.world.parameters("other"))
        paths.a_signed_event_reaches_the_bot_byte_for_byte(self.world, second)
        paths.a_signed_event_reaches_the_bot_byte_for_byte(self.world, self.stack)
        self.assertEqual(second.delete(), "DELETE_COMPLETE")
        self.assertEqual(self.peers.registered(), registered)
        expect_nothing_left(self.world, before)

    def test_a_token_from_before_a_rotation_stays_valid(self):
        headers, url = calls.token_of(self.world, self.stack), self.stack.outputs["ConversationsUrl"]
        arn = self.stack.outputs["CallerSecretArn"]
        before = calls.secret(self.world, arn)
        self.world.client("secretsmanager").rotate_secret(SecretId=arn)
        wait_for("the rotation", lambda: calls.secret(self.world, arn)["signing_key"] != before["signing_key"])
        after = calls.secret(self.world, arn)
        for name in ("app_token", "username", "password"):
            self.assertEqual(after[name], before[name])
        for each in (headers, calls.token_of(self.world, self.stack)):
            self.assertEqual(calls.request(url, None, each, "GET")[0], 200)

    # ---- other options

    def test_every_option_reaches_the_resources(self):
        client, before = self.world.client, inventory(self.world)
        boundary = client("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))["Policy"]["Arn"]
        topic = client("sns").create_topic(Name="alarms")["TopicArn"]
        vpc = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [client("ec2").create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
                   for number in (1, 2)]
        group = client("ec2").create_security_group(GroupName="options", Description="options", VpcId=vpc)["GroupId"]
        stack = self.world.new_stack("options")
        stack.create(self.world.parameters(
            "options", AlarmTopicArn=topic, PermissionsBoundaryArn=boundary, LogRetentionDays="90", ReserveConcurrency="yes",
            Public="no", SubnetIds=",".join(subnets), SecurityGroupIds=group, CallbackAuthentication="both", TenantId=""))
        alarms = client("cloudwatch").describe_alarms(AlarmNamePrefix="options-")["MetricAlarms"]
        self.assertEqual({(tuple(each["AlarmActions"]), tuple(each["OKActions"])) for each in alarms}, {((topic,), (topic,))})
        self.assertIn("options-UncheckedTenant", {each["AlarmName"] for each in alarms}, "TenantId is empty")
        retention = {each["logGroupName"]: each.get("retentionInDays")
                     for page in client("logs").get_paginator("describe_log_groups").paginate() for each in page["logGroups"]}
        for logical_id, (physical_id, kind) in stack.resources().items():
            with self.subTest(logical_id):
                if kind == "AWS::IAM::Role":
                    role = client("iam").get_role(RoleName=physical_id)["Role"]
                    self.assertEqual(role["PermissionsBoundary"]["PermissionsBoundaryArn"], boundary)
                if kind == "AWS::Lambda::Function":
                    network = client("lambda").get_function_configuration(FunctionName=physical_id)["VpcConfig"]
                    self.assertEqual((network["SubnetIds"], network["SecurityGroupIds"]), (subnets, [group]))
                if kind == "AWS::Logs::LogGroup":
                    self.assertEqual(retention[physical_id], 90)
        reserved = client("lambda").get_function_concurrency(FunctionName=stack.physical_id("RefreshTokensFunction"))
        self.assertEqual(reserved["ReservedConcurrentExecutions"], 1)
        paths.refresh_tokens_keeps_the_tokens_fresh(self.world, stack)
        conversation = self.peers.open_conversation(stack.outputs["ChannelId"])
        body, headers = calls.event_of(conversation), calls.token_of(self.world, stack)
        alone = calls.request(stack.outputs["CallbackUrl"], body, {**headers, "content-type": "application/json"})
        self.assertEqual((alone[0], calls.send_signed(self.world, stack, body)[0]), (401, 401))
        self.assertEqual(calls.send_signed(self.world, stack, body, **headers)[0], 200)
        wait_for("the event reaches the bot", lambda: self.peers.receipts(conversation) == [body])
        self.assertEqual(stack.delete(), "DELETE_COMPLETE")
        expect_nothing_left(self.world, before)

    def test_the_older_api_of_8x8_is_spoken_as_well(self):
        before = inventory(self.world)
        peers = Peers(CREDENTIALS, "api-key", "sandboxtenant", "chat-api-v2")
        self.addCleanup(peers.close)
        world = self.world.with_peers(peers)
        stack = world.new_stack("older")
        stack.create(world.parameters("older"))
        paths.a_signed_event_reaches_the_bot_byte_for_byte(world, stack)
        paths.the_bot_opens_a_conversation_and_speaks_in_it(world, stack)
        paths.the_daily_review_finds_everything_in_sync(world, stack)
        self.assertEqual(stack.delete(), "DELETE_COMPLETE")
        self.assertEqual(peers.registered(), {"webhooks": [], "channels": []})
        self.assertEqual(peers.violations(), [])
        expect_nothing_left(self.world, before)

    # ---- another's channel

    def test_a_foreign_channel_is_adopted_and_given_back(self):
        webhook_id, channel_id = self.peers.add_foreign("aisera", "https://acme.aisera.example/hook")
        webhook, channel = self.peers.webhook(webhook_id), self.peers.channel(channel_id)
        callback_url = self.stack.outputs["CallbackUrl"]
        self.stack.update(ChannelId=channel_id)
        self.assertEqual((self.stack.outputs["ChannelId"], self.stack.outputs["WebhookId"]), (channel_id, webhook_id))
        self.assertEqual(self.peers.webhook(webhook_id)["uri"], callback_url)
        self.assertEqual(self.peers.channel(channel_id), channel)
        # Our own are gone.
        self.assertEqual([each["id"] for each in self.peers.registered()["webhooks"]], [webhook_id])
        paths.an_event_that_8x8_sends_reaches_the_bot(self.world, self.stack)
        self.stack.update(ChannelId="")
        self.assertEqual(self.peers.webhook(webhook_id), webhook)
        self.assertEqual(self.peers.channel(channel_id), channel)
        self.assertNotEqual(self.stack.outputs["ChannelId"], channel_id)
        paths.an_event_that_8x8_sends_reaches_the_bot(self.world, self.stack)
        self.peers.remove(channel_id)
        self.peers.remove(webhook_id)

    def test_a_stack_that_is_deleted_gives_a_foreign_channel_back(self):
        webhook_id, channel_id = self.peers.add_foreign("aisera", "https://acme.aisera.example/hook")
        registered, before = self.peers.registered(), inventory(self.world)
        second = self.world.new_stack("second")
        second.create(self.world.parameters("adopting", QueueId="", ChannelId=channel_id))
        self.assertEqual(self.peers.webhook(webhook_id)["uri"], second.outputs["CallbackUrl"])
        paths.a_signed_event_reaches_the_bot_byte_for_byte(self.world, second)
        self.assertEqual(second.delete(), "DELETE_COMPLETE")
        self.assertEqual(self.peers.registered(), registered)
        expect_nothing_left(self.world, before)
        self.peers.remove(channel_id)
        self.peers.remove(webhook_id)

    # ---- the end

    def test_a_deletion_that_8x8_refuses_can_be_repeated(self):
        registered, before = self.peers.registered(), inventory(self.world)
        second = self.world.new_stack("second")
        second.create(self.world.parameters("other"))
        self.peers.fail_next("DELETE", "channels")
        self.assertEqual(second.delete(), "DELETE_FAILED")
        reasons = [event["ResourceStatusReason"] for event in second.events()
                   if (event["LogicalResourceId"], event["ResourceStatus"]) == ("Channel", "DELETE_FAILED")]
        self.assertEqual(len(reasons), 1)
        self.assertIn("8x8", reasons[0])
        self.assertEqual(second.delete(), "DELETE_COMPLETE")
        self.assertEqual(self.peers.registered(), registered)
        expect_nothing_left(self.world, before)

    def test_the_deletion_leaves_nothing(self):
        self.assertEqual(self.stack.delete(), "DELETE_COMPLETE")
        self.assertEqual(self.peers.registered(), {"webhooks": [], "channels": []})
        expect_nothing_left(self.world, self.nothing)

    def test_neither_8x8_nor_the_bot_platform_found_anything_wrong(self):
        self.assertEqual(self.peers.violations(), [])


def of_check(check):
    def test(self):
        check(self.world, self.stack)

    test.__doc__ = check.__doc__
    return test


def load_tests(_loader, _tests, _pattern):
    """The tests in the order of this file, with the checks after the creation."""
    names = [name for name in vars(LifeCycle) if name.startswith("test_")]
    checked = []
    for check in checks.CHECKS:
        checked.append(f"test_{check.__name__}")
        setattr(LifeCycle, checked[-1], of_check(check))
    place = names.index("test_an_update_without_a_change_does_nothing")
    return unittest.TestSuite(LifeCycle(name) for name in names[:place] + checked + names[place:])


if __name__ == "__main__":
    unittest.main()
