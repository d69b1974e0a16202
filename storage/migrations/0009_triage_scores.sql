-- Scores that triage ranks by; predictions from before have none of them.
ALTER TABLE scores ADD COLUMN pairwise_dice_least DOUBLE;
ALTER TABLE scores ADD COLUMN entropy_worst DOUBLE;
ALTER TABLE scores ADD COLUMN tta_dice DOUBLE;
ALTER TABLE scores ADD COLUMN attention_voxels BIGINT;
ALTER TABLE scores ADD COLUMN attention_heat DOUBLE;
ALTER TABLE scores ADD COLUMN attention_mm3 DOUBLE;
