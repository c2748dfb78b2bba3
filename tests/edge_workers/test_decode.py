import numpy as np
import simplejpeg

from edge_workers.decode import merge, prepare
from edge_workers.incoming import Incoming
from runtime.intake import Delivery
from runtime.kafka import Record
from schemas.frame import Frame
from schemas.label import State
from vit.preprocess import resize_crop


def incoming(seq: int, image: bytes) -> Incoming:
    frame = Frame("", "c", seq, 0, 300, 300, "jpeg", image)
    return Incoming(frame, Delivery(Record("frames", 0, seq, 0, None, b""), lambda *_: None), 0.0)


def jpeg(grey: int) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.full((300, 300, 3), grey, np.uint8), colorspace="RGB"))


def test_crops_stand_beside_their_frames_and_a_bad_image_spoils_no_other() -> None:
    frames = [incoming(0, jpeg(10)), incoming(1, b"junk"), incoming(2, jpeg(200))]
    batch = prepare(frames, max_frame_pixels=1 << 20, resize_crop=resize_crop)
    assert [frame.frame.seq for frame in batch.frames] == [0, 2]
    assert batch.crops.shape == (2, 224, 224, 3)
    assert [round(float(crop.mean())) for crop in batch.crops] == [10, 200]
    (refused,) = batch.refused
    assert (refused.incoming.frame.seq, refused.state, refused.cause) == (1, State.UNDECODABLE, "bad_image")
    assert refused.error


def test_an_image_with_more_pixels_than_allowed_is_refused() -> None:
    (refused,) = prepare([incoming(0, jpeg(1))], max_frame_pixels=1000, resize_crop=resize_crop).refused
    assert refused.cause == "too_large"


def test_parts_of_several_threads_become_one_batch_in_order() -> None:
    parts = [
        prepare(
            [incoming(seq, jpeg(seq)), incoming(seq + 1, b"")],
            max_frame_pixels=1 << 20,
            resize_crop=resize_crop,
        )
        for seq in (0, 10)
    ]
    batch = merge(parts)
    assert [frame.frame.seq for frame in batch.frames] == [0, 10]
    assert [refused.incoming.frame.seq for refused in batch.refused] == [1, 11]
    assert batch.crops.shape[0] == 2
