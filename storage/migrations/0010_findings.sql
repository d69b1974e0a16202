-- What the plausibility rules say of the consensus of a prediction. A prediction may be checked again under other rules;
-- the last check holds.
CREATE TABLE checked_predictions (
    prediction_id VARCHAR NOT NULL,
    rules VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- place: voxel of the file's grid to jump to; NULL where there is none. other: the second structure of the rule, if any.
CREATE TABLE findings (
    prediction_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    structure VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    other VARCHAR,
    value DOUBLE,
    place INTEGER[],
    explanation VARCHAR NOT NULL
);

CREATE VIEW current_findings AS
SELECT f.* FROM findings f
JOIN (
    SELECT prediction_id, max(seq) AS seq FROM checked_predictions GROUP BY prediction_id
) c ON c.prediction_id = f.prediction_id AND c.seq = f.seq;
