"""Act on a store as one of several users: python as_user.py UID GID UMASK ACTION LOCATION [KEY… | SWEEP], started by root.

A process of its own, because obstore's threads do not survive a fork, and all is imported before root's rights are
given up: the interpreter may be in a folder that other users cannot read. What a command imports while it runs is imported by
running it once as root.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from adaprob_ray import cli
from adaprob_ray.errors import NotPermitted, StoreWarning
from adaprob_ray.store import Attempt, Store
from adaprob_ray.store.init import init_store


def do(location: str, *keys: str) -> None:
    store = Store.open(location)
    for key in keys:
        attempt = store.begin(key, {"stage": "train"}, owner=str(os.getuid()), run="run")
        assert attempt is not None, key
        attempt.write("weights", key.encode())
        attempt.save_checkpoint(b"one epoch")
        attempt.commit({})
        store.drop_checkpoints(key)


def be_killed(location: str, key: str) -> None:
    attempt = Store.open(location).begin(key, {"stage": "train"}, owner=str(os.getuid()), run="run")
    assert attempt is not None
    attempt.write("weights", b"half")
    attempt.save_checkpoint(b"one epoch")
    os.kill(os.getpid(), signal.SIGKILL)


def share(location: str) -> None:
    init_store(location, group=True)


def read(location: str, *keys: str) -> None:
    store = Store.open(location)
    for key in keys:
        assert store.read(key, "weights") == key.encode()


def look(location: str, key: str) -> None:
    """Print what is visible, what is said about the rest, and why `key` cannot be begun."""
    store = Store.open(location)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StoreWarning)
        visible = sorted(store.survey())
        store.survey()
        lines = [str(warning.message) for warning in caught]
        refusal = ""
        try:
            store.begin(key, {"stage": "train"}, owner="me", run="run")
        except NotPermitted as error:
            refusal = str(error)
    sys.stdout.write(json.dumps({"visible": visible, "lines": lines, "refusal": refusal}))


def run(location: str, sweep: str) -> None:
    code = cli.main(["run", sweep, "--store", location, "--executor", "local"])
    sys.stdout.flush()
    if code:
        sys.exit(code)


def plan(location: str, sweep: str) -> None:
    sys.exit(cli.main(["plan", sweep, "--store", location]))


def run_and_be_killed(location: str, sweep: str) -> None:
    """Be killed with the fourth cell executed and not yet committed."""
    commit, calls = Attempt.commit, []

    def killed_at_the_fourth(attempt: Attempt, *arguments: object, **options: object) -> None:
        calls.append(attempt)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(attempt, *arguments, **options)  # type: ignore[arg-type]

    Attempt.commit = killed_at_the_fourth  # type: ignore[method-assign, assignment]
    run(location, sweep)


if __name__ == "__main__":
    uid, gid, umask, action, *arguments = sys.argv[1:]
    if action.startswith("run"):
        with tempfile.TemporaryDirectory() as folder:
            run(str(Path(folder) / "store"), arguments[1])
    if action == "plan":
        cli.main(["plan", arguments[1]])
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    os.umask(int(umask))
    actions: dict[str, Callable[..., None]] = {
        "plan": plan,
        "do": do,
        "be-killed": be_killed,
        "share": share,
        "read": read,
        "look": look,
        "run": run,
        "run-and-be-killed": run_and_be_killed,
    }
    actions[action](*arguments)
