"""Generates docs/reference/ from the template and from tables in the module docs of the code.

Without options it writes the pages. With --check it writes nothing, prints what would change, and fails if that is something.
Run with: make reference
"""

import argparse
import difflib
import functools
import re
import sys
from pathlib import Path

from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/reference"
# An AlarmDescription ends with it: people read it in CloudWatch, where there is no link to click.
PAGE_OF_ALARM = re.compile(r"\s*See (docs/operate/[a-z-]+\.md)\.?$")


@functools.cache
def template():
    return yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))


def doc_table(source):
    """The lines of the first table in the module doc of a Rust file."""
    lines = (ROOT / source).read_text(encoding="utf-8").splitlines()
    doc = [line.removeprefix("//!").strip() for line in lines if line.startswith("//!")]
    start = next(number for number, line in enumerate(doc) if line.startswith("|"))
    end = next((number for number in range(start, len(doc)) if not doc[number].startswith("|")), len(doc))
    return doc[start:end]


def cells(row):
    """The cells of a table's row. A bar in a code span does not occur in our tables."""
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def table(header, rows):
    lines = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in [header, *rows]]
    return [lines[0], "|---" * len(header) + "|", *lines[1:]]


def plain(text):
    """A text of the template in Markdown: it has no markup, and may be folded."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")


def code(text):
    return f"`{text}`" if str(text) != "" else ""


def kebab(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


# ---- pages ---------------------------------------------------------------------------------------------------------


def parameters():
    declared = template()
    groups = declared["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    lines = ["`make deploy STACK=…` asks for those that have no default and that the chosen options need.",
             "`SET=\"Name=value\"` changes one. The value of a secret is never shown."]
    for group in groups:
        rows = [parameter_row(name, declared["Parameters"][name]) for name in group["Parameters"]]
        lines += ["", f"## {group['Label']['default']}", "", *table(["parameter", "meaning", "default", "values"], rows)]
    return "Parameters", "template.yaml", lines


def parameter_row(name, parameter):
    meaning = plain(parameter["Description"])
    if parameter.get("NoEcho"):
        meaning += " Secret."
    if "Default" not in parameter:
        default = "required"
    else:
        default = code(parameter["Default"]) or "empty"
    return [code(name), meaning, default, values(parameter)]


def values(parameter):
    if "AllowedValues" in parameter:
        return ", ".join(code(value) for value in parameter["AllowedValues"])
    if "MaxValue" in parameter:
        return f"{parameter['MinValue']} to {parameter['MaxValue']}"
    if "MinValue" in parameter:
        return f"{parameter['MinValue']} or more"
    return plain(parameter.get("ConstraintDescription", "")).removeprefix("must be ")


def environment():
    users = variables_by_name(template())
    rows = []
    for row in doc_table("shared/src/environment.rs")[2:]:
        name, meaning = cells(row)
        rows.append([name, meaning, ", ".join(users.get(name.strip("`"), []))])
    return "Environment", "shared/src/environment.rs and template.yaml", [
        "Each function is given only what it uses. A missing or malformed variable stops it at its start, with the variable's name.",
        "Every URL must be https; http is for loopback hosts. AWS's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL` …) work as in",
        "every AWS program, and so does Lambda's `AWS_LAMBDA_LOG_LEVEL`.", "",
        *table(["variable", "meaning", "functions"], rows)]


def variables_by_name(declared):
    """Variable → the names of the functions for which the template sets it, in the template's order."""
    users = {}
    for name, resource in declared["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            for variable in resource["Properties"].get("Environment", {}).get("Variables", {}):
                users.setdefault(variable, []).append(kebab(name.removesuffix("Function")))
    return users


def metrics():
    return "Metrics", "shared/src/telemetry.rs", [
        "`EventsReceived`, `EventsDelivered` and `EventAge` are made by metric filters of the lines that each event has in the log,",
        "in the namespace `LiveAgentBridge/<stack>`. The functions write all others as log lines in CloudWatch's embedded format,",
        "into the namespace `LiveAgentBridge`.", "",
        *doc_table("shared/src/telemetry.rs")]


def statuses():
    sources = {"receive-message": "functions/receive-message/src/error.rs", "issue-token": "functions/issue-token/src/response.rs",
               "converse": "functions/converse/src/error.rs"}
    texts = {
        "receive-message": ["The responses to 8x8. The body of a 401 is the same for every reason: the reason is in the log and in the metric",
                            "`EventsRefused`. A 503 has `Retry-After`."],
        "issue-token": ["The responses to callers that ask for tokens (RFC 6749). The error is also in the log and in the metric `TokensRefused`."],
        "converse": ["The responses to the bot. [Sent once](../concepts/sent-once.md) explains unknown outcomes. An error of the bridge has the",
                     "body `{\"message\",\"errors\":[{\"code\",\"message\"}],\"requestId\"}`."],
    }
    lines = []
    for function, source in sources.items():
        lines += ["", f"## {function}", "", *texts[function], "", *doc_table(source)]
    return "Statuses", ", ".join(sources.values()), lines[1:]


def register_channel():
    return "register-channel", "functions/register-channel/src/operation.rs", [
        "Invoked with JSON: [Operate](../operate/README.md#the-registration-by-hand) shows how.", "",
        *doc_table("functions/register-channel/src/operation.rs"), "",
        "`register` and `update` return what is saved, and what they changed:",
        '`{"channel_id","webhook_id","queue_id","callback_url","registered_at","changes":["webhook created","channel created"]}`.',
        "A failure has 8x8's own reason."]


def manage_dead_letters():
    return "manage-dead-letters", "functions/manage-dead-letters/src/lib.rs", [
        "Invoked by `make dead-letters` ([Operate](../operate/README.md#dead-letters)), or with JSON.", "",
        *doc_table("functions/manage-dead-letters/src/lib.rs")]


def alarms():
    rows = []
    for name, resource in template()["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            text, page = alarm(resource)
            rows.append([f"[{name.removesuffix('Alarm')}](../{page.removeprefix('docs/')})", text])
    return "Alarms", "template.yaml", [
        "The name of an alarm is `<stack>-<alarm>`. With `AlarmTopicArn` each is sent to an SNS topic.", "",
        *table(["alarm", "means"], rows)]


def alarm(resource):
    """What an alarm's description says, and the page that it names."""
    text = resource["Properties"]["AlarmDescription"]
    if isinstance(text, dict):
        text = re.sub(r"\$\{(\w+)\}", r"\1", text["Fn::Sub"].replace("${AWS::StackName}", "…"))
    text = plain(text)
    page = PAGE_OF_ALARM.search(text)
    if not page:
        raise SystemExit(f"template.yaml: the description of an alarm does not end with its page: {text}")
    return text[:page.start()], page[1]


PAGES = {
    "parameters.md": parameters, "environment.md": environment, "metrics.md": metrics, "statuses.md": statuses,
    "register-channel.md": register_channel, "manage-dead-letters.md": manage_dead_letters, "alarms.md": alarms,
}


def generated():
    """Path → text of every page."""
    pages = {}
    for name, page in PAGES.items():
        title, source, lines = page()
        note = f"<!-- Generated by `make reference` from {source}: change it there. -->"
        pages[FOLDER / name] = "\n".join([note, "", f"# {title}", "", *lines]) + "\n"
    return pages


def difference(path, text):
    """What would change in a file, as lines of a diff."""
    name = path.relative_to(ROOT)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    return list(difflib.unified_diff(before.splitlines(True), text.splitlines(True), f"{name}", f"{name} (generated)"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not up to date")
    check = parser.parse_args().check
    pages = generated()
    pages_without_source = [path for path in FOLDER.glob("*") if path not in pages]
    if not check:
        FOLDER.mkdir(exist_ok=True)
        for path in pages_without_source:
            path.unlink()
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    changes = [line for path, text in pages.items() for line in difference(path, text)]
    changes += [f"{path.relative_to(ROOT)} is not generated\n" for path in pages_without_source]
    sys.stdout.writelines(changes)
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
