"""Makes target/lambda/<function>/bootstrap.zip, what Lambda gets, of the binaries that cargo-lambda has built.

Equal binaries give equal zips: the time, the order and the permissions in them are fixed. cargo-lambda's own zips hold the time
of the build. The compressed bytes can differ between versions of zlib, which Python comes with.
"""

import sys
import zipfile
from pathlib import Path

# The earliest time that a zip can hold.
TIME = (1980, 1, 1, 0, 0, 0)
# Lambda runs `bootstrap` as another user than the one that unpacks it. The upper half is where Unix's mode stands in a zip.
REGULAR_FILE_FOR_ALL = 0o100755 << 16


def write_zip(binary, file):
    """Writes a zip with the one file `bootstrap`."""
    entry = zipfile.ZipInfo("bootstrap", TIME)
    entry.create_system = 3  # Unix, wherever this runs
    entry.external_attr = REGULAR_FILE_FOR_ALL
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    for function in sys.argv[1:]:
        folder = Path("target/lambda") / function
        write_zip(folder / "bootstrap", folder / "bootstrap.zip")
