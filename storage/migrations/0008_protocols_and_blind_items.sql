-- Which words a reader had before his eyes: the protocol's object for each verdict. A table of its own, since verdicts
-- from before there were protocols have none.
CREATE TABLE verdict_protocols (
    verdict_id VARCHAR NOT NULL,
    protocol VARCHAR NOT NULL
);

-- Items that one reader judges without being told why they were chosen: drawn at random from the queue (audit), its head
-- (ranked), or known already (known_truth). Pages know that an item is blind, never in which arm it is. The arm stays
-- unsaid until the verdict; slot is the item's place among the positions of the queue.
CREATE TABLE blind_items (
    batch_id VARCHAR NOT NULL,
    case_id VARCHAR NOT NULL,
    structure VARCHAR NOT NULL,
    reader VARCHAR NOT NULL,
    arm VARCHAR NOT NULL,
    slot INTEGER NOT NULL,
    prediction_id VARCHAR NOT NULL,
    truth VARCHAR,
    set_name VARCHAR,
    frame BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- Items that a reader has to pass; the newest definition of a name holds.
CREATE TABLE qualification_sets (
    name VARCHAR NOT NULL,
    truth VARCHAR NOT NULL,
    items VARCHAR NOT NULL,
    least_dsc DOUBLE NOT NULL,
    least_share DOUBLE NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

-- The verdict that answered each blind item: the reader's first one afterwards that is no deferral. A known item is
-- answered by a check, which trains and counts nowhere else; the others by a review.
CREATE VIEW answered_blind_items AS
SELECT b.*, v.verdict_id, v.verdict, v.tags, v.active_s, v.seq AS answered_seq, v.recorded_at AS answered_at
FROM blind_items b JOIN verdicts v
  ON v.case_id = b.case_id AND v.structure = b.structure AND v.reader = b.reader AND v.seq > b.seq
     AND v.verdict <> 'defer'
     AND v.reading = CASE WHEN b.arm = 'known_truth' THEN 'check' ELSE 'review' END
QUALIFY row_number() OVER (
    PARTITION BY b.batch_id, b.case_id, b.structure, b.reader ORDER BY v.seq) = 1;
