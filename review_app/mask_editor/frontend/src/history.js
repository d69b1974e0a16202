// Exact undo and redo. A mask holds 0 and 1 alone, so a step is the list of voxels that flipped.

export const MAX_STEPS = 500;
export const MAX_BYTES = 64e6;

export class History {
  constructor({ maxSteps = MAX_STEPS, maxBytes = MAX_BYTES } = {}) {
    this.maxSteps = maxSteps;
    this.maxBytes = maxBytes;
    this.done = [];
    this.undone = [];
    // Whether old steps were let go, so that undo no longer reaches the mask as it was opened.
    this.forgot = false;
  }

  // Steps that are in force, oldest first: {name, flipped: Uint32Array, hand: axis | "3d" | null}.
  get steps() {
    return this.done;
  }

  push(step) {
    this.undone.length = 0;
    this.done.push(step);
    let bytes = this.done.reduce((sum, each) => sum + each.flipped.byteLength, 0);
    // The newest step stays whatever its size, or a large operation could not be undone.
    while (this.done.length > 1 && (this.done.length > this.maxSteps || bytes > this.maxBytes)) {
      bytes -= this.done.shift().flipped.byteLength;
      this.forgot = true;
    }
  }

  // Take the last step back in `voxels`; returns it, or null where there is none.
  undo(voxels) {
    return this.#move(this.done, this.undone, voxels);
  }

  // Do the step again that was taken back last.
  redo(voxels) {
    return this.#move(this.undone, this.done, voxels);
  }

  #move(from, to, voxels) {
    const step = from.pop();
    if (step === undefined) return null;
    for (const index of step.flipped) voxels[index] ^= 1;
    to.push(step);
    return step;
  }
}
