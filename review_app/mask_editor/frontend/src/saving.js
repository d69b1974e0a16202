// Saving a correction: sent once, however often the network makes us try.

import { gzip } from "./gzip.js";
import { requestId } from "./wire.js";

export class Saver {
  #pending = null;

  constructor(item) {
    this.item = item;
  }

  // PUT the mask; resolves to the receipt. After a failure the same mask keeps its request id, so
  // a save whose answer was lost is answered again and not made twice.
  async save() {
    const { edit, wire } = this.item;
    if (this.#pending?.revision !== edit.revision) {
      const body = await gzip(edit.voxels.slice());
      this.#pending = { revision: edit.revision, body, request: requestId() };
    }
    const { body, request, revision } = this.#pending;
    const answer = await wire.send("PUT", "mask", body, { request });
    const receipt = await answer.json();
    this.#pending = null;
    return { ...receipt, revision };
  }

  // Run an operation of the server on the mask; resolves to the new mask.
  async operation(name, parameters, signal) {
    const { edit, grid, scribbles, wire } = this.item;
    const body = name === "refine" ? joined(edit.voxels, scribbles.voxels) : edit.voxels.slice();
    const query = new URLSearchParams(parameters);
    const answer = await wire.send("POST", `operation/${name}?${query}`, await gzip(body), { signal });
    const voxels = new Uint8Array(await answer.arrayBuffer());
    if (voxels.length !== grid.size) {
      throw new Error(`the answer must hold ${grid.size} voxels, got ${voxels.length}`);
    }
    return voxels;
  }

  async surface(signal) {
    const { edit, wire } = this.item;
    const answer = await wire.send("POST", "surface", await gzip(edit.voxels.slice()), { signal });
    return answer.arrayBuffer();
  }
}

function joined(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
