"""The real models behind the protocols of `lab.evaluation.models`; torch is loaded with the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.models import LAST, LAYER_ROLLOUT, ROLLOUT, Logits, ModelFacts
from lab.research.rollout import mean_head_rollout, rollout
from schemas.geometry import Attention, Positions
from vit.preprocess import Pixels

if TYPE_CHECKING:
    from vit.model import Model

_MAPS_AT_ONCE: Final = 4
_LAST_LAYERS: Final = 6


class VitModel:
    """A loaded model as edge and as server, with all cores of this machine, on its GPU where it has one.

    Args:
        model: what `load_model` returned.
        dtype: "auto" (the fastest exact one), "float32" or "bfloat16".
    """

    def __init__(self, model: Model, dtype: str = "auto") -> None:
        from vit.edge_forward import EdgeForward
        from vit.hardware import available_threads, best_device, dtype_named
        from vit.packed_forward import PackedForward

        device = best_device()
        chosen = dtype_named(dtype, device)
        self._model = model
        self._edge = EdgeForward(model, chosen, threads=available_threads(), device=device)
        self._server = PackedForward(model, device, chosen)
        shape, name = model.architecture, str(chosen).removeprefix("torch.")
        self._facts = ModelFacts(
            name=model.name,
            identity=f"{model.weights_hash}:{name}",
            weights_hash=model.weights_hash,
            classes=model.classes,
            classes_hash=model.classes_hash,
            embed_dim=shape.embed_dim,
            depth=shape.depth,
            num_parameters=sum(each.numel() for each in model.vit.parameters()),
            dtype=name,
        )

    @property
    def facts(self) -> ModelFacts:
        """What the report says of it."""
        return self._facts

    def attend(
        self, crops: NDArray[np.uint8], sources: Sequence[str]
    ) -> tuple[Logits, Mapping[str, Attention]]:
        """Return (B, C) logits and (B, 196) attention by source; rollouts need a second, slower pass."""
        output = self._edge(crops)
        attention = {LAST: output.attention}
        if {ROLLOUT, LAYER_ROLLOUT} & set(sources):
            attention |= self._rollouts(crops)
        return output.logits, attention

    def classify(self, patches: Sequence[Pixels], positions: Sequence[Positions]) -> Logits:
        """Return (B, C) logits of B sets of patches."""
        return self._server(patches, positions)

    def _rollouts(self, crops: NDArray[np.uint8]) -> dict[str, Attention]:
        """Return both rollouts (B, 196); few images at once, as the maps of all layers are large."""
        from lab.research.attention_maps import attention_maps

        every, last = [], []
        for first in range(0, len(crops), _MAPS_AT_ONCE):
            for maps in attention_maps(self._model, crops[first : first + _MAPS_AT_ONCE]):
                every.append(rollout(maps))
                last.append(mean_head_rollout(maps[-_LAST_LAYERS:].mean(axis=1)))
        return {ROLLOUT: np.stack(every), LAYER_ROLLOUT: np.stack(last)}
