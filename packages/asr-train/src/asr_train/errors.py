"""The one error of this package that is not a defect of it."""


class UserError(ValueError):
    """A mistake of the user's, told in one line: the command line prints it and exits with status 2."""
