"""Wishes as people write them: units, near misses, what is refused, and that nothing of the text is executed."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.asking.columns import of_dataset
from pipeline.asking.evaluate import Evaluation
from pipeline.asking.expression import MOST_LETTERS, read_numbers, read_wish
from pipeline.asking.units import NO_UNIT, read_unit
from pipeline.errors import UsageError


def small_cube() -> xr.Dataset:
    """Four points of two realisations, with one metric of each kind of unit."""
    axes = ("bandwidth", "design", "realisation")
    shape = (2, 2, 2)
    number = np.arange(8.0).reshape(shape)
    data = {
        "status": (axes, np.full(shape, 2, dtype=np.uint8)),
        "message": (axes, np.full(shape, "", dtype=object)),
        "rcrb_m": (axes, 0.01 * (1 + number), {"units": "m"}),
        "se_bps_hz": (axes, number, {"units": "bit/s/Hz"}),
        "snr_db": (axes, 10 * number, {"units": "dB"}),
        "count": (axes, np.array([-1, *range(7)]).reshape(shape), {"units": "1"}),
        "map": ((*axes, "tap"), np.zeros((*shape, 3)), {"units": "1"}),
        "gain": (axes, number + 1j, {"units": "1"}),
    }
    coordinates = {
        "bandwidth": ("bandwidth", [10e6, 20e6], {"units": "Hz", "path": "band.bandwidth_hz"}),
        "design": ("design", np.array(["plain", "fancy"], dtype=object), {"units": "1", "path": "options.design"}),
        "delta": ("design", np.array(["0.3", "null"], dtype=object), {"along": "design"}),
        "realisation": ("realisation", [0, 1], {"path": "draw.realisation"}),
    }
    return xr.Dataset(data, coordinates)


def yes(wish: str) -> list[bool]:
    """Where a wish is true, cell by cell in C order."""
    cube = small_cube()
    truth = Evaluation(of_dataset(cube)).truth(read_wish(wish).condition)
    return np.broadcast_to(truth.yes, cube["status"].shape).ravel().tolist()


@pytest.mark.parametrize(
    ("wish", "same"),
    [
        ("rcrb_m <= 3 cm", "rcrb_m <= 0.03"),
        ("rcrb_m <= 70 mm", "rcrb_m <= 0.07"),
        ("rcrb_m <= 7cm", "rcrb_m <= 0.07"),
        ("70000 um >= rcrb_m", "rcrb_m <= 0.07"),
        ("bandwidth_hz <= 10 MHz", "bandwidth <= 1e7"),
        ("bandwidth == 0.02 GHz", "bandwidth == 20e6"),
        ("snr_db >= 30 dB", "snr_db >= 30"),
        ("se_bps_hz >= 4 bit/s/Hz", "se_bps_hz >= 4"),
        ("se_bps_hz >= 4000 mbit/s/Hz", "se_bps_hz >= 4"),
        ("rcrb_m*rcrb_m <= 9 cm2", "rcrb_m*rcrb_m <= 0.0009"),
        ("count <= 300 %", "count <= 3"),
        ("rcrb_m ≤ 3 cm", "rcrb_m <= 3 cm"),
        ("1 cm < rcrb_m <= 5 cm", "rcrb_m > 0.01 and rcrb_m <= 0.05"),
        ("not (rcrb_m > 3 cm or snr_db < 10 dB)", "rcrb_m <= 3 cm and snr_db >= 10"),
        ("not (1 cm < rcrb_m < 3 cm)", "rcrb_m <= 1 cm or rcrb_m >= 3 cm"),
        ("design != 'plain'", "design == 'fancy'"),
        ("not design == \"plain\"", "'fancy' == design"),
        ("delta <= 0.5", "design == 'plain'"),
        ("delta != 7", "design == 'plain'"),
        ("max(rcrb_m, 2 cm) - min(rcrb_m, 2 cm) <= 1 cm", "abs(rcrb_m - 2 cm) <= 1 cm"),
        ("10 * log10(se_bps_hz + 1) >= 6", "se_bps_hz >= 3"),
        ("-rcrb_m >= -3 cm", "rcrb_m <= 3 cm"),
        ("+rcrb_m / 2 <= 1 cm", "rcrb_m <= 2 cm"),
    ],
)  # fmt: skip
def test_units_and_forms_say_the_same(wish: str, same: str) -> None:
    assert yes(wish) == yes(same)
    assert 0 < sum(yes(wish)) < 8


def test_what_a_wish_means_cell_by_cell() -> None:
    assert yes("rcrb_m <= 3 cm and design == 'plain'") == [True, True, *[False] * 6]
    assert yes("rcrb_m <= 2 cm or snr_db >= 70 dB") == [True, True, *[False] * 5, True]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("rcrb_m < 1 in 90 % of realisations", Fraction(9, 10)),
        ("rcrb_m < 1 in 99.5% of the realisations", Fraction(199, 200)),
        ("rcrb_m < 1 in at least 50 percent of all draws", Fraction(1, 2)),
        ("rcrb_m < 1 in 90 %", Fraction(9, 10)),
        ("rcrb_m < 1", None),
    ],
)
def test_the_share_of_realisations_stands_at_the_end(text: str, share: Fraction | None) -> None:
    assert read_wish(text).share == share


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ("rcrb <= 5", r"no metric and no axis 'rcrb' \(did you mean 'rcrb_m'\?\); there are .*bandwidth.*snr_db"),
        ("bandwith_hz <= 5", r"did you mean 'bandwidth_hz'"),
        ("rcrb_m <= 10 dB", r"'rcrb_m <= 10 dB': 'rcrb_m' \(in m\) and '10 dB' do not fit"),
        ("count <= 10 cm", r"'count' \(without unit\) and '10 cm' do not fit"),
        ("rcrb_m + snr_db < 3", r"'rcrb_m' \(in m\) and 'snr_db' \(in dB\) do not fit"),
        ("rcrb_m <= 10 cm2", "do not fit"),
        ("rcrb_m / se_bps_hz <= 5 cm / 4", r"'rcrb_m / se_bps_hz' \(in m/bit/s/Hz\)"),
        ("bandwidth <= 10 Mhz", r"the unit 'Mhz' is not known \(did you mean 'MHz'\?\)"),
        ("rcrb_m <= 5 parsec", "the unit 'parsec' is not known; known are m, s, Hz"),
        ("rcrb_m = 5", "write == for 'equals'"),
        ("rcrb_m =< 5", "write <= or >="),
        ("rcrb_m <= 5 & snr_db > 3", "write 'and' and 'or'"),
        ("rcrb_m <= 5 AND snr_db > 3", "in small letters"),
        ("rcrb_m", "'rcrb_m' is not a condition"),
        ("1 < 2", "names no metric and no axis"),
        ("rcrb_m + (snr_db < 2) < 3", "'snr_db < 2' is not a number"),
        ("rcrb_m ** 2 < 3", "is not a number; accepted: comparisons of metrics"),
        ("sqrt(rcrb_m) < 3", "'sqrt' is no function of a wish"),
        ("log(rcrb_m) < 3", r"did you mean 'log10'"),
        ("abs(rcrb_m, 2) < 3", "needs 1 argument"),
        ("max(rcrb_m) < 3", "needs 2 or more"),
        ("rcrb_m < True", "'True' is not a number"),
        ("rcrb_m < 1e999", "is no finite number"),
        ("rcrb_m < 9" + "9" * 500, "is no finite number"),
        ("design == 'plian'", r"no label 'plian' \(did you mean 'plain'\?\); labels: 'plain', 'fancy'"),
        ("design < 3", "'design' holds texts.*write design == 'plain'"),
        ("rcrb_m == 'plain'", "'rcrb_m' is no axis of texts"),
        ("'plain' < design", "compares a text"),
        ("realisation < 3", "counts the realisations"),
        ("map < 3", "several values in each cell, along 'tap'"),
        ("gain < 3", "is complex"),
        ("message == 'a'", "no metric and no axis 'message'"),
        ("status == 2", "no metric and no axis 'status'"),
        ("rcrb_m < 3 in 100 % of realisations", "no sample proves 100 %"),
        ("rcrb_m < 3 in all realisations", "ask for a share"),
        ("rcrb_m < 3 in 90 realisations", "expected a share in per cent"),
        ("rcrb_m < 3 in 0 % of realisations", "between 0 % and 100 %"),
        ("rcrb_m < 3 in 9.9.9 % of realisations", "is no number"),
        ("in 90 % of realisations", "is not understood"),
        ("  ", "the wish is empty"),
        ("x" * (MOST_LETTERS + 1), "at most 2000 letters"),
        ("(" * 300 + "rcrb_m" + ")" * 300 + " < 3", "is not understood"),
        ("-" * 900 + "rcrb_m < 3", "has more than 300 parts"),
    ],
)
def test_what_is_no_wish_is_refused_with_the_word_and_what_is_accepted(wish: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        yes(wish)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "rcrb_m.real < 3", "rcrb_m[0] < 3", "(lambda: rcrb_m)() < 3",
        "[x for x in rcrb_m] < 3", "min(a=rcrb_m, b=2) < 1",
        "rcrb_m < 3 if 1 else 2", "(x := 3) < rcrb_m", "f'{rcrb_m}' == design", "rcrb_m < 3; rcrb_m", "await rcrb_m < 3",
        "eval('1') < rcrb_m", "rcrb_m @ rcrb_m < 3", "rcrb_m < {1}", "rcrb_m is 3", "rcrb_m < 3j", "rcrb_m < b'3'",
        "min(*rcrb_m) < 1",
        "rcrb_m // 2 < 1", "rcrb_m % 2 < 1", "~rcrb_m < 1", "rcrb_m < ...", "rcrb_m < None",
    ],
)  # fmt: skip
def test_only_listed_syntax_is_accepted(text: str) -> None:
    with pytest.raises(UsageError):
        yes(text)


TOKENS = st.sampled_from(
    ["rcrb_m", "snr_db", "design", "'plain'", "0.03", "5 cm", "3 dB", "<=", ">", "==", "=", "and", "or", "not", "(", ")", "+",
     "-", "/", "*", "@", "max", "log10", ",", "in", "90", "%", "of realisations", "\x00", "\n", "\N{SUPERSCRIPT TWO}", "1e",
     "..", "[", "{", "\\", "'"]
)  # fmt: skip


@given(st.one_of(st.lists(TOKENS, max_size=12).map(" ".join), st.text(max_size=40)))
def test_every_text_is_a_wish_or_refused_with_a_sentence(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert len(yes(text)) == 8


def test_a_value_that_a_cell_lacks_is_unknown_and_not_a_miss() -> None:
    evaluation = Evaluation(of_dataset(small_cube()))

    def first(wish: str) -> tuple[bool, bool]:
        truth = evaluation.truth(read_wish(wish).condition)
        whole: Any = [np.broadcast_to(mask, (2, 2, 2)).ravel()[0] for mask in (truth.yes, truth.no)]
        return bool(whole[0]), bool(whole[1])

    assert first("count >= 0") == (False, False)  # the first cell lacks the count
    assert first("count >= 0 and rcrb_m > 1") == (False, True)
    assert first("count >= 0 or rcrb_m < 1") == (True, False)
    assert first("not count >= 0") == (False, False)


def test_what_is_minimised_is_a_list_of_numbers() -> None:
    assert [text for text, _ in read_numbers("bandwidth, -se_bps_hz,max(rcrb_m, 1 cm)")] == [
        "bandwidth",
        "-se_bps_hz",
        "max(rcrb_m, 1 cm)",
    ]
    for bad in ("rcrb_m < 3", "'plain'", "rcrb_m; 2", ",", "rcrb_m) + (3"):
        with pytest.raises(UsageError):
            read_numbers(bad)


def test_units_are_read_by_their_parts() -> None:
    cm2, hertz = read_unit("cm2"), read_unit("1/s")
    assert cm2 is not None
    assert hertz is not None
    assert (cm2.powers, cm2.factor) == ((("m", 2),), Fraction(1, 10_000))
    assert read_unit("m²") == read_unit("m²")
    for text, factor in (("ms", Fraction(1, 1000)), ("min", Fraction(60)), ("Mm", Fraction(10**6)), ("%", Fraction(1, 100))):
        unit = read_unit(text)
        assert unit is not None
        assert unit.factor == factor
    for bad in ("kdB", "xm", "m/", "", "dB2", "m2.5"):
        assert read_unit(bad) is None
    assert cm2.times(cm2, -1).powers == NO_UNIT.powers
