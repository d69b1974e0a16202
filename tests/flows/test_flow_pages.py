from flows.annotate import annotation_run
from flows.flow_pages import annotation_page, failure_rows
from flows.intake import intake

PATIENT = "Doe^Jane"


def test_page_lists_failures_by_id_and_reason(store, write_ct, tmp_path):
    files = [write_ct(tmp_path / PATIENT / f"{seed}.nii.gz", seed=seed) for seed in range(2)]
    intake(store, files)
    files[0].unlink()

    with annotation_run(store) as run:
        summary = run.annotate([case.case_id for case in run.cases])
    page, rows = annotation_page(summary), failure_rows(summary)

    assert rows == [{"case": summary.failed[0].case_id, "reason": "missing_file"}]
    assert "| closed | 1 |" in page
    assert "| failed | 1 |" in page
    assert PATIENT not in page + str(rows)
