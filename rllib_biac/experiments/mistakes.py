"""The exception for errors of the user."""


class Mistake(Exception):
    """An error in a file or on the command line that the user must correct. The command shows it without a trace."""
