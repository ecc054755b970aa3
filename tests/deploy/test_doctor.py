"""`make doctor` against a stand-in for CloudFormation and Lambda.

    target/python/sam/bin/python -m unittest discover -s tests/deploy -k doctor
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60  # seconds that the program may take on a busy machine

FINE = {"check": "bot-platform", "status": "ok", "found": "receiveMessage answers"}
SKIPPED = {"check": "contact-center-token", "status": "skipped", "found": "an API key needs no token"}
WARNING = {"check": "tenant", "status": "warning", "found": "no tenant is set",
           "do": 'make deploy STACK=… SET="TenantId=acme"'}
FAILED = {"check": "webhook", "status": "failed", "found": "a long sentence " * 12,
          "do": 'invoke register-channel with {"operation":"register"} ' + "and so on " * 12}


class Aws:
    """Answers DescribeStackResource and Invoke, and nothing else."""

    def __init__(self, response):
        self.requests, stand_in = [], self
        self.response, self.is_error, self.exists = response, False, True

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, response = stand_in.respond(self.path, body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(response))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def respond(self, path, body):
        if path == "/2015-03-31/functions/physical-id/invocations":
            self.requests.append(("Invoke", json.loads(body)))
            headers = {"Content-Type": "application/json", **({"X-Amz-Function-Error": "Unhandled"} if self.is_error else {})}
            return 200, headers, json.dumps(self.response).encode()
        form = dict(urllib.parse.parse_qsl(body.decode()))
        self.requests.append((form["Action"], form.get("LogicalResourceId")))
        if form["Action"] == "GetCallerIdentity":
            found = "<Arn>arn:aws:iam::123456789012:user/operator</Arn><UserId>A</UserId><Account>123456789012</Account>"
        elif form["Action"] == "DescribeStackResource" and self.exists:
            found = "<StackResourceDetail><PhysicalResourceId>physical-id</PhysicalResourceId></StackResourceDetail>"
        else:
            error = "<Error><Code>ValidationError</Code><Message>Stack 'acme' does not exist</Message></Error>"
            return 400, {"Content-Type": "text/xml"}, f"<ErrorResponse>{error}</ErrorResponse>".encode()
        action = form["Action"]
        return 200, {"Content-Type": "text/xml"}, (f"<{action}Response><{action}Result>{found}</{action}Result>"
                                                   f"</{action}Response>").encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Doctor(unittest.TestCase):
    def run_doctor(self, report, *options, columns=None, **stand_in):
        aws = Aws(report)
        self.addCleanup(aws.close)
        for name, value in stand_in.items():
            setattr(aws, name, value)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        environment = {
            "PATH": os.environ["PATH"], "HOME": folder.name, "AWS_ENDPOINT_URL": aws.url, "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8", **({"COLUMNS": str(columns)} if columns else {}),
        }
        command = [sys.executable, str(ROOT / "tools" / "doctor.py"), "acme", "--config", f"{folder.name}/samconfig.toml",
                   *options]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                              timeout=LIMIT)
        self.requests = aws.requests
        return done

    def test_a_healthy_stack_ends_with_0_and_changes_nothing(self):
        done = self.run_doctor({"status": "ok", "checks": [FINE, SKIPPED]})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("All is well.", done.stdout)
        changing = [request for request in self.requests if not request[0].startswith(("Get", "Describe"))]
        self.assertEqual(changing, [("Invoke", {})])
        self.assertIn(("DescribeStackResource", "CheckIntegrationFunction"), self.requests)

    def test_what_needs_attention_ends_with_1_and_is_named_with_what_to_do(self):
        for row in (WARNING, FAILED, {**FAILED, "status": "unknown"}):
            done = self.run_doctor({"status": row["status"], "checks": [FINE, row]})
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(f"1 of 2 checks need attention: {row['check']}.", done.stdout)
            self.assertIn(row["status"].upper(), done.stdout)
            self.assertIn("→ " + row["do"].split()[0], done.stdout)

    def test_a_command_to_copy_names_the_stack(self):
        done = self.run_doctor({"status": "warning", "checks": [WARNING]})
        self.assertIn('make deploy STACK=acme SET="TenantId=acme"', done.stdout)

    def test_the_table_fits_the_terminal_and_is_at_most_120_columns_wide(self):
        for columns, width in ((80, 80), (100, 100), (300, 120), (20, 80), (None, 120)):
            done = self.run_doctor({"status": "failed", "checks": [FINE, SKIPPED, WARNING, FAILED]}, columns=columns)
            longest = max(map(len, done.stdout.splitlines()))
            self.assertTrue(width - 20 < longest <= width, f"{longest} of {width}\n{done.stdout}")

    def test_json_is_the_report_itself(self):
        report = {"status": "failed", "checks": [FINE, FAILED]}
        done = self.run_doctor(report, "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)), (1, report))

    def test_a_stack_that_does_not_exist_is_said_so(self):
        done = self.run_doctor({}, exists=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("does not exist", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_function_that_fails_is_no_healthy_stack(self):
        done = self.run_doctor({"errorMessage": "environment variable BOT_ENDPOINT is missing"}, is_error=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("BOT_ENDPOINT is missing", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
