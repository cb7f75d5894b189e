"""What the searches in a store are."""

from __future__ import annotations

from typing import Any

from adaprob_ray.store.contents import in_threads
from adaprob_ray.store.store import Store


def stored_studies(store: Store) -> list[dict[str, Any]]:
    """The documents of all studies that were searched, as `Study.document`; damaged ones are left out.

    Args:
        store: The store.

    Returns:
        The documents in the order of the studies' keys.

    Raises:
        StoreError: If the storage fails.
    """
    paths = sorted(entry["path"] for entry in store.objects.list("searches") if entry["path"].endswith("/study.json"))

    return [document for document in in_threads(store.objects.intact_document, paths) if document is not None]
