"""The edge's model as a graph that runs without torch: for OpenVINO, and as an ONNX file.

Called where a model is exported, and by the OpenVINO backend for a model that is not. Crops (B, 224, 224, 3)
uint8 become `logits` (B, C), `attention` (B, 196) and `embedding` (B, D), as `vit.backends.EdgeOutput` has them.
The graph is written operation by operation, so that names are ours and nothing depends on a tracer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError
from schemas.geometry import CROP_SIDE, GRID, NUM_PATCHES, PATCH_SIDE
from vit.exported import INPUT, OUTPUTS
from vit.model import Model

if TYPE_CHECKING:
    import onnx
    import openvino

SENSITIVE: Final = "embed|head|last_"
"""Names of the products that stay in float when the others become int8: they decide the answer and the
attention, and cost next to nothing."""
_ONNX_OPSET = 20
"""The first that has GELU; every later reader knows it."""
_ONNX_IR_VERSION = 9

Array = NDArray[Any]


def openvino_network(model: Model) -> openvino.Model:
    """Return the model as an OpenVINO network.

    Raises:
        ModelError: OpenVINO is not installed.
    """
    try:
        import openvino
        from openvino import opset13
    except ImportError as error:
        raise ModelError("backend openvino: the library openvino is not installed") from error
    ops = _OpenVinoOps(opset13)
    results = []
    for value, name in zip(_Network(model, ops).outputs(), OUTPUTS, strict=True):
        results.append(opset13.result(value))
        value.output(0).set_names({name})
    return openvino.Model(results, [ops.input], "saccade_edge")


def onnx_network(model: Model) -> onnx.ModelProto:
    """Return the model as an ONNX network.

    Raises:
        ModelError: the library onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError("an ONNX file cannot be written: the library onnx is not installed") from error
    ops = _OnnxOps(onnx)
    shape = model.architecture
    outputs = _Network(model, ops).outputs()
    float32 = onnx.TensorProto.FLOAT
    for value, name in zip(outputs, OUTPUTS, strict=True):
        ops.node("Identity", [value], name=name)
    described = [
        onnx.helper.make_tensor_value_info(name, float32, ["batch", size])
        for name, size in zip(OUTPUTS, (shape.num_classes, NUM_PATCHES, shape.embed_dim), strict=True)
    ]
    crops = onnx.helper.make_tensor_value_info(
        INPUT, onnx.TensorProto.UINT8, ["batch", CROP_SIDE, CROP_SIDE, 3]
    )
    graph = onnx.helper.make_graph(ops.nodes, "saccade_edge", [crops], described, ops.constants)
    opset = onnx.helper.make_opsetid("", _ONNX_OPSET)
    made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=_ONNX_IR_VERSION)
    onnx.checker.check_model(made)
    return made


