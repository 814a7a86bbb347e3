"""``design``: compute one design for the user's own channels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.common import EXIT_FAILED, AsJson, emit
from pipeline.errors import UsageError, near_miss
from pipeline.files import told

DESIGNS = ("phase-agnostic", "synchronised", "coherent", "orthogonal", "beamforming", "unconstrained-tight", "unconstrained")
_CHOICES = {
    "--localization": ("hybrid", "tof", "aoa", "tof_nui", "aoa_nui"), "--power-limit": ("per-antenna", "per-node", "total"),
    "--sinr-type": ("noncoherent", "coherent", "cbf"), "--design": DESIGNS,
}  # fmt: skip


def design(
    source: Annotated[Path | None, typer.Argument(metavar="INPUT", help="Zarr group, .npz or .mat with the arrays.")] = None,
    design: Annotated[str, typer.Option(help=f"One of {', '.join(DESIGNS)}.")] = "phase-agnostic",
    sinr_db: Annotated[float, typer.Option(help="SINR promised to every user on every subcarrier, dB.")] = 20.0,
    out: Annotated[list[Path] | None, typer.Option("--out", "-o", help="File: .zarr, .mat or .npz; may be repeated.")] = None,
    clusters: Annotated[int, typer.Option(min=0, help="Groups of subcarriers with one covariance; 0: one per subcarrier.")] = 0,
    localization: Annotated[str, typer.Option(help="Measurements that locate: hybrid, tof, aoa, tof_nui, aoa_nui.")] = "hybrid",
    power_limit: Annotated[str, typer.Option(help="Power limit: per-antenna, per-node or total.")] = "per-antenna",
    sinr_type: Annotated[str, typer.Option(help="SINR: noncoherent, coherent or cbf.")] = "noncoherent",
    order: Annotated[
        list[str] | None,
        typer.Option(help="Order of an array's axes in INPUT, such as h=node,user,tx,subcarrier; may be repeated."),
    ] = None,
    template: Annotated[Path | None, typer.Option(help="Write a valid example INPUT to this file and end.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Design for your own channels: checked input, certified beams, labelled output."""
    from disac.designs.location.given import VARIABLES, example, in_order, problem_of, unused
    from flows.arrays import read_arrays, write_arrays

    if template is not None:
        dims = {v.name: (v.dims, v.unit) for v in VARIABLES}
        arrays = {name: (dims[name][0], value, dims[name][1]) for name, value in example().items()}
        with told(template, writing=0):
            write_arrays(template, arrays, {"title": "example input of disac design"})
        print(f"{template}: {', '.join(arrays)}")
        return
    if source is None:
        raise UsageError("give INPUT, or --template FILE for an example of one")
    given = {"--design": design, "--localization": localization, "--power-limit": power_limit, "--sinr-type": sinr_type}
    for option, value in given.items():
        if value not in _CHOICES[option]:
            raise UsageError(f"{option} '{value}'{near_miss(value, _CHOICES[option])}; expected {', '.join(_CHOICES[option])}")
    for file in out or []:
        if file.suffix not in (".zarr", ".mat", ".npz"):
            raise UsageError(f"--out '{file}': expected the ending .zarr, .mat or .npz")
        if file.exists() and file.suffix == ".zarr":
            raise UsageError(f"--out '{file}' already exists; give another name or remove it")
    known: Any = {"localization": localization, "power_limit": power_limit, "sinr_type": sinr_type}
    axes_of = {v.name: v.dims for v in VARIABLES}
    try:
        read, named = read_arrays(source, {name: len(axes) for name, axes in axes_of.items()})
        orders = {name: axes for name, axes in named.items() if sorted(axes) == sorted(axes_of.get(name, ()))}
        problem = problem_of(in_order(read, orders | _orders(order or [])), design, **known)
        for sentence in unused(read):
            typer.echo(f"Note: '{source}': {sentence}", err=True)
        summary, arrays = _designed(problem, design, sinr_db, clusters)
    except ValueError as error:
        raise UsageError(f"'{source}': {error}") from error
    for file in out or []:
        with told(file, writing=0):
            write_arrays(file, arrays, summary)
    if as_json:
        emit(summary)
    else:
        print("\n".join(f"{name}: {value}" for name, value in summary.items() if value not in ("", None)))
    raise typer.Exit(EXIT_FAILED if summary["status"] == "failed" else 0)


