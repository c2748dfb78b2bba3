"""LitServe with dynamic batching in front of the server's model; runs in its own environment.

    python -m lab.benchmarks.rivals.litserve_server PORT MODEL WORKERS ENGINE

A request is {"image": base64 of a JPEG}, its answer {"label": index}.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
import threading

import litserve
import numpy as np

MAX_BATCH = 8
BATCH_WAIT_S = 0.01


class Api(litserve.LitAPI):  # type: ignore[misc]  # installed in an environment of its own
    """Whole images, up to eight a batch, as late as 10 ms after the first."""

    def __init__(self, model: str, engine: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_S)
        self._path, self._engine = model, engine

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's interface
        # Only the workers need torch, whose import takes seconds.
        from lab.benchmarks.rivals.timm_classifier import Classifier, crop_of

        self._classify = Classifier(self._path, threads=1, engine=self._engine)
        self._crop_of = crop_of

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        return self._crop_of(base64.b64decode(request["image"]))

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs

    def predict(self, x: list[np.ndarray]) -> list[int]:
        return self._classify(x)

    def unbatch(self, output: list[int]) -> list[int]:
        return output

    def encode_response(self, output: int) -> dict[str, int]:
        return {"label": output}


def end_with_parent() -> None:
    """When standard input closes, this process and the workers that it started are killed."""
    os.read(0, 1)  # not sys.stdin, whose lock a forked child would wait for
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    port, model, workers, engine = sys.argv[1:5]
    server = litserve.LitServer(
        Api(model, engine), accelerator="cpu", workers_per_device=int(workers), timeout=120
    )
    server.run(
        host="127.0.0.1",
        port=int(port),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
