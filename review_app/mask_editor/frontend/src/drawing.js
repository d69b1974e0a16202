// Drawing on the mask by pointer or keyboard, and what follows each step.

import { betweenSlices } from "./between_slices.js";
import { voxelCount } from "./dom.js";
import { overlaps } from "./item.js";
import { reachedSides } from "./mask_edit.js";
import { RING_TOOLS, ToolUse } from "./tools.js";

export class Drawing {
  constructor(editor) {
    this.editor = editor;
    this.use = new ToolUse(editor);
    // Where the pointer is: {point, axis}, or null when it is elsewhere.
    this.aimed = null;
    // The sides of the region that the mask reached before anything was drawn.
    this.knownSides = new Set();
  }

  open(item) {
    this.use.cancel();
    this.aimed = null;
    this.knownSides = new Set(sidesOf(item, item.base));
  }

  // Whether the tool in hand works with the brush's ring.
  get isRinged() {
    const { tool, takeHow } = this.editor.settings;
    return RING_TOOLS.has(tool) && !(tool === "take" && takeHow === "piece");
  }

  press(at, how) {
    const { editor } = this;
    if (editor.busy || !editor.item) return;
    editor.tell("");
    this.use.press(at, how);
    editor.stage.redraw("over", "pointer");
  }

  move(at) {
    this.use.move(at);
    this.editor.stage.redraw("over", "pointer");
  }

  release() {
    if (!this.editor.item) return;
    this.#after(this.use.release());
  }

  finishLine() {
    this.#after(this.use.finishLine());
  }

  // Use the tool where the cursor is, as if the pointer pressed there.
  pressAtCursor(erase) {
    const { editor } = this;
    if (editor.settings.tool === "look") {
      editor.tell(`Choose a tool first: ${editor.keys.label("brush")} is the brush.`);
      return;
    }
    // The lasso has no free hand on the keyboard: Space sets its corners, Enter closes it.
    if (editor.settings.tool === "lasso") this.choose("polygon");
    this.aimed = null;
    this.press(this.#cursorPlace(), { erase });
  }

  releaseAtCursor() {
    if (this.use.isDrawing) this.release();
  }

  // Move the cursor on the screen by so many voxels to the right and down.
  nudge(right, down) {
    const { settings, stage, viewing } = this.editor;
    const pane = stage.pane(settings.active);
    const voxel = [...stage.cursor];
    // Along the screen both axes run against the voxels: see Pane.
    voxel[pane.plane.u] -= right;
    voxel[pane.plane.v] -= down;
    this.aimed = null;
    viewing.moveCursor(voxel, { show: pane.zoom > 1 });
    if (this.use.isDrawing) this.move(this.#cursorPlace());
  }

  #cursorPlace() {
    const { settings, stage } = this.editor;
    return { point: [...stage.cursor], axis: settings.active };
  }

  // Take a tool; Escape first gives up what is under way.
  choose(tool) {
    const { editor, use } = this;
    if (tool === "look" && (use.line || use.isDrawing)) {
      this.giveUp();
      return;
    }
    use.finishLine();
    editor.edit.commit();
    editor.tell("");
    editor.set({ tool });
    editor.changed();
  }

  giveUp() {
    this.use.cancel();
    this.editor.tell("Given up.");
    this.editor.changed();
  }

  undo() {
    if (this.use.line) {
      this.use.dropCorner();
      this.editor.changed();
    } else if (this.use.isDrawing) this.giveUp();
    else this.#travel(this.editor.edit.undo(), "Undone", "Nothing to undo");
  }

  redo() {
    if (!this.use.isDrawing) this.#travel(this.editor.edit.redo(), "Done again", "Nothing to redo");
  }

  #travel(step, done, nothing) {
    this.editor.tell(step ? `${done}: ${step.name}` : nothing);
    this.#after(step, { warn: false });
  }

  // Between the slices of the active plane that were drawn on, in between what was drawn.
  interpolate() {
    const { edit, grid, settings, tell } = this.editor;
    const axis = settings.active;
    const { add, remove } = betweenSlices(grid, { axis, drawn: edit.drawnByHand(axis) });
    edit.begin("Interpolate slices");
    for (const index of add) edit.set(index, 1);
    for (const index of remove) edit.set(index, 0);
    const step = edit.commit();
    if (step) tell(`Interpolated: ${voxelCount(step.flipped.length)} between the slices drawn on.`, "good");
    else tell("Draw on two slices of this plane with some between them first.", "warning");
    this.#after(step, { warn: false });
  }

  // Replace the mask by a member's, counted as they are listed: one step of the history.
  takeWhole(number) {
    const { members, tell } = this.editor;
    const layer = members[number];
    if (!layer) tell(`This item has ${members.length} other masks: there is nothing to take.`, "warning");
    else if (!layer.voxels) tell("This mask is still being loaded.");
    else {
      // A stroke under way would go on in the new mask.
      this.use.cancel();
      const step = this.replace(`Take all of ${layer.name}`, layer.voxels);
      if (!step) return tell(`The mask is that of ${layer.name} already.`);
      const changed = voxelCount(step.flipped.length);
      tell(`All of ${layer.name} is taken: ${changed} changed. Save it, or undo.`, "good");
    }
  }

  // Take over a whole mask, such as a server's answer or the mask as it was opened.
  replace(name, voxels) {
    const step = this.editor.edit.replace(name, voxels);
    this.#after(step, { warn: false });
    return step;
  }

  #after(step, { warn = true } = {}) {
    this.editor.changed();
    if (step === null) return;
    this.checkOverlaps();
    const { item } = this.editor;
    const sides = sidesOf(item, item.edit.voxels).filter((side) => !this.knownSides.has(side));
    if (warn && sides.length > 0) {
      const words = `The mask reaches the region's ${sides.join(", ")} border`;
      this.editor.tell(`${words}: “Widen the region” shows more.`, "warning");
    }
  }

  // Offer to take what the mask shares with neighbours that exclude it.
  checkOverlaps() {
    const { item, side, transfer } = this.editor;
    const found = overlaps(item);
    const ids = new Set(found.map((each) => each.id));
    for (const id of transfer) if (!ids.has(id)) transfer.delete(id);
    side.showOverlaps(found);
  }

  // What follows the pointer; see PointerMarks.
  marks() {
    const { item, settings } = this.editor;
    const ring = this.isRinged && (this.aimed || settings.keyboardCursor) ? this.#ring() : null;
    // The crosshair would hide what is being drawn.
    const crosshair = settings.tool === "look" || (settings.keyboardCursor && !ring);
    return { ring, crosshair, line: this.use.line, disputed: item.document.disputed };
  }

  #ring() {
    const { grid, settings, stage } = this.editor;
    const axis = this.aimed?.axis ?? settings.active;
    const point = this.aimed?.point ?? stage.cursor;
    const { u, v } = grid.plane(axis);
    const erase = settings.tool === "eraser" || (this.use.isDrawing && this.use.erase);
    const radiusMm = settings.brushMm / 2;
    return { axis, u: point[u], v: point[v], radiusMm, erase, keyboard: !this.aimed };
  }
}

function sidesOf(item, voxels) {
  return reachedSides(item.grid, voxels, item.document.at_ct_border);
}
