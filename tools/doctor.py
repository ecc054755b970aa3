"""`make doctor STACK=name`: what is wrong with a deployed stack, and what to do about it.

Invokes check-integration, which reads and changes nothing, and prints what it found. Exit code 0 if all is well, 1 if there is
something to do. `--json` prints the report as it is: {"status","checks":[{"check","status","found","do"?}]}.
"""

import json
import shutil
import sys
import textwrap

from stack import run

# How a status is shown. What is skipped or fine needs no attention.
MARKS = {"ok": "ok", "skipped": "-", "warning": "WARNING", "unknown": "UNKNOWN", "failed": "FAILED"}

# Columns: the table is read in a terminal, and in CI's log where there is none.
NARROWEST, WIDEST = 80, 120


def table(report, stack, width):
    """Returns the lines of the table, at most `width` columns wide."""
    names = max(len(row["check"]) for row in report["checks"])
    marks = max(len(mark) for mark in MARKS.values())
    lines = []
    for row in report["checks"]:
        start = f"{MARKS.get(row['status'], row['status']):<{marks}}  {row['check']:<{names}}  "
        rest = " " * len(start)
        lines += wrapped(row["found"], start, rest, width)
        if "do" in row:
            # Where the report leaves the name of the stack open, as the documentation does.
            lines += wrapped(row["do"].replace("STACK=…", f"STACK={stack}"), rest + "→ ", rest + "  ", width)
    return lines


def wrapped(text, first, others, width):
    # An address or a command is not broken, so that it can be copied.
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=others, break_long_words=False,
                         break_on_hyphens=False)


def doctor(stack, options):
    report = stack.invoke("CheckIntegrationFunction", {})
    if options.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        width = min(max(shutil.get_terminal_size((WIDEST, 1)).columns, NARROWEST), WIDEST)
        print("\n".join(table(report, stack.name, width)))
        print(f"\n{conclusion(report)}")
    return 0 if report["status"] == "ok" else 1


def conclusion(report):
    bad = [row for row in report["checks"] if row["status"] in ("warning", "unknown", "failed")]
    if not bad:
        return "All is well."
    return f"{len(bad)} of {len(report['checks'])} checks need attention: {', '.join(row['check'] for row in bad)}."


def options_of(parser):
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


if __name__ == "__main__":
    sys.exit(run(__doc__, options_of, doctor))
