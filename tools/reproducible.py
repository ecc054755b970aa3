"""Builds the committed state twice, in two folders, and compares the zips: `make reproducible [ARCH=x86_64]`.

Nothing is shared by the two builds but the tools and cargo's registry, whose place stands in a binary where a dependency can
panic: a build under another CARGO_HOME can differ.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "reproducible"
# Of different lengths, so that a path that is compiled into a binary makes a difference.
FOLDERS = ("first", "the-second")


def build(folder, architecture):
    """Returns {function: SHA-256 of its zip}."""
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "--extract"], cwd=folder, input=archive.stdout, check=True)
    (folder / "target").mkdir()
    (folder / "target" / "python").symlink_to(ROOT / "target" / "python")
    environment = {name: value for name, value in os.environ.items() if name not in ("CARGO_TARGET_DIR", "MAKEFLAGS", "MAKELEVEL")}
    # The tools are there: an archive's files can be newer than they are.
    command = ["make", "--old-file=target/python/cargo-lambda/.installed", "build", f"ARCH={architecture}"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    zips = sorted((folder / "target" / "lambda").glob("*/bootstrap.zip"))
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in zips}


def main(architecture):
    shutil.rmtree(WORK, ignore_errors=True)
    first, second = (build(WORK / name, architecture) for name in FOLDERS)
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    for name, digest in first.items():
        print(f"{digest}  {name}")
    if different or not first:
        print(f"The two builds differ in: {', '.join(different) or 'nothing, since they made nothing'}. They are left in {WORK}.",
              file=sys.stderr)
        return 1
    shutil.rmtree(WORK)
    print(f"Two builds for {architecture} gave the same {len(first)} zips.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
