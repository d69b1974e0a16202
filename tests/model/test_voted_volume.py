import numpy as np
import torch
from torch import nn

from configs.taxonomy import load_taxonomy
from model.annotate import AnnotateOptions, predict_volume, voted_volume
from model.committee import CommitteeMember
from model.grid import Grid
from model.inference_settings import InferenceSettings
from model.midline import body_midline

CPU = torch.device("cpu")


class Soft(nn.Module):
    """Two structures that intensity makes likely."""

    def forward(self, images, structure_index=None):
        logits = torch.cat([8 * images - 4, 4 - 8 * images], dim=1)
        return logits if structure_index is None else logits[:, structure_index]


def test_probabilities_that_are_there_already_get_the_results_of_a_network():
    hu = np.random.default_rng(0).integers(-150, 250, (18, 16, 20)).astype(np.int16)
    members = [
        CommitteeMember(
            name=name,
            family=name,
            network=Soft().eval(),
            inference=InferenceSettings(spacing_mm=(size,) * 3, patch=(16, 16, 16)),
            structures=("spleen", "liver"),
        )
        for name, size in (("a", 1.0), ("b", 2.0))
    ]
    spacing_mm, taxonomy = (1.0, 1.0, 1.0), load_taxonomy()
    predicted = predict_volume(hu, spacing_mm, members, taxonomy=taxonomy, device=CPU)

    voted = voted_volume(
        predicted.members,
        Grid(hu.shape, spacing_mm),
        body_midline(hu, spacing_mm),
        taxonomy=taxonomy,
        options=AnnotateOptions(),
    )

    wanted = [result.scores for result in predicted.results()]
    assert [result.scores for result in voted.results()] == wanted
    assert all(row.volume_ml > 0 for rows in wanted for row in rows)
