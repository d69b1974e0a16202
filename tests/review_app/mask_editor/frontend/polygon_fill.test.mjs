import assert from "node:assert/strict";
import test from "node:test";

import { connected } from "../../../../review_app/mask_editor/frontend/src/fill.js";
import { Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";
import { fillPolygon } from "../../../../review_app/mask_editor/frontend/src/polygon.js";
import { differingPiece, nearestDifference } from "../../../../review_app/mask_editor/frontend/src/take_from.js";

const grid = new Grid([12, 10, 4], [1, 1, 2]);

const filled = (line) => {
  const found = [];
  fillPolygon(grid, line, (index) => found.push(index));
  return found;
};

test("a polygon holds the voxel centres inside it, each once", () => {
  const points = [[1.5, 1.5], [6.5, 1.5], [6.5, 4.5], [1.5, 4.5]];

  const found = filled({ axis: 2, slice: 1, points });

  assert.equal(found.length, 15);
  assert.equal(new Set(found).size, 15);
  assert.ok(found.every((index) => grid.voxel(index)[2] === 1));
});

test("two polygons that share a side share no voxel and leave none out", () => {
  const left = filled({ axis: 2, slice: 0, points: [[0, 0], [5, 0], [5, 8], [0, 8]] });
  const right = filled({ axis: 2, slice: 0, points: [[5, 0], [9, 0], [9, 8], [5, 8]] });
  const both = filled({ axis: 2, slice: 0, points: [[0, 0], [9, 0], [9, 8], [0, 8]] });

  assert.deepEqual([...left, ...right].sort(), both.sort());
});

test("a polygon in the sagittal plane runs along y and z and is cut at the border", () => {
  const found = filled({ axis: 0, slice: 3, points: [[-5, -5], [2.5, -5], [2.5, 50], [-5, 50]] });

  assert.equal(found.length, 3 * 4);
  assert.ok(found.every((index) => grid.voxel(index)[0] === 3 && grid.voxel(index)[1] <= 2));
});

test("a concave polygon leaves its bay empty", () => {
  const points = [[0.5, 0.5], [9.5, 0.5], [9.5, 8.5], [5, 2], [0.5, 8.5]];

  const found = new Set(filled({ axis: 2, slice: 0, points }));

  assert.ok(!found.has(grid.index([5, 6, 0])) && found.has(grid.index([1, 6, 0])));
});

const ring = () => {
  const mask = new Uint8Array(grid.size);
  for (let z = 0; z < 4; z++) {
    for (let y = 2; y < 8; y++) {
      for (let x = 2; x < 9; x++) {
        const isWall = x === 2 || x === 8 || y === 2 || y === 7;
        mask[grid.index([x, y, z])] = isWall ? 1 : 0;
      }
    }
  }
  return mask;
};

test("a hole that is closed in its slice is found whole, and only in this slice", () => {
  const mask = ring();

  const hole = connected(grid, { seed: [5, 5, 1], axis: 2, passes: (i) => mask[i] === 0 });

  assert.equal(hole.indices.length, 5 * 4);
  assert.equal(hole.reachesBorder, false);
  const tube = connected(grid, { seed: [5, 5, 1], axis: null, passes: (i) => mask[i] === 0 });
  assert.equal(tube.indices.length, 4 * 5 * 4);
  assert.equal(tube.reachesBorder, true);
});

test("a gap in the wall lets the hole reach the border", () => {
  const mask = ring();
  mask[grid.index([2, 5, 1])] = 0;

  const hole = connected(grid, { seed: [5, 5, 1], axis: 2, passes: (i) => mask[i] === 0 });

  assert.equal(hole.reachesBorder, true);
});

test("diagonal neighbours do not hang together", () => {
  const mask = new Uint8Array(grid.size);
  mask[grid.index([3, 3, 0])] = 1;
  mask[grid.index([4, 4, 0])] = 1;

  const piece = connected(grid, { seed: [3, 3, 0], passes: (i) => mask[i] === 1 });

  assert.deepEqual(piece.indices, [grid.index([3, 3, 0])]);
});

test("a piece in which a member differs is taken, and no other piece", () => {
  const mask = new Uint8Array(grid.size);
  const source = new Uint8Array(grid.size);
  for (const x of [2, 3, 8]) source[grid.index([x, 4, 2])] = 1;

  const seed = nearestDifference(grid, { seed: [4, 4, 2], axis: 2, mask, source, reachMm: 3 });
  const piece = differingPiece(grid, { seed, mask, source });

  assert.deepEqual(seed, [3, 4, 2]);
  assert.deepEqual(piece.sort(), [grid.index([2, 4, 2]), grid.index([3, 4, 2])]);
  assert.equal(nearestDifference(grid, { seed: [5, 8, 0], axis: 2, mask, source, reachMm: 3 }), null);
});
