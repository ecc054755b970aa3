"""tools/deploy.py, but for `sam package`, which takes three seconds: its output is made here, and nothing is uploaded."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import deploy

run = deploy.run


def run_quickly(command, name, timeout=None, quiet=False):
    if name != "sam package":
        return run(command, name, timeout, quiet)
    source, packaged = (Path(command[command.index(option) + 1]) for option in ("--template-file", "--output-template-file"))
    text = re.sub(r"^(\s*CodeUri:).*$", r"\1 s3://bucket/zip", source.read_text(encoding="utf-8"), flags=re.MULTILINE)
    packaged.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    deploy.run = run_quickly
    sys.exit(deploy.main())
