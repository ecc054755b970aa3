"""tools/dead_letters.py against a stand-in for the deployed function, with and without a terminal."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from aws import Aws
from driving import LIMIT, ROOT, Case, Terminal

LETTERS = [
    {"event_id": "e1", "conversation_id": "c1", "event_type": "MESSAGE", "age_s": 7300, "status": 404, "reason": "refused"},
    {"event_id": None, "conversation_id": None, "event_type": None, "age_s": 5, "status": None, "reason": "undelivered"},
]


class Deployed(Aws):
    """A stack with the function and its queue. `invoked` holds what the function was invoked with."""

    def __init__(self):
        super().__init__()
        self.invoked, self.waiting, self.failure = [], len(LETTERS), None

    def route(self, method, path, body):
        if path == "/2015-03-31/functions/the-ManageDeadLettersFunction/invocations":
            self.invoked.append(json.loads(body))
            return 200, json.dumps(self.respond(self.invoked[-1])).encode(), "application/json"
        if path == "/" and body.startswith(b'{"QueueUrl": "http'):
            numbers = {"ApproximateNumberOfMessages": str(self.waiting), "ApproximateNumberOfMessagesNotVisible": "0"}
            return 200, json.dumps({"Attributes": numbers}).encode(), "application/x-amz-json-1.0"
        return super().route(method, path, body)

    def respond(self, request):
        if request["operation"] == "list":
            return LETTERS
        past = {"redrive": "redriven", "discard": "discarded"}[request["operation"]]
        return {past: LETTERS[:1], "kept": 1, "unseen": self.waiting - len(LETTERS)}

    def on_DescribeStackResource(self, form):
        name = form["LogicalResourceId"]
        physical_id = f"{self.url}/the-queue" if name == "DeadLetterQueue" else f"the-{name}"
        return (f"<StackResourceDetail><StackName>{form['StackName']}</StackName><LogicalResourceId>{name}</LogicalResourceId>"
                f"<PhysicalResourceId>{physical_id}</PhysicalResourceId><ResourceType>T</ResourceType>"
                "<LastUpdatedTimestamp>2026-01-01T00:00:00Z</LastUpdatedTimestamp><ResourceStatus>CREATE_COMPLETE"
                "</ResourceStatus></StackResourceDetail>")


class DeadLetters(Case):
    def setUp(self):
        super().setUp()
        self.aws.close()
        self.aws = Deployed()
        self.environment["AWS_ENDPOINT_URL"] = self.aws.url

    def command(self, *arguments):
        return [sys.executable, str(ROOT / "tools" / "dead_letters.py"), "acme", "--region", "eu-west-1", "--config",
                str(self.config), *arguments]

    def run_it(self, *arguments):
        return subprocess.run(self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=LIMIT)

    def test_without_a_command_all_letters_are_shown_as_a_table(self):
        for arguments in ((), ("list",)):
            done = self.run_it(*arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            # Account and region are for the person, and the rest may be read by a program.
            self.assertRegex(done.stderr, r"\AAWS account \d+, region eu-west-1, as .+\n\Z")
            self.assertEqual(done.stdout.splitlines(), [
                "AGE  TYPE     STATUS  REASON       CONVERSATION  EVENT",
                "2 h  MESSAGE  404     refused      c1            e1",
                "5 s  -        -       undelivered  -             -",
                "", "2 letters."])
        self.assertEqual(self.aws.invoked, [{"operation": "list"}] * 2)

    def test_letters_that_were_not_seen_are_counted(self):
        self.aws.waiting = 5
        self.assertIn("About 3 more were not seen", self.run_it().stdout)
        self.assertIn("About 3 more were not seen", self.run_it("redrive", "--all").stdout)

    def test_a_redrive_passes_the_choice_on_and_shows_what_was_done(self):
        done = self.run_it("redrive", "--conversation", "c1", "--event", "e1", "--event", "e2", "--status", "404")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 letter redriven, 1 kept.", done.stdout)
        self.assertEqual(self.aws.invoked, [
            {"operation": "redrive", "conversation_id": "c1", "event_ids": ["e1", "e2"], "status": 404}])

    def test_a_choice_is_needed(self):
        for operation in ("redrive", "discard"):
            done = self.run_it(operation)
            self.assertEqual(done.returncode, 2)
            self.assertIn("Which letters?", done.stderr)
        self.assertEqual(self.aws.invoked, [])

    def test_a_discard_is_confirmed_on_a_terminal_or_with_yes(self):
        done = self.run_it("discard", "--all")
        self.assertEqual((done.returncode, self.aws.invoked), (2, []))
        self.assertIn("add --yes", done.stderr)
        self.assertEqual(self.run_it("discard", "--all", "--yes").returncode, 0)
        for answer, code, times in (("n", 1, 1), ("y", 0, 2)):
            terminal = Terminal(self.command("discard", "--reason", "expired"), self.environment)
            self.addCleanup(terminal.kill)
            terminal.expect("Delete the dead letters with reason expired for good")
            terminal.send(f"{answer}\n")
            self.assertEqual(terminal.end(), code, terminal.output)
            self.assertEqual(len(self.aws.invoked), times)
        self.assertEqual(self.aws.invoked[-1], {"operation": "discard", "reason": "expired"})


if __name__ == "__main__":
    unittest.main()
