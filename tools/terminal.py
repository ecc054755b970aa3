"""What deployment shows, and how it ends."""




class Failure(Exception):
    """Ends the program with this message and exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def show(text=""):
    print(text, flush=True)
