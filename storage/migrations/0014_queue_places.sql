-- Where an item's CT stands in the queue: the position of its first item. Rows are inserted in this order, so what a page
-- shows lies together, and the rest of a long queue is not read for it. The table is altered before it is changed: DuckDB
-- commits it in no other order.
ALTER TABLE queue_items ADD COLUMN case_place INTEGER;

-- The index holds the current snapshot's rows alone; journal and objects keep every snapshot.
DELETE FROM queue_items
WHERE snapshot_id <> (SELECT snapshot_id FROM queue_snapshots ORDER BY seq DESC LIMIT 1);

UPDATE queue_items AS i SET case_place = p.place
FROM (SELECT case_id, min(position) AS place FROM queue_items GROUP BY case_id) p
WHERE p.case_id = i.case_id;

-- A view keeps the columns that its tables had when it was made.
CREATE OR REPLACE VIEW current_queue AS
SELECT i.*, s.committee_id, s.policy, s.recorded_at AS ranked_at, s.facts
FROM queue_items i
JOIN (
    SELECT * FROM queue_snapshots QUALIFY row_number() OVER (ORDER BY seq DESC) = 1
) s ON s.snapshot_id = i.snapshot_id;
