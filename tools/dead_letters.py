"""Lists the dead letters of a deployed stack, redrives chosen ones, or discards them: `make dead-letters STACK=name`.

    make dead-letters STACK=name
    make dead-letters STACK=name ARGS="redrive --conversation c1"
    make dead-letters STACK=name ARGS="discard --status 404 --reason expired"

Of several options of a choice all must match. A redriven event goes behind the events of its conversation that wait; the bot
recognises an event that it has had already by its x-8x8-event-id.
"""

import sys

from terminal import Failure
from stack import run

FUNCTION = "ManageDeadLettersFunction"
QUEUE = "DeadLetterQueue"
COUNTS = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
# Heading → what a letter has there.
COLUMNS = {
    "AGE": lambda letter: duration(letter["age_s"]),
    "TYPE": lambda letter: letter["event_type"] or "-",
    "STATUS": lambda letter: str(letter["status"] or "-"),
    "REASON": lambda letter: letter["reason"],
    "CONVERSATION": lambda letter: letter["conversation_id"] or "-",
    "EVENT": lambda letter: letter["event_id"] or "-",
}
UNSEEN = ("About {} more were not seen: SQS shows ten letters of a conversation, and the others when these are gone; another "
          "command may be at work; or there was no time left. Repeat the command.")


def add_options(parser):
    commands = parser.add_subparsers(dest="operation", metavar="list | redrive | discard")
    commands.add_parser("list", help="show all dead letters (what is done without a command)")
    for name, text in (("redrive", "send letters to the bot platform again"), ("discard", "delete letters for good")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--conversation", metavar="ID", help="those of this conversation")
        command.add_argument("--event", metavar="ID", action="append", help="this event; can be repeated")
        command.add_argument("--status", type=int, help="those for which the bot platform returned this status")
        command.add_argument("--reason", help="those with this reason, as the list shows it")
        command.add_argument("--all", action="store_true", help="all of them")
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def choice(options):
    """What the function is asked for: the options that are given."""
    chosen = {"conversation_id": options.conversation, "event_ids": options.event, "status": options.status,
              "reason": options.reason, "all": options.all or None}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if not chosen:
        raise Failure("Which letters? Add --conversation, --event, --status or --reason, or --all. Nothing was changed.", 2)
    return chosen


def confirm(chosen):
    which = " and ".join(f"{name} {value}" for name, value in chosen.items() if name != "all")
    if not sys.stdin.isatty():
        raise Failure("There is no terminal to confirm on: add --yes. Nothing was changed.", 2)
    which = f"the dead letters with {which}" if which else "all dead letters"
    if input(f"Delete {which} for good? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Failure("Nothing was changed.", 1)


def duration(seconds):
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def show(letters):
    if not letters:
        return
    rows = [list(COLUMNS)] + [[cell(letter) for cell in COLUMNS.values()] for letter in letters]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print()


def number(letters):
    return "1 letter" if letters == 1 else f"{letters} letters"


def list_all(stack):
    letters = stack.invoke(FUNCTION, {"operation": "list"})
    show(letters)
    print(f"{number(len(letters))}.")
    attributes = stack.session.client("sqs").get_queue_attributes(
        QueueUrl=stack.physical_id(QUEUE), AttributeNames=COUNTS)["Attributes"]
    return sum(int(attributes[name]) for name in COUNTS) - len(letters)


def settle(stack, options):
    chosen = choice(options)
    if options.operation == "discard" and not options.yes:
        confirm(chosen)
    done = stack.invoke(FUNCTION, {"operation": options.operation, **chosen})
    past = "redriven" if options.operation == "redrive" else "discarded"
    show(done[past])
    print(f"{number(len(done[past]))} {past}, {done['kept']} kept.")
    return done["unseen"]


def command(stack, options):
    unseen = list_all(stack) if options.operation in (None, "list") else settle(stack, options)
    if unseen > 0:
        print(UNSEEN.format(unseen))
    return 0


if __name__ == "__main__":
    sys.exit(run(__doc__, add_options, command))
