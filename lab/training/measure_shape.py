"""Measures the pair on fresh scenes for the model card: ``python -m lab.training.measure_shape``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from lab.progress import Progress, TerminalProgress
from lab.scenes.classes import CLASSES
from lab.scenes.seeds import CALIBRATION_SEEDS, TEST_SEEDS, TRAIN_SEEDS, Split, assert_split
from lab.training.shape.answers import PairAnswers, colour_accuracy, known_colours
from lab.training.shape.choices import ALL, CALIBRATED
from lab.training.shape.table import CardRow, choose, markdown, replace_table, rows
from vit.classes import same_classes
from vit.model import Model
from vit.process import available_threads
from vit.weights import load_model

_SPAN: Final = 10_000_000
TEST: Final = range(TEST_SEEDS.start + 5 * 10**8, TEST_SEEDS.start + 5 * 10**8 + _SPAN)
CALIBRATION: Final = range(CALIBRATION_SEEDS.start + 5 * 10**8, CALIBRATION_SEEDS.start + 5 * 10**8 + _SPAN)
COLOURS: Final = range(TRAIN_SEEDS.start + 9 * 10**8, TRAIN_SEEDS.start + 9 * 10**8 + _SPAN)


def measure(
    edge: Model, server: Model, folder: Path, progress: Progress, *, num_scenes: int = 5000, threads: int = 1
) -> list[CardRow]:
    """Return the card's rows for a pair on fresh test scenes; a cut-off run goes on where it was.

    The operating point is chosen on calibration scenes, half as many; the colour baseline learns on training
    scenes. Nothing that a test scene shows decides anything.
    """
    same_classes(edge.classes, server.classes)
    same_classes(CLASSES, edge.classes)
    for seeds, split in ((TEST, Split.TEST), (CALIBRATION, Split.CALIBRATION), (COLOURS, Split.TRAIN)):
        assert_split(seeds, split)
    progress.start("calibration scenes", num_scenes // 2)
    tuned, _ = PairAnswers(edge, server, folder, CALIBRATED, threads).see(
        CALIBRATION, num_scenes // 2, progress
    )
    point = choose(tuned)
    progress.say(f"operating point: tau {point.tau:.3f}, delta {point.delta}, at least {point.floor} patches")
    progress.start("test scenes", num_scenes)
    seen, ignored = PairAnswers(edge, server, folder, ALL, threads).see(TEST, num_scenes, progress)
    progress.say(f"{num_scenes} test scenes scored; at most {ignored} more were neither clear nor empty")
    progress.start("colours of training scenes", num_scenes)
    colours, truths = known_colours(COLOURS, num_scenes, progress)
    return rows(seen, colour_accuracy(colours, truths, seen.colours, seen.truth), point)


def main() -> None:
    """Measure the shipped pair, or another, and write ``shape.json`` and the card's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", default="shipped:edge", help="model name, folder or file")
    parser.add_argument("--server", default="shipped:server", help="model name, folder or file")
    parser.add_argument("--scenes", type=int, default=5000, help="test scenes (default 5000)")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/shape"), help="where finished chunks are kept"
    )
    parser.add_argument("--threads", type=int, default=available_threads(), help="torch's threads")
    parser.add_argument("--card", type=Path, help="Markdown file whose table is replaced")
    options = parser.parse_args()
    with TerminalProgress() as progress:
        edge, server = load_model(options.edge), load_model(options.server)
        found = measure(
            edge, server, options.folder, progress, num_scenes=options.scenes, threads=options.threads
        )
        table = markdown(found)
        record = {"edge": edge.weights_hash, "server": server.weights_hash, "scenes": options.scenes}
        text = json.dumps({**record, "rows": [asdict(row) for row in found]}, indent=1)
        (options.folder / "shape.json").write_text(text, encoding="utf-8")
        if options.card is not None:
            replace_table(options.card, table)
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    main()
