// The CT drawn by the processor: where there is no WebGL2, or only in software, which is slower.

import { greyTable } from "./windowing.js";
import { SlicePicture, clipTo, freshContext } from "./slice_picture.js";

export class CanvasView {
  kind = "canvas";
  #pictures = new Map();
  #table = null;
  #window = null;
  #grid = null;
  #ct = null;

  constructor(canvas) {
    this.canvas = canvas;
  }

  async setVolume(grid, ct, window) {
    this.#grid = grid;
    this.#ct = ct;
    for (const picture of this.#pictures.values()) picture.forget();
    this.setWindow(window);
  }

  setWindow(window) {
    this.#window = window;
    this.#table = greyTable(window);
  }

  // Draw each pane's slice through the cursor.
  draw({ panes, cursor, width, height, ratio }) {
    const context = freshContext(this.canvas, width, height, ratio);
    context.fillStyle = "#000";
    for (const pane of panes) {
      context.fillRect(...pane.rect);
      if (this.#ct) clipTo(context, pane.rect, () => this.#drawPane(context, pane, cursor));
    }
  }

  #drawPane(context, pane, cursor) {
    if (!this.#pictures.has(pane.axis)) this.#pictures.set(pane.axis, new SlicePicture());
    const picture = this.#pictures.get(pane.axis);
    const [ct, table] = [this.#ct, this.#table];
    picture.update(this.#grid, pane.axis, cursor[pane.axis], this.#window.join(), (index) => {
      const grey = table[ct[index] + 32768];
      return 0xff000000 | (grey << 16) | (grey << 8) | grey;
    });
    picture.draw(context, pane, { smooth: true });
  }

  destroy() {
    this.#pictures.clear();
    this.#ct = null;
  }
}
