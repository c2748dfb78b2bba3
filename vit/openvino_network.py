"""The edge's pass on OpenVINO, in bf16 or int8: the same answer as `EdgeForward`, faster on x86 processors.

Needs the extra `openvino`; importing this module does not import it. numpy in, numpy out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.geometry import CROP_SIDE, GRID, NUM_PATCHES, PATCH_SIDE
from vit.backends import Crops, EdgeOutput
from vit.hardware import best_dtype
from vit.heap import keep_freed_memory
from vit.model import Model

if TYPE_CHECKING:
    import openvino

QUANTISED_NAME: Final = "edge_int8.xml"
"""What the quantised model is called in a folder; its weights lie beside it, in a .bin."""
_WEIGHTS_KEY: Final = "saccade_weights_hash"
# Parts kept in bf16 by int8 quantisation: they decide the answer and the attention, and cost next to nothing.
_SENSITIVE: Final = "embed|head|last_"


class OpenVinoEdgeForward:
    """The model as a function of crops; a drop-in for `EdgeForward`.

    Args:
        model: any that `load_model` returns.
        dtype: number format of what is not int8; bf16 where the processor has it where absent.
        quantised: the folder or file that `quantise` wrote for this very model; no int8 where absent.
        threads: processor threads.

    Raises:
        ModelError: OpenVINO is not installed, or the quantised file belongs to other weights.
    """

    def __init__(
        self,
        model: Model,
        dtype: torch.dtype | None = None,
        *,
        quantised: Path | None = None,
        threads: int = 1,
    ) -> None:
        keep_freed_memory()
        core = _openvino().Core()
        network = build_network(model) if quantised is None else _read(core, quantised, model)
        precision = "bf16" if (dtype or best_dtype()) == torch.bfloat16 else "f32"
        self._compiled = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )

    def __call__(self, crops: Crops) -> EdgeOutput:
        """Return scores and class attention of (B, 224, 224, 3) uint8 RGB crops; see `EdgeForward`."""
        if crops.ndim != 4 or crops.shape[1:] != (CROP_SIDE, CROP_SIDE, 3) or len(crops) < 1:
            raise ValueError(f"crops must be (B, 224, 224, 3) with B >= 1, got {crops.shape}")
        results = self._compiled(np.ascontiguousarray(crops))
        return EdgeOutput(results[0], results[1], results[2])


def quantise(model: Model, crops: Crops, folder: Path) -> Path:
    """The folder holds the model in int8, its ranges calibrated on the given crops; returns the .xml file.

    Weights and products are int8; the patch embedding, the head and the last block's class-token part stay in
    the processor's float format.

    Args:
        model: any that `load_model` returns.
        crops: (N, 224, 224, 3) uint8, typical of what the camera sees; some 200 suffice.
        folder: made where it is missing.

    Raises:
        ModelError: OpenVINO or NNCF is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise ModelError("int8 needs NNCF: pip install 'saccade[openvino]'") from error
    network = nncf.quantize(
        build_network(model),
        nncf.Dataset([crops[index : index + 1] for index in range(len(crops))]),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(crops),
        ignored_scope=nncf.IgnoredScope(patterns=[f"({_SENSITIVE}).*"]),
    )
    network.set_rt_info(model.weights_hash, _WEIGHTS_KEY)
    folder.mkdir(parents=True, exist_ok=True)
    _openvino().save_model(network, folder / QUANTISED_NAME, compress_to_fp16=False)
    return folder / QUANTISED_NAME


def build_network(model: Model) -> openvino.Model:
    """Return the model as an OpenVINO network: crops (B, 224, 224, 3) uint8 to logits, attention and embedding.

    Raises:
        ModelError: OpenVINO is not installed.
    """
    ov = _openvino()
    return _Builder(model, ov.opset13, ov.Model).network()


