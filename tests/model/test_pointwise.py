from __future__ import annotations

import pytest
import torch
from torch import nn

from model.pointwise import pointwise


@pytest.mark.parametrize("bias", [True, False])
def test_the_product_equals_the_convolution(bias: bool) -> None:
    convolution = nn.Conv3d(5, 7, 1, bias=bias)
    features = torch.randn(2, 5, 3, 4, 6)

    torch.testing.assert_close(pointwise(convolution, features), convolution(features))
