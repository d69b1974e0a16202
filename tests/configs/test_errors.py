from __future__ import annotations

from copy import copy

import pytest

from configs.errors import AtlasLoopError, CaseError, Reason, StoppedError, UsageError


@pytest.mark.parametrize(
    "error",
    [
        UsageError("wrong"),
        CaseError(Reason.CHANGED_FILE, "scan.nii.gz was changed"),
        StoppedError("stopped", 15),
    ],
)
def test_an_error_passes_from_one_process_to_another(error: AtlasLoopError) -> None:
    # By the same protocol as a process pool's pickles.
    again = copy(error)

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
