import assert from "node:assert/strict";
import test from "node:test";

import { sliceEdges } from "../../../../review_app/mask_editor/frontend/src/contours.js";
import { findGraphics, graphicsNote } from "../../../../review_app/mask_editor/frontend/src/graphics.js";
import { AXES, Grid } from "../../../../review_app/mask_editor/frontend/src/grid.js";
import { Pane, layout } from "../../../../review_app/mask_editor/frontend/src/panes.js";
import { COLORS, TEXT_PAIRS } from "../../../../review_app/mask_editor/frontend/src/styles.js";
import { decodeMesh, drawMesh } from "../../../../review_app/mask_editor/frontend/src/surface.js";
import { draggedWindow, greyOf, greyTable, heatTable } from "../../../../review_app/mask_editor/frontend/src/windowing.js";

const grid = new Grid([50, 40, 30], [1, 1, 2]);

test("a pane maps pixels to voxels and back, zoomed and moved too", () => {
  for (const axis of AXES) {
    const pane = new Pane(grid, axis);
    pane.rect = [10, 20, 500, 400];
    pane.zoomAt(300, 150, 2.5);
    pane.panBy(13, -7);
    const [x, y] = pane.toScreen(...pane.toPlane(123, 77));
    assert.ok(Math.abs(x - 123) < 1e-9 && Math.abs(y - 77) < 1e-9);
  }
});

test("the patient's right is on the left of axial and coronal pictures, front and head are up", () => {
  const [axial, coronal, sagittal] = AXES.map((axis) => {
    const pane = new Pane(grid, axis);
    pane.rect = [0, 0, 300, 300];
    return pane;
  });
  // RAS: a larger x is further to the patient's right, a larger y further to the front.
  assert.ok(axial.toScreen(49, 0)[0] < axial.toScreen(0, 0)[0]);
  assert.ok(axial.toScreen(0, 39)[1] < axial.toScreen(0, 0)[1]);
  assert.ok(coronal.toScreen(49, 0)[0] < coronal.toScreen(0, 0)[0]);
  assert.ok(sagittal.toScreen(39, 0)[0] < sagittal.toScreen(0, 0)[0]);
  assert.ok(sagittal.toScreen(0, 29)[1] < sagittal.toScreen(0, 0)[1]);
});

test("millimetres have one length on the screen whatever the spacing", () => {
  const pane = new Pane(grid, 1);
  pane.rect = [0, 0, 640, 480];

  const across = pane.toScreen(0, 0)[0] - pane.toScreen(10, 0)[0];
  const down = pane.toScreen(0, 0)[1] - pane.toScreen(0, 5)[1];

  assert.ok(Math.abs(across - down) < 1e-9);
});

test("zooming holds the point under the pointer still", () => {
  const pane = new Pane(grid, 2);
  pane.rect = [0, 0, 500, 400];
  const before = pane.toPlane(260, 190);

  pane.zoomAt(260, 190, 3);

  const after = pane.toPlane(260, 190);
  assert.ok(Math.hypot(after[0] - before[0], after[1] - before[1]) < 1e-9);
});

test("panes fill the space without overlap, and narrow spaces hold one", () => {
  for (const [w, h] of [[900, 700], [612, 690], [1500, 900]]) {
    const rects = Object.values(layout(w, h));
    assert.equal(rects.length, 3);
    for (const [left, top, width, height] of rects) {
      assert.ok(left + width <= w && top + height <= h && width > 200 && height > 200);
    }
    const areas = rects.map(([, , width, height]) => width * height);
    assert.ok(areas.reduce((sum, area) => sum + area) > 0.95 * w * h);
    const apart = ([l, t, ww, hh], [l2, t2, w2, h2]) =>
      l + ww <= l2 || l2 + w2 <= l || t + hh <= t2 || t2 + h2 <= t;
    for (const one of rects) for (const two of rects) assert.ok(one === two || apart(one, two));
  }
  assert.deepEqual(layout(300, 700), { 2: [0, 0, 300, 700] });
});

test("the other planes lie where the region is shown larger", () => {
  const wide = { 2: [300, 200], 1: [300, 80], 0: [200, 80] };
  const tall = { 2: [100, 100], 1: [100, 300], 0: [100, 300] };

  assert.equal(layout(700, 700, { extents: wide })[2][2], 700);
  assert.equal(layout(700, 700, { extents: tall })[2][3], 700);
});

