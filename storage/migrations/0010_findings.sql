-- What the plausibility rules say of the consensus of a prediction. A prediction may be checked again under other rules;
-- the last check holds.
CREATE TABLE checked_predictions (
    prediction_id VARCHAR NOT NULL,
    rules VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- severity: 'fault', or 'note' for what right labels also are. other: the second structure of the rule, if any.
-- place: voxel of the file's grid to jump to; NULL where there is none. mentions: all structures that the explanation speaks
-- of, so that it stays away from who is not to know of one of them.
CREATE TABLE findings (
    prediction_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    structure VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    other VARCHAR,
    value DOUBLE,
    place INTEGER[],
    explanation VARCHAR NOT NULL,
    mentions VARCHAR[] NOT NULL
);

CREATE VIEW last_checks AS
SELECT prediction_id, rules, seq FROM checked_predictions
QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY seq DESC) = 1;

CREATE VIEW current_findings AS
SELECT f.* FROM findings f
JOIN last_checks c ON c.prediction_id = f.prediction_id AND c.seq = f.seq;
