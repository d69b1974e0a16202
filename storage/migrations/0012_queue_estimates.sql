-- What triage expects of each item of a snapshot; snapshots from before have none of it.
ALTER TABLE queue_items ADD COLUMN predicted_dsc DOUBLE;
ALTER TABLE queue_items ADD COLUMN dsc_low DOUBLE;
ALTER TABLE queue_items ADD COLUMN dsc_high DOUBLE;
ALTER TABLE queue_items ADD COLUMN presence DOUBLE;
ALTER TABLE queue_items ADD COLUMN minutes DOUBLE;
ALTER TABLE queue_items ADD COLUMN gain DOUBLE;
ALTER TABLE queue_snapshots ADD COLUMN facts JSON;

-- A view keeps the columns that its tables had when it was made.
CREATE OR REPLACE VIEW current_queue AS
SELECT i.*, s.committee_id, s.policy, s.recorded_at AS ranked_at, s.facts
FROM queue_items i
JOIN (
    SELECT * FROM queue_snapshots QUALIFY row_number() OVER (ORDER BY seq DESC) = 1
) s ON s.snapshot_id = i.snapshot_id;
