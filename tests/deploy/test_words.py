"""The words that docs/STYLE.md refuses.

    python3 -m unittest discover -s tests/deploy -p test_words.py
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import words

INSTEAD = words.replacements((ROOT / "docs" / "STYLE.md").read_text(encoding="utf-8"))
# Taken from the table, because this file is read by the script as well.
ONE_WORD = next(word for word in INSTEAD if " " not in word)
PHRASE = next(word for word in INSTEAD if " " in word)


class Words(unittest.TestCase):
    def run_on(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "planted.rs"
            path.write_text(text, encoding="utf-8")
            done = subprocess.run([sys.executable, ROOT / "tools" / "words.py", path], capture_output=True, text=True)
            return done.returncode, done.stdout.replace(str(path), "planted.rs")

    def test_a_refused_word_fails_with_its_line_and_its_replacement(self):
        expected = f'planted.rs:2: instead of "{ONE_WORD}", write: {INSTEAD[ONE_WORD]}\n'
        self.assertEqual(self.run_on(f"//! Good.\n/// It is {ONE_WORD.capitalize()}.\n"), (1, expected))

    def test_a_phrase_is_found_across_the_lines_of_a_comment_and_in_a_name(self):
        first, rest = PHRASE.split(" ", 1)
        self.assertEqual(self.run_on(f"/// It is {first}\n/// {rest}.\n")[0], 1)
        self.assertEqual(self.run_on(f"fn is_{PHRASE.replace(' ', '_')}() {{}}\n")[0], 1)

    def test_a_longer_word_that_contains_a_refused_one_passes(self):
        self.assertEqual(self.run_on(f"/// x{ONE_WORD} {ONE_WORD}x\n"), (0, ""))

    def test_the_last_row_of_the_table_is_read_too(self):
        last = (ROOT / "docs" / "STYLE.md").read_text(encoding="utf-8").rstrip().splitlines()[-1]
        self.assertEqual(last, f"| {list(INSTEAD)[-1]} | {list(INSTEAD.values())[-1]} |")


if __name__ == "__main__":
    unittest.main()
