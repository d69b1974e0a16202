import assert from "node:assert/strict";
import test from "node:test";

import { betweenSlices } from "../../../../review_app/mask_editor/frontend/src/between_slices.js";
import { signedDistance } from "../../../../review_app/mask_editor/frontend/src/distance.js";
import { Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";

test("distances equal those of a search over all voxels", () => {
  const plane = { nu: 13, nv: 9, spacingU: 0.7, spacingV: 1.9 };
  const shape = Uint8Array.from({ length: 13 * 9 }, (_, i) => ((i * 7919) % 11 < 4 ? 1 : 0));

  const found = signedDistance(shape, plane);

  for (let i = 0; i < shape.length; i++) {
    let nearest = Infinity;
    for (let j = 0; j < shape.length; j++) {
      if (shape[i] === shape[j]) continue;
      const du = ((i % 13) - (j % 13)) * 0.7;
      const dv = (Math.floor(i / 13) - Math.floor(j / 13)) * 1.9;
      nearest = Math.min(nearest, Math.hypot(du, dv));
    }
    const expected = shape[i] ? 0.35 - nearest : nearest - 0.35;
    assert.ok(Math.abs(found[i] - expected) < 1e-9);
  }
});

const grid = new Grid([40, 40, 11], [1, 1, 1]);

function disc(drawn, value, { x, y, z, radius }) {
  for (let j = 0; j < 40; j++) {
    for (let i = 0; i < 40; i++) {
      if (Math.hypot(i - x, j - y) <= radius) drawn.set(grid.index([i, j, z]), value);
    }
  }
}

const sizes = (indices) => {
  const bySlice = new Array(11).fill(0);
  for (const index of indices) bySlice[grid.voxel(index)[2]] += 1;
  return bySlice;
};

test("between two discs lies a cone: radii in between, on a straight line", () => {
  const drawn = new Map();
  disc(drawn, 1, { x: 12, y: 20, z: 0, radius: 4 });
  disc(drawn, 1, { x: 28, y: 20, z: 10, radius: 8 });

  const { add, remove } = betweenSlices(grid, { axis: 2, drawn });

  assert.equal(remove.length, 0);
  const found = sizes(add);
  assert.equal(found[0], 0);
  assert.equal(found[10], 0);
  for (let z = 1; z < 10; z++) {
    const expected = Math.PI * (4 + 0.4 * z) ** 2;
    assert.ok(Math.abs(found[z] - expected) < 0.2 * expected, `slice ${z}: ${found[z]}`);
    const middle = add.filter((index) => grid.voxel(index)[2] === z).map((i) => grid.voxel(i)[0]);
    const centre = middle.reduce((sum, x) => sum + x, 0) / middle.length;
    assert.ok(Math.abs(centre - (12 + 1.6 * z)) < 1);
  }
});

test("what was erased is interpolated as erased, apart from what was added", () => {
  const drawn = new Map();
  disc(drawn, 0, { x: 10, y: 10, z: 2, radius: 3 });
  disc(drawn, 0, { x: 10, y: 10, z: 6, radius: 3 });
  disc(drawn, 1, { x: 30, y: 30, z: 2, radius: 3 });

  const { add, remove } = betweenSlices(grid, { axis: 2, drawn });

  assert.deepEqual(add, []);
  assert.deepEqual(sizes(remove), [0, 0, 0, 29, 29, 29, 0, 0, 0, 0, 0]);
});

test("three drawn slices are joined pair by pair, in every plane", () => {
  const drawn = new Map();
  for (const y of [3, 6, 8]) {
    for (let x = 10; x < 15; x++) for (let z = 4; z < 8; z++) drawn.set(grid.index([x, y, z]), 1);
  }

  const { add } = betweenSlices(grid, { axis: 1, drawn });

  const slices = new Set(add.map((index) => grid.voxel(index)[1]));
  assert.deepEqual([...slices].sort(), [4, 5, 7]);
  assert.equal(add.length, 3 * 20);
});
