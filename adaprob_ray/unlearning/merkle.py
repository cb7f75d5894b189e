"""A Merkle root of digests: it fixes which samples were forgotten without showing them.

    leaf_n = SHA-256(0x00 ‖ salt ‖ digest_n),    node = SHA-256(0x01 ‖ left ‖ right)

Leaves are in the order of the rows; an odd node at the end of a level moves up unchanged, as in RFC 6962. Without the salt,
nobody can test whether given samples are those that were forgotten; an auditor who has the salt and the samples can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SALT_BYTES = 32


def leaf(salt: bytes, digest: bytes) -> bytes:
    """The leaf of one sample."""
    return hashlib.sha256(b"\x00" + salt + digest).digest()


def merkle_root(salt: bytes, digests: Sequence[bytes]) -> str:
    """The root of at least one digest, in hexadecimal.

    Example:
        >>> merkle_root(b"", [b"a"]) == leaf(b"", b"a").hex()
        True
    """
    level = [leaf(salt, digest) for digest in digests]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = above + level[len(level) - len(level) % 2 :]
    return level[0].hex()
