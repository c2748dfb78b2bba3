"""Pages from templates, and numbers as a report prints them. Pure."""

from __future__ import annotations

import math
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.evaluation.points import HoldRule, Setting
from schemas.belief_rule import BeliefRule

DASH: Final = "–"


def render(template: str, **context: object) -> str:
    """Return the page that a file of `templates` makes; a name that the context lacks is an error."""
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    # Markdown, not HTML: what looks like markup in a class name stands as it is.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("lab.evaluation.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "in_points": in_points,
        "interval": lambda pair: interval(*pair),
        "signed_interval": lambda pair: signed_interval(*pair),
        "kilobytes": kilobytes,
        "giga": giga,
        "change": change,
        "number": number,
        "setting": setting_text,
        "gate": gate_text,
    }
    return environment


def percent(share: float, digits: int = 2) -> str:
    """Return a share as percent without the sign; a dash for NaN."""
    return DASH if math.isnan(share) else f"{100 * share:.{digits}f}"


def in_points(share: float) -> str:
    """Return a difference of shares in signed percentage points."""
    return DASH if math.isnan(share) else f"{100 * share:+.2f}"


def interval(low: float, high: float) -> str:
    """Return an interval of shares in percent."""
    return f"{percent(low)}…{percent(high)}"


def signed_interval(low: float, high: float) -> str:
    """Return an interval of differences in percentage points."""
    return f"{in_points(low)}…{in_points(high)}"


def kilobytes(num_bytes: float) -> str:
    """Return bytes in kB (1,000 bytes) with two decimals."""
    return f"{num_bytes / 1000:.2f}"


def giga(count: float) -> str:
    """Return a count in 10^9 with three significant digits."""
    return f"{count / 1e9:.3g}"


def change(ratio: float) -> str:
    """Return a relative change in signed percent; a dash for NaN."""
    return DASH if math.isnan(ratio) else f"{100 * ratio:+.1f} %"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number of at most `digits` significant digits; a dash for None."""
    return DASH if value is None else f"{value:.{digits}g}"


def setting_text(each: Setting) -> str:
    """Return what a setting sends, in a few words."""
    if each.selection is None:
        return "nothing"
    share = "" if each.delta is None else f" {number(each.delta)}"
    kept = "whole image" if each.delta == 1.0 else f"{each.selection}{share}"
    codec = each.codec if not each.quality or "/" in str(each.codec) else f"{each.codec}-{each.quality}"
    floor = f", floor {each.min_patches}" if each.min_patches and each.min_patches > 1 else ""
    return f"{kept}{floor}, {codec}{memory_text(each.memory)}"


def memory_text(memory: BeliefRule | HoldRule | None) -> str:
    """Return how frames bear on each other, after a comma; nothing where they do not."""
    match memory:
        case None:
            return ""
        case HoldRule(cosine, seconds):
            return f", held {seconds:g} s above {cosine:g}"
        case BeliefRule() as rule if rule.memory_s == 0:
            return f", β {rule.beta:g}"
        case BeliefRule() as rule:
            fades = "" if math.isinf(rule.memory_s) else f", half in {rule.memory_s:g} s"
            weights = f"α {rule.alpha:g}, β {rule.beta:g}, r {rule.redundancy:g}"
            return f", {weights}, c {rule.floor:g}, γ {rule.gamma:g}{fades}"


def gate_text(each: Setting) -> str:
    """Return a setting's gate and threshold; a dash where there is neither."""
    if each.gate is None and each.tau is None:
        return DASH
    return f"{each.gate or 'none'}" + ("" if each.tau is None else f" {each.tau:.3g}")
