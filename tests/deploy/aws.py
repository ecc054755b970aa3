"""A strict stand-in for what tools/deploy.py uses of AWS: STS, Lambda's account settings, S3 and CloudFormation.

It answers the real SDK over HTTP. A request that it does not know, or that CloudFormation would refuse, is an error.
"""

import glob
import itertools
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

import yaml

ACCOUNT = "123456789012"
IGNORED = type("Loader", (yaml.SafeLoader,), {})
IGNORED.add_multi_constructor("!", lambda loader, suffix, node: None)


class Refused(Exception):
    pass


class Stack:
    def __init__(self, name, number):
        self.name = name
        self.id = f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/{name}/{number}"
        self.status, self.next_status = "REVIEW_IN_PROGRESS", None
        self.values, self.template, self.events, self.tags = {}, {"Parameters": {}}, [], {}
        self.outputs = {}
        # How often the stack is still seen as it was before the last operation began, and that look: (status, events).
        self.lag, self.before = 0, None


class Aws:
    """`fail` holds the reasons with which the next operations fail, `requests` what was called with what.

    `held`: what has begun does not end. `lag`: CloudFormation shows what has begun only after so many looks. `refused`:
    action → what is answered in its place, (code, message). `ended_as`: the status of the next operation that fails.
    """

    def __init__(self):
        self.numbers = itertools.count(1)
        self.stacks, self.change_sets, self.objects, self.requests, self.fail = [], {}, {}, [], []
        self.valid_credentials, self.concurrency, self.errors = True, (1000, 1000), []
        self.names = set()
        self.held, self.lag, self.refused, self.ended_as, self.access_keys = False, 0, {}, None, set()
        self.watched, self.seen_in_argv = [], []
        managed = Stack("aws-sam-cli-managed-default", 0)
        managed.status, managed.tags = "CREATE_COMPLETE", {"ManagedStackSource": "AwsSamCli"}
        managed.outputs = {"SourceBucket": "bucket"}
        self.stacks.append(managed)
        self.lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def log_message(self, *_):
                pass

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with stand_in.lock:
                    stand_in.look_at_argv()
                    key = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization") or "")
                    stand_in.access_keys |= {key[1]} if key else set()
                    status, response, kind = stand_in.route(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(response)))
                self.send_header("ETag", '"0"')
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(response)

            do_GET = do_PUT = do_POST = do_HEAD = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        # It looks so often, in seconds, whether it is to end.
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def look_at_argv(self):
        """While a program waits for this server, its command line can be read as `ps` reads it."""
        if not self.watched:
            return
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    line = file.read().decode(errors="replace")
            except OSError:
                continue
            self.seen_in_argv += [line for secret in self.watched if secret in line]

    def called(self, action):
        return [request for name, request in self.requests if name == action]

    def find(self, name):
        alive = [stack for stack in self.stacks if stack.id == name
                 or stack.name == name and stack.status != "DELETE_COMPLETE"]
        if not alive:
            raise Refused(f"Stack with id {name} does not exist")
        return alive[-1]

    # ---- HTTP

    def route(self, method, path, body):
        if path.startswith("/2016-08-19/account-settings"):
            total, unreserved = self.concurrency
            return 200, (f'{{"AccountLimit": {{"ConcurrentExecutions": {total}, "UnreservedConcurrentExecutions": '
                         f'{unreserved}}}, "AccountUsage": {{}}}}').encode(), "application/json"
        if path.startswith("/bucket"):
            key = urllib.parse.urlsplit(path).path[len("/bucket/"):]
            if method == "PUT":
                self.objects[key] = body
            elif key not in self.objects:
                return 404, b"", "application/xml"
            return 200, b"", "application/xml"
        form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        action = form.pop("Action", None)
        try:
            if action == "GetCallerIdentity" and not self.valid_credentials:
                return 403, error("InvalidClientTokenId", "The security token included in the request is invalid."), "text/xml"
            if action in self.refused:
                return 403, error(*self.refused[action]), "text/xml"
            operation = getattr(self, f"on_{action}", None)
            if operation is None:
                self.errors.append(f"unknown request {method} {path} {action}")
                raise Refused("unknown request")
            self.requests.append((action, form))
            result = operation(form)
        except Refused as refused:
            return 400, error("ValidationError", str(refused)), "text/xml"
        return 200, (f"<{action}Response><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>1</RequestId>"
                     f"</ResponseMetadata></{action}Response>").encode(), "text/xml"

    # ---- operations

    def on_GetCallerIdentity(self, form):
        return f"<Arn>arn:aws:iam::{ACCOUNT}:user/operator</Arn><UserId>A</UserId><Account>{ACCOUNT}</Account>"

    def on_DescribeStacks(self, form):
        stack = self.find(form["StackName"])
        status = stack.status
        if stack.lag:
            stack.lag -= 1
            status = stack.before[0]
        elif stack.next_status and not self.held:
            stack.status, stack.next_status = stack.next_status, None
        def shown(name, value):
            return "****" if str(stack.template["Parameters"].get(name, {}).get("NoEcho", False)).lower() == "true" else value
        parameters = "".join(f"<member><ParameterKey>{name}</ParameterKey><ParameterValue>{escape(shown(name, value))}"
                             "</ParameterValue></member>" for name, value in stack.values.items())
        outputs = "".join(f"<member><OutputKey>{name}</OutputKey><OutputValue>{value}</OutputValue></member>"
                          for name, value in stack.outputs.items())
        tags = "".join(f"<member><Key>{key}</Key><Value>{value}</Value></member>" for key, value in stack.tags.items())
        return (f"<Stacks><member><StackName>{stack.name}</StackName><StackId>{stack.id}</StackId><StackStatus>{status}"
                f"</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime><Parameters>{parameters}</Parameters>"
                f"<Outputs>{outputs}</Outputs><Tags>{tags}</Tags></member></Stacks>")

    def on_DescribeStackEvents(self, form):
        stack = self.find(form["StackName"])
        return "<StackEvents>" + "".join(
            f"<member><EventId>{number}</EventId><StackId>{stack.id}</StackId><StackName>{stack.name}</StackName>"
            f"<LogicalResourceId>{name}</LogicalResourceId><ResourceType>Custom::Channel</ResourceType>"
            f"<Timestamp>2026-01-01T00:00:00Z</Timestamp><ResourceStatus>{status}</ResourceStatus>"
            f"<ResourceStatusReason>{escape(reason)}</ResourceStatusReason></member>"
            for number, name, status, reason in reversed(stack.events[:stack.before[1]] if stack.lag else stack.events)
        ) + "</StackEvents>"

    def begin(self, stack, status):
        stack.before, stack.lag = (stack.status, len(stack.events)), self.lag
        stack.status = status
        self.event(stack, stack.name, status)

    def end_as(self, usual):
        status, self.ended_as = self.ended_as or usual, None
        return status

    def event(self, stack, name, status, reason=""):
        stack.events.append((next(self.numbers), name, status, reason))

    def on_CreateChangeSet(self, form):
        create = form["ChangeSetType"] == "CREATE"
        if create:
            if any(stack.name == form["StackName"] and stack.status != "DELETE_COMPLETE" for stack in self.stacks):
                raise Refused(f"Stack [{form['StackName']}] already exists and cannot be created again")
            stack = Stack(form["StackName"], next(self.numbers))
            self.stacks.append(stack)
        else:
            stack = self.find(form["StackName"])
            if stack.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
                raise Refused(f"Stack is in {stack.status} state and can not be updated")
        text = form.get("TemplateBody")
        if text is None:
            text = self.objects[form["TemplateURL"].split("/bucket/")[1]].decode()
        elif len(text) > 51200:
            raise Refused("templateBody is too long")
        template = yaml.load(text, IGNORED)
        values = {}
        for number in itertools.count(1):
            prefix = f"Parameters.member.{number}."
            if prefix + "ParameterKey" not in form:
                break
            name = form[prefix + "ParameterKey"]
            if name not in template["Parameters"]:
                raise Refused(f"Parameters: [{name}] do not exist in the template")
            if form.get(prefix + "UsePreviousValue") == "true":
                if name not in stack.values:
                    raise Refused(f"Invalid input for parameter key {name}. Cannot specify usePreviousValue as true")
                values[name] = stack.values[name]
            else:
                values[name] = form[prefix + "ParameterValue"]
        for name, spec in template["Parameters"].items():
            if name not in values:
                if "Default" not in spec:
                    raise Refused(f"Parameters: [{name}] must have values")
                values[name] = str(spec["Default"])
            pattern, default = spec.get("AllowedPattern"), spec.get("Default")
            if pattern and not re.fullmatch(pattern, values[name]) and values[name] != default:
                raise Refused(f"Parameter {name} failed to satisfy constraint")
        changed = (values, template) != (stack.values, stack.template)
        number = next(self.numbers)
        if form["ChangeSetName"] in self.names:
            raise Refused(f"ChangeSet {form['ChangeSetName']} cannot be created due to a mismatch with existing attributes")
        self.names.add(form["ChangeSetName"])
        identity = f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:changeSet/c/{number}"
        self.change_sets[identity] = (stack, values, template, form, changed)
        return f"<Id>{identity}</Id><StackId>{stack.id}</StackId>"

    def on_DescribeChangeSet(self, form):
        changed = self.change_sets[form["ChangeSetName"]][4]
        status = "CREATE_COMPLETE" if changed else "FAILED"
        reason = "" if changed else "The submitted information didn't contain changes."
        return f"<Status>{status}</Status><StatusReason>{reason}</StatusReason>"

    def on_DeleteChangeSet(self, form):
        del self.change_sets[form["ChangeSetName"]]
        return ""

    def on_ExecuteChangeSet(self, form):
        stack, values, template, request, _ = self.change_sets.pop(form["ChangeSetName"])
        verb = "CREATE" if request["ChangeSetType"] == "CREATE" else "UPDATE"
        self.begin(stack, f"{verb}_IN_PROGRESS")
        if self.fail:
            self.event(stack, "Channel", f"{verb}_FAILED", self.fail.pop(0))
            self.event(stack, "Other", f"{verb}_FAILED", "Resource creation cancelled")
            gone = "DELETE_COMPLETE" if request.get("OnStackFailure") == "DELETE" else "ROLLBACK_COMPLETE"
            stack.next_status = self.end_as(gone if verb == "CREATE" else "UPDATE_ROLLBACK_COMPLETE")
        else:
            stack.values, stack.template = values, template
            stack.outputs = {"ChannelId": "channel-7", "CallbackUrl": "https://callback.example/v1"}
            stack.next_status = f"{verb}_COMPLETE"
            self.event(stack, stack.name, stack.next_status)
        return ""

    def on_DeleteStack(self, form):
        stack = self.find(form["StackName"])
        if stack.status.startswith("UPDATE") and stack.status.endswith("_IN_PROGRESS"):
            raise Refused(f"Stack is in {stack.status} state and can not be deleted")
        self.begin(stack, "DELETE_IN_PROGRESS")
        if self.fail:
            self.event(stack, "Channel", "DELETE_FAILED", self.fail.pop(0))
            stack.next_status = "DELETE_FAILED"
        else:
            self.event(stack, stack.name, "DELETE_COMPLETE")
            stack.next_status = "DELETE_COMPLETE"
        return ""


def error(code, message):
    return (f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
            "<RequestId>1</RequestId></ErrorResponse>").encode()