class _Builder:
    """Writes one network operation by operation, so that names are ours and nothing depends on a tracer."""

    def __init__(self, model: Model, ops: Any, network_type: Any) -> None:
        self._model, self._vit, self._ops, self._network_type = model, model.vit, ops, network_type
        self._width, self._heads = model.architecture.embed_dim, model.architecture.num_heads

    def network(self) -> Any:
        ops, vit = self._ops, self._vit
        crops = ops.parameter([-1, CROP_SIDE, CROP_SIDE, 3], np.uint8, name="crops")
        tokens = self._tokens(crops)
        *blocks, last = vit.blocks
        for index, block in enumerate(blocks):
            tokens = self._block(tokens, block, f"block{index}_")
        token, attention = self._last_block(tokens, last)
        embedding = ops.reshape(self._norm(token, vit.norm), [0, self._width], special_zero=True)
        logits = self._linear(embedding, vit.head, "head")
        return self._network_type([logits, attention, embedding], [crops], "saccade_edge")

    def _tokens(self, crops: Any) -> Any:
        ops, vit = self._ops, self._vit
        mean, std = (np.array(v, np.float32) * 255.0 for v in (self._model.mean, self._model.std))
        pixels = ops.divide(ops.subtract(ops.convert(crops, np.float32), mean), std)
        grid = ops.reshape(pixels, [0, GRID[0], PATCH_SIDE, GRID[1], PATCH_SIDE, 3], special_zero=True)
        rows = ops.reshape(ops.transpose(grid, [0, 1, 3, 2, 4, 5]), [0, NUM_PATCHES, -1], special_zero=True)
        projection: Any = vit.patch_embed.proj
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)
        assert vit.cls_token is not None
        assert vit.pos_embed is not None
        positions: Any = vit.pos_embed
        class_token: Any = vit.cls_token
        if not vit.no_embed_class:
            positions, class_token = positions[:, 1:], class_token + positions[:, :1]
        patches = ops.add(self._product(rows, weight, projection.bias, "embed"), _array(positions))
        batch = ops.gather(ops.shape_of(crops), np.array([0], np.int64), 0)
        shape = ops.concat([batch, np.array([1, self._width], np.int64)], 0)
        tokens = ops.concat([ops.broadcast(_array(class_token), shape), patches], 1)
        return self._norm(tokens, vit.norm_pre) if hasattr(vit.norm_pre, "weight") else tokens

    def _block(self, tokens: Any, block: Any, name: str) -> Any:
        attention = block.attn
        qkv = self._linear(self._norm(tokens, block.norm1), attention.qkv, f"{name}qkv")
        split = self._ops.split(self._by_head(qkv, 3), 0, 3)  # three of (1, B, heads, n, d)
        query, key, value = (self._ops.squeeze(part, 0) for part in split.outputs())
        mixed = self._ops.scaled_dot_product_attention(query, key, value, causal=False)
        tokens = self._residual(tokens, self._merged(mixed), attention.proj, block.ls1, f"{name}project")
        return self._mlp(tokens, block, name)

    def _last_block(self, tokens: Any, block: Any) -> tuple[Any, Any]:
        """Return the (B, 1, D) class token after the block and the (B, 196) attention over patches."""
        ops, attention, width = self._ops, block.attn, self._width
        weight, bias = attention.qkv.weight, attention.qkv.bias
        entering = self._norm(tokens, block.norm1)
        first = np.array([0], np.int64)
        token = ops.gather(entering, first, 1)
        head, tail = (None, None) if bias is None else (bias[:width] * attention.scale, bias[width:])
        query = self._product(token, weight[:width] * attention.scale, head, "last_query")
        keys_values = self._product(entering, weight[width:], tail, "last_key_value")
        split = ops.split(self._by_head(keys_values, 2), 0, 2)
        key, value = (ops.squeeze(part, 0) for part in split.outputs())
        asked = ops.squeeze(self._by_head(query, 1), 0)
        weights = ops.softmax(ops.matmul(asked, key, False, True, name="last_scores"), -1)
        mixed = ops.matmul(weights, value, False, False, name="last_mix")
        leaving = self._residual(
            ops.gather(tokens, first, 1), self._merged(mixed), attention.proj, block.ls1, "last_project"
        )
        mean = ops.squeeze(ops.reduce_mean(weights, [1]), 1)
        patches = ops.gather(mean, np.arange(1, NUM_PATCHES + 1), 1)
        share = ops.divide(patches, ops.reduce_sum(patches, [1], keep_dims=True))
        return self._mlp(leaving, block, "last_"), share

    def _mlp(self, tokens: Any, block: Any, name: str) -> Any:
        hidden = self._linear(self._norm(tokens, block.norm2), block.mlp.fc1, f"{name}expand")
        return self._residual(
            tokens, self._ops.gelu(hidden, "erf"), block.mlp.fc2, block.ls2, f"{name}contract"
        )

    def _residual(self, tokens: Any, x: Any, linear: Any, scale: Any, name: str) -> Any:
        gamma = getattr(scale, "gamma", None)
        if gamma is None:
            return self._ops.add(tokens, self._linear(x, linear, name))
        bias = None if linear.bias is None else linear.bias * gamma
        return self._ops.add(tokens, self._product(x, linear.weight * gamma[:, None], bias, name))

    def _by_head(self, x: Any, parts: int) -> Any:
        """Return (parts, B, heads, n, d) of (B, n, parts * heads * d)."""
        shape = [0, 0, parts, self._heads, self._width // self._heads]
        return self._ops.transpose(self._ops.reshape(x, shape, special_zero=True), [2, 0, 3, 1, 4])

    def _merged(self, x: Any) -> Any:
        """Return (B, n, heads * d) of (B, heads, n, d)."""
        return self._ops.reshape(self._ops.transpose(x, [0, 2, 1, 3]), [0, 0, self._width], special_zero=True)

    def _norm(self, x: Any, norm: Any) -> Any:
        centred = self._ops.mvn(x, [-1], True, norm.eps, "inside_sqrt")
        return self._ops.add(self._ops.multiply(centred, _array(norm.weight)), _array(norm.bias))

    def _linear(self, x: Any, linear: Any, name: str) -> Any:
        return self._product(x, linear.weight, linear.bias, name)

    def _product(self, x: Any, weight: Any, bias: Any, name: str) -> Any:
        product = self._ops.matmul(x, _array(weight), False, True, name=name)
        return product if bias is None else self._ops.add(product, _array(bias))


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _openvino() -> Any:
    try:
        import openvino
        import openvino.opset13
    except ImportError as error:
        raise ModelError("the OpenVINO backend needs its extra: pip install 'saccade[openvino]'") from error
    return openvino


def _read(core: Any, path: Path, model: Model) -> Any:
    """Return the quantised network, after checking that it was made from this model."""
    path = path / QUANTISED_NAME if path.is_dir() else path
    if not path.exists():
        raise ModelError(f"model {path}: no such file; saccade quantise makes it")
    network = core.read_model(path)
    found = network.get_rt_info(_WEIGHTS_KEY).value if network.has_rt_info(_WEIGHTS_KEY) else "none"
    if found != model.weights_hash:
        raise ModelError(
            f"model {path}: made from weights {found}, not from {model.name} {model.weights_hash}"
        )
    return network
