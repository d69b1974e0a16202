from collections.abc import Callable

import numpy as np
import pytest

from model.phantom.canvas import Canvas, Pose
from model.phantom.smooth import Displacement


@pytest.fixture
def straight_canvas() -> Callable[[float], Canvas]:
    """A cube of 60 mm round the origin, without any deviation from the average."""

    def make(spacing_mm: float = 1.5) -> Canvas:
        still = Displacement(np.zeros((3, 8, 8, 8), np.float32), (-100.0, -100.0, -100.0), 50.0)
        count = int(60 / spacing_mm) + 1
        return Canvas.blank(
            Pose(np.eye(3), still),
            low_mm=np.full(3, -30.0),
            shape=(count, count, count),
            spacing_mm=(spacing_mm, spacing_mm, spacing_mm),
        )

    return make
