"""The cut network, its training and both passages, on tiny nets and drawn pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lab.errors import EvaluationError, TrainingError
from lab.progress import SilentProgress
from lab.research.aecnn import ChannelAttention, ChannelPruning, largest, train_aecnn, train_attention
from lab.research.analogue import AnalogueCode, noisy, record, train_exit_and_code
from lab.research.bottleneck import Bottleneck, answer, to_levels
from lab.research.bottlenet import ConvolvedBottleneck, train_bottlenet
from lab.research.fitting import Schedule, batch_of, fit
from lab.research.pictures import Pictures, drawn_tracks, read_tracks
from lab.research.split_cnn import (
    SPLIT_POINTS,
    SplitCNN,
    build,
    macs,
    normalised,
    probabilities,
    work_by_split,
)

SIDE = 32
SILENT = SilentProgress()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of floats depend on the number of threads, and tiny nets gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return drawn_tracks(60, SIDE, seed=1)


@pytest.fixture(scope="module")
def trained(pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> SplitCNN:
    net = build("resnet10x4", 4, seed=1)
    loss = nn.CrossEntropyLoss()
    file = tmp_path_factory.mktemp("reference") / "reference.pt"
    fit(net, [net], lambda x, y: loss(net(x), y), pictures, Schedule(12, rate=5e-3, batch=16), file, SILENT)
    return net


@pytest.mark.slow
def test_a_cut_changes_no_answer() -> None:
    net = build("resnet10x4", 7).eval()
    pixels = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        for split in SPLIT_POINTS:
            assert torch.equal(net.server(split, net.device(split, pixels)), net(pixels))


def test_multiply_adds_by_hand() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2)
    assert macs(conv, torch.zeros(1, 4, 5, 7)) == 6 * 5 * 7 * (4 // 2) * 9
    assert macs(nn.Sequential(nn.Flatten(), nn.Linear(10, 3)), torch.zeros(2, 10)) == 2 * 30


@pytest.mark.slow
def test_both_sides_share_the_work() -> None:
    net = build("resnet10x4", 7)
    rows = work_by_split(net, SIDE)
    total = macs(net, torch.zeros(1, 3, SIDE, SIDE))
    assert [row.split for row in rows] == list(SPLIT_POINTS)
    assert all(row.device_macs + row.server_macs == total for row in rows)
    assert rows[-1].server_macs == 32 * 7  # the head alone
    assert rows[2].shape == (8, 4, 4)
    assert rows[2].float_bytes == 4 * 8 * 4 * 4


@pytest.mark.slow
def test_a_small_stem_keeps_maps_twice_as_large() -> None:
    large, small = (
        work_by_split(build("resnet10x4", 7, small_stem=on), SIDE)[1].shape for on in (False, True)
    )
    assert (large, small) == ((4, 8, 8), (4, 16, 16))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"), [("resnet99", "no model of that name"), ("vit_tiny_patch16_224", "a ResNet is needed")]
)
def test_other_networks_are_refused(name: str, says: str) -> None:
    with pytest.raises(EvaluationError, match=says):
        build(name, 3)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(pictures: Pictures, tmp_path: Path) -> None:
    loss = nn.CrossEntropyLoss()

    def run(file: str, until: int | None) -> dict[str, torch.Tensor]:
        net, path = build("resnet10x4", 4, seed=2), tmp_path / file
        schedule = Schedule(0.5, batch=16)
        fit(net, [net], lambda x, y: loss(net(x), y), pictures, schedule, path, SILENT, until=until)
        return net.state_dict()

    once = run("once.pt", None)
    stopped = run("twice.pt", 3)
    assert not torch.equal(once["stages.stem.0.weight"], stopped["stages.stem.0.weight"])
    resumed = run("twice.pt", None)
    assert all(torch.equal(once[name], resumed[name]) for name in once)


@pytest.mark.slow
def test_another_schedule_is_refused(pictures: Pictures, tmp_path: Path) -> None:
    net = build("resnet10x4", 4)
    loss = nn.CrossEntropyLoss()
    for seed in (1, 2):
        schedule, file = Schedule(0.1, batch=16, seed=seed), tmp_path / "a.pt"
        if seed == 1:
            fit(net, [net], lambda x, y: loss(net(x), y), pictures, schedule, file, SILENT)
        else:
            with pytest.raises(TrainingError, match="it holds a run with"):
                fit(net, [net], lambda x, y: loss(net(x), y), pictures, schedule, file, SILENT)


def test_an_epoch_shows_every_picture_once() -> None:
    schedule = Schedule(2, batch=5)
    seen = np.concatenate([batch_of(step, 20, schedule) for step in range(4)])
    assert sorted(seen) == list(range(20))
    assert not np.array_equal(batch_of(0, 20, schedule), batch_of(4, 20, schedule))


def test_the_rate_rises_in_the_first_tenth_and_falls_to_nothing() -> None:
    schedule = Schedule(1, rate=1.0)
    assert schedule.rate_at(0, 100) == pytest.approx(0.1)
    assert schedule.rate_at(50, 100) == pytest.approx(0.5)
    assert schedule.rate_at(99, 100) < 0.001


def test_the_quantiser_by_hand() -> None:
    values = torch.tensor([-1.0, 0.1, 0.49, 0.51, 0.9, 2.0], requires_grad=True)
    levels = to_levels(values, 1)
    assert levels.tolist() == [0, 0, 0, 1, 1, 1]
    assert to_levels(torch.tensor([0.5, 0.1]), 4).tolist() == [8, 2]  # 7.5 rounds to even, 1.5 too
    torch.autograd.backward(levels.sum())
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_the_largest_of_each_row_and_of_equals_the_first() -> None:
    attention = torch.tensor([[0.1, 0.9, 0.5, 0.9], [0.2, 0.2, 0.2, 0.2]])
    assert largest(attention, 2).tolist() == [[False, True, False, True], [True, True, False, False]]


def test_attention_by_hand() -> None:
    attention = ChannelAttention(4)
    first, _, last = attention.mlp
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.eye(4))
        last.weight.copy_(torch.eye(4))
        first.bias.zero_()
        last.bias.zero_()
    features = torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]], [[-1.0, 0.0]], [[0.0, 0.0]]]])
    # relu(mean) + relu(max): 1 + 2, 1 + 1, 0 + 0, 0
    expected = torch.sigmoid(torch.tensor([3.0, 2.0, 0.0, 0.0])).tolist()
    assert attention(features)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("own", [False, True])
def test_only_kept_maps_travel(own: bool) -> None:
    pruning = ChannelPruning(ChannelAttention(8), 8, 3, 4, own=own)
    levels, sent = pruning.narrow(torch.rand(5, 8, 2, 2))
    assert sent.sum(1).tolist() == [3] * 5
    assert levels[~sent].abs().sum() == 0
    assert levels.max() <= 15
    assert pruning.rebuild(levels).shape == (5, 8, 2, 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ConvolvedBottleneck(8, 9), "hidden 9: must be 1 to 8"),
        (lambda: ChannelPruning(ChannelAttention(8), 8, 0, 4, own=False), "kept 0: must be 1 to 8"),
        (lambda: ConvolvedBottleneck(8, 2, bits=9), "bits 9: must be 1 to 8"),
    ],
)
def test_sizes_out_of_range_are_named(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]


@pytest.mark.slow
def test_the_rivals_learn_to_pass_the_cut(trained: SplitCNN, pictures: Pictures, tmp_path: Path) -> None:
    """Both come near the unsplit network in far fewer bytes than its float features, and leave it as it was."""
    asked = drawn_tracks(24, SIDE, seed=2)
    before = probabilities(trained, asked.pixels)
    whole = (before.argmax(1) == asked.truth).mean()
    assert whole > 0.8
    short = Schedule(3, rate=5e-3, batch=16)
    attended = train_attention(trained, "layer2", pictures, short, tmp_path / "attention.pt", SILENT)
    rivals: list[tuple[SplitCNN, Bottleneck]] = [
        train_bottlenet(
            trained, "layer2", pictures, hidden=2, schedules=(short, short), folder=tmp_path, progress=SILENT
        )
    ]
    rivals += [
        train_aecnn(
            attended, "layer2", pictures, kept=3, bits=4, own=own, schedules=(short, short), folder=tmp_path,
            progress=SILENT,
        )
        for own in (False, True)
    ]  # fmt: skip
    for net, bottleneck in rivals:
        answers = answer(net, "layer2", bottleneck, pictures, asked)
        assert (answers.probabilities.argmax(1) == asked.truth).mean() > whole - 0.25
        assert answers.coded_bytes.mean() < 512 / 8
        assert (answers.coded_bytes >= answers.ideal_bytes * 0.999).all()
        assert min(answers.cost) > 0
    assert np.array_equal(probabilities(trained, asked.pixels), before)


def test_symbols_have_power_one_and_noise_its_own() -> None:
    values = AnalogueCode(8, 6).encode(torch.randn(4, 8, 3, 3))
    assert values.square().mean((1, 2, 3)).tolist() == pytest.approx([0.5] * 4)
    torch.manual_seed(0)
    noise = noisy(torch.zeros(2, 1, 300, 300), torch.tensor([0.0, 10.0])).square().mean((1, 2, 3))
    assert noise.tolist() == pytest.approx([0.5, 0.05], rel=0.02)


@pytest.mark.slow
def test_the_code_serves_better_at_a_better_channel(
    trained: SplitCNN, pictures: Pictures, tmp_path: Path
) -> None:
    short = Schedule(6, rate=5e-3, batch=16)
    parts = train_exit_and_code(
        trained, "layer2", pictures, maps=2, schedules=(short, short), folder=tmp_path, progress=SILENT
    )
    asked = drawn_tracks(24, SIDE, seed=2)
    net, head, code = parts
    exits, server, symbols = record(net, "layer2", head, code, asked, np.array([-20.0, 20.0]), seed=0)
    low, high = (server == asked.truth).mean(1)
    assert high > low + 0.2
    assert exits.sum(1) == pytest.approx(np.ones(len(asked)))
    assert symbols == 2 * 4 * 4 // 2


def test_tracks_are_read_and_split_whole(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for track in range(3):
            for frame in range(2):
                Image.new("RGB", (20, 30), (80 * track, 0, 0)).save(tmp_path / label / f"{track}_{frame}.png")
    read = read_tracks(tmp_path, 8)
    assert read.classes == ("a", "b")
    assert read.pixels.shape == (12, 8, 8, 3)
    assert read.tracks.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    rest, held = read.hold_out(3)
    assert sorted(set(held.tracks)) == [2, 5]
    assert not set(rest.tracks) & set(held.tracks)
    assert len(read_tracks(tmp_path, 8, limit=5)) == 5


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no such folder"):
        read_tracks(tmp_path / "none", 8)
    with pytest.raises(EvaluationError, match="0 class folders"):
        read_tracks(tmp_path, 8)


def test_pixels_are_centred() -> None:
    assert normalised(np.array([[[[0, 255, 127]]]], np.uint8)).flatten().tolist() == pytest.approx(
        [-2.0, 2.0, -0.0078125], abs=1e-2
    )
