"""Runs MiniStack's server with the add-on in force: `python launcher.py`, its environment as server.py sets it.

It ends with its standard input, so that it does not outlive tests that were killed.
"""

import os
import signal
import sys
import threading

import add_on
from ministack.app import main


def end_with_standard_input():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    add_on.install()
    main()
