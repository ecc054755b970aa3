"""Starts MiniStack with the add-on as a process of its own, and gives the AWS clients of the tests."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

HERE = Path(__file__).resolve().parent
REGION = "eu-central-1"
ACCOUNT = "000000000000"
# Imports of some seconds on a busy machine.
START_LIMIT = 60
# The longest call is an invocation of refresh-tokens, whose own limit is 90 s.
CALLS = Config(connect_timeout=5, read_timeout=100, retries={"mode": "standard", "max_attempts": 1})


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class MiniStack:
    """One account in one region. `root` may do everything; the functions have the rights of their roles."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="ministack-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "ministack.log"
        # MiniStack takes the account's id as an access key for the root user.
        self.credentials = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "root"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LIVE_AGENT_"))}
        environment = {
            **inherited, **self.credentials,
            "AWS_DEFAULT_REGION": REGION, "MINISTACK_REGION": REGION, "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true",
            "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "MINISTACK_HOST": "localhost",
            "AUTH": "true", "TMPDIR": str(self.folder), "LOG_LEVEL": "INFO",
            # No Docker is looked for, and no listeners but the one are opened.
            "DOCKER_HOST": f"unix://{self.folder}/none", "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "launcher.py")], env=environment, cwd=self.folder,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise
        # tools/deploy.py makes its own clients from the environment.
        os.environ.update(self.credentials, AWS_ENDPOINT_URL=self.url, AWS_DEFAULT_REGION=REGION)
        os.environ.pop("AWS_PROFILE", None)
        self.session = boto3.session.Session(region_name=REGION)
        self.clients = {}

    def wait_until_ready(self):
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"MiniStack does not answer:\n{self.tail()}")

    def client(self, service):
        if service not in self.clients:
            self.clients[service] = self.session.client(service, config=CALLS)
        return self.clients[service]

    def tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def close(self):
        # It ends with its standard input; a function that is still at work ends with its process group.
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
