"""A release: equal zips of equal binaries, what it consists of, and its deployment without Rust.

    target/python/sam/bin/python -m unittest discover -s tests/deploy
"""

import functools
import os
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "deploy")]

import release
import zips
from driving import LIMIT, Case, QuickCase

FUNCTIONS = sorted(path.name for path in (ROOT / "functions").iterdir() if path.is_dir())


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Zips(Folder):
    def test_equal_binaries_give_equal_zips_whenever_and_under_whatever_mode_they_were_made(self):
        made = []
        for name, time, mode in (("first", 1_700_000_000, 0o755), ("second", 1_800_000_001, 0o700)):
            binary = self.folder / name
            binary.write_bytes(b"\x7fELF" * 10_000)
            binary.chmod(mode)
            os.utime(binary, (time, time))
            zips.write_zip(binary, self.folder / f"{name}.zip")
            made.append((self.folder / f"{name}.zip").read_bytes())
        self.assertEqual(*made)

    def test_a_zip_holds_the_binary_as_a_file_that_everyone_may_run(self):
        binary = self.folder / "binary"
        binary.write_bytes(b"\x7fELF" * 10_000)
        zips.write_zip(binary, self.folder / "bootstrap.zip")
        with zipfile.ZipFile(self.folder / "bootstrap.zip") as archive:
            [entry] = archive.infolist()
            self.assertEqual((entry.filename, entry.external_attr >> 16), ("bootstrap", 0o100755))
            self.assertEqual(archive.read(entry), binary.read_bytes())
            self.assertLess(entry.compress_size, entry.file_size)


