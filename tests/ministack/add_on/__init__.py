"""Fills gaps of MiniStack 1.5.33 inside its own process, so that our template can be judged on it.

Each entry names the gap and AWS's page that its replacement follows. `install()` puts all of them in force; launcher.py
calls it before MiniStack serves its first request. The tests name for each check the entries that it rests on: such a
check judges our template against our own reading of that page, not against MiniStack's.
"""

# Each registers its entries, in the order in which they are put in force.
from . import secrets_manager, operations, resources
from .entries import ENTRIES


def install():
    for each in ENTRIES.values():
        each.fill()
