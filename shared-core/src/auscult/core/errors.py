"""What the libraries raise: one clear sentence that names the value, the reason and the remedy.

A command prints the sentence and ends with the error's exit code: 2 for wrong usage or input,
1 for a job that failed.
"""


class AuscultError(Exception):
    """A job failed for a reason that the message explains (exit code 1)."""

    exit_code = 1


class InputError(AuscultError, ValueError):
    """A value, a file or an option that cannot be used as it is (exit code 2)."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration with an unknown key, a missing key or a value of the wrong type."""


class RunMismatchError(InputError):
    """A run folder that belongs to another configuration."""


class RunLockedError(InputError):
    """A run folder that another driver is writing to."""


class MissingDependencyError(AuscultError, ImportError):
    """An optional requirement that is not installed (exit code 2)."""

    exit_code = 2


def missing_dependency(module: str, *, purpose: str, install: str) -> MissingDependencyError:
    """Return the error to raise where an optional import failed.

    Parameters
    ----------
    module
        The module that could not be imported.
    purpose
        What needs it, as the subject of a sentence: ``"reading .xlsx files"``.
    install
        The requirement that brings it: ``"auscult-core[xlsx]"``.
    """
    return MissingDependencyError(f"{purpose} needs {module}, which is not installed: pip install '{install}'")