class Making(Folder):
    def project(self, changelog="## [1.2.3] - 2026-11-28\n\n### Added\n\n- A thing.\n", openapi="1.2.3"):
        (self.folder / "docs").mkdir()
        (self.folder / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\n')
        (self.folder / "docs/openapi.yaml").write_text(f"info:\n  version: {openapi}\n")
        (self.folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## [Unreleased]\n\n{changelog}\n## [1.2.2] - 2026-01-01\n\n- Old.\n")

    def test_the_notes_are_the_changelogs_section(self):
        self.project()
        self.assertEqual(release.notes("v1.2.3", self.folder), "### Added\n\n- A thing.\n")

    def test_a_tag_of_another_version_than_a_files_is_refused(self):
        self.project(openapi="1.2.2")
        for version, named in (("v1.2.3", "docs/openapi.yaml"), ("v1.2.4", "Cargo.toml"), ("1.2.3", "is not a version")):
            with self.assertRaisesRegex(release.ReleaseError, named):
                release.notes(version, self.folder)

    def test_a_version_without_an_entry_in_the_changelog_is_refused(self):
        self.project(changelog="## [1.2.3] - 2026-11-28\n")
        with self.assertRaisesRegex(release.ReleaseError, "CHANGELOG.md has no section"):
            release.notes("v1.2.3", self.folder)

    def test_a_function_that_was_not_built_for_both_architectures_is_named(self):
        built = make_zips(self.folder / "built")
        (built / "arm64" / FUNCTIONS[-1] / "bootstrap.zip").unlink()
        (self.folder / "out").mkdir()
        with self.assertRaisesRegex(release.ReleaseError, f"arm64/{FUNCTIONS[-1]}/bootstrap.zip does not exist"):
            release.pack(self.folder / "out", {name: built / name for name in release.ARCHITECTURES})

    def test_sha256sum_finds_the_checksums_of_all_files_right(self):
        out = make_release(self.folder)
        (out / "converse-arm64.cdx.json").write_text("{}")
        release.pack(out, {name: self.folder / "built" / name for name in release.ARCHITECTURES})
        done = subprocess.run(["sha256sum", "--strict", "--check", release.SUMS], cwd=out, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        names = {f"{function}-{architecture}.zip" for function in FUNCTIONS for architecture in release.ARCHITECTURES}
        self.assertEqual({line.split(":")[0] for line in done.stdout.splitlines()}, names | {"template.yaml", "converse-arm64.cdx.json"})


def make_zips(folder):
    for architecture in release.ARCHITECTURES:
        for function in FUNCTIONS:
            place = folder / architecture / function
            place.mkdir(parents=True)
            (place / "program").write_bytes(f"{function} for {architecture}".encode())
            zips.write_zip(place / "program", place / "bootstrap.zip")
    return folder


def make_release(folder, template=None):
    built = make_zips(folder / "built")
    out = folder / "out"
    out.mkdir()
    release.pack(out, {name: built / name for name in release.ARCHITECTURES})
    if template:
        replace(out, "template.yaml", template.read_bytes())
    return out


def replace(out, name, data):
    """Another file in a release, with its checksum."""
    (out / name).write_bytes(data)
    sums = (out / release.SUMS).read_text().splitlines(keepends=True)
    digest = release.hashlib.sha256(data).hexdigest()
    (out / release.SUMS).write_text("".join(f"{digest}  {name}\n" if line.endswith(f"  {name}\n") else line for line in sums))


class Prebuilt:
    """Deploys a release; a build would fail."""

    def setUp(self):
        super().setUp()
        self.release = make_release(self.folder, self.template)
        self.source = ["--prebuilt", str(self.release)]
        programs = self.folder / "bin"
        programs.mkdir()
        for name in ("make", "cargo", "rustc"):
            (programs / name).write_text("#!/bin/sh\necho 'a build was tried' >&2\nexit 3\n")
            (programs / name).chmod(0o755)
        self.environment["PATH"] = f"{programs}{os.pathsep}{self.environment['PATH']}"

    def command(self, verb, *more):
        command = super().command(verb, *more)
        place = command.index("--zips")
        return [*command[:place], *self.source, *command[place + 2:]]

    def zip(self, architecture):
        return (self.release / f"converse-{architecture}.zip").read_bytes()

    def assert_refused(self, reason, code=2):
        done = self.first_deployment()
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(reason, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        if code == 2:
            self.nothing_changed()
        self.assertEqual(self.aws.called("CreateChangeSet"), [])


class PrebuiltZips(Prebuilt, Case):
    """With the real `sam package`."""

    def test_a_releases_zips_of_the_stacks_architecture_are_deployed_without_a_build(self):
        done = self.first_deployment(LIVE_AGENT_ARCHITECTURE="x86_64")
        self.assertEqual(done.returncode, 0, done.stderr)
        uploaded = list(self.aws.objects.values())
        self.assertTrue(any(self.zip("x86_64") in body for body in uploaded), "the zip was not uploaded")
        self.assertFalse(any(self.zip("arm64") in body for body in uploaded))


class PrebuiltFolders(Prebuilt, QuickCase):
    def test_a_zip_with_another_checksum_is_named_and_nothing_is_deployed(self):
        (self.release / "converse-arm64.zip").write_bytes(b"another")
        self.assert_refused("converse-arm64.zip of ", code=1)
        self.assert_refused("does not have the checksum of SHA256SUMS", code=1)

    def test_a_zip_that_the_release_lacks_is_named(self):
        sums = (self.release / release.SUMS).read_text()
        (self.release / release.SUMS).write_text("".join(
            line for line in sums.splitlines(keepends=True) if "converse-arm64" not in line))
        self.assert_refused("has no converse-arm64.zip", code=1)

    def test_a_release_of_another_template_changes_nothing(self):
        replace(self.release, "template.yaml", self.template.read_bytes() + b"\n# of another version\n")
        self.assert_refused("template.yaml is not that of the release")

    def test_a_folder_that_is_no_release_changes_nothing(self):
        self.source = ["--prebuilt", str(self.folder)]
        self.assert_refused("PREBUILT is the folder of a release, or a version such as v1.2.3")

    def test_a_checksum_of_a_file_elsewhere_is_refused(self):
        (self.release / release.SUMS).write_text(f"{'0' * 64}  ../converse-arm64.zip\n")
        self.assert_refused("line 1, is not a checksum and a name")

    def test_given_zips_and_a_release_exclude_each_other(self):
        self.source += ["--zips", str(self.folder / "zips")]
        self.assert_refused("not allowed with argument")


class PrebuiltVersions(Prebuilt, QuickCase):
    def setUp(self):
        super().setUp()
        site = self.folder / "site"
        site.mkdir()
        (site / "v1.2.3").symlink_to(self.release)
        self.asked = asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_):
                asked.append(self.path)

        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.releases = f"http://127.0.0.1:{server.server_port}"
        self.source = ["--prebuilt", "v1.2.3", "--releases", self.releases]

    def test_a_version_is_downloaded_and_checked(self):
        done = self.first_deployment()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.asked, [f"/v1.2.3/{name}" for name in ("SHA256SUMS", "template.yaml", "converse-arm64.zip")])
        (self.release / "converse-arm64.zip").write_bytes(b"another")
        done = self.without_terminal("deploy", "--set", "QueueId=102")
        self.assertEqual(done.returncode, 1)
        self.assertIn("converse-arm64.zip of v1.2.3 does not have the checksum", done.stderr)

    def test_a_version_that_is_not_released_changes_nothing(self):
        self.source[1] = "v9.9.9"
        self.assert_refused("status 404. Is there such a release?")

    def test_releases_that_cannot_be_reached_change_nothing(self):
        self.source[3] = "http://127.0.0.1:9"
        self.assert_refused("SHA256SUMS cannot be downloaded")

    def test_a_release_is_downloaded_by_https_only(self):
        self.source[3] = "http://releases.example"
        self.assert_refused("is not https")


class Origins(unittest.TestCase):
    def test_the_releases_are_beside_the_repository_that_was_cloned(self):
        for remote in ("https://github.com/acme/bridge.git", "https://github.com/acme/bridge", "git@github.com:acme/bridge.git",
                       "ssh://git@github.com/acme/bridge.git"):
            self.assertEqual(release.releases_of(remote), "https://github.com/acme/bridge/releases/download")

    def test_another_origin_needs_the_address(self):
        for remote in ("", "/home/acme/bridge", "https://github.com.example/acme/bridge", "https://user:password@github.com/a/b"):
            with self.assertRaisesRegex(release.ReleaseError, "RELEASES=https://github.com/<owner>") as raised:
                release.releases_of(remote)
            self.assertNotIn("password", str(raised.exception))


class Make(Folder):
    def test_make_deploy_of_a_release_needs_no_cargo(self):
        environment = {**os.environ, "MAKEFLAGS": ""}
        command = ["make", "--no-print-directory", "deploy", "STACK=acme", f"PREBUILT={self.folder}", "CARGO=false"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertIn("PREBUILT is the folder of a release", done.stderr)
