"""The errors that a user can cause. Each message is one line: what is wrong, where, and what to type.

MedalistError
├── ConfigError       a config file or an override
├── DataError         the contest's files: missing, unreadable, malformed
├── FoldError         a fold that does not exist, or folds that do not fit the data
├── RunError          a run folder that is missing, half written, or of another provenance
├── SearchError       vectors, ids or an index file that the search cannot take
├── SubmissionError   a submission that the contest would refuse
├── TrainingError     a training that cannot go on (a loss that is not finite)
└── WeightsError      pretrained weights that cannot be found or do not fit

Every other exception (`AssertionError` and the like) is a bug in medalist, not a mistake of the user.
"""

import errno


class MedalistError(Exception):
    """A mistake that the user can correct. The command line prints it on one line and exits with code 2."""


class ConfigError(MedalistError):
    """A config file or an override is wrong."""


class DataError(MedalistError):
    """The contest's files are missing, unreadable or malformed."""


class FoldError(MedalistError):
    """A fold does not exist, or the folds do not fit the data."""


class RunError(MedalistError):
    """A run folder is missing, half written, or its provenance does not match."""


class SearchError(MedalistError):
    """The search cannot take these vectors, ids or arguments, or this index file."""


class SubmissionError(MedalistError):
    """The contest would refuse this submission."""


class TrainingError(MedalistError):
    """A training cannot continue, for example because its loss is not finite."""


class WeightsError(MedalistError):
    """Pretrained weights cannot be found, or do not fit the network."""


MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE)
"""Errors of the operating system that are no bug in medalist: no space, quota, permission, too many open files."""


def users_line(error: BaseException) -> str | None:
    """Return the line that the user is shown for a MedalistError or one of MACHINE; None where the error is a bug."""
    if isinstance(error, MedalistError):
        return str(error)
    if isinstance(error, OSError) and error.errno in MACHINE:
        return f"{error.filename or 'writing'}: {error.strerror}; correct this and run the command again"
    return None
