"""8x8 and the bot platform: the project's own simulation of both, as a process of its own that is controlled over HTTP."""

import base64
import json
import os
import select
import subprocess
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target" / "debug" / "sandbox"
# It listens within a second; the rest is for a busy machine.
START_LIMIT = 30
# The longest request of the control API waits for nothing.
CALL_LIMIT = 20


class Peers:
    """`credentials` are what 8x8 and the bot platform accept, by the names of the stack's parameters."""

    VARIABLES = {
        "ApiKey": "CONTACT_CENTER_API_KEY", "ApiSecret": "CONTACT_CENTER_API_SECRET",
        "Username": "CONTACT_CENTER_USERNAME", "Password": "CONTACT_CENTER_PASSWORD",
        "AppToken": "BOT_APP_TOKEN", "BotUsername": "BOT_USERNAME", "BotPassword": "BOT_PASSWORD",
    }

    def __init__(self, credentials, authentication, tenant_id, api="chat-gateway-v1"):
        self.credentials, self.authentication, self.tenant_id, self.api = credentials, authentication, tenant_id, api
        environment = {**os.environ, **{self.VARIABLES[name]: value for name, value in credentials.items()}}
        command = [str(PROGRAM), "--contact-center-authentication", authentication, "--contact-center-tenant-id", tenant_id,
                   "--contact-center-api", api, "peers"]
        self.process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready, _, _ = select.select([self.process.stdout], [], [], START_LIMIT)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.close()
            raise AssertionError(f"`{' '.join(command)}` did not say where it listens")
        self.addresses = json.loads(line)

    def parameters(self):
        """The stack's parameters for these peers."""
        return {
            **self.credentials,
            "Endpoint": self.addresses["contact_center_endpoint"],
            "AccessTokenUrl": self.addresses["access_token_url"],
            "AuthenticationType": self.authentication,
            "ContactCenterApi": self.api,
            "TenantId": self.tenant_id,
            "BotEndpoint": self.addresses["bot_endpoint"],
        }

    def call(self, peer, method, path, body=None):
        """A call to a control API: that of the `contact_center`, or that of the `bot`."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.addresses[f"{peer}_control"] + path, data, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=CALL_LIMIT) as response:
            content = response.read()
        return json.loads(content) if content else None

    # ---- 8x8

    def registered(self):
        return self.call("contact_center", "GET", "/registered")

    def webhook(self, webhook_id):
        return next((each for each in self.registered()["webhooks"] if each["id"] == webhook_id), None)

    def channel(self, channel_id):
        return next((each for each in self.registered()["channels"] if each["id"] == channel_id), None)

    def add_foreign(self, name, uri):
        created = self.call("contact_center", "POST", "/foreign", {"name": name, "uri": uri})
        return created["webhook_id"], created["channel_id"]

    def remove(self, identity):
        self.call("contact_center", "POST", "/remove", {"id": identity})

    def fail_next(self, method, path, status=400, times=1):
        failure = {"method": method, "path": path, "status": status, "times": times}
        self.call("contact_center", "POST", "/fail", failure)

    def sign(self, body):
        return self.call("contact_center", "POST", "/sign", body)["headers"]

    def open_conversation(self, channel_id):
        return self.call("contact_center", "POST", "/conversations", {"channel_id": channel_id})["conversation"]

    def send_event(self, conversation_id, event_type, body):
        return self.call("contact_center", "POST", f"/conversations/{conversation_id}/events?type={event_type}", body)

    def said(self, conversation_id):
        """Author and text of each message."""
        conversation = self.call("contact_center", "GET", f"/conversations/{conversation_id}")
        return [[message["author"]["type"], message["text"]] for message in conversation["messages"]]

    # ---- the bot platform

    def receipts(self, conversation_id):
        """The bodies that the bot platform accepted, in order."""
        receipts = self.call("bot", "GET", "/receipts").get(conversation_id, [])
        return [base64.b64decode(receipt["body"]) for receipt in receipts]

    def refuse(self, conversation_id, status):
        self.call("bot", "POST", "/refusals", {"conversation_id": conversation_id, "status": status})

    def accept_again(self, conversation_id):
        self.call("bot", "DELETE", f"/refusals/{conversation_id}")

    def refused(self, status):
        """How many events the bot platform answered with that status."""
        return self.call("bot", "GET", "/refusals").get(str(status), 0)

    def violations(self):
        return self.call("bot", "GET", "/violations") + self.call("contact_center", "GET", "/violations")

    def close(self):
        # It ends with its standard input.
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
