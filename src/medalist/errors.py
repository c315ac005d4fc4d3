"""What a user can get wrong. Each error is one line: what, where, and what to type.

MedalistError
├── ConfigError       a config file or an override
├── DataError         the contest's files: missing, unreadable, malformed
├── FoldError         a fold that does not exist, or folds that do not fit the data
├── RunError          a run folder that is missing, half written, or of other provenance
├── SearchError       vectors, ids or an index file that the search cannot take
├── SubmissionError   a submission that the contest would refuse
├── TrainingError     a training that cannot go on (a loss that is not finite)
└── WeightsError      pretrained weights that cannot be found or do not fit

Everything else (`AssertionError` and friends) is our fault, not the user's.
"""

import errno


class MedalistError(Exception):
    """A mistake the user can mend. The command line prints it on one line and exits with code 2."""


class ConfigError(MedalistError):
    """A config file or an override is wrong."""


class DataError(MedalistError):
    """The contest's files are missing, unreadable or malformed."""


class FoldError(MedalistError):
    """A fold does not exist, or the folds do not fit the data."""


class RunError(MedalistError):
    """A run folder is missing, half written, or its provenance does not match."""


class SearchError(MedalistError):
    """Vectors, ids, arguments or an index file that the search cannot take."""


class SubmissionError(MedalistError):
    """A submission that the contest would refuse."""


class TrainingError(MedalistError):
    """A training that cannot go on."""


class WeightsError(MedalistError):
    """Pretrained weights cannot be found, or do not fit the network."""


MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE)
"""What the machine can refuse without any fault of ours: space, quota, permission, open files."""


def users_line(error: BaseException) -> str | None:
    """The line that tells a user's mistake, or what the machine refuses; None where the fault is ours."""
    if isinstance(error, MedalistError):
        return str(error)
    if isinstance(error, OSError) and error.errno in MACHINE:
        return f"{error.filename or 'writing'}: {error.strerror}; mend that and run the command again"
    return None
