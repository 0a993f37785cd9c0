"""The one exception that reaches a user as a plain line of text."""


class UserError(Exception):
    """A mistake in the user's input: config, files, weights.

    The message is one line (or one line a fault) that names the file, key or value at fault.
    The command line prints it without a traceback and exits with status 1.
    """
