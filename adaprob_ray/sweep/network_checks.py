"""Networks that a sweep file names by path: their arguments, and whether they fit a data set."""

from __future__ import annotations

from typing import Any

from adaprob_ray.sweep.cell_settings import ArchitectureSettings, DatasetSettings
from adaprob_ray.sweep.faults import Faults
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.schema import SweepFile
from adaprob_ray.user_code.source import is_path


def with_arguments(item: Any, faults: Faults) -> Any:
    """A network by path as its settings have it: what stands next to name and filters are its arguments."""
    if not isinstance(item, dict):
        return item
    if not is_path(item.get("name")):
        if "arguments" in item:
            faults.add(
                "grid.architecture: arguments: must be given only with a network by path, as {name: my_package.nets:small, "
                f"width: 8}}, got name {item.get('name')!r}"
            )
        return {name: value for name, value in item.items() if name != "arguments"}
    nested = item.get("arguments")  # as the settings have them, of a search
    if nested is not None and not isinstance(nested, dict):
        faults.add(f"grid.architecture: arguments: must be a mapping {{name: value}}, got {nested!r}")
    others = {str(name): value for name, value in item.items() if name not in ("name", "filters", "arguments")}
    inner = nested if isinstance(nested, dict) else {}
    for name in sorted(inner.keys() & others):
        faults.add(
            f"grid.architecture: arguments: {name}: must be given once, got {others[name]!r} next to name and {inner[name]!r} "
            "under arguments"
        )
    arguments = {**inner, **others}
    settings = {name: value for name, value in item.items() if name in ("name", "filters")}
    return {**settings, **({"arguments": arguments} if arguments else {})}


def network_faults(
    file: SweepFile, dataset: DatasetSettings, architecture: ArchitectureSettings, registry: Registry
) -> list[str]:
    """Why a network cannot be built for a data set, or be pretrained on the one that the data set names."""
    names, source = [dataset.name], registry.datasets[dataset.name].pretrain_on
    if source is not None and file.pretrain is not False and file.original is None:
        if faults := _source_faults(dataset.name, source, registry):
            return [f"grid.dataset: {dataset.name}: pretrain_on: {fault}" for fault in faults]
        names.append(source)
    if not is_path(architecture.name):
        return []
    fault_of: Any = getattr(registry.architectures[architecture.name], "fault", lambda **given: None)
    sizes = [registry.network_size_of(name, architecture) for name in names]
    faults = [fault_of(is_pretrained=len(names) > 1, **size) for size in sizes]
    return [f"grid.architecture: {fault}" for fault in faults if fault is not None]


def _source_faults(name: str, source: str, registry: Registry) -> list[str]:
    """Why a network for the data set `name` cannot start from one that was trained on the data set `source`."""
    if faults := registry.name_faults("dataset", source):
        return faults
    channels, source_channels = registry.datasets[name].channels, registry.datasets[source].channels
    if channels == source_channels:
        return []
    return [f"must be a data set of images with {channels} channels, got {source} with {source_channels}"]
