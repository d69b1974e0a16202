-- Ephemeral, in the database only: files of watched folders as they were last met, so that none is read twice.
CREATE TABLE watched_files (
    path VARCHAR NOT NULL,
    file_bytes BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL
);
