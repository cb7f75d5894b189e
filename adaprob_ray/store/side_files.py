"""Files of a store outside its cells, such as those of TensorBoard: shown to people, and never read to decide anything."""

from __future__ import annotations

from collections.abc import Iterable

from adaprob_ray.store.names import reject_reserved
from adaprob_ray.store.store import Store


class SideFiles:
    """The files in one folder of a store. Every method raises StoreError if the storage fails.

    Args:
        store: The store.
        folder: A path outside the store's own folders. Raises InputError for any other.

    Example:
        >>> import tempfile
        >>> files = SideFiles(Store.open(tempfile.mkdtemp()), "tensorboard/first")
        >>> files.put("curve", b"0123")
        >>> files.sizes(), files.read("curve", start=2)
        ({'curve': 4}, b'23')
    """

    def __init__(self, store: Store, folder: str) -> None:
        self._objects, self._folder = store.objects, reject_reserved(folder)

    def put(self, name: str, data: bytes) -> None:
        """Put or replace a file, completely or not at all."""
        self._objects.put(f"{self._folder}/{name}", data)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Name and bytes of each file whose name begins with the folder `prefix`; of all without one."""
        folder = f"{self._folder}/{prefix}" if prefix else self._folder
        start = len(self._folder) + 1
        return {entry["path"][start:]: entry["size"] for entry in self._objects.list(folder)}

    def read(self, name: str, *, start: int = 0) -> bytes:
        """The content of a file from byte `start`; empty if there is none."""
        return self._objects.get_from(f"{self._folder}/{name}", start)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; one that does not exist is not an error."""
        self._objects.delete(f"{self._folder}/{name}" for name in names)
