"""The list of the add-on is complete and true to its form."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import checks
from add_on import ENTRIES
from test_life_cycle import RESTING


class Report(unittest.TestCase):
    def test_every_entry_of_the_add_on_is_named_by_what_rests_on_it(self):
        named = {name for check in checks.CHECKS for name in check.entries} | set(checks.EVERY_CHECK)
        named |= {name for names in RESTING.values() for name in names}
        self.assertEqual(named, set(ENTRIES))

    def test_every_entry_follows_a_page_of_aws(self):
        for entry in ENTRIES.values():
            self.assertTrue(entry.page.startswith("https://docs.aws.amazon.com/"), entry)


if __name__ == "__main__":
    unittest.main()
