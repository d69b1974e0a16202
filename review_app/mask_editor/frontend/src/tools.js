// The tools: what a press, a move and a release of the pointer (or Space) do to the mask.

import { sweep } from "./brush.js";
import { connected } from "./fill.js";
import { fillPolygon } from "./polygon.js";
import { differingPiece, nearestDifference } from "./take_from.js";

export const TOOLS = ["look", "brush", "eraser", "lasso", "polygon", "fill", "take", "scribble"];
export const RING_TOOLS = new Set(["brush", "eraser", "scribble", "take"]);
const REACH_MM = 3;

// One use of a tool. `at` is {point, axis}: a place in voxel units and the plane it was met on.
// The desk holds {grid, ct, edit, settings, scribbles, sourceOf(id), tell(text)}.
export class ToolUse {
  constructor(desk) {
    this.desk = desk;
    // The line under way of a lasso or polygon: {axis, slice, points, closed, erase}.
    this.line = null;
    this.last = null;
  }

  get isDrawing() {
    return this.last !== null;
  }

  press(at, { erase = false } = {}) {
    const { tool } = this.desk.settings;
    this.last = at;
    this.erase = erase || tool === "eraser";
    if (tool === "brush" || tool === "eraser") this.#startStroke(at);
    else if (tool === "take") this.#startTaking(at);
    else if (tool === "scribble") this.#scribble(at, at);
    else if (tool === "fill") this.#fill(at);
    else if (tool === "lasso") this.line = this.#newLine(at);
    else if (tool === "polygon") this.#addCorner(at);
  }

  move(at) {
    if (this.last === null || at.axis !== this.last.axis) return;
    const { tool, takeHow } = this.desk.settings;
    if (tool === "brush" || tool === "eraser") this.#paint(this.last, at);
    else if (tool === "take" && takeHow === "brush") this.#copy(this.last, at);
    else if (tool === "scribble") this.#scribble(this.last, at);
    else if (tool === "lasso") this.line.points.push(inPlane(this.desk.grid, at));
    this.last = at;
  }

  // Returns the step that came out of it, or null.
  release() {
    const { tool } = this.desk.settings;
    this.last = null;
    if (tool === "lasso") return this.finishLine();
    return this.desk.edit.commit();
  }

  // Close the lasso or polygon under way and fill (or clear) what it holds.
  finishLine() {
    const { line, desk } = this;
    this.line = null;
    if (line === null || line.points.length < 3) return null;
    const what = desk.settings.tool === "polygon" ? "Polygon" : "Lasso";
    desk.edit.begin(line.erase ? `${what} (erase)` : what, line.axis);
    fillPolygon(desk.grid, line, (index) => this.#set(index, line.erase ? 0 : 1));
    return desk.edit.commit();
  }

  dropCorner() {
    this.line?.points.pop();
    if (this.line?.points.length === 0) this.line = null;
  }

  cancel() {
    this.last = null;
    this.line = null;
    this.desk.edit.cancel();
  }

  #startStroke(at) {
    const { ball } = this.desk.settings;
    const name = this.erase ? "Eraser" : "Brush";
    this.desk.edit.begin(ball ? `${name} in 3D` : name, ball ? "3d" : at.axis);
    this.#paint(at, at);
  }

  #paint(from, to) {
    const value = this.erase ? 0 : 1;
    this.#eachUnderBrush(from, to, (index) => this.#set(index, value));
  }

  #eachUnderBrush(from, to, visit) {
    const { brushMm, ball } = this.desk.settings;
    const axis = ball ? null : to.axis;
    const stroke = { from: from.point, to: to.point, radiusMm: brushMm / 2, axis };
    sweep(this.desk.grid, stroke, visit);
  }

  // The HU range holds for what adds voxels; erasing asks no tissue.
  #set(index, value) {
    const { gate } = this.desk.settings;
    if (value && gate.on && !withinGate(gate, this.desk.ct[index])) return;
    this.desk.edit.set(index, value);
  }

  #newLine(at) {
    return {
      axis: at.axis,
      slice: Math.round(at.point[at.axis]),
      points: [inPlane(this.desk.grid, at)],
      closed: false,
      erase: this.erase,
    };
  }

  #addCorner(at) {
    this.last = null;
    const slice = Math.round(at.point[at.axis]);
    if (this.line === null || this.line.axis !== at.axis || this.line.slice !== slice) {
      this.line = this.#newLine(at);
    } else {
      this.line.points.push(inPlane(this.desk.grid, at));
    }
  }

  #fill(at) {
    const { desk } = this;
    const { grid, ct, edit, settings } = desk;
    const seed = grid.nearest(at.point);
    const axis = settings.ball ? null : at.axis;
    const { voxels } = edit;
    if (this.erase) {
      const piece = connected(grid, { seed, axis, passes: (index) => voxels[index] === 1 });
      this.#setAll("Erase a piece", axis ?? "3d", piece.indices, 0);
      return;
    }
    const { gate } = settings;
    const passes = (index) => voxels[index] === 0 && (!gate.on || withinGate(gate, ct[index]));
    const hole = connected(grid, { seed, axis, passes });
    if (hole.indices.length === 0) {
      desk.tell(voxels[grid.index(seed)] ? "This place is in the mask already." : "Outside the HU range.");
    } else if (hole.reachesBorder && !gate.on) {
      desk.tell("This place is not enclosed by the mask: close its outline first.");
    } else {
      this.#setAll(gate.on ? "Fill by HU" : "Fill", axis ?? "3d", hole.indices, 1);
    }
  }

  #setAll(name, hand, indices, value) {
    this.desk.edit.begin(name, hand);
    for (const index of indices) this.desk.edit.set(index, value);
  }

  #startTaking(at) {
    const { desk } = this;
    const { grid, edit, settings } = desk;
    const source = desk.sourceOf(settings.takeFrom);
    if (!source) {
      desk.tell("This mask is still being loaded.");
      return;
    }
    const hand = settings.ball ? "3d" : at.axis;
    if (settings.takeHow === "brush") {
      edit.begin("Take by brush", hand);
      this.#copy(at, at);
      return;
    }
    const near = { seed: grid.nearest(at.point), axis: at.axis, mask: edit.voxels, source };
    const seed = nearestDifference(grid, { ...near, reachMm: REACH_MM });
    if (seed === null) {
      desk.tell("Both masks are the same here.");
      return;
    }
    const axis = settings.ball ? null : at.axis;
    const piece = differingPiece(grid, { seed, axis, mask: edit.voxels, source });
    edit.begin("Take a piece", hand);
    for (const index of piece) edit.set(index, source[index]);
  }

  #copy(from, to) {
    const source = this.desk.sourceOf(this.desk.settings.takeFrom);
    if (!source || !this.desk.edit.isOpen) return;
    this.#eachUnderBrush(from, to, (index) => this.desk.edit.set(index, source[index]));
  }

  #scribble(from, to) {
    const { scribbles, settings } = this.desk;
    const kind = this.erase ? 2 : settings.scribble;
    this.#eachUnderBrush(from, to, (index) => {
      scribbles.voxels[index] = kind;
    });
    scribbles.revision += 1;
  }
}

export function withinGate({ lowHu, highHu }, hu) {
  return hu >= lowHu && hu <= highHu;
}

function inPlane(grid, { point, axis }) {
  const { u, v } = grid.plane(axis);
  return [point[u], point[v]];
}
