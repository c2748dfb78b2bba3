"""What models said of a corpus: computed chunk by chunk, kept on disk, never computed twice.

A chunk's file is named by a hash of all that went into it: the model, the preprocessing, the scheme and the
images. A stopped run goes on where it was. A run with other settings uses what still holds.
"""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gating.belief import LEAST_PROBABILITY
from gating.entropy import softmax
from gating.task import NUM_LEADING
from lab.evaluation.corpus import Corpus
from lab.evaluation.models import Attended, AttentiveModel, Embedding, Logits, PatchModel
from lab.evaluation.schemes import PLAIN_RESTORERS, FrameFacts, Restorers, Scheme, SentPatches, scheme_key
from lab.progress import Progress
from schemas.errors import DecodeError
from schemas.geometry import NUM_PATCHES, Attention
from schemas.offload import VERSION
from vit.preprocess import Pixels, from_patches

DEFAULT_CACHE: Final = Path(".cache/evaluation")
PREPROCESSING: Final = "short side 256 bicubic, centre crop 224, version 1"
CHUNK_IMAGES: Final = 64
BATCH_SETS: Final = 16

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


Arrays = dict[str, NDArray[Any]]


class ChunkStore:
    """A folder of finished chunks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"<ChunkStore {self._folder}>"

    def has(self, key: Mapping[str, object]) -> bool:
        """Return whether the chunk of `key` (JSON values) is finished."""
        return self._path(key).is_file()

    def load(self, key: Mapping[str, object]) -> Arrays | None:
        """Return the arrays saved under `key`, None if there are none or the file is damaged."""
        try:
            with self._path(key).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, key: Mapping[str, object], arrays: Arrays) -> None:
        """The arrays are on disk under `key`; an interruption leaves no half-written file of that name."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own flags
        partial.replace(path)

    def _path(self, key: Mapping[str, object]) -> Path:
        text = json.dumps(key, sort_keys=True, allow_nan=False)
        name = blake2b(text.encode(), digest_size=20).hexdigest()
        return self._folder / name[:2] / f"{name[2:]}.npz"


@dataclass(frozen=True, slots=True)
class Glance:
    """One model's view of every image: (N, C) logits, (N, 196) attention by source, (N, D) embedding.

    Rows of images that are not `readable` (N,) hold zeros.
    """

    logits: Logits
    attention: Mapping[str, Attention]
    embedding: Embedding
    readable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ServerAnswers:
    """What the server said of every image under one scheme, and what that cost.

    `classes` and `probabilities` (N, k): the leading classes, most probable first, as an answer names them. The
    rest is (N,).
    """

    classes: Ints
    probabilities: Floats
    processed: Ints
    sent_patches: Floats
    wire_bytes: Floats

    @property
    def top1(self) -> Ints:
        """(N,) the most probable class."""
        return self.classes[:, 0]

    @property
    def confidence(self) -> Floats:
        """(N,) its probability."""
        return self.probabilities[:, 0]

    def log_probabilities(self, num_classes: int) -> Floats:
        """Return (N, C) logarithms of the server's probabilities: the leading classes, the rest spread evenly."""
        count, leading = self.classes.shape
        others = num_classes - leading
        left = np.maximum(1.0 - self.probabilities.sum(axis=1), 0.0)
        full = np.repeat((left / others if others else np.zeros(count))[:, None], num_classes, axis=1)
        np.put_along_axis(full, self.classes, self.probabilities, axis=1)
        return np.asarray(np.log(np.maximum(full, LEAST_PROBABILITY)))


@dataclass(frozen=True, slots=True)
class AttentionOf:
    """(N, 196) attention of one source, and the identity of the model that it came from."""

    rows: Attention
    identity: str


