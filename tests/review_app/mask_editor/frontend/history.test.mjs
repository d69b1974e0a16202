import assert from "node:assert/strict";
import test from "node:test";

import { Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";
import { History } from "../../../../review_app/mask_editor/frontend/src/history.js";
import { MaskEdit, reachedSides } from "../../../../review_app/mask_editor/frontend/src/mask_edit.js";

const grid = new Grid([16, 16, 8], [1, 1, 1]);

// A small generator of our own, so that a failure can be repeated.
function numbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function randomMask(seed) {
  const next = numbers(seed);
  return Uint8Array.from({ length: grid.size }, () => (next() < 0.3 ? 1 : 0));
}

function randomStep(edit, next, name) {
  edit.begin(name, 2);
  for (let i = 0; i < 200; i++) edit.set(Math.floor(next() * grid.size), next() < 0.5 ? 1 : 0);
  return edit.commit();
}

test("undo and redo give back every mask of a long session exactly", () => {
  const edit = new MaskEdit(grid, randomMask(1));
  const next = numbers(2);
  const states = [edit.voxels.slice()];
  for (let i = 0; i < 30; i++) {
    randomStep(edit, next, `step ${i}`);
    states.push(edit.voxels.slice());
  }

  for (let i = 29; i >= 0; i--) {
    assert.equal(edit.undo().name, `step ${i}`);
    assert.deepEqual(edit.voxels, states[i]);
  }
  assert.equal(edit.undo(), null);
  for (let i = 1; i <= 30; i++) {
    edit.redo();
    assert.deepEqual(edit.voxels, states[i]);
  }
  assert.equal(edit.redo(), null);
  assert.equal(edit.count, edit.voxels.reduce((sum, voxel) => sum + voxel, 0));
});

test("a voxel that goes there and back within one step is no change", () => {
  const edit = new MaskEdit(grid, new Uint8Array(grid.size));
  edit.begin("Brush", 2);
  edit.set(5, 1);
  edit.set(5, 0);
  edit.set(6, 1);
  edit.set(6, 0);
  edit.set(6, 1);

  const step = edit.commit();

  assert.deepEqual([...step.flipped], [6]);
  edit.undo();
  assert.ok(edit.voxels.every((voxel) => voxel === 0));
});

test("a new step forgets what was undone", () => {
  const edit = new MaskEdit(grid, new Uint8Array(grid.size));
  edit.begin("one");
  edit.set(1, 1);
  edit.undo();
  edit.begin("two");
  edit.set(2, 1);
  edit.commit();

  assert.equal(edit.redo(), null);
  assert.equal(edit.voxels[1], 0);
});

test("a step that is given up leaves no trace", () => {
  const edit = new MaskEdit(grid, randomMask(3));
  const before = edit.voxels.slice();
  edit.begin("Brush", 2);
  for (let i = 0; i < 300; i++) edit.set(i, 1);

  edit.cancel();

  assert.deepEqual(edit.voxels, before);
  assert.equal(edit.history.steps.length, 0);
});

test("history is bounded by bytes and says that it forgot; the newest step can be undone", () => {
  const history = new History({ maxBytes: 1000 });
  const edit = new MaskEdit(grid, new Uint8Array(grid.size), history);
  for (let i = 0; i < 5; i++) {
    edit.begin(`step ${i}`);
    for (let j = 0; j < 100; j++) edit.set(100 * i + j, 1);
    edit.commit();
  }

  assert.equal(history.steps.length, 2);
  assert.equal(history.forgot, true);
  edit.begin("large");
  for (let j = 600; j < 1600; j++) edit.set(j, 1);
  edit.commit();
  edit.undo();
  assert.equal(edit.count, 500);
});

test("a server's answer is one step that undo takes back", () => {
  const edit = new MaskEdit(grid, randomMask(4));
  const before = edit.voxels.slice();
  const answer = randomMask(5);

  const step = edit.replace("Smooth", answer);

  assert.equal(step.name, "Smooth");
  assert.deepEqual(edit.voxels, answer);
  edit.undo();
  assert.deepEqual(edit.voxels, before);
  assert.throws(() => edit.replace("Smooth", answer.slice(1)), /2048 voxels, got 2047/);
});

test("what is drawn by hand is what still stands of hand steps on one axis", () => {
  const edit = new MaskEdit(grid, new Uint8Array(grid.size));
  const act = (name, hand, changes) => {
    edit.begin(name, hand);
    for (const [index, value] of changes) edit.set(index, value);
    edit.commit();
  };
  act("Brush", 2, [[1, 1], [2, 1], [3, 1]]);
  act("Eraser", 2, [[2, 0]]);
  act("Smooth", null, [[9, 1]]);
  act("Brush", 1, [[8, 1]]);
  act("Brush", 2, [[4, 1]]);
  edit.undo();

  assert.deepEqual([...edit.drawnByHand(2)], [[1, 1], [3, 1]]);
  assert.deepEqual([...edit.drawnByHand(1)], [[8, 1]]);
});

test("sides of the region that the mask reaches are named, but not the CT's own border", () => {
  const voxels = new Uint8Array(grid.size);
  voxels[grid.index([0, 5, 3])] = 1;
  voxels[grid.index([5, 15, 3])] = 1;
  voxels[grid.index([5, 5, 7])] = 1;
  const atCtBorder = [[false, false], [false, false], [false, true]];

  assert.deepEqual(reachedSides(grid, voxels, atCtBorder), ["left", "front"]);
});
