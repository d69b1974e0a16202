-- Ephemeral, in the database only: the DSC of two masks of one structure of one case, by their objects, so that triage
-- decodes a pair once. Whoever misses a row computes it again.
CREATE TABLE mask_overlaps (
    first VARCHAR NOT NULL,
    second VARCHAR NOT NULL,
    dsc DOUBLE NOT NULL
);
