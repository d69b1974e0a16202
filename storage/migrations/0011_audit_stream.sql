-- Labels drawn at random for the audit, before anybody reads them. unaided: to be read without the AI's mask.
CREATE TABLE audit_draws (
    draw_id VARCHAR NOT NULL,
    case_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL,
    reader VARCHAR NOT NULL,
    unaided BOOLEAN NOT NULL,
    frame BIGINT NOT NULL,
    place INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- What was said of the labels of a release that nobody looked at; once said, it stands.
CREATE TABLE release_bounds (
    bound_id VARCHAR NOT NULL,
    release_id VARCHAR NOT NULL,
    statement VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);
