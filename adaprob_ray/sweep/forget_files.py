"""Files of indices in a document: `forget: {indices: file.json}` is replaced by the indices that the file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from adaprob_ray.errors import InputError
from adaprob_ray.sweep.index_files import read_indices
from adaprob_ray.sweep.yaml_document import load_document


class UnreadableIndices(str):
    """Stands for the indices of a file that cannot be read; the text is the fault."""


def with_index_files_read(document: Any, folder: Path) -> Any:
    """A copy of a document in which every request by indices is {kind: indices, indices: […]}, ascending.

    Args:
        document: of a sweep file or a search file. Requests are under keys `forget`, wherever these are.
        folder: where names of files are looked up.
    """
    if isinstance(document, list):
        return [with_index_files_read(item, folder) for item in document]
    if not isinstance(document, dict):
        return document
    return {
        name: _requests(value, folder) if name == "forget" else with_index_files_read(value, folder)
        for name, value in document.items()
    }


def _requests(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_requests(item, folder) for item in value]
    if isinstance(value, dict) and "sequence" in value:
        return {**value, "sequence": _requests(value["sequence"], folder)}
    if not isinstance(value, dict) or "indices" not in value:
        return value
    return {"kind": "indices", **value, "indices": _indices(value["indices"], folder)}


def _indices(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        try:
            value = read_indices(folder / Path(value).expanduser(), "indices", "a file of indices, or a list of them")
        except InputError as error:
            return UnreadableIndices(error)
    is_list = isinstance(value, list) and all(type(index) is int for index in value)
    return sorted(value) if is_list else value


def self_contained_text(text: str, document: dict[str, Any], original_sha256: str | None = None) -> str:
    """The text of a file that means the same in any folder: `text` itself, or YAML with what it takes from other files.

    Args:
        text: of a sweep file or a search file.
        document: its keys, with the indices of files, without faults.
        original_sha256: the digest of the original's weights, if the document names a file of them.
    """
    if original_sha256 is None and not _has_file(load_document(text).values):
        return text
    if original_sha256 is not None:
        original = {"weights": str(Path(document["original"]["weights"]).absolute()), "sha256": original_sha256}
        document = {**document, "original": original}
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None)


def _has_file(document: Any) -> bool:
    """Whether indices are in a file."""
    if isinstance(document, list):
        return any(map(_has_file, document))
    if not isinstance(document, dict):
        return False
    return isinstance(document.get("indices"), str) or any(map(_has_file, document.values()))