class _Network:
    """The model's operations in the format of `ops`, whose values are whatever that format calls a tensor.

    A shape's 0 copies the input's size there, a -1 is what is left. Arrays are constants.
    """

    def __init__(self, model: Model, ops: _OpenVinoOps | _OnnxOps) -> None:
        self._model, self._vit, self._ops = model, model.vit, ops
        self._width, self._heads = model.architecture.embed_dim, model.architecture.num_heads

    def outputs(self) -> tuple[Any, Any, Any]:
        """Return logits, attention and embedding."""
        tokens = self._tokens()
        *blocks, last = self._vit.blocks
        for index, block in enumerate(blocks):
            tokens = self._block(tokens, block, f"block{index}_")
        token, attention = self._last_block(tokens, last)
        embedding = self._ops.reshape(self._norm(token, self._vit.norm), [0, self._width])
        return self._linear(embedding, self._vit.head, "head"), attention, embedding

    def _tokens(self) -> Any:
        ops, vit = self._ops, self._vit
        mean, std = (np.array(v, np.float32) * np.float32(255) for v in (self._model.mean, self._model.std))
        pixels = ops.divide(ops.subtract(ops.pixels(), mean), std)
        grid = ops.reshape(pixels, [0, GRID[0], PATCH_SIDE, GRID[1], PATCH_SIDE, 3])
        rows = ops.reshape(ops.transpose(grid, [0, 1, 3, 2, 4, 5]), [0, NUM_PATCHES, -1])
        projection = vit.patch_embed.proj
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)
        positions, class_token = vit.pos_embed, vit.cls_token
        if not vit.no_embed_class:
            positions, class_token = positions[:, 1:], class_token + positions[:, :1]
        patches = ops.add(self._product(rows, weight, projection.bias, "embed"), _array(positions))
        tokens = ops.join(ops.repeat(_array(class_token), patches), patches)
        return self._norm(tokens, vit.norm_pre) if hasattr(vit.norm_pre, "weight") else tokens

    def _block(self, tokens: Any, block: Any, name: str) -> Any:
        attention = block.attn
        qkv = self._linear(self._norm(tokens, block.norm1), attention.qkv, f"{name}qkv")
        query, key, value = self._ops.split(self._by_head(qkv, 3), 3)
        mixed = self._ops.attend(query, key, value, attention.scale)
        tokens = self._residual(tokens, self._merged(mixed), attention.proj, block.ls1, f"{name}project")
        return self._mlp(tokens, block, name)

    def _last_block(self, tokens: Any, block: Any) -> tuple[Any, Any]:
        """Return the (B, 1, D) class token after the block and the (B, 196) attention over patches."""
        ops, attention, width = self._ops, block.attn, self._width
        weight, bias = attention.qkv.weight, attention.qkv.bias
        entering = self._norm(tokens, block.norm1)
        first = np.array([0], np.int64)
        head, tail = (None, None) if bias is None else (bias[:width] * attention.scale, bias[width:])
        query = self._product(
            ops.take(entering, first, 1), weight[:width] * attention.scale, head, "last_query"
        )
        keys_values = self._product(entering, weight[width:], tail, "last_key_value")
        key, value = ops.split(self._by_head(keys_values, 2), 2)
        (asked,) = ops.split(self._by_head(query, 1), 1)
        weights = ops.softmax(ops.product(asked, key, transposed=True, name="last_scores"))
        mixed = ops.product(weights, value, transposed=False, name="last_mix")
        leaving = self._residual(
            ops.take(tokens, first, 1), self._merged(mixed), attention.proj, block.ls1, "last_project"
        )
        by_key = ops.reshape(ops.mean(weights, 1), [0, NUM_PATCHES + 1])
        patches = ops.take(by_key, np.arange(1, NUM_PATCHES + 1), 1)
        return self._mlp(leaving, block, "last_"), ops.divide(patches, ops.total(patches))

    def _mlp(self, tokens: Any, block: Any, name: str) -> Any:
        hidden = self._linear(self._norm(tokens, block.norm2), block.mlp.fc1, f"{name}expand")
        return self._residual(tokens, self._ops.gelu(hidden), block.mlp.fc2, block.ls2, f"{name}contract")

    def _residual(self, tokens: Any, x: Any, linear: Any, scale: Any, name: str) -> Any:
        gamma = getattr(scale, "gamma", None)
        if gamma is None:
            return self._ops.add(tokens, self._linear(x, linear, name))
        bias = None if linear.bias is None else linear.bias * gamma
        return self._ops.add(tokens, self._product(x, linear.weight * gamma[:, None], bias, name))

    def _by_head(self, x: Any, parts: int) -> Any:
        """Return (parts, B, heads, n, d) of (B, n, parts * heads * d)."""
        shape = [0, 0, parts, self._heads, self._width // self._heads]
        return self._ops.transpose(self._ops.reshape(x, shape), [2, 0, 3, 1, 4])

    def _merged(self, x: Any) -> Any:
        """Return (B, n, heads * d) of (B, heads, n, d)."""
        return self._ops.reshape(self._ops.transpose(x, [0, 2, 1, 3]), [0, 0, self._width])

    def _norm(self, x: Any, norm: Any) -> Any:
        return self._ops.norm(x, _array(norm.weight), _array(norm.bias), norm.eps)

    def _linear(self, x: Any, linear: Any, name: str) -> Any:
        return self._product(x, linear.weight, linear.bias, name)

    def _product(self, x: Any, weight: Any, bias: Any, name: str) -> Any:
        product = self._ops.product(x, _array(weight), transposed=True, name=name)
        return product if bias is None else self._ops.add(product, _array(bias))


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().numpy())