test("outlines are the edges of the voxels, straight runs in one piece", () => {
  const mask = new Uint8Array(grid.size);
  for (const [x, y] of [[3, 4], [4, 4], [5, 4]]) mask[grid.index([x, y, 7])] = 1;

  const edges = sliceEdges(grid, mask, 2, 7);

  const lines = [];
  for (let i = 0; i < edges.length; i += 4) lines.push(edges.slice(i, i + 4).join());
  assert.deepEqual(lines.sort(), ["3,4,3,5", "3,4,6,4", "3,5,6,5", "6,4,6,5"]);
});

test("an outline closes at the region's border", () => {
  const mask = new Uint8Array(grid.size).fill(1);

  assert.equal(sliceEdges(grid, mask, 0, 0).length, 4 * 4);
});

test("greys rise over the window and are flat beyond it", () => {
  const table = greyTable([-160, 350]);

  assert.equal(greyOf(table, -1000), 0);
  assert.equal(greyOf(table, -160), 0);
  assert.equal(greyOf(table, 0), 80);
  assert.equal(greyOf(table, 350), 255);
  assert.equal(greyOf(table, 3000), 255);
  assert.throws(() => greyTable([10, 10]), /rises/);
});

test("a drag widens and lifts the window and never turns it over", () => {
  assert.deepEqual(draggedWindow([-160, 240], 50, 0), [-210, 290]);
  assert.deepEqual(draggedWindow([-160, 240], 0, -10), [-140, 260]);
  const [low, high] = draggedWindow([-160, 240], -5000, 0);
  assert.ok(high > low);
});

test("the heat map is clear at zero and grows stronger", () => {
  const table = heatTable();

  assert.equal(table[3], 0);
  for (let value = 1; value < 256; value++) assert.ok(table[4 * value + 3] >= table[4 * value - 1]);
});

test("a mesh is drawn where it lies: the patient's right on the left, the head up", () => {
  // A triangle on the patient's right, near the head, of a box that a thin line spans.
  const points = [20, 0, 20, 10, 0, 20, 20, 0, 10, -20, 0, -20, -20, 0, -20, -20, 0, -20];
  const buffer = new ArrayBuffer(8 + 4 * points.length + 4 * 6);
  new DataView(buffer).setUint32(0, 6, true);
  new DataView(buffer).setUint32(4, 2, true);
  new Float32Array(buffer, 8, points.length).set(points);
  new Uint32Array(buffer, 8 + 4 * points.length, 6).set([0, 1, 2, 3, 4, 5]);

  const view = { width: 100, height: 100, turn: 0, tilt: 0, rgb: [200, 100, 50] };
  const pixels = drawMesh(decodeMesh(buffer), view);

  const seen = [];
  for (let i = 0; i < 10000; i++) if (pixels[4 * i + 3]) seen.push([i % 100, Math.floor(i / 100)]);
  assert.ok(seen.length > 50);
  assert.ok(seen.every(([x, y]) => x < 50 && y < 50));
  // A face towards the eye is bright, and the depth buffer keeps what is nearer.
  const [x, y] = seen[20];
  assert.ok(pixels[4 * (100 * y + x)] > 150);
  assert.throws(() => decodeMesh(buffer.slice(0, -4)), /bytes, got/);
});

test("software rendering is known by its renderer's name, and said", () => {
  const canvas = (name) => () => ({
    getContext: () => name && {
      getExtension: () => ({ UNMASKED_RENDERER_WEBGL: 1, loseContext: () => undefined }),
      getParameter: () => name,
    },
  });

  assert.equal(findGraphics(canvas("ANGLE (Google, Vulkan (SwiftShader Device))")).kind, "software");
  assert.equal(findGraphics(canvas("llvmpipe (LLVM 15)")).kind, "software");
  assert.equal(findGraphics(canvas("NVIDIA RTX")).kind, "gpu");
  assert.equal(findGraphics(canvas(null)).kind, "none");
  assert.match(graphicsNote({ kind: "none" }, "canvas"), /No WebGL2/);
  assert.equal(graphicsNote({ kind: "gpu" }, "webgl"), "");
});

test("every text stands out from its ground by 4.5 at least", () => {
  for (const [text, ground] of TEXT_PAIRS) {
    const [a, b] = [luminance(COLORS[text]), luminance(COLORS[ground])].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    assert.ok(contrast >= 4.5, `${text} on ${ground}: ${contrast.toFixed(2)}`);
  }
});

// Source: Web Content Accessibility Guidelines 2.1, relative luminance.
function luminance(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const value = parseInt(hex.slice(i, i + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
