"""Words for labels: what a legend, an axis or a table says."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.colors import RGB
from bokeh.palettes import viridis

_LABELS = {
    ("design", "phase-agnostic"): "Phase-agnostic design",
    ("design", "orthogonal"): "Orthogonal design (P.2)",
    ("design", "beamforming"): "Beamforming design (P.3)",
    ("design", "unconstrained-tight"): "Unconstrained (P.1T): a bound, needs node phases",
    ("design", "unconstrained"): "Unconstrained (P.1 as printed): a bound, needs node phases",
    ("design", "synchronised"): "Design for the stated synchronisation",
    ("design", "coherent"): "Coherent-only design",
    ("design", "communication-only"): "Communication only",
    ("design", "isotropic"): "Isotropic",
    ("design", "optimum"): "Optimum",
    ("design", "zero-forcing"): "Zero forcing",
    ("design", "zero-forcing-best-node"): "Zero forcing, best node senses",
    ("design", "ofdm-phase-agnostic"): "Phase-agnostic (002)",
    ("design", "ofdm-orthogonal"): "Orthogonal (002)",
    ("design", "ofdm-beamforming"): "Beamforming (002)",
    ("design", "ofdm-unconstrained-tight"): "Unconstrained (002)",
    ("design", "noncoherent-block"): "Block level (001)",
    ("design", "robust-none"): "No error (000)",
    ("design", "robust-lemma1"): "Lemma 1 (000)",
    ("design", "robust-phase"): "Phases (000)",
    ("design", "robust-zero-forcing"): "Zero forcing (000)",
    ("robustness", "none"): "No error",
    ("robustness", "lemma1"): "Lemma 1",
    ("robustness", "norm-ball"): "A ball for each node",
    ("robustness", "stacked-ball"): "One ball",
    ("robustness", "phase"): "Phases",
    ("robustness", "s-procedure"): "A ball for each node, exactly",
    ("robustness", "s-procedure-stacked"): "One ball, exactly",
    ("angles", "nominal"): "At the estimate",
    ("angles", "paper"): "At the boundary of (36)",
    ("angles", "max-min"): "Covering the box",
    ("limit", "total"): "Total power",
    ("limit", "per-node"): "Per-node power",
    ("limit", "per-antenna"): "Per-antenna power",
}

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette: told apart by colour-blind readers."""

DASHES = ("solid", "6 4", "2 4", "2 4 6 4", "14 4", "14 4 2 4")
"""Lengths of what is drawn and left out, in turn."""

STATUS_COLOURS = {
    "ok": "#4C9F70", "inaccurate": "#E9C46A", "partly infeasible": "#8FB8A8", "infeasible": "#B8C4D6", "failed": "#C1121F",
    "missing": "#6A3D9A",
}  # fmt: skip
"""What a place on the status map may show; it may stand for several cells."""


def colours(count: int) -> tuple[str, ...]:
    """As many colours as there are curves: told apart by everyone for a few, a scale from dark to light for many."""
    return COLOURS[:count] if count <= len(COLOURS) else tuple(viridis(count))


def lighter(colour: str, share: float) -> str:
    """A colour that goes towards white as the share goes from zero to one."""
    if share == 0.0:
        return colour
    whole = RGB.from_hex_string(colour)
    mixed = [round(part + 0.8 * share * (255 - part)) for part in (whole.r, whole.g, whole.b)]
    return RGB(*mixed).to_hex().upper()


def label(axis: str, value: Any) -> str:
    """A value of an axis in words: ``2 users``, ``Orthogonal design (P.2)``."""
    if (axis, str(value)) in _LABELS:
        return _LABELS[axis, str(value)]
    if axis.endswith("_count"):
        noun = axis.removesuffix("_count").replace("_", " ")
        return f"{value} {noun}{'s' if value != 1 else ''}"
    words = axis.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if isinstance(value, str):
        return f"{words} {value}" if value.isdigit() else value
    words, unit = _named(axis)
    return f"{words} {number(value)} {unit}".rstrip()


_UNITS = {"db": "dB", "hz": "Hz", "m": "m", "s": "s", "rad": "rad", "deg": "deg"}


def _named(name: str) -> tuple[str, str]:
    """Words and unit of a name that carries its unit: ``sinr_db`` is SINR in dB."""
    words, _, last = name.rpartition("_")
    words, unit = (words, _UNITS[last]) if last in _UNITS and words else (name, "")
    return words.replace("_", " ").replace("sinr", "SINR"), unit


def entry(axis: str, value: Any) -> str:
    """A value below a column heading that names the axis already."""
    return label(axis, value) if isinstance(value, str) else number(value)


def place(dataset: xr.Dataset, axis: str, value: Any) -> str:
    """A value of an axis where no heading names it: ``SINR target 30 dB``."""
    words = label(axis, value)
    if isinstance(value, str | bool) or axis.endswith("_count"):
        return words
    attributes = dataset[axis].attrs
    unit = str(attributes.get("units", "1"))
    return f"{attributes.get('long_name') or axis} {number(value)}" + (f" {unit}" if unit not in ("", "1") else "")


def axis_title(dataset: xr.Dataset, name: str) -> str:
    """Long name with its unit."""
    attributes = dataset[name].attrs if name in dataset.variables else {}
    # Bins of a variable have no attributes: their name carries the unit.
    words, unit_of_name = _named(name)
    text = str(attributes.get("long_name") or words)
    unit = str(attributes.get("units", attributes.get("unit", "1" if attributes.get("long_name") else unit_of_name)))
    text = text.removesuffix(f", {unit}")
    return text[:1].upper() + text[1:] + (f" [{unit}]" if unit not in ("", "1") else "")


def number(value: Any) -> str:
    """A number short enough to read."""
    if isinstance(value, float | np.floating):
        return "–" if not np.isfinite(value) else f"{value:.4g}"
    return str(value)


def short(text: str, most: int = 72) -> str:
    """A text cut where it has more letters than that."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def seconds(value: float) -> str:
    """A duration."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"
