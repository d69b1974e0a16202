import assert from "node:assert/strict";
import test from "node:test";

import { Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";
import { MaskEdit } from "../../../../review_app/mask_editor/frontend/src/mask_edit.js";
import { firstSettings, nextBrushMm } from "../../../../review_app/mask_editor/frontend/src/settings.js";
import { ToolUse } from "../../../../review_app/mask_editor/frontend/src/tools.js";

function desk(settings) {
  const grid = new Grid([30, 30, 6], [1, 1, 3]);
  const ct = new Int16Array(grid.size);
  // The right half is bone.
  for (let i = 0; i < grid.size; i++) ct[i] = grid.voxel(i)[0] >= 15 ? 800 : 50;
  const told = [];
  return {
    grid, ct, told,
    edit: new MaskEdit(grid, new Uint8Array(grid.size)),
    settings: { ...firstSettings(), ...settings },
    scribbles: { voxels: new Uint8Array(grid.size), revision: 0 },
    source: new Uint8Array(grid.size),
    sourceOf() {
      return this.source;
    },
    tell: (text) => told.push(text),
  };
}

const at = (x, y, z = 2, axis = 2) => ({ point: [x, y, z], axis });

test("the brush paints along its way as one step, and Ctrl erases", () => {
  const here = desk({ tool: "brush", brushMm: 4 });
  const use = new ToolUse(here);
  use.press(at(5, 5));
  use.move(at(20, 5));
  const step = use.release();

  assert.equal(step.name, "Brush");
  assert.equal(step.hand, 2);
  assert.equal(here.edit.voxels[here.grid.index([12, 5, 2])], 1);
  assert.equal(here.edit.voxels[here.grid.index([12, 5, 3])], 0);
  use.press(at(12, 5), { erase: true });
  assert.equal(use.release().name, "Eraser");
  assert.equal(here.edit.voxels[here.grid.index([12, 5, 2])], 0);
});

test("the HU range keeps the brush off other tissue, and never holds the eraser back", () => {
  const here = desk({ tool: "brush", brushMm: 8, gate: { on: true, lowHu: 0, highHu: 100 } });
  const use = new ToolUse(here);
  use.press(at(15, 10));
  use.release();

  const xs = [...here.edit.voxels.keys()]
    .filter((i) => here.edit.voxels[i])
    .map((i) => here.grid.voxel(i)[0]);
  assert.equal(Math.max(...xs), 14);
  here.edit.voxels[here.grid.index([16, 10, 2])] = 1;
  use.press(at(15, 10), { erase: true });
  use.release();
  assert.ok(here.edit.voxels.every((voxel) => voxel === 0));
});

test("the brush in 3D reaches the next slices as far as their spacing allows", () => {
  const here = desk({ tool: "brush", brushMm: 8, ball: true });
  const use = new ToolUse(here);
  use.press(at(10, 10));
  const step = use.release();

  assert.equal(step.hand, "3d");
  assert.equal(here.edit.voxels[here.grid.index([10, 10, 3])], 1);
  assert.equal(here.edit.voxels[here.grid.index([10, 10, 4])], 0);
});

test("a lasso fills what it was drawn around; a polygon waits until it is finished", () => {
  for (const tool of ["lasso", "polygon"]) {
    const here = desk({ tool });
    const use = new ToolUse(here);
    const corners = [at(2.5, 2.5), at(8.5, 2.5), at(8.5, 8.5), at(2.5, 8.5)];
    if (tool === "lasso") {
      use.press(corners[0]);
      for (const corner of corners.slice(1)) use.move(corner);
      use.release();
    } else {
      for (const corner of corners) {
        use.press(corner);
        use.release();
      }
      assert.equal(here.edit.count, 0);
      use.finishLine();
    }
    assert.equal(here.edit.count, 36, tool);
    assert.equal(here.edit.history.steps.length, 1);
  }
});

test("fill closes a ring but refuses open ground, saying why", () => {
  const here = desk({ tool: "fill" });
  for (let i = 5; i <= 10; i++) {
    for (const [x, y] of [[i, 5], [i, 10], [5, i], [10, i]]) here.edit.voxels[here.grid.index([x, y, 2])] = 1;
  }
  const use = new ToolUse(here);
  use.press(at(2, 2));
  assert.equal(use.release(), null);
  assert.match(here.told[0], /not enclosed/);

  use.press(at(7, 7));
  assert.equal(use.release().flipped.length, 16);
});

test("a piece is taken from another mask: added where it has more, removed where less", () => {
  const here = desk({ tool: "take", takeFrom: "A" });
  const { grid, edit, source } = here;
  source[grid.index([5, 5, 2])] = 1;
  source[grid.index([6, 5, 2])] = 1;
  edit.voxels[grid.index([7, 5, 2])] = 1;
  edit.voxels[grid.index([20, 20, 2])] = 1;
  const use = new ToolUse(here);
  use.press(at(6, 5));
  use.release();

  assert.deepEqual(
    [5, 6, 7].map((x) => edit.voxels[grid.index([x, 5, 2])]),
    [1, 1, 0],
  );
  assert.equal(edit.voxels[grid.index([20, 20, 2])], 1);
  use.press(at(15, 15));
  assert.equal(use.release(), null);
  assert.match(here.told.at(-1), /same here/);
});

test("scribbles leave the mask alone; Escape gives a stroke up", () => {
  const here = desk({ tool: "scribble", scribble: 1, brushMm: 1 });
  const use = new ToolUse(here);
  use.press(at(5, 5));
  use.release();
  use.press(at(9, 9), { erase: true });
  use.release();

  assert.equal(here.scribbles.voxels[here.grid.index([5, 5, 2])], 1);
  assert.equal(here.scribbles.voxels[here.grid.index([9, 9, 2])], 2);
  assert.equal(here.edit.count, 0);
  here.settings.tool = "brush";
  use.press(at(5, 5));
  use.cancel();
  assert.equal(here.edit.count, 0);
});

test("brush sizes step through the list and stop at its ends", () => {
  assert.equal(nextBrushMm(6, 1), 8);
  assert.equal(nextBrushMm(6, -1), 5);
  assert.equal(nextBrushMm(30, 1), 30);
  assert.equal(nextBrushMm(1, -1), 1);
});
