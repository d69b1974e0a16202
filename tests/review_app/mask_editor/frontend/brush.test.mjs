import assert from "node:assert/strict";
import test from "node:test";

import { sweep } from "../../../../review_app/mask_editor/frontend/src/brush.js";
import { Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";

const painted = (grid, stroke) => {
  const found = new Set();
  sweep(grid, stroke, (index) => found.add(index));
  return found;
};

test("a disc holds the voxels whose centre lies within the radius in mm, in one slice", () => {
  const grid = new Grid([40, 40, 5], [0.5, 2, 3]);
  const at = [20, 20, 2];

  const found = painted(grid, { from: at, to: at, radiusMm: 6, axis: 2 });

  const expected = new Set();
  for (let y = 0; y < 40; y++) {
    for (let x = 0; x < 40; x++) {
      if (((x - 20) * 0.5) ** 2 + ((y - 20) * 2) ** 2 <= 36) expected.add(grid.index([x, y, 2]));
    }
  }
  assert.deepEqual([...found].sort(), [...expected].sort());
  // 113.1 mm2 of disc over 1 mm2 of voxel.
  assert.ok(Math.abs(found.size - 113) <= 6);
});

test("a ball has the volume of a ball on anisotropic voxels", () => {
  const grid = new Grid([60, 60, 20], [0.8, 0.8, 2.5]);
  const at = [30, 30, 10];

  const found = painted(grid, { from: at, to: at, radiusMm: 10, axis: null });

  const mm3 = found.size * 0.8 * 0.8 * 2.5;
  assert.ok(Math.abs(mm3 - (4 / 3) * Math.PI * 1000) < 0.03 * 4189);
});

test("a fast stroke is a capsule without gaps, cut at the region's border", () => {
  const grid = new Grid([50, 20, 1], [1, 1, 1]);

  const found = painted(grid, { from: [5, 10, 0], to: [60, 10, 0], radiusMm: 3, axis: 2 });

  for (let x = 2; x < 50; x++) assert.ok(found.has(grid.index([x, 10, 0])));
  assert.ok(found.has(grid.index([25, 13, 0])));
  assert.ok(!found.has(grid.index([25, 14, 0])));
  assert.ok(!found.has(grid.index([1, 10, 0])));
});

test("a brush finer than a voxel still paints the voxel under it", () => {
  const grid = new Grid([10, 10, 10], [2, 2, 5]);

  const found = painted(grid, { from: [4.4, 4.4, 3], to: [4.4, 4.4, 3], radiusMm: 0.5, axis: 2 });

  assert.deepEqual([...found], [grid.index([4, 4, 3])]);
});

test("a stroke in the coronal plane stays in its slice", () => {
  const grid = new Grid([20, 20, 20], [1, 1, 2]);

  const found = painted(grid, { from: [10, 7, 10], to: [10, 7, 10], radiusMm: 4, axis: 1 });

  for (const index of found) assert.equal(grid.voxel(index)[1], 7);
  assert.ok(found.has(grid.index([10, 7, 12])) && !found.has(grid.index([10, 7, 13])));
});
