"""Environment variables that Ray reads once, when it is imported. Those that are already set stay as they are."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

# Of a private local Ray, which accepts little less; nothing large passes through its object store.
OBJECT_STORE_BYTES = 100_000_000
# Not a folder that others could write to, as /tmp, where they could leave configuration files. Debian uses this name.
NO_HOME = "/nonexistent"
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a trial's own folder would break relative paths
    "RAY_DEDUP_LOGS": "0",
    # Under `uv run` Ray would copy the working folder, store and data included, to every worker, and install the
    # environment there again: a slower start, and an error if the folder is larger than 512 MiB.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # five files for each trial; cells write their own TensorBoard files
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # its box and hints cannot be turned off; progress is reported by our own code
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # Tune's default for a searcher is 1; ours limits its trials itself
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def prepare(address: str | None) -> None:
    """Set the variables; call it before Ray is imported.

    A private local Ray gets an authentication token of its own, which is never written to a file.
    """
    try:
        Path.home()
    except RuntimeError:  # neither HOME nor an entry in passwd; Ray only asks for a token there, which we give it
        os.environ["HOME"] = NO_HOME
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    if address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
