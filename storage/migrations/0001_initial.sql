-- Tables are append-only and every row names the journal line that committed it; state lives in views.
-- One row says how far the journal has been applied.
CREATE TABLE journal_position (seq BIGINT NOT NULL, line_hash VARCHAR NOT NULL, end_offset BIGINT NOT NULL);
INSERT INTO journal_position VALUES (0, repeat('0', 64), 0);

CREATE TABLE cases (
    case_id VARCHAR NOT NULL,
    content_id VARCHAR NOT NULL,
    shape INTEGER[] NOT NULL,
    spacing_mm DOUBLE[] NOT NULL,
    orientation VARCHAR NOT NULL,
    affine DOUBLE[] NOT NULL,
    hu_percentiles DOUBLE[] NOT NULL,
    fingerprint BLOB NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- Paths and file names can carry patient data: they live here and in private source objects only.
CREATE TABLE case_files (
    case_id VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    file_bytes BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE quarantined_files (
    file_id VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    message VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE patients (
    case_id VARCHAR NOT NULL,
    patient_id VARCHAR NOT NULL,
    assigned_by VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE twins (
    case_a VARCHAR NOT NULL,
    case_b VARCHAR NOT NULL,
    similarity DOUBLE NOT NULL,
    seq BIGINT NOT NULL
);

CREATE TABLE models (
    name VARCHAR NOT NULL,
    weights VARCHAR NOT NULL,
    card JSON NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE runs (
    run_id VARCHAR NOT NULL,
    verb VARCHAR NOT NULL,
    facts JSON NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE predictions (
    prediction_id VARCHAR NOT NULL,
    case_id VARCHAR NOT NULL,
    committee_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    manifest VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE masks (
    prediction_id VARCHAR NOT NULL,
    member VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    object VARCHAR NOT NULL,
    box INTEGER[] NOT NULL,
    voxels BIGINT NOT NULL
);

CREATE TABLE maps (
    prediction_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    object VARCHAR NOT NULL,
    box INTEGER[] NOT NULL
);

CREATE TABLE scores (
    prediction_id VARCHAR NOT NULL,
    member VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    volume_ml DOUBLE,
    entropy_mean DOUBLE,
    entropy_border DOUBLE,
    self_consistency DOUBLE,
    pairwise_dice DOUBLE,
    inconsistency DOUBLE,
    overlap_exclusive DOUBLE,
    max_probability DOUBLE
);

CREATE TABLE failures (
    case_id VARCHAR NOT NULL,
    committee_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    message VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE queue_snapshots (
    snapshot_id VARCHAR NOT NULL,
    committee_id VARCHAR NOT NULL,
    policy VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE queue_items (
    snapshot_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    case_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    risk DOUBLE NOT NULL,
    reason VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL
);

-- A killed run may leave two lines for one case; the first one counts.
CREATE VIEW closed_cases AS
SELECT * FROM predictions
QUALIFY row_number() OVER (PARTITION BY case_id, committee_id ORDER BY seq) = 1;

CREATE VIEW current_patients AS
SELECT * FROM patients
QUALIFY row_number() OVER (PARTITION BY case_id ORDER BY seq DESC) = 1;

CREATE VIEW current_files AS
SELECT * FROM case_files
QUALIFY row_number() OVER (PARTITION BY case_id ORDER BY seq DESC) = 1;

CREATE VIEW current_models AS
SELECT * FROM models
QUALIFY row_number() OVER (PARTITION BY name ORDER BY seq DESC) = 1;

-- The last failure of a case that was not closed afterwards.
CREATE VIEW open_failures AS
SELECT f.* FROM failures f
WHERE NOT EXISTS (
    SELECT 1 FROM predictions p WHERE p.case_id = f.case_id AND p.committee_id = f.committee_id
)
QUALIFY row_number() OVER (PARTITION BY f.case_id, f.committee_id ORDER BY f.seq DESC) = 1;

CREATE VIEW current_queue AS
SELECT i.*, s.committee_id, s.policy, s.recorded_at AS ranked_at
FROM queue_items i
JOIN (
    SELECT * FROM queue_snapshots QUALIFY row_number() OVER (ORDER BY seq DESC) = 1
) s ON s.snapshot_id = i.snapshot_id;
