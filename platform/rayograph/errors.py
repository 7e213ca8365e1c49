"""What can go wrong, by whose hand it is mended.

Each of these ends a command with one line on standard error and exit code 2: the line names the field, file or
sample, what was expected and what came. Anything else that escapes is a defect of ours and shows its traceback.
"""


class RayographError(Exception):
    """A condition its user can mend; the message is one clear line."""


class ConfigError(RayographError):
    """A job file, scale profile or command line says something that cannot be."""


class DataError(RayographError):
    """A sample, shard or artifact is not what it should be."""


class StorageError(RayographError):
    """A store refused, failed or does not have what was asked for."""


class MissingObjectError(StorageError):
    """The store answered, and has no such object."""


class CheckpointError(RayographError):
    """A checkpoint is missing, torn or from another network."""


class DivergenceError(RayographError):
    """A training went wrong again and again, each time after it had gone back to its last checkpoint."""


class ResourceError(RayographError):
    """The cluster can never hold what the scale profile asks for."""


class StoppedError(RayographError):
    """Somebody asked for this job to end."""
