"""Everything that the tests start: MiniStack, the public addresses, and 8x8 with a bot platform."""

import copy
import time

import template_copy
from bridge import Bridge
from deployment import FUNCTIONS, ROOT, Deployed, Zips
from peers import Peers
from server import MiniStack

# What a single step may take: a cold start of a debug binary and a few calls, on a busy machine.
STEP_LIMIT = 30
PAUSE = 0.1


def wait_for(what, condition, limit=None):
    """Polls until `condition()` is true; returns its value."""
    limit = limit or STEP_LIMIT
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"within {limit} s this did not happen: {what}")
        time.sleep(PAUSE)
    return value


class World:
    def __init__(self, credentials, authentication, tenant_id):
        self.started = []
        self.stacks = []
        try:
            self.ministack = self.start(MiniStack())
            self.bridge = self.start(Bridge(self.ministack.port))
            self.peers = self.start(Peers(credentials, authentication, tenant_id))
            self.zips = Zips(self.ministack)
            self.template, self.relaxations = template_copy.relaxed(
                (ROOT / "template.yaml").read_text(encoding="utf-8"), self.bridge.port, self.zips.locations)
        except BaseException:
            self.close()
            raise

    def start(self, part):
        self.started.append(part)
        return part

    def with_peers(self, peers):
        """The same AWS beside another 8x8 and bot platform, whose end is the caller's."""
        other = copy.copy(self)
        other.peers = peers
        return other

    def client(self, service):
        return self.ministack.client(service)

    def parameters(self, integration, **values):
        """What `make deploy` would ask for."""
        return {**self.peers.parameters(), "IntegrationName": integration, "QueueId": "101", "Architecture": "x86_64",
                **values}

    def template_to_build(self):
        """The copy of the template with its code where `make build` puts it."""
        code = {name: f"target/lambda/{name}/bootstrap.zip" for name in FUNCTIONS}
        return template_copy.relaxed((ROOT / "template.yaml").read_text(encoding="utf-8"), self.bridge.port, code)[0]

    def new_stack(self, name, template=None):
        stack = Deployed(self.ministack, name, template or self.template)
        self.stacks.append(stack)
        return stack

    def close(self):
        for part in reversed(self.started):
            part.close()
