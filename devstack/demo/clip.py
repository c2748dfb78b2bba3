"""A clip for the demo: rendered scenes as a compressed video file, so that one camera is an ordinary file."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av

from lab.scenes.stream import SceneStream

CLIP_SEED = 2_900_000_099
CLIP_FPS = 10
CLIP_S = 12


def make_clip(folder: Path) -> Path:
    """Return a 12-second H.264 clip of 640×480 in ``folder``, made if it is not there yet."""
    path = folder / "clip.mp4"
    if path.exists():
        return path
    partial = folder / "clip.partial.mp4"
    with av.open(partial, "w") as container:
        stream = container.add_stream("libx264", rate=CLIP_FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.time_base = Fraction(1, CLIP_FPS)
        for number, (image, _) in enumerate(islice(SceneStream(CLIP_SEED, fps=CLIP_FPS), CLIP_FPS * CLIP_S)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    partial.rename(path)
    return path
