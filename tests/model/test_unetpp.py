from __future__ import annotations

import pytest
import torch
from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus

from configs.errors import ModelError
from model.unetpp import UNetPlusPlus


def test_features_are_what_monais_output_layer_reads() -> None:
    torch.manual_seed(0)
    widths = (2, 4, 4, 6, 8, 4)
    whole = BasicUNetPlusPlus(features=widths, out_channels=3).eval()
    backbone = UNetPlusPlus(features=widths).eval()
    kept = {name: w for name, w in whole.state_dict().items() if not name.startswith("final")}
    backbone.network.load_state_dict(kept)
    images = torch.rand(2, 1, 32, 16, 16)

    features = backbone(images)

    torch.testing.assert_close(whole.final_conv_0_4(features.dec), whole(images)[0])
    assert features.dec.shape == (2, backbone.out_channels, 32, 16, 16)
    assert features.bottleneck.shape == (2, backbone.bottleneck_channels, 2, 1, 1)


def test_it_has_the_published_number_of_parameters() -> None:
    backbone = UNetPlusPlus()

    assert sum(weight.numel() for weight in backbone.parameters()) == 6_979_712
    assert len(backbone.state_dict()) == 140


@pytest.mark.parametrize("features", [(2, 4, 4, 6, 8), (2, 4, 4, 6, 7, 4), (0, 4, 4, 6, 8, 4)])
def test_widths_that_do_not_fit_are_refused(features: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="six even features"):
        UNetPlusPlus(features=features)
