"""Which training samples are to be forgotten, as a sweep file, a key and a Record say it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

# Characters of the earlier requests of a sequence in one text, which is also a folder's name: of more, a digest.
MAX_EARLIER_LENGTH = 60
# Hexadecimal digits of a digest: 32 bits tell the requests of one sweep apart.
DIGEST_LENGTH = 8
_SELECTIVE = re.compile(r"([0-9]+)of([0-9]+)")
_CLASS = re.compile(r"class([0-9]+)")
_INDICES = re.compile(rf"([0-9]+)indices-([0-9a-f]{{{DIGEST_LENGTH}}})")
_EARLIER = re.compile(rf"([0-9]+)requests-([0-9a-f]{{{DIGEST_LENGTH}}})")


@dataclass(frozen=True)
class ForgetRequest:
    """Which training samples are to be forgotten: all of a class, `count` of its samples, drawn by the seed, or `indices`.

    `indices` are positions in the training set, ascending; `count` is then their number and `class_index` None. `after` are the
    requests of a sequence that have been met before; the samples of this one are forgotten from the model that met the last.

    >>> str(ForgetRequest("selective", 0, 25)), str(ForgetRequest("class", 5))
    ('25of0', 'class5')
    >>> str(ForgetRequest.from_document({"indices": [8, 3, 5]}))
    '3indices-ddd019b2'
    >>> str(ForgetRequest("class", 1, after=(ForgetRequest("selective", 0, 25),)))
    '25of0+class1'
    """

    kind: Literal["class", "selective", "indices"]
    class_index: int | None = None
    count: int | None = None
    indices: tuple[int, ...] = ()
    after: tuple[ForgetRequest, ...] = ()

    @property
    def previous(self) -> ForgetRequest | None:
        """The request before this one in its sequence, with those before it; None for the first."""
        return replace(self.after[-1], after=self.after[:-1]) if self.after else None

    def document(self) -> dict[str, Any]:
        """As in a sweep file, with `after`, the documents of the earlier requests of a sequence, if there are any."""
        after = {"after": [request.document() for request in self.after]} if self.after else {}
        if self.kind == "indices":
            return {"kind": self.kind, "indices": list(self.indices), **after}
        count = {} if self.count is None else {"count": self.count}
        return {"kind": self.kind, "class": self.class_index, **count, **after}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ForgetRequest:
        """The request that a sweep file or a key gives; `kind` may be left out where there are `indices`."""
        after = tuple(map(cls.from_document, document.get("after", ())))
        if "indices" in document:
            indices = tuple(sorted(document["indices"]))
            return cls("indices", None, len(indices), indices, after)
        return cls(document["kind"], document["class"], document.get("count"), after=after)

    @classmethod
    def steps(cls, document: Mapping[str, Any]) -> list[ForgetRequest]:
        """The requests of {sequence: […]}, each after those before it; of any other document, the one that it gives.

        >>> [str(step) for step in ForgetRequest.steps({"sequence": [{"kind": "class", "class": c} for c in (4, 2)]})]
        ['class4', 'class4+class2']
        """
        if "sequence" not in document:
            return [cls.from_document(document)]
        requests = [cls.from_document(item) for item in document["sequence"]]
        return [replace(request, after=tuple(requests[:place])) for place, request in enumerate(requests)]

    @classmethod
    def parse(cls, text: str) -> ForgetRequest:
        """The request that `str` gives as `text`, a Record's `forget` column.

        Raises:
            ValueError: for any other text: that of indices has only their number and a digest, that of a sequence several.
        """
        if match := _SELECTIVE.fullmatch(text):
            return cls("selective", int(match[2]), int(match[1]))
        if match := _CLASS.fullmatch(text):
            return cls("class", int(match[1]))
        raise ValueError(f"forget: must be such as class5 or 25of0, got {text!r}")

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ForgetRequest:
        """The request of a Record: of its column `forget_request` if it has one, else of `forget`.

        Raises:
            ValueError: if neither gives a request.
        """
        document = record.get("forget_request")
        return (
            cls.from_document(json.loads(document)) if isinstance(document, str) else cls.parse(str(record["forget"]))
        )

    def record_columns(self) -> dict[str, str]:
        """The columns of a Record: `forget`, a short text, and `forget_request`, JSON, where the text is not enough."""
        text = str(self)
        if self.kind != "indices" and not self.after:
            return {"forget": text}
        return {"forget": text, "forget_request": json.dumps(self.document(), separators=(",", ":"))}

    def __str__(self) -> str:
        if self.after:
            texts = "+".join(map(str, self.after))
            if len(texts) > MAX_EARLIER_LENGTH:
                texts = f"{len(self.after)}requests-{_digest([request.document() for request in self.after])}"
            return f"{texts}+{replace(self, after=())}"
        if self.kind == "indices":
            return f"{self.count}indices-{_digest(self.indices)}"
        return f"class{self.class_index}" if self.count is None else f"{self.count}of{self.class_index}"


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:DIGEST_LENGTH]


def sequence_length(text: str, texts: Collection[str]) -> int:
    """The number of requests in the longest sequence among `texts`, Records' `forget` columns, that begins as `text` does.

    1 where there is no sequence, or where a text has a digest in place of its first requests.

    >>> [sequence_length(text, ["25of0", "25of0+class5", "class1"]) for text in ("25of0", "25of0+class5", "class1")]
    [2, 2, 1]
    """
    if any(_EARLIER.match(each) for each in texts):
        return 1
    return max((each.count("+") + 1 for each in texts if f"{each}+".startswith(f"{text}+")), default=1)


def forget_words(text: str, whole: str = "", samples: str = "", *, of: int = 1) -> str:
    """A Record's `forget` column in words; a text that is no request stays as it is.

    Args:
        text: such as `class5`, `25of0` or `25indices-1a2b3c4d`; of a sequence, several with a plus between them.
        whole: precedes a class that is forgotten completely.
        samples: follows the number of samples of a class.
        of: the number of requests in the sequence, if the words are to say it.

    Example:
        >>> forget_words("class5", whole="all of "), forget_words("25of0", samples="samples ")
        ('all of class 5', '25 samples of class 0')
        >>> forget_words("25indices-1a2b3c4d")
        '25 samples (indices 1a2b3c4d)'
        >>> forget_words("25of0+class5")
        'request 2: class 5, after 25 of class 0'
        >>> forget_words("25of0", of=2)
        'request 1 of 2: 25 of class 0'
    """
    *earlier, last = text.split("+")
    if earlier or of > 1:
        before = ", ".join(forget_words(each, whole, samples) for each in earlier)
        shortened = _EARLIER.fullmatch(earlier[0]) if earlier else None
        number = 1 + (int(shortened[1]) if shortened else len(earlier))
        place = f"request {number} of {of}" if of > 1 else f"request {number}"
        return f"{place}: {forget_words(last, whole, samples)}" + (f", after {before}" if earlier else "")
    if match := _EARLIER.fullmatch(text):
        return f"{match[1]} others ({match[2]})"
    if match := _SELECTIVE.fullmatch(text):
        return f"{int(match[1])} {samples}of class {int(match[2])}"
    if match := _CLASS.fullmatch(text):
        return f"{whole}class {int(match[1])}"
    if match := _INDICES.fullmatch(text):
        return f"{match[1]} {'sample' if match[1] == '1' else 'samples'} (indices {match[2]})"
    return text
