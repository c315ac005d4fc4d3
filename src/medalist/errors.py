"""The errors that a user can cause. Each message is one line: what is wrong, where, and what to type.

MedalistError
├── ConfigError       a config file or an override
├── DataError         the contest's files: missing, unreadable, malformed
├── ExportError       networks that another format cannot hold, or that say something else there
├── FoldError         a fold that does not exist, or folds that do not fit the data
├── KaggleError       Kaggle refuses, cannot be reached, or its client is missing
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


class ExportError(MedalistError):
    """Networks cannot be written in another format, or they predict something else there."""


class FoldError(MedalistError):
    """A fold does not exist, or the folds do not fit the data."""


class KaggleError(MedalistError):
    """Kaggle refuses, cannot be reached, or its client is missing."""


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


class UnreadableFile(OSError):  # noqa: N818  # an OSError, so that whoever reads a file names it in its own words
    """The path is a pipe, a device, a socket or a folder, or the file is larger than it may be there."""


MACHINE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.EFBIG,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""Errors of the operating system that are no bug in medalist: no space, quota, permission, too many open files, a limit
on the size of files, a disk that fails, a name that is too long."""

SHORT = (
    "Cannot allocate memory",  # fork and mmap
    "can't allocate memory",  # torch
    "can't start new thread",
    "Insufficient memory",  # OpenCV
    "failed to map segment from shared object",
    "bad_alloc",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "MPS backend out of memory",
)
"""What errors say that come from too little memory, or a limit on it, and that are no MemoryError."""


def users_line(error: BaseException) -> str | None:
    """Return the line that the user is shown for a mistake of the user, or for what this machine refuses.

    These are a MedalistError, an error of MACHINE, and too little memory. Returns None where the error is a bug.
    """
    if isinstance(error, MedalistError):
        return str(error)
    if is_short_of_memory(error):
        told = " ".join(str(error).split())[:160]
        return (
            f"not enough memory{f' ({told})' if told else ''}; close other programs, raise the limit (ulimit -v), or "
            "make train.batch, image.size or loader.workers smaller"
        )
    if isinstance(error, UnreadableFile):
        return f"{error.filename}: {error.strerror}; give another file"
    if isinstance(error, OSError) and error.errno in MACHINE:
        return f"{error.filename or 'writing'}: {error.strerror}; correct this and run the command again"
    return None


def is_short_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is too little memory, or that a limit on it is reached."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, Exception) and any(word in str(error) for word in SHORT)
