"""What the tests print at their end: how far their judgement reaches."""

from add_on import ENTRIES
from checks import EVERY_CHECK

# What a deployment to AWS would show and MiniStack does not.
NOT_JUDGED = [
    "schedules: they do not fire; the tests invoke the functions with the input of the schedule, and read its role's rights",
    "Lambda's and API Gateway's resource policies: MiniStack invokes a function without asking for its permission "
    "(Secrets Manager's is checked by the add-on)",
    "the rights that Lambda itself needs: to poll the queue, to write logs, to send to OnFailure; the tests read the policies",
    "alarms and metric filters: they are stored and read back; the functions' log lines do not become metrics here",
    "throttling, access logs, time-to-live and encryption: stored or ignored, without effect",
    "a VPC: the functions' subnets and security groups are read back, the network has no effect",
    "a custom domain with its certificate and DNS record: its condition is off here",
    "the architecture arm64, the release build and its C library: the debug build of this machine runs",
    "quotas, eventual consistency and the time that AWS takes for each resource",
    "the order in which CloudFormation works: MiniStack creates one resource after another, also in a rollback",
    "the asynchronous retries of Lambda and their OnFailure destination: the configuration is read back",
]


def lines(relaxations, checks, extra):
    yield "\nThe template was deployed as it is, but for:"
    yield from (f"  - {change}" for change in relaxations)
    yield "\nEvery check rests on these entries of the add-on, without which MiniStack deploys no stack of ours:"
    yield from (f"  - {name}: {ENTRIES[name].gap}\n    {ENTRIES[name].page}" for name in EVERY_CHECK)
    yield "\nThese checks rest on more of them:"
    named = sorted({name for check in checks for name in check.entries} | {name for names in extra.values() for name in names})
    for name in named:
        if name in EVERY_CHECK:
            continue
        sentences = [check.sentence for check in checks if name in check.entries]
        sentences += [sentence for sentence, names in extra.items() if name in names]
        yield f"  - {name}: {ENTRIES[name].gap}\n    {ENTRIES[name].page}"
        yield from (f"      {sentence}" for sentence in sentences)
    yield "\nMiniStack cannot judge:"
    yield from (f"  - {what}" for what in NOT_JUDGED)