def _orders(options: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the axes that ``--order NAME=DIMENSION,...`` declares, by array."""
    found = {}
    for text in options:
        name, _, axes = text.partition("=")
        if not axes:
            raise UsageError(f"--order '{text}': expected NAME=DIMENSION,DIMENSION, such as h=node,user,tx,subcarrier")
        found[name.strip()] = tuple(axis.strip() for axis in axes.split(","))
    return found


def _designed(problem: Any, design: str, sinr_db: float, clusters: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the summary of a design, and its arrays with dimensions and units."""
    import numpy as np

    from disac.designs.location.design import Designer
    from disac.designs.location.judge import location_crb_m2
    from disac.units import db_to_linear, linear_to_db

    if not np.isfinite(location_crb_m2(problem, _even(problem))):
        raise ValueError("the targets cannot be located with these nodes, arrays and measurements, whatever signal is sent")
    sinr = db_to_linear(sinr_db)
    designer = Designer(problem, "synchronised" if design == "coherent" else design, clusters=clusters)
    found = designer.design(sinr)
    sent, certificate = designer.delivered(found, sinr), found.certificate
    summary: dict[str, Any] = {
        "design": design, "sinr_db": sinr_db, "status": certificate.status, "message": certificate.message,
        "rcrb_m": _number(np.sqrt(certificate.value)), "dual_bound_m2": _number(certificate.dual_bound),
        "relative_gap": _number(certificate.relative_gap), "worst_violation": _number(certificate.worst_violation),
        "delivered_rcrb_m": _number(np.sqrt(sent.crb_m2)), "design_gap": _number(sent.crb_m2 / certificate.dual_bound - 1.0),
        "delivered_min_sinr_db": linear_to_db(sent.min_sinr) if sent.min_sinr > 0 else None,
        "delivered_power": _number(sent.power), "seconds": round(certificate.seconds, 3),
    }  # fmt: skip
    antenna = ("antenna", "antenna_conj")
    arrays: dict[str, Any] = {}
    if found.streams is not None:
        arrays["stream_covariance"] = (("stream", "subcarrier", *antenna), found.streams, "W")
    if sent.beams is not None:
        each = ("user", "subcarrier", "antenna")
        arrays |= {
            "beam": (each, sent.beams[0], "sqrt(W)") if len(sent.beams) == 1 else (("symbol", *each), sent.beams, "sqrt(W)"),
            "sensing_covariance": (("subcarrier", *antenna), sent.remainder, "W"),
            "transmit_covariance": (("subcarrier", *antenna), sent.transmitted, "W"),
            "symbol_code": (("node", "code_symbol"), designer.symbol_code(), "1"),
        }  # fmt: skip
    for name, dims, value, unit in (
        ("power_dual", ("antenna",), found.power_dual, "m2/W"), ("sinr_dual", ("user", "subcarrier"), found.sinr_dual, "m2/W"),
        ("fisher_dual", ("parameter", "location"), found.fisher_dual, "1"),
        ("node_dual", ("subcarrier", "node", "tx", "tx_conj"), found.node_dual, "m2/W"),
    ):  # fmt: skip
        if value is not None:
            arrays[name] = (dims, value, unit)
    return summary, arrays


def _even(problem: Any) -> Any:
    from disac.designs.location.baselines import isotropic

    return isotropic(problem).sum(axis=0)


def _number(value: Any) -> float | None:
    return float(value) if abs(value) < float("inf") else None
