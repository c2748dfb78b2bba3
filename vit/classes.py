"""Class lists: their hash, ImageNet's names, and the check that edge and server mean the same.

Must not import torch; timm's ImageNet tables are read on first use.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import zip_longest

from schemas.errors import ModelError

IMAGENET_CLASSES = 1000


def classes_hash(classes: Sequence[str]) -> str:
    """Return 16 hex digits that tie a label index to this very list in this very order."""
    # A length before each name, so that no choice of names can shift a border.
    listed = "".join(f"{len(name)}:{name}\n" for name in classes)
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def same_classes(edge: Sequence[str], server: Sequence[str]) -> None:
    """Return where both lists are equal.

    Raises:
        ModelError: names the first place where they differ.
    """
    for index, (ours, theirs) in enumerate(zip_longest(edge, server)):
        if ours != theirs:
            raise ModelError(
                f"edge and server classify differently: class {index} is {_shown(ours)} for the edge's model "
                f"({len(edge)} classes) and {_shown(theirs)} for the server's ({len(server)} classes)"
            )


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return ImageNet-1k's 1,000 WordNet ids (n01440764 ...) in the order of every timm classifier."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())  # type: ignore[no-untyped-call]


@cache
def imagenet_names() -> tuple[str, ...]:
    """Return ImageNet-1k's 1,000 names, all different, in the order of every timm classifier.

    The first word of each WordNet entry ("tench"); where several classes share it, the whole entry, and
    where they share that too ("crane"), the WordNet id in brackets after it.
    """
    from timm.data.imagenet_info import ImageNetInfo

    entries = tuple(ImageNetInfo("imagenet-1k").label_descriptions())
    first_words = Counter(entry.split(",")[0] for entry in entries)
    whole = Counter(entries)
    names = []
    for entry, synset in zip(entries, imagenet_synsets(), strict=True):
        word = entry.split(",")[0]
        if first_words[word] == 1:
            names.append(word)
        else:
            names.append(entry if whole[entry] == 1 else f"{entry} ({synset})")
    return tuple(names)


def _shown(name: str | None) -> str:
    return "missing" if name is None else repr(name)
