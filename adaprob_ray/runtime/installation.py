"""Whether the installed packages have the versions that this package needs: otherwise their errors mislead."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from adaprob_ray.errors import InputError


def check_installation(distribution: str = "adaprob-ray") -> None:
    """Raise InputError, one line for each package that is missing or of a version that `distribution` does not allow.

    Nothing is checked where the distribution itself is not installed, as in a checkout on PYTHONPATH.
    """
    try:
        requirements = [Requirement(line) for line in metadata.requires(distribution) or ()]
    except metadata.PackageNotFoundError:
        return
    faults = []
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = "none"
        if version == "none" or not requirement.specifier.contains(version, prereleases=True):
            needed = f"{requirement.name}{requirement.specifier}"
            faults.append(
                f"installation: {requirement.name} must be {requirement.specifier}, got {version}; "
                f"install it: pip install '{needed}'"
            )
    if faults:
        raise InputError(*faults)
