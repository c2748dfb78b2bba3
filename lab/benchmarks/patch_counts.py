"""Make patch_counts.json: how many patches DeiT-Tiny keeps of photos that it is unsure of.

    python -m lab.benchmarks.patch_counts --model FILE.safetensors --photos FOLDER >lab/benchmarks/patch_counts.json

The packed forward's benchmarks draw their set lengths from this histogram, so that they need neither photos
nor weights. Only counts are kept.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from gating.entropy import min_entropy_bits
from gating.select import attention_sum_counts
from lab.evaluation.corpus import unlabelled_corpus
from vit.edge_forward import EdgeForward
from vit.weights import load_model

TAU_BITS = 0.8
DELTA = 0.97
BATCH = 10


def crops_of(folder: Path) -> Iterator[np.ndarray]:
    photos = unlabelled_corpus(folder)
    for start in range(0, len(photos.names), BATCH):
        yield np.stack([photos.crop(idx) for idx in range(start, min(start + BATCH, len(photos.names)))])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--photos", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    forward = EdgeForward(model, torch.float32, threads=1)
    counts: Counter[int] = Counter()
    images = 0
    for crops in crops_of(arguments.photos):
        output = forward(crops)
        unsure = min_entropy_bits(output.logits) >= TAU_BITS
        counts.update(attention_sum_counts(output.attention[unsure], DELTA).tolist())
        images += len(crops)
    report = {
        "what": "how many of the images that the edge would offload keep how many patches",
        "edge_model": model.name,
        "tau_bits": TAU_BITS,
        "delta": DELTA,
        "images": images,
        "offloaded": counts.total(),
        "images_by_patches": {str(patches): counts[patches] for patches in sorted(counts)},
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
