"""`make trace`: the way of one conversation through a deployed stack, in order, from the functions' log lines.

Prints a line for each step of an event (received, queued, tried, delivered, skipped, dead-lettered) and for each call of the
bot, with how long it took. Warnings of the functions about the conversation stand between them. CloudWatch shows log lines
some seconds after they are written.
"""

import hashlib
import json
import sys
import time
from datetime import datetime, timedelta, timezone

from terminal import Failure
from stack import run

# The log groups of the functions that an event or a call of the bot passes, by the template's logical ids.
LOG_GROUPS = ["ReceiveMessageLogs", "DeliverMessageLogs", "ConverseLogs"]
# The most that a query of CloudWatch Logs Insights returns.
LIMIT = 10_000
# Seconds. A query is charged by what it scans, not by its time; a conversation of a few days is found within seconds.
PATIENCE, POLL = 120, 0.5
# Beyond them an id has only letters, digits and punctuation marks, and is logged as it is (shared/src/queue.rs).
ID_LIMIT = 128

FINISHED = {"Complete", "Failed", "Cancelled", "Timeout", "Unknown"}


def logged_id(conversation):
    """The form in which log lines have an id: as SQS has it."""
    permitted = 1 <= len(conversation) <= ID_LIMIT and all("!" <= letter <= "~" for letter in conversation)
    return conversation if permitted else hashlib.sha256(conversation.encode()).hexdigest()


def query(logs, groups, conversation, days):
    """Returns the log lines of a conversation of the last days, as dictionaries."""
    now = datetime.now(timezone.utc)
    quoted = logged_id(conversation).replace("\\", "\\\\").replace('"', '\\"')
    started = logs.start_query(
        logGroupNames=groups, limit=LIMIT,
        startTime=int((now - timedelta(days=days)).timestamp()), endTime=int(now.timestamp()) + 1,
        queryString=f'fields @message | filter conversation_id = "{quoted}" | sort timestamp asc')
    query_id, deadline = started["queryId"], time.monotonic() + PATIENCE
    while (response := logs.get_query_results(queryId=query_id))["status"] not in FINISHED:
        if time.monotonic() > deadline:
            logs.stop_query(queryId=query_id)
            raise Failure(f"CloudWatch Logs did not finish the query within {PATIENCE} s. Search fewer days: "
                          'ARGS="--days 1".')
        time.sleep(POLL)
    if response["status"] != "Complete":
        raise Failure(f"CloudWatch Logs ended the query with the status {response['status']}. Repeat the command.")
    rows = [{cell["field"]: cell.get("value") for cell in row} for row in response["results"]]
    return [line for row in rows if isinstance(line := parsed(row.get("@message")), dict)]


def parsed(text):
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def moment(line):
    return datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00"))


def milliseconds(value):
    if value is None:
        return ""
    return f"{value} ms" if value < 10_000 else f"{value / 1000:.0f} s"


def details(line):
    """What else a line says, for a person."""
    said = []
    if line.get("step") == "delivered" and "age_ms" in line:
        said.append(f"{milliseconds(line['age_ms'])} after 8x8 sent it")
    if "retry" in line:
        said.append(f"8x8's retry {line['retry']}")
    if line.get("tries", 1) > 1:
        said.append(f"{line['tries']} tries")
    if line.get("receives", 1) > 1:
        said.append(f"receive {line['receives']}")
    said += [str(line[field]) for field in ("status", "code", "reason", "error") if line.get(field) not in (None, "")]
    if "wait_s" in line:
        said.append(f"again in {line['wait_s']} s")
    if line.get("key"):
        said.append(f"key {line['key']}")
    if "step" not in line or line.get("step") == "call":
        said.append(line.get("message", ""))
    return ", ".join(said)


def path(lines):
    """The rows of the table: (time, step, what, event id, duration, details), in order."""
    rows = []
    for line in sorted((line for line in lines if "timestamp" in line), key=moment):
        at, took = moment(line), line.get("took_ms")
        what = line.get("operation") or line.get("event_type", "")
        event_id = line.get("event_id", "")
        if line.get("step") == "queued" and took is not None:
            rows.append((at - timedelta(milliseconds=took), "received", what, event_id, "", ""))
        rows.append((at, line.get("step") or line.get("level", "").lower(), what, event_id, milliseconds(took), details(line)))
    return sorted(rows, key=lambda row: row[0])


def table(rows):
    def cells(row):
        at, step, what, event_id, took, said = row
        return [at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], step, what, event_id, took, said]

    header = ["time (UTC)", "step", "event or operation", "event id", "took", ""]
    lines = [header, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def add_options(parser):
    parser.add_argument("conversation", metavar="CONVERSATION", help="8x8's id of the conversation")
    parser.add_argument("--days", type=int, default=3, help="how many days back (default 3; the logs are kept for LogRetentionDays)")


def trace(stack, options):
    if not options.conversation:
        raise Failure("usage: make trace STACK=name CONVERSATION=id")
    groups = [stack.physical_id(logical_id) for logical_id in LOG_GROUPS]
    lines = query(stack.session.client("logs"), groups, options.conversation, options.days)
    if not lines:
        print(f"No log line of the last {options.days} days is about the conversation {options.conversation}. "
              f'Is the id right? Lines appear some seconds late. ARGS="--days 30" searches further back.')
        return 1
    print(table(path(lines)))
    if len(lines) == LIMIT:
        print(f"Only the first {LIMIT} lines are shown.")
    return 0


if __name__ == "__main__":
    sys.exit(run(__doc__, add_options, trace))
