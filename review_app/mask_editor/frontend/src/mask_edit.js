// The mask under edit: its voxels, what a step under way has changed, and the history.

import { History } from "./history.js";

const LISTED = 1;
const FLIPPED = 2;

export class MaskEdit {
  constructor(grid, voxels, history = new History()) {
    if (voxels.length !== grid.size) {
      throw new Error(`a mask of this region has ${grid.size} voxels, got ${voxels.length}`);
    }
    this.grid = grid;
    this.voxels = voxels;
    this.history = history;
    this.count = count(voxels);
    // Grows with every change, undo and redo: the keepers of drafts and pictures compare it.
    this.revision = 0;
    this.#touched = new Uint8Array(grid.size);
  }

  #touched;
  #step = null;

  get isOpen() {
    return this.#step !== null;
  }

  // Open a step; `hand` is the axis of the slice that is drawn on, "3d", or null for operations.
  begin(name, hand = null) {
    this.commit();
    this.#step = { name, hand, indices: [] };
  }

  set(index, value) {
    if (this.voxels[index] === value) return;
    if (!this.#touched[index]) this.#step.indices.push(index);
    // A second change within one step brings the voxel back: listed, but not flipped.
    this.#touched[index] = this.#touched[index] === FLIPPED ? LISTED : FLIPPED;
    this.voxels[index] = value;
    this.count += value ? 1 : -1;
    this.revision += 1;
  }

  // Close the step; returns it, or null where nothing changed.
  commit() {
    if (this.#step === null) return null;
    const { name, hand, indices } = this.#step;
    this.#step = null;
    const flipped = Uint32Array.from(indices.filter((index) => this.#touched[index] === FLIPPED));
    for (const index of indices) this.#touched[index] = 0;
    if (flipped.length === 0) return null;
    const step = { name, hand, flipped };
    this.history.push(step);
    return step;
  }

  // Give up the step under way: its voxels are as they were.
  cancel() {
    if (this.#step === null) return;
    const { indices } = this.#step;
    this.#step = null;
    for (const index of indices) {
      if (this.#touched[index] === FLIPPED) this.#flip(index);
      this.#touched[index] = 0;
    }
    this.revision += 1;
  }

  // Take over a whole new mask as one step, such as a server's answer.
  replace(name, voxels) {
    if (voxels.length !== this.grid.size) {
      throw new Error(`a mask of this region has ${this.grid.size} voxels, got ${voxels.length}`);
    }
    this.begin(name);
    for (let index = 0; index < voxels.length; index++) this.set(index, voxels[index] ? 1 : 0);
    return this.commit();
  }

  undo() {
    this.commit();
    return this.#moved(this.history.undo(this.voxels));
  }

  redo() {
    this.commit();
    return this.#moved(this.history.redo(this.voxels));
  }

  #moved(step) {
    if (step !== null) {
      this.revision += 1;
      for (const index of step.flipped) this.count += this.voxels[index] ? 1 : -1;
    }
    return step;
  }

  #flip(index) {
    this.voxels[index] ^= 1;
    this.count += this.voxels[index] ? 1 : -1;
  }

  // What is drawn by hand on slices across one axis and still stands: index -> its value now.
  drawnByHand(axis) {
    const flips = new Map();
    for (const { hand, flipped } of this.history.steps) {
      if (hand !== axis) continue;
      for (const index of flipped) flips.set(index, (flips.get(index) ?? 0) + 1);
    }
    const drawn = new Map();
    for (const [index, times] of flips) {
      if (times % 2 === 1) drawn.set(index, this.voxels[index]);
    }
    return drawn;
  }
}

export function count(voxels) {
  let total = 0;
  for (let index = 0; index < voxels.length; index++) total += voxels[index];
  return total;
}

// The sides of the region that the mask reaches although the CT goes on there.
// `atCtBorder` says for each axis whether its low and high side are the CT's own border.
export function reachedSides(grid, voxels, atCtBorder) {
  const names = [
    ["left", "right"],
    ["back", "front"],
    ["lower", "upper"],
  ];
  const reached = [];
  for (let axis = 0; axis < 3; axis++) {
    [0, grid.shape[axis] - 1].forEach((slice, side) => {
      if (!atCtBorder?.[axis]?.[side] && sliceHolds(grid, voxels, axis, slice)) {
        reached.push(names[axis][side]);
      }
    });
  }
  return reached;
}

function sliceHolds(grid, voxels, axis, slice) {
  const { nu, nv, strideU, strideV, strideW } = grid.plane(axis);
  for (let v = 0; v < nv; v++) {
    for (let u = 0; u < nu; u++) {
      if (voxels[slice * strideW + v * strideV + u * strideU]) return true;
    }
  }
  return false;
}
