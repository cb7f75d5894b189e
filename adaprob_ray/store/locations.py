"""Where a store is: a folder, or a URI of one of the supported services. A mistyped URI is refused and creates no folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from adaprob_ray.errors import InputError

SCHEMES = ("s3", "gs", "az")
# Other words that people put before a colon for a storage service: never the beginning of a folder's name.
FOREIGN_SCHEMES = (
    "s3a",
    "s3n",
    "gcs",
    "abfs",
    "abfss",
    "azure",
    "adl",
    "wasb",
    "wasbs",
    "file",
    "http",
    "https",
    "hdfs",
)

# At least two letters: one letter and a colon is a drive.
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):(/*)(.*)", re.DOTALL)
_WITHOUT_COLON = re.compile(rf"\s*({'|'.join(SCHEMES)})//", re.IGNORECASE)


def parse_location(location: str | os.PathLike[str]) -> str | Path:
    """Tell a folder from a URI.

    Args:
        location: As a person wrote it; `~` is the home folder.

    Returns:
        The absolute path of a folder, or the URI with its scheme in lower case and without a slash at its end.

    Raises:
        InputError: In one line, if it is neither.

    Example:
        >>> parse_location("S3://bucket/first/")
        's3://bucket/first'
        >>> parse_location("file:///data/my%20store").name
        'my store'
    """
    place = os.fsdecode(location)
    if not place.strip():
        raise InputError(f"store: must be a folder or a URI, got {place!r}")
    match = _SCHEME.match(place)
    if match is None or not (match[2] or match[1].lower() in (*SCHEMES, *FOREIGN_SCHEMES)):
        if _WITHOUT_COLON.match(place):
            raise _refusal(place, "a URI needs a colon", f"did you mean {place.strip().replace('//', '://', 1)}?")
        return _folder(place, place)
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    if scheme == "file" and slashes:
        return _file_folder(place)
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        hint = (
            ""
            if slashes == "//" or scheme in FOREIGN_SCHEMES
            else f"; for a folder begin with ./, as in ./{place.strip()}"
        )
        raise InputError(f"store {place}: must be a folder or a URI, got scheme {match[1]!r} (known: {known}){hint}")
    if slashes != "//" or not rest:
        example = f"{scheme}://{rest}" if rest else f"{scheme}://BUCKET/NAME"
        reason = "a URI has two slashes and a bucket after its colon"
        raise _refusal(place, reason, f"did you mean {example}? pathlib.Path turns // into /: pass a string")
    return _uri(place, scheme, rest)


def _uri(place: str, scheme: str, rest: str) -> str:
    for mark, what in (("?", "query"), ("#", "fragment")):
        if mark in rest:
            raise _refusal(place, f"a store's URI has no {what} ({mark}…): options come from the environment")
    if place != place.strip() or any(ord(character) < 32 for character in place):
        raise _refusal(place, "a URI has no blanks around it and no control characters")
    bucket, *parts = rest.rstrip("/").split("/")
    if "@" in bucket or ":" in bucket:
        reason = "a bucket has no user and no port: endpoint and credentials come from the environment"
        shown = f"{scheme}://…@{rest.rpartition('@')[2]}" if "@" in bucket else place  # it may hold a password
        raise _refusal(shown, reason, "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and the like")
    if any(part in ("", ".", "..") for part in parts):
        raise _refusal(place, "a URI has no empty part, and neither . nor ..")
    return f"{scheme}://{'/'.join((bucket, *parts))}"


def _file_folder(place: str) -> Path:
    parts = urlsplit(place.strip())
    if parts.query or parts.fragment:
        raise _refusal(place, "a store's URI has no query and no fragment")
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise _refusal(place, "must be an absolute path of this machine", "file:///PATH, or the path alone")
    return _folder(place, unquote(parts.path))


def _folder(place: str, path: str) -> Path:
    try:
        folder = Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise _refusal(place, f"there is no home folder for {path.split('/')[0]!r}") from error
    if "\0" in path:
        raise _refusal(place, "a path has no NUL character")
    # What pathlib makes of a URI, perhaps with the working folder in front.
    for part in folder.parts:
        if part.endswith(":") and part[:-1].lower() in (*SCHEMES, *FOREIGN_SCHEMES):
            reason = f"the path contains {part!r}, so a URI was probably passed through pathlib.Path"
            raise _refusal(place, reason, f"pass a string that begins with {part}//")
    return folder


def _refusal(place: str, reason: str, hint: str = "") -> InputError:
    return InputError(f"store {place}: {reason}" + (f" ({hint})" if hint else ""))
