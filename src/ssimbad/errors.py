"""The one exception that reaches a user as a plain line of text, and how names stand in it."""


class UserError(ValueError):
    """A mistake in the user's input: config, files, weights, or what a program passes.

    The message is one line (or one line a fault) that names the file, key or value at fault.
    The command line prints it without a traceback and exits with status 1.
    """


def shown(text: object) -> str:
    """A file name, or a value, as it can stand in a line of text: control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
