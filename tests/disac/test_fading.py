"""What channels are made of, against its definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disac.drops.fading import distance_gain, rician_weights, urban_micro_gain


@given(st.floats(-40.0, 40.0))
def test_rician_weights_split_unit_power_by_the_factor(factor_db: float) -> None:
    direct, scattered = rician_weights(factor_db)
    assert direct**2 + scattered**2 == pytest.approx(1.0, rel=1e-12)
    assert 20.0 * np.log10(direct / scattered) == pytest.approx(factor_db, abs=1e-9)


def test_path_losses() -> None:
    # 22 log10(100) + 28 + 20 log10(3.5) = 44 + 28 + 10.881 dB.
    assert -10.0 * np.log10(urban_micro_gain(100.0, 3.5e9)) == pytest.approx(82.8814, abs=1e-4)
    assert distance_gain(np.array([50.0, 100.0, 200.0]), 100.0, 2.0) == pytest.approx([4.0, 1.0, 0.25])
    assert (distance_gain(np.array([3.0, 70.0]), 100.0, 0.0) == 1.0).all()
