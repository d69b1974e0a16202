-- Who may do what, and what a second reader says of a verdict.
-- A removed reader has a last row without a role: what he did keeps his name.
CREATE TABLE reader_roles (
    reader VARCHAR NOT NULL,
    role VARCHAR,
    given_by VARCHAR,
    verified BOOLEAN NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE VIEW current_readers AS
SELECT * FROM (
    SELECT * FROM reader_roles QUALIFY row_number() OVER (PARTITION BY reader ORDER BY seq DESC) = 1
) WHERE role IS NOT NULL;

-- Whether a login vouched for the name, and the older label that the verdict brought back; verdicts from before say
-- neither. Without a default: DuckDB 1.5 takes no second ALTER of a table in one transaction after one with a default.
ALTER TABLE verdicts ADD COLUMN verified BOOLEAN;
ALTER TABLE verdicts ADD COLUMN restores VARCHAR;

-- A view keeps the columns that its table had when it was made.
CREATE OR REPLACE VIEW current_verdicts AS
SELECT * FROM verdicts WHERE reading = 'review'
QUALIFY row_number() OVER (PARTITION BY case_id, structure ORDER BY seq DESC) = 1;

-- A returned verdict is its reader's to give again until kept_until, then everybody's.
CREATE TABLE decisions (
    decision_id VARCHAR NOT NULL,
    verdict_id VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    reviewer VARCHAR NOT NULL,
    verified BOOLEAN NOT NULL,
    comment VARCHAR NOT NULL,
    kept_until TIMESTAMP,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- The last word of a reviewer on each verdict.
CREATE VIEW current_decisions AS
SELECT * FROM decisions
QUALIFY row_number() OVER (PARTITION BY verdict_id ORDER BY seq DESC) = 1;

-- Where the last review of each structure stands. What could not be decided is not submitted.
CREATE VIEW review_states AS
SELECT d.case_id, d.structure, d.verdict_id, d.verdict, d.reader, d.tags, d.recorded_at AS given_at,
       CASE WHEN d.verdict = 'defer' THEN 'deferred'
            ELSE coalesce(a.outcome, 'submitted') END AS state,
       a.decision_id, a.reviewer, a.comment, a.kept_until, a.recorded_at AS decided_at
FROM current_verdicts d LEFT JOIN current_decisions a ON a.verdict_id = d.verdict_id;