def glance(
    corpus: Corpus, model: AttentiveModel, sources: Sequence[str], store: ChunkStore, progress: Progress
) -> Glance:
    """Return the model's logits and attentions over the whole corpus; unreadable images are marked."""
    parts = []
    for rows in chunks(len(corpus.names)):
        key = _key("glance", model.facts.identity, _images(corpus, rows), sources=list(sources))
        part = store.load(key)
        if part is None:
            part = _glance_chunk(corpus, model, sources, rows)
            store.save(key, part)
        parts.append(part)
        progress.advance(len(rows))
    whole = _join(parts)
    attention = {source: whole[f"attention_{source}"] for source in sources}
    return Glance(whole["logits"], attention, whole["embedding"], whole["readable"])


def glance_treated(
    corpus: Corpus,
    model: AttentiveModel,
    scheme: Scheme,
    source: str,
    store: ChunkStore,
    progress: Progress,
) -> tuple[ServerAnswers, AttentionOf]:
    """Return the model's answers and attention on whole images after `scheme`, which needs no attention.

    Every image must be readable.
    """
    parts = []
    for rows in chunks(len(corpus.names)):
        images, how = _images(corpus, rows), scheme_key(scheme)
        key = _key("glance_treated", model.facts.identity, images, source=source, scheme=how)
        part = store.load(key)
        if part is None:
            sent = [scheme.apply(corpus.crop(idx), FrameFacts(corpus.names[idx], {})) for idx in rows]
            seen = np.stack([from_patches(each.patches) for each in sent])
            view = _attend(model, seen, [source])
            part = _answer_arrays(view.logits, sent) | {"attention": view.attention[source]}
            store.save(key, part)
        parts.append(part)
        progress.advance(len(rows))
    whole = _join(parts)
    return _answers(whole), AttentionOf(whole["attention"], model.facts.identity)


def answer(
    corpus: Corpus,
    model: PatchModel,
    schemes: Sequence[Scheme],
    attention: Mapping[str, AttentionOf],
    store: ChunkStore,
    progress: Progress,
    restorers: Restorers = PLAIN_RESTORERS,
) -> dict[Scheme, ServerAnswers]:
    """Return the server's answers by scheme; every image must be readable.

    Chunks are the outer loop: an image is decoded once for all schemes.
    """
    parts: dict[Scheme, list[Arrays]] = {scheme: [] for scheme in schemes}
    for rows in chunks(len(corpus.names)):
        crops: list[Pixels] = []
        for scheme in schemes:
            key = answer_key(corpus, model, scheme, attention, rows)
            part = store.load(key)
            if part is None:
                crops = crops or [corpus.crop(idx) for idx in rows]
                part = _answer_chunk(corpus, model, scheme, attention, rows, crops, restorers)
                store.save(key, part)
            parts[scheme].append(part)
            progress.advance(len(rows))
    return {scheme: _answers(_join(each)) for scheme, each in parts.items()}


def joined(parts: Sequence[ServerAnswers]) -> ServerAnswers:
    """Return the answers about several corpora as one, one corpus after the other."""
    return ServerAnswers(
        *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(ServerAnswers))
    )


def missing_answers(
    corpus: Corpus,
    model: PatchModel,
    scheme: Scheme,
    attention: Mapping[str, AttentionOf],
    store: ChunkStore,
) -> int:
    """Return for how many images the scheme's answers are still to be computed."""
    return sum(
        len(rows)
        for rows in chunks(len(corpus.names))
        if not store.has(answer_key(corpus, model, scheme, attention, rows))
    )


def answer_key(
    corpus: Corpus,
    model: PatchModel,
    scheme: Scheme,
    attention: Mapping[str, AttentionOf],
    rows: range,
) -> dict[str, object]:
    """Return what one chunk of answers depends on, as JSON values."""
    chosen_by = None if scheme.source is None else attention[scheme.source].identity
    return _key(
        "answer",
        model.facts.identity,
        _images(corpus, rows),
        scheme=scheme_key(scheme),
        attention=chosen_by,
    )


