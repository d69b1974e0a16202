-- What people say about labels, and what follows from it.
CREATE TABLE verdicts (
    verdict_id VARCHAR NOT NULL,
    case_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    reading VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL,
    reader VARCHAR NOT NULL,
    tags VARCHAR[] NOT NULL,
    base_version VARCHAR,
    request_id VARCHAR NOT NULL,
    opened_at TIMESTAMP NOT NULL,
    active_s DOUBLE NOT NULL,
    voxels_changed BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- An immutable mask, or "absent" where object is NULL, of one structure of one case.
CREATE TABLE label_versions (
    version_id VARCHAR NOT NULL,
    verdict_id VARCHAR,
    case_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    reading VARCHAR NOT NULL,
    linked BOOLEAN NOT NULL,
    object VARCHAR,
    box INTEGER[],
    voxels BIGINT NOT NULL,
    parent VARCHAR,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- Who is to read what without seeing the AI's mask.
CREATE TABLE assignments (
    assignment_id VARCHAR NOT NULL,
    case_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    reader VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE splits (
    patient_id VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE gates (
    gate_id VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE TABLE gate_members (
    gate_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    champion VARCHAR NOT NULL,
    challenger VARCHAR NOT NULL
);

CREATE TABLE releases (
    release_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    items VARCHAR NOT NULL,
    head_hash VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- Ephemeral, in the database only: who has an item open, and until when.
CREATE TABLE claims (
    case_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    reader VARCHAR NOT NULL,
    claimed_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP NOT NULL
);

-- Ephemeral too: which run computes a case, and until when.
CREATE TABLE case_leases (
    case_id VARCHAR NOT NULL,
    committee_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    expires_at TIMESTAMP NOT NULL
);

-- The last review of a structure; independent readings are no reviews.
CREATE VIEW current_verdicts AS
SELECT * FROM verdicts WHERE reading = 'review'
QUALIFY row_number() OVER (PARTITION BY case_id, structure ORDER BY seq DESC) = 1;

-- The newest human version in the chain of reviews, unless it was rejected afterwards.
CREATE VIEW current_labels AS
SELECT v.* FROM (
    SELECT * FROM label_versions WHERE reading = 'review'
    QUALIFY row_number() OVER (PARTITION BY case_id, structure ORDER BY seq DESC) = 1
) v
WHERE NOT EXISTS (
    SELECT 1 FROM verdicts d
    WHERE d.case_id = v.case_id AND d.structure = v.structure AND d.reading = 'review'
      AND d.verdict = 'reject' AND d.seq > v.seq
);

-- The newest prediction of a case, whichever committee made it.
CREATE VIEW current_predictions AS
SELECT * FROM predictions
QUALIFY row_number() OVER (PARTITION BY case_id ORDER BY seq DESC) = 1;

-- The first role of a patient holds for good.
CREATE VIEW current_splits AS
SELECT * FROM splits
QUALIFY row_number() OVER (PARTITION BY patient_id ORDER BY seq) = 1;
