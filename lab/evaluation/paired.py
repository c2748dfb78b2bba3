"""Everything that one measurement knows: arrays over the same images, and who produced them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.gates import min_entropy_scores
from lab.evaluation.inference_cache import ServerAnswers
from lab.evaluation.models import Logits, ModelFacts, forward_macs
from lab.evaluation.schemes import Scheme, Whole
from lab.evaluation.sweep import Payload
from schemas.geometry import NUM_PATCHES, Attention

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

LABEL: Final = "label"
SERVER_AGREEMENT: Final = "server_agreement"


@dataclass(frozen=True)
class Timings:
    """Measured milliseconds an image: one edge forward, one server forward of a whole image."""

    edge_ms: float
    server_full_ms: float


@dataclass(frozen=True)
class PairedPredictions:
    """Both models' answers on N images.

    `truth` (N,) is the label, or the server's answer on the raw whole image (`accuracy_kind`). `clusters`
    (N,) is the camera or clip of each frame, None for independent images. `calibration` (N,) marks the half
    that chooses.
    """

    data: str
    accuracy_kind: str
    truth: Ints
    clusters: Ints | None
    calibration: Mask
    edge: ModelFacts
    server: ModelFacts
    edge_logits: Logits
    attention: Mapping[str, Attention]
    answers: Mapping[Scheme, ServerAnswers]

    @property
    def num_images(self) -> int:
        """How many images every array has."""
        return int(self.truth.size)

    @property
    def same_weights(self) -> bool:
        """Whether edge and server are one and the same model, which makes the pair's accuracy meaningless."""
        return self.edge.weights_hash == self.server.weights_hash

    @cached_property
    def h_min(self) -> Floats:
        """(N,) min-entropy of the edge in bits."""
        return min_entropy_scores(self.edge_logits)

    @cached_property
    def edge_correct(self) -> Mask:
        """(N,) whether the edge is right."""
        return np.asarray(self.edge_logits.argmax(axis=1) == self.truth)

    @cached_property
    def server_correct(self) -> Mask:
        """(N,) whether the server is right on the raw whole image."""
        return np.asarray(self.answers[Whole()].top1 == self.truth)

    def payload(self, scheme: Scheme) -> Payload:
        """Return what offloading in this way does to each image."""
        answers = self.answers[scheme]
        return Payload(
            (answers.top1 == self.truth).astype(np.float64),
            answers.sent_patches,
            answers.wire_bytes,
            self._macs_by_count[answers.processed],
        )

    def fused_payload(self, scheme: Scheme, alpha: float, beta: float) -> Payload:
        """Return the payload where the edge's own p joins the answer: the label of p_edge^alpha · p_server^beta."""
        server = self.answers[scheme].log_probabilities(self.edge_logits.shape[1])
        label = (alpha * self.edge_logits + beta * server).argmax(axis=1)
        return replace(self.payload(scheme), correct=(label == self.truth).astype(np.float64))

    def server_doubt(self, scheme: Scheme) -> Floats:
        """Return (N,) H_min in bits of the server's answer after `scheme`."""
        return np.asarray(-np.log2(self.answers[scheme].confidence))

    @cached_property
    def _macs_by_count(self) -> Floats:
        dim, depth = self.server.embed_dim, self.server.depth
        return np.asarray([0, *(forward_macs(k, dim, depth) for k in range(1, NUM_PATCHES + 1))], dtype=float)
