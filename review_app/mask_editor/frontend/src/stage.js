// The pictures: three canvases above each other, drawn at most once a frame and only where needed.

import { CanvasView } from "./canvas_view.js";
import { make } from "./dom.js";
import { findGraphics, graphicsNote } from "./graphics.js";
import { AXES } from "./grid.js";
import { Overlay } from "./overlay.js";
import { Pane, layout } from "./panes.js";
import { PointerMarks } from "./pointer_marks.js";

export class Stage {
  #dirty = new Set();
  #frame = null;
  #panes = new Map();
  #observer = null;
  // The window that the view has not been told of yet.
  #window = null;

  // `scene()` and `marks()` return what overlay and pointer marks draw.
  constructor({ settings, scene, marks, tell }) {
    this.settings = settings;
    this.scene = scene;
    this.marks = marks;
    this.tell = tell;
    this.cursor = [0, 0, 0];
    this.item = null;
    this.view = null;
    this.note = "";
    this.element = make("div", {
      class: "stage",
      tabindex: "0",
      role: "application",
      "aria-label": "Pictures of the region. Press ? for the keys.",
    });
    this.veil = make("div", { class: "veil", role: "status" });
    const [over, pointer] = [make("canvas"), make("canvas")];
    this.element.append(over, pointer, this.veil);
    this.overlay = new Overlay(over);
    this.pointer = new PointerMarks(pointer);
    this.#observer = new ResizeObserver(() => this.resize());
    this.#observer.observe(this.element);
  }

  // Choose how the CT is drawn: `wanted` is "webgl", "canvas" or undefined (what suits the machine).
  async chooseView(wanted) {
    this.graphics ??= findGraphics();
    const kind = wanted ?? (this.graphics.kind === "gpu" ? "webgl" : "canvas");
    if (this.view?.kind === kind) return;
    const { view } = this;
    this.view = null;
    view?.destroy();
    view?.canvas.remove();
    this.view = await this.#opened(kind);
    this.element.prepend(this.view.canvas);
    this.note = graphicsNote(this.graphics, this.view.kind);
    if (this.item) await this.setItem(this.item);
  }

  async #opened(kind) {
    if (kind === "canvas") return new CanvasView(make("canvas"));
    const holder = make("div");
    const canvas = make("canvas");
    holder.append(canvas);
    try {
      // A file of its own: only machines with a graphics processor load it.
      const { NiivueView } = await import("./niivue_view.js");
      const view = await NiivueView.open(canvas);
      canvas.addEventListener("webglcontextlost", () => this.#lost(view));
      return view;
    } catch (error) {
      this.tell(`WebGL2 could not be opened (${error.message}).`, "warning");
      return new CanvasView(make("canvas"));
    }
  }

  // The graphics driver went away: go on by the processor.
  #lost(view) {
    if (this.view !== view) return;
    this.tell("The graphics processor was lost; the pictures are drawn by the processor.", "warning");
    void this.chooseView("canvas");
  }

  async setItem(item) {
    this.item = item;
    this.overlay.forget();
    await this.view.setVolume(item.grid, item.ct, this.settings.windowHu);
    this.#panes = new Map(AXES.map((axis) => [axis, new Pane(item.grid, axis)]));
    this.resize();
  }

  get panes() {
    if (!this.item) return [];
    return [...this.#panes.values()].filter((pane) => pane.rect[2] > 0);
  }

  pane(axis) {
    return this.#panes.get(axis);
  }

  paneAt(x, y) {
    return this.panes.find((pane) => pane.contains(x, y)) ?? null;
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (width === 0 || height === 0) return;
    const extents = Object.fromEntries([...this.#panes].map(([axis, pane]) => [axis, pane.extent]));
    const rects = layout(width, height, { main: this.settings.main, extents });
    for (const [axis, pane] of this.#panes) pane.rect = rects[axis] ?? [0, 0, 0, 0];
    this.redraw("ct", "over", "pointer");
  }

  moveCursor(voxel, { show = false } = {}) {
    const [before, after] = [this.cursor, this.item.grid.nearest(voxel)];
    this.cursor = after;
    if (show) {
      for (const pane of this.panes) pane.show(after[pane.plane.u], after[pane.plane.v]);
    }
    const moved = this.panes.some((pane) => before[pane.axis] !== after[pane.axis]);
    if (moved || show) this.redraw("ct", "over", "pointer");
  }

  setWindow(windowHu) {
    this.#window = windowHu;
    this.redraw("ct");
  }

  // Ask for a picture of the given layers ("ct", "over", "pointer") with the next frame.
  redraw(...layers) {
    for (const layer of layers) this.#dirty.add(layer);
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw() {
    if (!this.item || !this.view) return;
    const geometry = {
      panes: this.panes,
      cursor: this.cursor,
      active: this.settings.active,
      width: this.element.clientWidth,
      height: this.element.clientHeight,
      ratio: Math.min(2, window.devicePixelRatio || 1),
    };
    // Once a frame: on a graphics processor a window is a pass over the whole volume.
    if (this.#window) this.view.setWindow(this.#window);
    this.#window = null;
    if (this.#dirty.has("ct")) this.view.draw(geometry);
    if (this.#dirty.has("over")) this.overlay.draw(this.scene(), geometry);
    if (this.#dirty.has("pointer")) this.pointer.draw(this.marks(), geometry);
    this.#dirty.clear();
  }

  say(text) {
    this.veil.textContent = text;
    this.veil.classList.toggle("hidden", text === "");
  }

  destroy() {
    this.#observer.disconnect();
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    const { view } = this;
    this.view = null;
    view?.destroy();
    this.item = null;
  }
}
