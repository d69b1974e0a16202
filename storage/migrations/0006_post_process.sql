-- What rules took from a mask, and the places that may be a lesion, in the mask or not.
ALTER TABLE scores ADD COLUMN removed_ml DOUBLE;

CREATE TABLE lesion_candidates (
    prediction_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    peak DOUBLE NOT NULL,
    volume_ml DOUBLE NOT NULL,
    centre INTEGER[] NOT NULL,
    host_share DOUBLE,
    in_mask BOOLEAN NOT NULL
);

-- Those of the cases that a committee closed.
CREATE VIEW current_lesion_candidates AS
SELECT l.*, c.case_id, c.committee_id, c.seq
FROM lesion_candidates l JOIN closed_cases c USING (prediction_id);
