import assert from "node:assert/strict";
import { test } from "node:test";

import { loadLayers, overlaps } from "../../../../review_app/mask_editor/frontend/src/item.js";

const neighbour = (id, voxels, more = {}) => ({
  id, name: id, kind: "neighbour", exclusive: true, voxels: Uint8Array.from(voxels), ...more,
});

test("overlaps count what a mask shares now with exclusive neighbours alone", () => {
  const item = {
    edit: { voxels: Uint8Array.from([1, 1, 0, 0]) },
    layers: [
      neighbour("near", [0, 1, 1, 0]),
      neighbour("kept", [1, 1, 0, 0], { kept: true }),
      neighbour("far", [0, 0, 0, 1]),
      neighbour("may share", [1, 1, 1, 1], { exclusive: false }),
      neighbour("member", [1, 1, 1, 1], { kind: "member" }),
      { ...neighbour("not there yet", []), voxels: null },
    ],
  };
  assert.deepEqual(overlaps(item), [
    { id: "near", name: "near", kept: false, voxels: 1 },
    { id: "kept", name: "kept", kept: true, voxels: 2 },
  ]);
  item.edit.voxels = Uint8Array.from([0, 1, 1, 1]);
  assert.deepEqual(overlaps(item).map(({ id, voxels }) => [id, voxels]), [
    ["near", 2], ["kept", 1], ["far", 1],
  ]);
});

function itemOf(ids, mask) {
  return { grid: { size: 1 }, layers: ids.map((id) => ({ id, voxels: null })), wire: { mask } };
}

test("every layer is loaded once, a few at a time", async () => {
  let open = 0, most = 0;
  const asked = [];
  const item = itemOf(["a b", "c", "d", "e", "f", "g", "h"], async (path, size) => {
    asked.push(path);
    most = Math.max(most, ++open);
    await new Promise((done) => setTimeout(done, 1));
    open--;
    return new Uint8Array(size);
  });
  const loaded = [];
  await loadLayers(item, null, (layer) => loaded.push(layer.id));
  assert.deepEqual(loaded.sort(), ["a b", "c", "d", "e", "f", "g", "h"]);
  assert.equal(asked.length, 7);
  assert.equal(asked[0], "layer/a%20b");
  assert.ok(most > 1 && most < 5, `${most} at once`);
  assert.ok(item.layers.every((layer) => layer.voxels.length === 1));
});

test("a layer that is refused is told and not left out", async () => {
  const item = itemOf(["a", "b", "c", "d"], async (path) => {
    if (path.endsWith("b")) throw new Error("damaged");
    return new Uint8Array(1);
  });
  await assert.rejects(loadLayers(item, null, () => {}), /damaged/);
});
