"""The model input of `vit.preprocess.resize_crop`, seven times as fast, for processes that have torch anyway.

Called by the edge worker's codec threads through its engine.
"""

from __future__ import annotations

import numpy as np
import torch

from schemas.geometry import CROP_SIDE
from vit.preprocess import SHORT_SIDE, Pixels, resize_crop

# Beyond this the whole resized image would be much larger than its crop, without bound: 10 x 300,000 pixels
# would need 6 GB.
_MAX_ASPECT = 4


def resize_crop_fast(image: Pixels) -> Pixels:
    """Return the (224, 224, 3) uint8 model input of a (height, width, 3) uint8 image.

    The same antialiased bicubic filter as Pillow's, in torch's vectorised integer arithmetic: at most two
    grey levels apart, in less than 1 % of the values. On 640x480, one thread: 0.25 ms, `resize_crop` 1.9 ms.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    if max(height, width) > _MAX_ASPECT * short:
        return resize_crop(image)
    size = tuple(SHORT_SIDE if side == short else int(SHORT_SIDE * side / short) for side in (height, width))
    # Some decoders hand out read-only memory, which torch does not take.
    # The batch's axis is torch's own, not numpy's with stride 0: only so is the result channels-last as well,
    # and neither it nor its crop is turned around.
    pixels = torch.from_numpy(np.require(image, requirements="W"))[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True)[0]
    top, left = (round((side - CROP_SIDE) / 2.0) for side in size)
    return resized[:, top : top + CROP_SIDE, left : left + CROP_SIDE].permute(1, 2, 0).numpy()


def one_thread() -> None:
    """Torch uses no further threads for what the calling thread computes from now on."""
    torch.set_num_threads(1)
