-- The seed of the random orders in which labels are audited, drawn before anybody reads; the first one holds for good.
CREATE TABLE audit_seeds (
    seed BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- Labels drawn for the audit, in the order of their tickets. unaided: to be read without the AI's mask. frame: units, a
-- structure of a patient each, that the order was about; place: of the unit among all that were drawn so, from 1.
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

-- What was said of the labels of a release that nobody looked at; once said, it stands. answers: hash of the readings that
-- it was said from; evidence: the statement as an object.
CREATE TABLE release_bounds (
    bound_id VARCHAR NOT NULL,
    release_id VARCHAR NOT NULL,
    dsc DOUBLE NOT NULL,
    confidence DOUBLE NOT NULL,
    answers VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);
