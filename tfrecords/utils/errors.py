"""Errors that are the user's to mend: one clear sentence, never a stack trace."""

from __future__ import annotations


class UserError(Exception):
    """An error the user can fix.

    The message is one sentence that names the file, row or flag, what was expected and what came.
    Commands print it to standard error and end with `exit_code`.
    """

    exit_code = 1


class UsageError(UserError):
    """Wrong use of a command or function: a flag, a column, a label or a path."""

    exit_code = 2
