"""What a user got wrong."""


class Mistake(Exception):
    """Something in a file or on the command line that the user has to change. The command shows it without a trace."""
