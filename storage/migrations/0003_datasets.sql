-- Which case of which public dataset a CT is, under which licence flag, and what was looked for in it. A structure
-- that was looked for without a voxel has a label version without object; one that was not is in no list here.
CREATE TABLE dataset_cases (
    case_id VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    license VARCHAR NOT NULL,
    annotated VARCHAR[] NOT NULL,
    weak VARCHAR[] NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- Label versions that are kept for comparison and train and judge nothing.
CREATE TABLE weak_labels (version_id VARCHAR NOT NULL);

-- The newest word of a dataset on a case.
CREATE VIEW current_dataset_cases AS
SELECT * FROM dataset_cases
QUALIFY row_number() OVER (PARTITION BY case_id, dataset, name ORDER BY seq DESC) = 1;
