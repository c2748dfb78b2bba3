"""Which class index each folder or table entry means. Pure.

Three readings of folder names, tried in this order; the report says which one held: the model's own class
names, ImageNet synsets, and the sorted order of the folders when there are as many of them as classes.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import EvaluationError
from vit.classes import IMAGENET_CLASSES, imagenet_synsets

_SYNSET = re.compile(r"n\d{8}")


@dataclass(frozen=True, slots=True)
class FolderLabels:
    """Class index by folder name, and how it was found."""

    index: dict[str, int]
    reading: str


def folder_labels(folders: Sequence[str], classes: Sequence[str]) -> FolderLabels:
    """Return the class index of every folder name.

    Args:
        folders: the names of the class folders, at least one.
        classes: the model's class names in index order.

    Raises:
        EvaluationError: none of the three readings fits.
    """
    by_name = {name: idx for idx, name in enumerate(classes)}
    if all(folder in by_name for folder in folders):
        return FolderLabels({folder: by_name[folder] for folder in folders}, "folders named by class")
    if len(classes) == IMAGENET_CLASSES and all(_SYNSET.fullmatch(folder) for folder in folders):
        synsets = {name: idx for idx, name in enumerate(imagenet_synsets())}
        unknown = [folder for folder in folders if folder not in synsets]
        if not unknown:
            return FolderLabels({folder: synsets[folder] for folder in folders}, "folders named by synset")
        raise EvaluationError(f"folder {unknown[0]}: a synset outside the {IMAGENET_CLASSES} of ImageNet-1k")
    if len(folders) == len(classes):
        ordered = {folder: idx for idx, folder in enumerate(sorted(folders))}
        return FolderLabels(ordered, "folders in sorted order")
    raise EvaluationError(
        f"{len(folders)} class folders do not match the model's {len(classes)} classes by name, by synset or "
        f"by number (first folder: {sorted(folders)[0]}); give a table with --labels FILE.csv"
    )


def table_labels(path: Path, classes: Sequence[str]) -> dict[str, int]:
    """Return class index by file from a CSV with columns `file` and `class_index` or `label`.

    `label` holds a class name, an index or, for ImageNet's classes, a synset; other columns are ignored.

    Raises:
        EvaluationError: the table cannot be read, a column is missing, a file is listed twice or a label is
        no class; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise EvaluationError(f"{path}: {why}; needed: a CSV with columns `file` and `label`") from None
    with io.StringIO(text, newline="") as stream:
        rows = csv.DictReader(stream)
        columns = rows.fieldnames or []
        column = next((name for name in ("class_index", "label") if name in columns), None)
        if "file" not in columns or column is None:
            raise EvaluationError(
                f"{path}: columns {', '.join(columns) or 'none'}; needed: `file` and `label` or `class_index`"
            )
        by_name = {name: idx for idx, name in enumerate(classes)}
        if len(classes) == IMAGENET_CLASSES:
            by_name |= {name: idx for idx, name in enumerate(imagenet_synsets())}
        found: dict[str, int] = {}
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            file, label = (row["file"] or "").strip(), (row[column] or "").strip()
            if not file or file in found:
                raise EvaluationError(f"{where}: file {file or 'missing'!r} is empty or listed twice")
            found[file] = _class_index(label, by_name, len(classes), where)
    if not found:
        raise EvaluationError(f"{path}: lists no file")
    return found


def _class_index(label: str, by_name: dict[str, int], num_classes: int, where: str) -> int:
    if label in by_name:
        return by_name[label]
    if label.isdecimal() and int(label) < num_classes:
        return int(label)
    raise EvaluationError(
        f"{where}: label {label!r} is neither a class name nor an index below {num_classes}"
    )
