// Where each plane lies on the screen, and how its voxels map to pixels.

import { AXES, AXIAL, CORONAL } from "./grid.js";

export const GAP = 4;

// The panes' rectangles {axis: [left, top, width, height]} in a space of so many CSS pixels: one
// large plane, and the two others beside or below it, whichever shows the region larger. `extents`
// are the planes' sizes {axis: [width, height]} in mm. Very narrow spaces show the large one alone.
export function layout(width, height, { main = AXIAL, extents = {} } = {}) {
  if (width < 420) return { [main]: [0, 0, width, height] };
  const others = AXES.filter((axis) => axis !== main);
  const choices = [beside(width, height, main, others), below(width, height, main, others)];
  const [first, second] = choices.map((rects) => shownSize(rects, main, extents));
  return first >= second ? choices[0] : choices[1];
}

function beside(width, height, main, others) {
  const right = Math.round(Math.min(width * 0.36, Math.max(width - height, width * 0.28)));
  const left = width - right - GAP;
  const half = Math.floor((height - GAP) / 2);
  return {
    [main]: [0, 0, left, height],
    [others[0]]: [left + GAP, 0, right, half],
    [others[1]]: [left + GAP, half + GAP, right, height - half - GAP],
  };
}

function below(width, height, main, others) {
  const top = Math.round(Math.min(height * 0.7, Math.max(height * 0.58, width)));
  const half = Math.floor((width - GAP) / 2);
  const rest = height - top - GAP;
  return {
    [main]: [0, 0, width, top],
    [others[0]]: [0, top + GAP, half, rest],
    [others[1]]: [half + GAP, top + GAP, width - half - GAP, rest],
  };
}

// How large the planes are shown, the main one counting twice.
function shownSize(rects, main, extents) {
  return Object.entries(rects).reduce((sum, [axis, [, , width, height]]) => {
    const [wide, high] = extents[axis] ?? [1, 1];
    const scale = Math.min(width / wide, height / high);
    return sum + (Number(axis) === main ? 2 * scale : scale);
  }, 0);
}

// One plane's view: its rectangle, zoom and centre. The patient's right is on the left of axial and
// coronal pictures, the front on the left of sagittal ones; the front and the head are up.
export class Pane {
  constructor(grid, axis) {
    this.grid = grid;
    this.plane = grid.plane(axis);
    this.axis = axis;
    this.rect = [0, 0, 1, 1];
    this.reset();
  }

  // Width and height of the whole plane in mm.
  get extent() {
    const { nu, nv, spacingU, spacingV } = this.plane;
    return [nu * spacingU, nv * spacingV];
  }

  reset() {
    this.zoom = 1;
    // The in-plane point (voxel units) in the middle of the rectangle.
    this.centre = [(this.plane.nu - 1) / 2, (this.plane.nv - 1) / 2];
  }

  // Pixels per mm.
  get scale() {
    const [, , width, height] = this.rect;
    const [wide, high] = this.extent;
    return this.zoom * Math.min(width / wide, height / high);
  }

  // Pixels to the right per voxel of u, and down per voxel of v (both negative: see the class).
  get steps() {
    return [-this.scale * this.plane.spacingU, -this.scale * this.plane.spacingV];
  }

  // In-plane voxel units (0 is the centre of the first voxel) to pixels.
  toScreen(u, v) {
    const [left, top, width, height] = this.rect;
    const [stepU, stepV] = this.steps;
    return [
      left + width / 2 + (u - this.centre[0]) * stepU,
      top + height / 2 + (v - this.centre[1]) * stepV,
    ];
  }

  // Pixels to in-plane voxel units.
  toPlane(x, y) {
    const [left, top, width, height] = this.rect;
    const [stepU, stepV] = this.steps;
    return [
      this.centre[0] + (x - left - width / 2) / stepU,
      this.centre[1] + (y - top - height / 2) / stepV,
    ];
  }

  // Pixels and a slice to a point in voxel units of the region.
  toPoint(x, y, slice) {
    const [u, v] = this.toPlane(x, y);
    const point = [0, 0, 0];
    point[this.plane.u] = u;
    point[this.plane.v] = v;
    point[this.axis] = slice;
    return point;
  }

  contains(x, y) {
    const [left, top, width, height] = this.rect;
    return x >= left && x < left + width && y >= top && y < top + height;
  }

  // Zoom by a factor, with the point under (x, y) held still.
  zoomAt(x, y, factor) {
    const [u, v] = this.toPlane(x, y);
    this.zoom = Math.min(16, Math.max(1, this.zoom * factor));
    const [u2, v2] = this.toPlane(x, y);
    this.moveTo(this.centre[0] + u - u2, this.centre[1] + v - v2);
  }

  panBy(dx, dy) {
    const [stepU, stepV] = this.steps;
    this.moveTo(this.centre[0] - dx / stepU, this.centre[1] - dy / stepV);
  }

  // Look at a point; the picture's border never leaves the middle of the pane.
  moveTo(u, v) {
    if (this.zoom === 1) {
      this.reset();
      return;
    }
    this.centre = [clamp(u, this.plane.nu), clamp(v, this.plane.nv)];
  }

  // Scroll a zoomed picture just so far that a point is in sight.
  show(u, v, margin = 24) {
    const [x, y] = this.toScreen(u, v);
    const [left, top, width, height] = this.rect;
    const overX = overshoot(x, left + margin, left + width - margin);
    const overY = overshoot(y, top + margin, top + height - margin);
    if (overX || overY) this.panBy(-overX, -overY);
  }

  // What stands at the top, right, bottom and left of the picture.
  get letters() {
    if (this.axis === AXIAL) return ["A", "L", "P", "R"];
    return this.axis === CORONAL ? ["S", "L", "I", "R"] : ["S", "P", "I", "A"];
  }
}

function clamp(value, count) {
  return Math.min(count - 1, Math.max(0, value));
}

function overshoot(value, low, high) {
  if (value < low) return value - low;
  return value > high ? value - high : 0;
}
