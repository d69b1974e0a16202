// How the item is looked at: cursor, slices, planes, zoom, windows, what is shown.

import { AXES } from "./grid.js";
import { draggedWindow } from "./windowing.js";

export class Viewing {
  constructor(editor) {
    this.editor = editor;
    this.stage = editor.stage;
    this.settings = editor.settings;
  }

  moveCursor(voxel, how) {
    this.stage.moveCursor(voxel, how);
    this.stage.redraw("pointer");
    this.editor.foot.update();
  }

  // Go on by so many slices of one plane.
  step(axis, by) {
    const voxel = [...this.stage.cursor];
    voxel[axis] += by;
    this.moveCursor(voxel);
  }

  // Make a plane the one that keys are about.
  activate(axis) {
    if (this.settings.active !== axis) this.editor.set({ active: axis });
  }

  nextPlane() {
    const main = AXES[(AXES.indexOf(this.settings.main) + 1) % AXES.length];
    this.editor.set({ main, active: main });
    this.stage.resize();
  }

  zoomAt(pane, x, y, factor) {
    pane.zoomAt(x, y, factor);
    this.stage.redraw("ct", "over", "pointer");
  }

  // Zoom the active plane about the cursor.
  zoom(factor) {
    const pane = this.stage.pane(this.settings.active);
    const { u, v } = pane.plane;
    this.zoomAt(pane, ...pane.toScreen(this.stage.cursor[u], this.stage.cursor[v]), factor);
  }

  pan(pane, dx, dy) {
    pane.panBy(dx, dy);
    this.stage.redraw("ct", "over", "pointer");
  }

  whole() {
    for (const pane of this.stage.panes) pane.reset();
    this.stage.redraw("ct", "over", "pointer");
  }

  // The window that an item opens with: the one in use where it has it, else its first.
  openWindow(windows) {
    const { settings } = this;
    const names = Object.keys(windows);
    if (!names.includes(settings.windowName)) settings.windowName = names[0] ?? null;
    if (settings.windowName) settings.windowHu = [...windows[settings.windowName]];
  }

  useWindow(name) {
    this.settings.windowName = name;
    this.#apply(this.editor.item.document.windows[name]);
  }

  nextWindow() {
    const names = Object.keys(this.editor.item.document.windows);
    if (names.length === 0) return;
    const name = names[(names.indexOf(this.settings.windowName) + 1) % names.length];
    this.useWindow(name);
    this.editor.tell(`Window: ${name}`);
  }

  dragWindow(dx, dy) {
    this.settings.windowName = null;
    this.#apply(draggedWindow(this.settings.windowHu, dx, dy));
    this.editor.tell(`Window ${this.settings.windowHu.join(" to ")} HU`);
  }

  #apply(windowHu) {
    this.settings.windowHu = [...windowHu];
    this.stage.setWindow(windowHu);
    this.editor.head.update();
  }

  toggle(what) {
    this.settings.show[what] = !this.settings.show[what];
    this.editor.changedLook();
  }
}
