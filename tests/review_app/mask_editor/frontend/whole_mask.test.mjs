import assert from "node:assert/strict";
import test from "node:test";

import { Drawing } from "../../../../review_app/mask_editor/frontend/src/drawing.js";
import { Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";
import { Judging } from "../../../../review_app/mask_editor/frontend/src/judging.js";
import { MaskEdit } from "../../../../review_app/mask_editor/frontend/src/mask_edit.js";
import { ServerWork } from "../../../../review_app/mask_editor/frontend/src/server_work.js";

const BASE = Uint8Array.of(0, 1, 1, 0, 0, 0);
const FIRST = Uint8Array.of(1, 1, 0, 0, 0, 1);

// What the parts need of an editor, with one item open.
function editorOn({ members = [], document = {} } = {}) {
  const grid = new Grid([6, 1, 1], [1, 1, 1]);
  const sent = [];
  const wire = {
    send: async (method, path) => {
      sent.push(`${method} ${path}`);
      return { json: async () => ({ receipt: "r-1", voxels_changed: 3, at_border: false }) };
    },
  };
  const item = {
    grid, wire, base: BASE, edit: new MaskEdit(grid, BASE.slice()), layers: members,
    document: { id: "d-1", disputed: [], edited_elsewhere: false, ...document },
  };
  const editor = {
    item, grid, edit: item.edit, members, sent, said: "", told: [], busy: false,
    keys: { label: () => "?" },
    settings: { tool: "look" },
    transfer: new Set(),
    root: { dataset: {} },
    side: { showOverlaps: () => {} },
    keeper: { settled: () => {}, flush: async () => true },
    tell: (words) => (editor.said = words),
    offers: (verdict) => document.verdicts?.includes(verdict) ?? true,
    changed: () => {},
    setBusy: () => {},
    trigger: (name, value) => {
      editor.told.push([name, value.action ?? value.receipt.receipt]);
      editor.last = value;
    },
  };
  editor.drawing = new Drawing(editor);
  editor.judging = new Judging(editor);
  editor.server = new ServerWork(editor);
  editor.server.open(item);
  return editor;
}

test("all of a member is taken as one step, which undo takes back", () => {
  const editor = editorOn({ members: [{ id: "member-A", kind: "member", name: "A", voxels: FIRST }] });
  editor.edit.begin("Brush", 2);
  editor.edit.set(4, 1);
  editor.edit.commit();
  const painted = editor.edit.voxels.slice();

  editor.drawing.takeWhole(0);

  assert.deepEqual(editor.edit.voxels, FIRST);
  assert.match(editor.said, /All of A is taken: 4 voxels/);
  editor.drawing.undo();
  assert.deepEqual(editor.edit.voxels, painted);
  editor.drawing.redo();
  assert.deepEqual(editor.edit.voxels, FIRST);
  editor.drawing.takeWhole(0);
  assert.match(editor.said, /that of A already/);
  assert.equal(editor.edit.history.done.length, 2);
});

test("a stroke under way is given up when a member is taken", () => {
  const editor = editorOn({ members: [{ id: "m", kind: "member", name: "A", voxels: FIRST }] });
  editor.edit.begin("Brush", 2);
  editor.edit.set(3, 1);

  editor.drawing.takeWhole(0);
  editor.drawing.undo();

  assert.deepEqual(editor.edit.voxels, BASE);
});

test("a member that is not there, or still on its way, changes nothing", () => {
  const editor = editorOn({ members: [{ id: "m", kind: "member", name: "A", voxels: null }] });

  editor.drawing.takeWhole(0);
  assert.match(editor.said, /being loaded/);
  editor.drawing.takeWhole(1);
  assert.match(editor.said, /has 1 other mask/);
  assert.deepEqual(editor.edit.voxels, BASE);
});

test("an unchanged part is saved when another part holds edits, and else is not", async () => {
  const alone = editorOn();
  const beside = editorOn({ document: { edited_elsewhere: true } });

  await alone.server.save();
  await beside.server.save();

  assert.deepEqual(alone.sent, []);
  assert.match(alone.said, /Nothing is changed/);
  assert.deepEqual(beside.sent, ["PUT mask"]);
  assert.deepEqual(beside.told, [["save", "r-1"]]);
});

test("edits in another part hold a verdict back until it is repeated", async () => {
  const editor = editorOn({ document: { edited_elsewhere: true } });

  editor.judging.judge("accept");
  assert.match(editor.said, /not saved/);
  assert.deepEqual(editor.told, []);
  editor.judging.judge("accept");
  await new Promise((done) => setTimeout(done, 0));
  assert.deepEqual(editor.told, [["act", "accept"]]);
  assert.equal(editor.last.dropping, true);
});

test("a verdict names the voxels that it would drop, and drops none unasked", async () => {
  const [drawn, untouched] = [editorOn(), editorOn()];
  drawn.edit.begin("Brush", 2);
  drawn.edit.set(3, 1);
  drawn.edit.commit();

  drawn.judging.judge("unsure");
  untouched.judging.judge("unsure");
  await new Promise((done) => setTimeout(done, 0));

  assert.match(drawn.said, /^1 voxel that you drew is not saved: .* again says “unsure” and drops it/);
  assert.deepEqual(drawn.told, []);
  assert.equal(untouched.last.dropping, false);
});

test("a reading knows no verdict on a mask that it does not show", async () => {
  const editor = editorOn({ document: { verdicts: ["absent", "unsure"] } });

  editor.judging.judge("accept");
  assert.match(editor.said, /no answer here/);
  await editor.server.save();
  assert.match(editor.said, /Nothing is drawn yet/);
  editor.judging.judge("absent");
  await new Promise((done) => setTimeout(done, 0));
  assert.deepEqual(editor.told, [["act", "absent"]]);
});
