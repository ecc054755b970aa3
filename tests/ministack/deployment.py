"""Deploys the copy of the template as tools/deploy.py does: with its change sets, its waiting and its reasons of failure."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import cloudformation
import deploy
import template_copy

# Their lines about the progress belong on a terminal.
cloudformation.show = deploy.show = lambda *_: None

BUCKET = "deployment"
# A creation takes about 5 s; the custom resource of a failing one has 180 s (ServiceTimeout) before it times out.
STACK_LIMIT = 120
# Pause between two looks at a stack.
POLL = 0.2
FUNCTIONS = sorted(path.name for path in (ROOT / "functions").iterdir() if path.is_dir())


class Zips:
    """The debug build's binaries as `bootstrap` in a zip each, in a folder as `make build` leaves it and in MiniStack's S3."""

    def __init__(self, ministack):
        self.folder = folder = ministack.folder / "zips"
        folder.mkdir()
        s3 = ministack.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
        self.locations = {}
        for name in FUNCTIONS:
            binary = ROOT / "target" / "debug" / name
            if not binary.is_file():
                raise AssertionError(f"{binary.relative_to(ROOT)} does not exist: build the functions first")
            bootstrap = folder / f"{name}.bootstrap"
            if shutil.which("strip"):
                # Without its debugging information a binary has a half of its size.
                subprocess.run(["strip", "-o", bootstrap, binary], check=True, timeout=60)
            else:
                shutil.copy(binary, bootstrap)
            path = folder / name / "bootstrap.zip"
            path.parent.mkdir()
            # Stored, not compressed: MiniStack is on this machine.
            with zipfile.ZipFile(path, "w") as archive:
                entry = zipfile.ZipInfo("bootstrap")
                entry.external_attr = 0o755 << 16
                archive.writestr(entry, bootstrap.read_bytes())
            bootstrap.unlink()
            s3.upload_file(str(path), BUCKET, f"{name}.zip")
            self.locations[name] = f"s3://{BUCKET}/{name}.zip"


class Deployed:
    """A stack, from its creation to its deletion."""

    def __init__(self, ministack, name, template):
        self.ministack, self.name = ministack, name
        self.template = template
        self.stack = deploy.Stack(name, ministack.session, None, POLL, STACK_LIMIT)
        self.identity = None
        self.known = set()

    def upload(self):
        key = f"{self.name}.template"
        self.ministack.client("s3").put_object(Bucket=BUCKET, Key=key, Body=self.template.encode())
        return {"TemplateURL": f"{self.ministack.url}/{BUCKET}/{key}"}

    def apply(self, create, values):
        """Creates or updates with a change set; raises deploy.Failure with the reasons of CloudFormation."""
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
        parameters += [{"ParameterKey": name, "UsePreviousValue": True} for name in sorted(self.known - values.keys())]
        self.identity, change_set = self.stack.create_change_set(create, parameters, {}, self.upload())
        if change_set:
            deploy.execute(self.stack, create, self.identity, change_set)
        return change_set

    def create(self, values):
        self.apply(True, values)
        self.known = {item["ParameterKey"] for item in self.stack.describe(self.identity)["Parameters"]}

    def update(self, **values):
        return self.apply(False, values)

    def delete(self):
        return self.stack.delete(self.identity)

    @property
    def status(self):
        present = self.stack.describe(self.identity)
        return present["StackStatus"] if present else None

    @property
    def outputs(self):
        return {item["OutputKey"]: item["OutputValue"] for item in self.stack.describe(self.identity).get("Outputs", [])}

    def resources(self):
        """Logical id → (physical id, type) of what the stack has."""
        pages = self.ministack.client("cloudformation").get_paginator("list_stack_resources").paginate(
            StackName=self.identity)
        return {item["LogicalResourceId"]: (item.get("PhysicalResourceId"), item["ResourceType"])
                for page in pages for item in page["StackResourceSummaries"]}

    def physical_id(self, logical_id):
        return self.resources()[logical_id][0]

    def events(self):
        pages = self.ministack.client("cloudformation").get_paginator("describe_stack_events").paginate(
            StackName=self.identity)
        return [event for page in pages for event in page["StackEvents"]]


def mutated(text, change):
    """Returns the template, as JSON, with `change` made to it."""
    data = template_copy.as_data(text)
    change(data)
    return json.dumps(data)
