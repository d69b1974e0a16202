// The 3D surface in its small canvas: turned by dragging or by the arrows.

import { decodeMesh, drawMesh } from "./surface.js";

const TURN_PER_PIXEL = 0.012;
const ARROW_TURNS = { ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] };

export class SurfaceView {
  constructor(canvas) {
    this.canvas = canvas;
    this.mesh = null;
    this.turn = 0.5;
    this.tilt = 0.25;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.#turnBy(event.movementX, event.movementY);
    });
    canvas.addEventListener("keydown", (event) => {
      const turn = ARROW_TURNS[event.key];
      if (!turn) return;
      event.preventDefault();
      event.stopPropagation();
      this.#turnBy(...turn);
    });
  }

  show(buffer, rgb) {
    this.mesh = decodeMesh(buffer);
    this.rgb = rgb;
    this.canvas.classList.remove("hidden");
    this.canvas.scrollIntoView({ block: "nearest" });
    this.#draw();
  }

  #turnBy(dx, dy) {
    this.turn += dx * TURN_PER_PIXEL;
    this.tilt = Math.min(1.5, Math.max(-1.5, this.tilt + dy * TURN_PER_PIXEL));
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  #draw() {
    if (!this.mesh) return;
    const { width, height } = this.canvas;
    const pixels = drawMesh(this.mesh, { width, height, turn: this.turn, tilt: this.tilt, rgb: this.rgb });
    this.canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  }
}
