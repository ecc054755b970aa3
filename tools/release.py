"""A release: what it consists of, how it is made, and how `make deploy PREBUILT=…` reads it.

A release is a folder, or a GitHub release, with these files:

    <function>-<architecture>.zip         what Lambda gets, for arm64 and for x86_64
    <function>-<architecture>.cdx.json    what the function is made of, in CycloneDX's form
    template.yaml                         the template that these functions belong to
    SHA256SUMS                            the checksum of each, as sha256sum writes and checks it

The checksums find damage. That the files are the project's shows their provenance: `gh attestation verify`.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUMS = "SHA256SUMS"
TEMPLATE = "template.yaml"
ARCHITECTURES = ("arm64", "x86_64")
VERSION = re.compile(r"v\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?")
# Seconds without a byte.
DOWNLOAD_TIMEOUT = 60
# Lambda accepts no larger zip: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_FILE = 50 * 1024 * 1024


class ReleaseError(Exception):
    """What is wrong with a release, for the person who deploys or makes it."""


# ---- reading -------------------------------------------------------------------------------------------------------


class Release:
    """The release of that version at `releases`, or in a folder. Every file that is read is checked."""

    def __init__(self, source, releases=None):
        self.source = source
        self.base = None
        if not Path(source).exists() and VERSION.fullmatch(source):
            self.base = (releases or releases_of(origin())).rstrip("/") + f"/{source}/"
            require_https(self.base)
        self.sums = {}
        for number, line in enumerate(self.fetch(SUMS).decode("utf-8", "replace").splitlines(), 1):
            # A name without a folder, so that nothing outside the release is read.
            found = re.fullmatch(r"([0-9a-f]{64}) [ *]([A-Za-z0-9_][A-Za-z0-9._-]*)", line)
            if not found:
                raise ReleaseError(f"{SUMS} of {source}, line {number}, is not a checksum and a name")
            self.sums[found[2]] = found[1]

    def fetch(self, name):
        if self.base is None:
            try:
                return (Path(self.source) / name).read_bytes()
            except OSError as error:
                raise ReleaseError(f"{Path(self.source) / name} cannot be read ({error.strerror}). PREBUILT is the folder of a "
                                   "release, or a version such as v1.2.3") from None
        try:
            with urllib.request.urlopen(self.base + name, timeout=DOWNLOAD_TIMEOUT) as response:
                require_https(response.url)  # GitHub redirects to where the file lies
                data = response.read(MAX_FILE + 1)
        except urllib.error.HTTPError as error:
            raise ReleaseError(f"{self.base}{name} cannot be downloaded: status {error.code}"
                               + (". Is there such a release?" if error.code == 404 else "")) from None
        except OSError as error:
            raise ReleaseError(f"{self.base}{name} cannot be downloaded: {getattr(error, 'reason', error)}") from None
        if len(data) > MAX_FILE:
            raise ReleaseError(f"{self.base}{name} is larger than {MAX_FILE} bytes")
        return data

    def read(self, name):
        """Returns a file's bytes, if they are the ones that the checksum is of."""
        if name not in self.sums:
            raise ReleaseError(f"{SUMS} of {self.source} has no {name}")
        data = self.fetch(name)
        if hashlib.sha256(data).hexdigest() != self.sums[name]:
            raise ReleaseError(f"{name} of {self.source} does not have the checksum of {SUMS}: fetch the release again")
        return data

    def unpack(self, functions, architecture, folder):
        """Writes `folder`/<function>/bootstrap.zip for each function."""
        for function in functions:
            place = folder / function
            place.mkdir(parents=True)
            (place / "bootstrap.zip").write_bytes(self.read(f"{function}-{architecture}.zip"))


def require_https(url):
    place = urllib.parse.urlsplit(url)
    if place.scheme != "https" and place.hostname not in ("127.0.0.1", "localhost"):
        raise ReleaseError(f"{url} is not https")


def origin():
    """Where this folder was cloned from; empty if it was not."""
    found = subprocess.run(["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def releases_of(remote):
    """Returns the address of the releases of a repository at GitHub."""
    found = re.fullmatch(r"(?:https://|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?", remote)
    if not found:
        raise ReleaseError("It is unknown where the releases are, since this folder is no clone of a repository at GitHub: add "
                           "RELEASES=https://github.com/<owner>/<repository>/releases/download")
    return f"https://github.com/{found[1]}/releases/download"


# ---- making --------------------------------------------------------------------------------------------------------


def notes(version, root=ROOT):
    """Returns the changelog's section of a version; fails if the version is another one elsewhere."""
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"{version} is not a version such as v1.2.3")
    number = version[1:]
    places = {"Cargo.toml": rf'^version = "{re.escape(number)}"$', "docs/openapi.yaml": rf"^  version: {re.escape(number)}$"}
    for name, pattern in places.items():
        if not re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE):
            raise ReleaseError(f"{name} has another version than {number}")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## \[{re.escape(number)}\] - \d{{4}}-\d\d-\d\d$(.*?)(?=^## \[|\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise ReleaseError(f"CHANGELOG.md has no section [{number}] with a date and an entry")
    return found[1].strip() + "\n"


def pack(out, folders, root=ROOT):
    """Adds to the folder `out` the zips of `folders` (architecture: folder with <function>/bootstrap.zip), the template and the
    checksums of all files that are then in it."""
    functions = sorted(path.name for path in (root / "functions").iterdir() if path.is_dir())
    for architecture in ARCHITECTURES:
        for function in functions:
            file = Path(folders[architecture]) / function / "bootstrap.zip"
            if not file.is_file():
                raise ReleaseError(f"{file} does not exist: the build for {architecture} did not make it")
            (out / f"{function}-{architecture}.zip").write_bytes(file.read_bytes())
    (out / TEMPLATE).write_bytes((root / TEMPLATE).read_bytes())
    files = sorted(path for path in out.iterdir() if path.name != SUMS)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (out / SUMS).write_text("".join(lines), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("notes", help="print the changelog's section of a version, which must be that of all files")
    first.add_argument("version", metavar="v1.2.3")
    second = commands.add_parser("pack", help="add zips, template and checksums to a folder")
    second.add_argument("out", type=Path)
    for architecture in ARCHITECTURES:
        second.add_argument(f"--{architecture}", dest=architecture, required=True, metavar="FOLDER",
                            help=f"has <function>/bootstrap.zip for {architecture}")
    arguments = parser.parse_args()
    try:
        if arguments.command == "notes":
            print(notes(arguments.version), end="")
        else:
            pack(arguments.out, {architecture: getattr(arguments, architecture) for architecture in ARCHITECTURES})
        return 0
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