def chunks(num_images: int) -> Iterator[range]:
    """Yield the ranges of row numbers that are computed and kept together."""
    for first in range(0, num_images, CHUNK_IMAGES):
        yield range(first, min(first + CHUNK_IMAGES, num_images))


def _key(what: str, model: str, images: list[list[str]], **more: object) -> dict[str, object]:
    return {
        "what": f"{what} 2",
        "model": model,
        "preprocessing": PREPROCESSING,
        "record": VERSION,
        "images": images,
        **more,
    }


def _images(corpus: Corpus, rows: range) -> list[list[str]]:
    return [[corpus.names[idx], corpus.fingerprint(idx)] for idx in rows]


def _glance_chunk(corpus: Corpus, model: AttentiveModel, sources: Sequence[str], rows: range) -> Arrays:
    crops: dict[int, Pixels] = {}
    for place, idx in enumerate(rows):
        try:
            crops[place] = corpus.crop(idx)
        except DecodeError:
            continue
    places = np.fromiter(crops, dtype=np.int64, count=len(crops))
    readable = np.zeros(len(rows), dtype=np.bool_)
    readable[places] = True
    empty = Attended(
        np.zeros((0, len(model.facts.classes)), np.float32),
        dict.fromkeys(sources, np.zeros((0, NUM_PATCHES), np.float32)),
        np.zeros((0, model.facts.embed_dim), np.float32),
    )
    view = _attend(model, np.stack(list(crops.values())), sources) if crops else empty

    def everywhere(found: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = np.zeros((len(rows), found.shape[1]), np.float32)
        whole[places] = found
        return whole

    return {
        "readable": readable,
        "logits": everywhere(view.logits),
        "embedding": everywhere(view.embedding),
        **{f"attention_{source}": everywhere(view.attention[source]) for source in sources},
    }


def _attend(model: AttentiveModel, crops: NDArray[np.uint8], sources: Sequence[str]) -> Attended:
    parts = [
        model.attend(crops[first : first + BATCH_SETS], sources) for first in range(0, len(crops), BATCH_SETS)
    ]
    return Attended(
        np.concatenate([each.logits for each in parts]),
        {source: np.concatenate([each.attention[source] for each in parts]) for source in sources},
        np.concatenate([each.embedding for each in parts]),
    )


def _answer_chunk(
    corpus: Corpus,
    model: PatchModel,
    scheme: Scheme,
    attention: Mapping[str, AttentionOf],
    rows: range,
    crops: Sequence[Pixels],
    restorers: Restorers,
) -> Arrays:
    def send(idx: int, crop: Pixels) -> SentPatches:
        facts = {} if scheme.source is None else {scheme.source: attention[scheme.source].rows[idx]}
        return scheme.apply(crop, FrameFacts(corpus.names[idx], facts, restorers))

    # Image codecs let go of the interpreter; the model itself uses all cores.
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        sent = list(threads.map(send, rows, crops))
    logits = [
        model.classify([each.patches for each in batch], [each.positions for each in batch])
        for batch in (sent[first : first + BATCH_SETS] for first in range(0, len(sent), BATCH_SETS))
    ]
    return _answer_arrays(np.concatenate(logits), sent)


def _answer_arrays(logits: Logits, sent: Sequence[SentPatches]) -> Arrays:
    probabilities = softmax(logits)
    leading = np.argsort(-probabilities, axis=1, kind="stable")[:, :NUM_LEADING]
    return {
        "classes": leading,
        "probabilities": np.take_along_axis(probabilities, leading, axis=1),
        "processed": np.asarray([each.positions.size for each in sent], dtype=np.int64),
        "sent_patches": np.asarray([each.sent_patches for each in sent], dtype=np.float64),
        "wire_bytes": np.asarray([each.wire_bytes for each in sent], dtype=np.float64),
    }


def _answers(whole: Arrays) -> ServerAnswers:
    names = ("classes", "probabilities", "processed", "sent_patches", "wire_bytes")
    return ServerAnswers(*(whole[name] for name in names))


def _join(parts: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