class _OpenVinoOps:
    """OpenVINO's own nodes."""

    def __init__(self, opset: Any) -> None:
        self._opset = opset
        self.input = opset.parameter([-1, CROP_SIDE, CROP_SIDE, 3], np.uint8, name=INPUT)
        self.add, self.subtract = opset.add, opset.subtract
        self.multiply, self.divide = opset.multiply, opset.divide
        self.transpose = opset.transpose

    def pixels(self) -> Any:
        return self._opset.convert(self.input, np.float32)

    def product(self, x: Any, y: Any, *, transposed: bool, name: str) -> Any:
        return self._opset.matmul(x, y, False, transposed, name=name)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return self._opset.reshape(x, list(shape), special_zero=True)

    def split(self, x: Any, parts: int) -> Sequence[Any]:
        cut = self._opset.split(x, 0, parts)
        return [self._opset.squeeze(part, 0) for part in cut.outputs()]

    def take(self, x: Any, indices: Array, axis: int) -> Any:
        return self._opset.gather(x, indices, axis)

    def repeat(self, row: Array, like: Any) -> Any:
        batch = self._opset.gather(self._opset.shape_of(like), np.array([0], np.int64), 0)
        return self._opset.broadcast(
            row, self._opset.concat([batch, np.array([1, row.shape[-1]], np.int64)], 0)
        )

    def join(self, first: Any, second: Any) -> Any:
        return self._opset.concat([first, second], 1)

    def softmax(self, x: Any) -> Any:
        return self._opset.softmax(x, -1)

    def attend(self, query: Any, key: Any, value: Any, scale: float) -> Any:
        return self._opset.scaled_dot_product_attention(query, key, value, None, np.float32(scale), False)

    def gelu(self, x: Any) -> Any:
        return self._opset.gelu(x, "erf")

    def norm(self, x: Any, weight: Array, bias: Array, eps: float) -> Any:
        centred = self._opset.mvn(x, [-1], True, eps, "inside_sqrt")
        return self.add(self.multiply(centred, weight), bias)

    def mean(self, x: Any, axis: int) -> Any:
        return self._opset.reduce_mean(x, [axis])

    def total(self, x: Any) -> Any:
        return self._opset.reduce_sum(x, [1], keep_dims=True)


class _OnnxOps:
    """ONNX nodes; a value is the name of a node's output."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(
        self, kind: str, inputs: Sequence[Any], *, outputs: int = 1, name: str = "", **options: Any
    ) -> Any:
        """Add a node; return its output's name, or the names of several."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{index}" for index in range(outputs)]
        given = [
            self._constant(each) if isinstance(each, np.ndarray | np.generic) else each for each in inputs
        ]
        self.nodes.append(self._onnx.helper.make_node(kind, given, names, name=name, **options))
        return names[0] if outputs == 1 else names

    def _constant(self, array: Array | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def pixels(self) -> Any:
        return self.node("Cast", [INPUT], to=self._onnx.TensorProto.FLOAT)

    def add(self, x: Any, y: Any) -> Any:
        return self.node("Add", [x, y])

    def subtract(self, x: Any, y: Any) -> Any:
        return self.node("Sub", [x, y])

    def multiply(self, x: Any, y: Any) -> Any:
        return self.node("Mul", [x, y])

    def divide(self, x: Any, y: Any) -> Any:
        return self.node("Div", [x, y])

    def product(self, x: Any, y: Any, *, transposed: bool, name: str) -> Any:
        if transposed and isinstance(y, np.ndarray):
            y = np.ascontiguousarray(y.T)
        elif transposed:
            y = self.transpose(y, [0, 1, 3, 2])
        return self.node("MatMul", [x, y], name=name)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return self.node("Reshape", [x, np.array(shape, np.int64)])

    def transpose(self, x: Any, order: Sequence[int]) -> Any:
        return self.node("Transpose", [x], perm=list(order))

    def split(self, x: Any, parts: int) -> Sequence[Any]:
        cut = [x] if parts == 1 else self.node("Split", [x], outputs=parts, axis=0, num_outputs=parts)
        return [self.node("Squeeze", [part, np.array([0], np.int64)]) for part in cut]

    def take(self, x: Any, indices: Array, axis: int) -> Any:
        return self.node("Gather", [x, indices], axis=axis)

    def repeat(self, row: Array, like: Any) -> Any:
        batch = self.node("Shape", [like], start=0, end=1)
        shape = self.node("Concat", [batch, np.array([1, row.shape[-1]], np.int64)], axis=0)
        return self.node("Expand", [row, shape])

    def join(self, first: Any, second: Any) -> Any:
        return self.node("Concat", [first, second], axis=1)

    def softmax(self, x: Any) -> Any:
        return self.node("Softmax", [x], axis=-1)

    def attend(self, query: Any, key: Any, value: Any, scale: float) -> Any:
        name = f"scores_{len(self.nodes)}"
        scores = self.product(self.multiply(query, np.float32(scale)), key, transposed=True, name=name)
        return self.product(self.softmax(scores), value, transposed=False, name=f"{name}_mix")

    def gelu(self, x: Any) -> Any:
        return self.node("Gelu", [x])

    def norm(self, x: Any, weight: Array, bias: Array, eps: float) -> Any:
        return self.node("LayerNormalization", [x, weight, bias], axis=-1, epsilon=eps)

    def mean(self, x: Any, axis: int) -> Any:
        return self.node("ReduceMean", [x, np.array([axis], np.int64)], keepdims=0)

    def total(self, x: Any) -> Any:
        return self.node("ReduceSum", [x, np.array([1], np.int64)], keepdims=1)
