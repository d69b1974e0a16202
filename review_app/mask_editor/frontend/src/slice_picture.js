// One slice as a small picture, a pixel a voxel, and its way onto a pane.

import { eachInSlice } from "./grid.js";

export class SlicePicture {
  #canvas = document.createElement("canvas");
  #image = null;
  #key = "";

  // Paint the slice anew unless `key` is that of the last time. `color(index)` returns a pixel as
  // a little-endian ABGR number.
  update(grid, axis, slice, key, color) {
    const full = `${axis} ${slice} ${key}`;
    if (full === this.#key) return;
    this.#key = full;
    const { nu, nv } = grid.plane(axis);
    if (this.#canvas.width !== nu || this.#canvas.height !== nv || this.#image === null) {
      this.#canvas.width = nu;
      this.#canvas.height = nv;
      this.#image = new ImageData(nu, nv);
    }
    const pixels = new Uint32Array(this.#image.data.buffer);
    let at = 0;
    eachInSlice(grid, axis, slice, (index) => {
      pixels[at++] = color(index);
    });
    this.#canvas.getContext("2d").putImageData(this.#image, 0, 0);
  }

  forget() {
    this.#key = "";
  }

  // Draw onto a context whose unit is a CSS pixel; the pane's clip is the caller's.
  draw(context, pane, { smooth, alpha = 1 }) {
    const [x, y] = pane.toScreen(-0.5, -0.5);
    const [stepU, stepV] = pane.steps;
    context.save();
    context.globalAlpha = alpha;
    context.imageSmoothingEnabled = smooth;
    context.translate(x, y);
    context.scale(stepU, stepV);
    context.drawImage(this.#canvas, 0, 0);
    context.restore();
  }
}

export function clipTo(context, [left, top, width, height], draw) {
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  draw();
  context.restore();
}

// Size a canvas for the screen's pixels and clear it; returns its context in CSS pixels.
export function freshContext(canvas, width, height, ratio) {
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
