"""`make trace`: tools/trace.py against a stand-in for CloudWatch Logs that answers with log lines which the functions wrote."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

from aws import Aws, Stack
from driving import LIMIT, ROOT, Case

# Lines of one conversation, as the functions write them in the sandbox: an event that is delivered at once, one that is
# delivered after an outage, one that the bot platform rejects, a typing event that is skipped, and two calls of the bot.
LINES = [line for line in (Path(__file__).parent / "fixtures" / "trace.jsonl").read_text().splitlines() if line]
CONVERSATION = json.loads(LINES[0])["conversation_id"]


class Logs(Aws):
    """The stand-in for AWS with what a query of CloudWatch Logs needs. `unfinished`: a query ends after so many looks."""

    def __init__(self):
        super().__init__()
        self.lines, self.query, self.unfinished, self.status = LINES, None, 1, "Complete"

    def on_DescribeStackResource(self, form):
        self.find(form["StackName"])
        name = form["LogicalResourceId"]
        return (f"<StackResourceDetail><LogicalResourceId>{name}</LogicalResourceId><PhysicalResourceId>acme-{name}"
                "</PhysicalResourceId></StackResourceDetail>")

    def route(self, method, path, body):
        if not body.startswith(b"{"):
            return super().route(method, path, body)
        request = json.loads(body)
        if "queryString" in request:
            self.query = request
            response = {"queryId": "query-1"}
        elif self.unfinished:
            self.unfinished -= 1
            response = {"status": "Running", "results": []}
        else:
            asked = f'conversation_id = "{CONVERSATION}"' in self.query["queryString"]
            rows = [[{"field": "@message", "value": line}, {"field": "@ptr", "value": "p"}] for line in self.lines]
            response = {"status": self.status, "results": rows if asked else []}
        return 200, json.dumps(response).encode(), "application/x-amz-json-1.1"


class Trace(Case):
    def setUp(self):
        super().setUp()
        self.aws.close()
        self.aws = Logs()
        self.aws.stacks.append(Stack("acme", 7))
        self.environment["AWS_ENDPOINT_URL"] = self.aws.url

    def trace(self, conversation=CONVERSATION, *more):
        command = [sys.executable, str(ROOT / "tools" / "trace.py"), "acme", conversation, "--config", str(self.config), *more]
        return subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=LIMIT)

    def test_each_step_of_each_event_and_each_call_has_a_row_in_order(self):
        done = self.trace()
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = done.stdout[done.stdout.index("time (UTC)"):].splitlines()[1:]
        self.assertEqual([row[:23] for row in rows], sorted(row[:23] for row in rows))
        steps = [row[25:].split()[0] for row in rows]
        written = [json.loads(line).get("step") for line in LINES]
        for step in ("queued", "tried", "delivered", "skipped", "dead-lettered", "call"):
            self.assertEqual(steps.count(step), written.count(step), step)
            self.assertIn(step, steps)
        self.assertEqual(steps.count("received"), steps.count("queued"))
        self.assertEqual(len(rows), len(LINES) + steps.count("received"))
        for text in ("send the message", "MESSAGE", "ACTIVITY", "after 8x8 sent it", "again in 2 s", "422, rejected", "key "):
            self.assertIn(text, done.stdout)

    def test_it_asks_for_the_three_log_groups_and_for_so_many_days(self):
        self.trace(CONVERSATION, "--days", "30")
        self.assertEqual(self.aws.query["logGroupNames"], ["acme-ReceiveMessageLogs", "acme-DeliverMessageLogs", "acme-ConverseLogs"])
        self.assertAlmostEqual(self.aws.query["endTime"] - self.aws.query["startTime"], 30 * 24 * 3600, delta=2)

    def test_a_conversation_without_a_line_is_reported(self):
        done = self.trace("another")
        self.assertEqual(done.returncode, 1)
        self.assertIn("about the conversation another", done.stdout)

    def test_an_id_cannot_leave_its_place_in_the_query(self):
        self.trace('x"or"1"="1')
        self.assertIn('conversation_id = "x\\"or\\"1\\"=\\"1" |', self.aws.query["queryString"])
        self.trace('a b"')
        self.assertRegex(self.aws.query["queryString"], 'conversation_id = "[0-9a-f]{64}" ')

    def test_a_query_that_fails_is_reported(self):
        self.aws.status = "Failed"
        done = self.trace()
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("time (UTC)", done.stdout)
        self.assertIn("status Failed", done.stderr)

    def test_a_line_that_is_none_of_ours_is_left_out(self):
        self.aws.lines = [*LINES, "START RequestId: 1", "[]", "null", '{"conversation_id": "c"}']
        done = self.trace()
        self.assertEqual(done.returncode, 0)
        self.aws.lines = LINES
        self.assertEqual(done.stdout, self.trace().stdout)

    def test_without_a_conversation_the_usage_is_printed(self):
        done = self.trace("")
        self.assertEqual(done.returncode, 1)
        self.assertIn("CONVERSATION=id", done.stderr)

    def test_a_stack_that_does_not_exist_is_named(self):
        self.aws.stacks.clear()
        done = self.trace()
        self.assertEqual(done.returncode, 1)
        self.assertIn("acme", done.stderr)


if __name__ == "__main__":
    unittest.main()
