"""What the editor's page and its script do with a mask, played by a benchmark without a browser."""

from __future__ import annotations

import gzip
import secrets
from datetime import timedelta

import numpy as np

from review_app.session import utc_now
from storage.corrections import correct, store_correction
from storage.drafts import Drafts
from storage.uploaded_mask import UploadedMask
from storage.verdicts import Verdict, give_verdict


def packed(mask):
    """Return a mask (I, J, K) as the page sends it."""
    return gzip.compress(np.asarray(mask, np.uint8).tobytes(order="F"), 1)


def put(client, document, path, body, *, request=None):
    """PUT a packed mask on a document's ``draft`` or ``mask``; returns the answer."""
    headers = {
        "content-type": "application/octet-stream",
        "x-atlasloop-xsrf": document.xsrf,
        "x-atlasloop-base": document.shown_base,
        "x-atlasloop-request": request or secrets.token_hex(16),
    }
    return client.put(f"/edit/{document.token}/{path}", content=body, headers=headers)


def judge(document, receipt):
    """Give the verdict that a kept mask makes, neighbours left alone; returns its version's id.

    Raises:
        ConflictError: As ``give_verdict``.
    """
    here, item, now = document.here, document.item, utc_now()
    drafts = Drafts(here.store.workspace.drafts_path)
    kept = drafts.candidate(document.draft_key, receipt)
    upload = UploadedMask(kept.edited.mask_ras, kept.edited.box_ras, 1.0)
    correction = correct(here.store.objects, item.grid, upload, base=item.base, neighbours={})
    mask, linked = store_correction(here.store.objects, correction, transfer=())
    verdict = Verdict(
        case_id=item.case.case_id,
        structure=item.structure,
        verdict="correct",
        reader=here.reader,
        base_version=item.base_version,
        request_id=secrets.token_hex(12),
        opened_at=now - timedelta(seconds=5),
        active_s=5.0,
        mask=mask,
        linked=linked,
        voxels_changed=correction.voxels_changed,
    )
    given = give_verdict(here.store, verdict, now=utc_now())
    drafts.drop(document.draft_key)
    return given.versions[item.structure]
