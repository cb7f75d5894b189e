"""TensorBoard files of a run whose store is at a URI: cells send them to the store, and the driver copies them to a folder.

TensorBoard reads local folders, and a cell may run on another machine. Object storage cannot append, so a cell sends its whole
file from time to time; it only ever grows, so that the driver appends what is new to its copy.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from adaprob_ray.errors import StoreError
from adaprob_ray.store import Store
from adaprob_ray.store.side_files import SideFiles

# A file is small, but each upload is a request, and so is each look for new files.
PERIOD_SECONDS = 10.0


def mirror_folder(sweep: str) -> str:
    """Where a sweep's TensorBoard files are in a store."""
    return f"tensorboard/{sweep}"


class CellUpload:
    """Sends the files that a cell's writer leaves in a temporary folder to the store. It raises nothing.

    Args:
        store: The store.
        sweep: The name of the sweep.
        folders: Those of the cell's runs.
        mark: What the names of the cell's files contain; those of its earlier attempts are deleted.

    Attributes:
        folder: The temporary folder.
        error: Why the storage did not take a file; None if it took all.
    """

    def __init__(self, store: Store, sweep: str, folders: Iterable[str], mark: str) -> None:
        self._files = SideFiles(store, mirror_folder(sweep))
        self._local = tempfile.TemporaryDirectory(prefix="adaprob-tensorboard-")
        self.folder = Path(self._local.name)
        self.error: str | None = None
        self._sent: dict[str, int] = {}
        self._last = time.monotonic()
        with self._noting_errors():
            self._files.delete([name for folder in folders for name in self._files.sizes(folder) if mark in name])

    def send_if_due(self) -> None:
        """Send the files if the last time is long ago."""
        if time.monotonic() - self._last >= PERIOD_SECONDS:
            self.send()

    def send(self) -> None:
        """Send each file that has grown. The writer must have flushed them."""
        self._last = time.monotonic()
        for file in self.folder.rglob("*"):
            if not file.is_file():
                continue
            name, data = file.relative_to(self.folder).as_posix(), file.read_bytes()
            if self._sent.get(name) != len(data):
                with self._noting_errors():
                    self._files.put(name, data)
                    self._sent[name] = len(data)

    def close(self) -> None:
        """Send what is left and remove the temporary folder."""
        self.send()
        self._local.cleanup()

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:  # for a moment, perhaps: the next time sends all that is there
            self.error = str(error)


class Mirror:
    """Copies a sweep's TensorBoard files from the store to `folder`, in a thread, until the `with` block ends.

    Attributes:
        error: Why the last copy failed; None if it did not. The next one copies all that is missing.
    """

    def __init__(self, store: Store, sweep: str, folder: Path) -> None:
        self._files, self._folder = SideFiles(store, mirror_folder(sweep)), folder
        self.error: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="adaprob-tensorboard", daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(PERIOD_SECONDS)  # and once more after the end, for what came last
            try:
                self.copy()
                self.error = None
            except Exception as error:  # a view never fails the work
                self.error = f"{type(error).__name__}: {error}"

    def copy(self) -> None:
        """Bring the local folder up to date. Raises StoreError or OSError."""
        sizes = self._files.sizes()
        for name, size in sizes.items():
            target = self._folder / name
            local = target.stat().st_size if target.exists() else 0
            if local < size:
                target.parent.mkdir(parents=True, exist_ok=True)
                data = self._files.read(name, start=local)
                with target.open("ab") as copy:
                    copy.write(data)
        for folder in {(self._folder / name).parent for name in sizes}:
            for file in folder.glob("*tfevents*"):
                if file.relative_to(self._folder).as_posix() not in sizes:  # of an earlier attempt
                    file.unlink()
