from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.nets.segresnet import SegResNet

from configs.errors import ModelError
from model.segresnet import SegResNetBackbone


def test_features_are_what_monais_output_layer_reads() -> None:
    torch.manual_seed(0)
    whole = SegResNet(init_filters=8, out_channels=3).eval()
    backbone = SegResNetBackbone(init_filters=8).eval()
    kept = {name: w for name, w in whole.state_dict().items() if not name.startswith("conv_final")}
    backbone.network.load_state_dict(kept)
    images = torch.rand(2, 1, 16, 8, 8)

    features = backbone(images)

    torch.testing.assert_close(whole.conv_final(features.dec), whole(images))
    assert features.dec.shape == (2, backbone.out_channels, 16, 8, 8)
    assert features.bottleneck.shape == (2, backbone.bottleneck_channels, 2, 1, 1)


@pytest.mark.parametrize(
    "options", [{"init_filters": 12}, {"init_filters": 0}, {"blocks_up": (1, 1)}]
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="segresnet takes"):
        SegResNetBackbone(**options)
