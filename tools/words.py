"""Refuses the words of the table "instead of | write" in docs/STYLE.md, in every text of the repository.

    python3 tools/words.py [path …]

Prints the file, the line and what to write instead. Without paths, reads what git tracks and what it does not ignore.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STYLE = ROOT / "docs" / "STYLE.md"
TEXTS = {".md", ".rs", ".py", ".toml", ".yaml", ".yml", ".js", ".mjs", ".sh", ".html", ".css", ".txt"}
# Files that may hold such a word, with the reason.
ALLOWED = {
    "docs/STYLE.md": "it lists the words",
}
# Names that hold such a word, with the reason.
NAMES = {
    "nobody-joins": "the page of the alarm NobodyJoins",
}
# What may stand between two words of a phrase: the end of a line and the marks of a comment, or the `_` of a name.
BETWEEN = r"[\s/!#*_-]+"


def replacements(style):
    """Returns what to write for each refused word or phrase."""
    rows = style.split("| instead of | write |\n|---|---|\n", 1)[1].split("\n\n", 1)[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {word: write for words, write in cells for word in words.split(", ")}


def occurrences(text, instead):
    """Yields the line, the refused word and what to write, for each refused word in the text."""
    for name in NAMES:
        text = text.replace(name, " " * len(name))
    words = "|".join(word.replace(" ", BETWEEN) for word in instead)
    for match in re.finditer(rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])", text, re.IGNORECASE):
        word = re.sub(BETWEEN, " ", match[0].lower())
        yield text.count("\n", 0, match.start()) + 1, word, instead[word]


def texts():
    """Returns the paths of the repository's texts."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name and name not in ALLOWED]
    return [path for path in paths if path.is_file() and (path.suffix in TEXTS or path.name == "Makefile")]


def main(arguments):
    instead = replacements(STYLE.read_text(encoding="utf-8"))
    found = 0
    for path in [Path(argument) for argument in arguments] or texts():
        for line, word, write in occurrences(path.read_text(encoding="utf-8"), instead):
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            print(f'{name}:{line}: instead of "{word}", write: {write}')
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
