"""The documentation: its links lead somewhere, its commands exist, and what it lists is what the code and the template have.

Run with: target/python/sam/bin/python tests/deploy/test_documentation.py
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

# It is pinned in requirements/sam.txt, because SAM needs it too.
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import reference

# What is built or fetched there is not ours.
NOT_OURS = {"target", ".git", ".aws-sam", "node_modules"}
# The README is read by people who do not know the project yet.
README_LIMIT = 150
# By the names of Rust's crate `http`; Python's standard library has another name for one of them.
STATUSES = {**{status.name: status.value for status in HTTPStatus}, "PAYLOAD_TOO_LARGE": 413}


def markdown_files(folder):
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - NOT_OURS)
        yield from (Path(parent) / name for name in sorted(files) if name.endswith(".md"))


class Document:
    """A Markdown file: its anchors as GitHub makes them, its links, and its blocks of code."""

    def __init__(self, path):
        self.path = path
        self.anchors, self.links, self.code = set(), [], []
        tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
        for number, token in enumerate(tokens):
            if token.type == "heading_open":
                self.add_anchor(tokens[number + 1])
            elif token.type == "fence":
                self.code.append((token.info, token.content))
            for child in token.children or []:
                if child.type == "link_open":
                    self.links.append(child.attrs["href"])
                elif child.type == "image":
                    self.links.append(child.attrs["src"])
                elif child.type == "code_inline":
                    self.code.append(("", child.content))

    def add_anchor(self, heading):
        text = "".join(child.content for child in heading.children if child.type in ("text", "code_inline"))
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number, anchor = 0, slug
        while anchor in self.anchors:
            number += 1
            anchor = f"{slug}-{number}"
        self.anchors.add(anchor)


def broken_links(root):
    """`file: link` of every relative link that leads to no file of the folder, or to no heading of a Markdown file."""
    documents = {path: Document(path) for path in markdown_files(root)}
    broken = []
    for path, document in documents.items():
        for link in document.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            is_there = target.exists() and target.is_relative_to(root)
            if is_there and url.fragment:
                is_there = target in documents and url.fragment in documents[target].anchors
            if not is_there:
                broken.append(f"{path.relative_to(root)}: {link}")
    return broken


class Links(unittest.TestCase):
    maxDiff = None

    def test_every_relative_link_leads_to_a_file_or_a_heading(self):
        self.assertEqual(broken_links(ROOT), [])

    def test_a_broken_link_is_noticed(self):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name).resolve()
            (root / "docs").mkdir()
            (root / "docs/page.md").write_text("# A `page` of 8x8's\n\n## Twice\n\n## Twice\n", encoding="utf-8")
            right = ["docs/page.md", "docs/page.md#a-page-of-8x8s", "docs/page.md#twice-1", "#top", "https://example.org/x"]
            wrong = ["docs/other.md", "docs/page.md#nothing", "docs/page.md#twice-2", "#page", "../outside.md", "docs/page.png"]
            links = [f"[text]({link})" for link in [*right, *wrong[:-1]]] + [f"| ![picture]({wrong[-1]}) |"]
            code = "`[no link](nowhere.md)`\n\n```\n[no link](nowhere.md)\n```\n"
            (root / "README.md").write_text("# Top\n\n" + "\n\n".join(links) + "\n\n" + code, encoding="utf-8")
            self.assertEqual(broken_links(root), [f"README.md: {link}" for link in wrong])


class Readme(unittest.TestCase):
    def test_it_is_short(self):
        lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        self.assertLessEqual(len(lines), README_LIMIT)


class Commands(unittest.TestCase):
    maxDiff = None

    def test_every_make_command_is_a_target_of_the_makefile(self):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = {target for line in re.findall(r"^([a-z][a-z -]*):(?!=)", makefile, re.MULTILINE) for target in line.split()}
        used = {}
        for path in markdown_files(ROOT):
            for _, text in Document(path).code:
                for target in re.findall(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*make ([a-z-]+)", text, re.MULTILINE):
                    used.setdefault(target, path.relative_to(ROOT))
        self.assertGreater(len(used), 10, used)
        self.assertEqual({target: path for target, path in used.items() if target not in targets}, {})

    def test_every_resource_in_a_command_is_one_of_the_template(self):
        resources = reference.template()["Resources"]
        used = {(name, path.name) for path in markdown_files(ROOT / "docs") for _, text in Document(path).code
                for name in re.findall(r"\$\(resource (\w+)\)", text)}
        self.assertGreater(len(used), 10, used)
        self.assertEqual([use for use in used if use[0] not in resources], [])


class Alarms(unittest.TestCase):
    def test_every_page_is_about_an_alarm_of_the_template(self):
        alarms = {reference.kebab(name) for name, resource in reference.template()["Resources"].items()
                  if resource["Type"] == "AWS::CloudWatch::Alarm"}
        self.assertEqual({path.stem for path in (ROOT / "docs/operate").glob("*-alarm.md")}, alarms)

    def test_every_page_answers_the_same_questions(self):
        for path in (ROOT / "docs/operate").glob("*-alarm.md"):
            headings = re.findall(r"^## (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            self.assertEqual(headings, ["What is affected", "Find the cause", "What to do", "When it is over"], path.name)


def source(path):
    return (ROOT / path).read_text(encoding="utf-8")


def rows(path):
    """The rows of the table in a module doc, each as a list of cells without the marks of code."""
    return [[cell.strip("`") for cell in reference.cells(row)] for row in reference.doc_table(path)[2:]]


class Reference(unittest.TestCase):
    maxDiff = None

    def test_it_is_generated_from_the_code_as_it_is(self):
        check = subprocess.run([sys.executable, ROOT / "tools/reference.py", "--check"], capture_output=True, text=True)
        self.assertEqual((check.returncode, check.stdout), (0, ""), "run `make reference`" + check.stderr)

    def test_a_page_that_was_changed_by_hand_is_shown_as_a_diff(self):
        path, text = next(iter(reference.generated().items()))
        self.assertEqual(reference.difference(path, text), [])
        changed = reference.difference(path, text.replace("# Parameters", "# Options"))
        self.assertIn("+# Options\n", changed)
        self.assertIn("-# Parameters\n", changed)

    def test_every_page_says_first_that_it_is_generated(self):
        for path in (ROOT / "docs/reference").glob("*"):
            first = path.read_text(encoding="utf-8").splitlines()[0]
            self.assertRegex(first, "^<!-- Generated by `make reference` from ", path.name)

    def test_every_parameter_is_there(self):
        listed = re.findall(r"^\| `(\w+)` \|", source("docs/reference/parameters.md"), re.MULTILINE)
        self.assertEqual(sorted(listed), sorted(reference.template()["Parameters"]))

    def test_the_metrics_are_those_that_the_filters_make_and_the_functions_write(self):
        resources = reference.template()["Resources"].values()
        filters = [resource["Properties"] for resource in resources if resource["Type"] == "AWS::Logs::MetricFilter"]
        written = {made["MetricName"]: {"no", "FunctionName", "either"}
                   for properties in filters for made in properties["MetricTransformations"]}
        for name, dimension in re.findall(r'\b(?:counter|histogram)!\("(\w+)"(?:, "(\w+)" =>)?', source("shared/src/telemetry.rs")):
            written.setdefault(name, set()).add(dimension or "none")
        listed = {name: set(re.findall(r"\w+", dimensions.replace("and", ""))) or {"none"}
                  for name, _, dimensions, *_ in rows("shared/src/telemetry.rs")}
        self.assertEqual(listed, written)

    def test_the_variables_are_those_that_the_template_sets(self):
        listed = [name for name, _ in rows("shared/src/environment.rs")]
        self.assertEqual(sorted(listed), sorted(reference.variables_by_name(reference.template())))

    def test_the_statuses_are_those_of_the_code(self):
        # In the code: the name of a status, then the code that goes with it.
        for path, pattern in {
            "functions/receive-message/src/error.rs": r'\(S::([A-Z_]+), "([a-z-]+)"\)',
            "functions/issue-token/src/response.rs": r'\(StatusCode::([A-Z_]+), "([a-z_]+)"',
            "functions/converse/src/error.rs": r'row\(\s*S::([A-Z_]+),\s*"([a-z_]+)"',
        }.items():
            in_code = {(str(STATUSES[name]), code) for name, code in re.findall(pattern, source(path))}
            listed = {(status, code) for status, code, *_ in rows(path) if re.fullmatch("[45][0-9]{2}", status)}
            self.assertGreaterEqual(len(in_code), 5, path)
            self.assertEqual(listed, in_code, path)

    def test_the_operations_are_those_of_the_code(self):
        for path, enumeration in {
            "functions/register-channel/src/operation.rs": "functions/register-channel/src/operation.rs",
            "functions/manage-dead-letters/src/lib.rs": "functions/manage-dead-letters/src/choice.rs",
        }.items():
            variants = re.search(r"enum Operation \{(.*?)\n\}", source(enumeration), re.DOTALL)[1]
            in_code = {name.lower() for name in re.findall(r"^    (\w+)", variants, re.MULTILINE)}
            listed = {operation for request, *_ in rows(path) for operation in re.findall(r'"operation":"(\w+)"', request)}
            self.assertEqual(listed, in_code, path)


if __name__ == "__main__":
    unittest.main()
