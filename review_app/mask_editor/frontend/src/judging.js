// Disputed places, verdicts and going on: what a reader says of an item, told to Python.

import { grouped } from "./dom.js";
import { differing } from "./item.js";
import { requestId } from "./wire.js";

const CONFIRM_MS = 5000;

export class Judging {
  #asked = null;

  constructor(editor) {
    this.editor = editor;
    this.shown = 0;
    // The mask's revision that the server holds as a correction, if any.
    this.savedRevision = null;
  }

  get disputedLeft() {
    return (this.editor.item?.document.disputed.length ?? 0) - this.shown;
  }

  // Go to the next disputed place; when none is left, a second press asks for the next item.
  nextDisputed() {
    const { editor } = this;
    const { disputed } = editor.item.document;
    if (this.disputedLeft > 0) {
      editor.viewing.moveCursor(disputed[this.shown], { show: true });
      this.shown += 1;
      editor.tell(`Disputed place ${this.shown} of ${disputed.length}`);
      editor.side.update();
    } else if (this.#confirmed("next", `${disputed.length ? "No disputed place is left. " : ""}Press again for the next item.`)) {
      void this.act("next");
    }
  }

  // Give a verdict; with changes that are not saved only when it is repeated.
  judge(verdict) {
    const { editor } = this;
    if (editor.busy) return;
    if (!editor.offers(verdict)) {
      editor.tell(`“${verdict}” is no answer here: draw and save, or use the buttons on the right.`, "warning");
      return;
    }
    const { base, document, edit } = editor.item;
    const voxels = differing(edit.voxels, base);
    const unsaved = this.savedRevision !== edit.revision && (document.edited_elsewhere || voxels > 0);
    const [save, again] = [editor.keys.label("save"), editor.keys.label(verdict)];
    const [drawn, them] =
      voxels === 1 ? ["1 voxel that you drew is", "it"]
      : voxels > 1 ? [`${grouped(voxels)} voxels that you drew are`, "them"]
      : ["Strokes in another part are", "them"];
    const question = `${drawn} not saved: ${save} saves ${them}, ${again} again says “${verdict}” and drops ${them}.`;
    if (!unsaved || this.#confirmed(verdict, question)) void this.act(verdict, { dropping: unsaved });
  }

  // Tell Python, with the draft at the server first.
  act(action, told = {}) {
    const { editor } = this;
    const { id } = editor.item.document;
    return editor.server.whileBusy("", async () => {
      await editor.keeper.flush();
      editor.trigger("act", { document: id, action, nonce: requestId(), ...told });
    });
  }

  // Whether this is the second press within a few seconds; the first one says `question`.
  #confirmed(what, question) {
    const now = performance.now();
    const again = this.#asked?.what === what && now - this.#asked.at < CONFIRM_MS;
    this.#asked = again ? null : { what, at: now };
    if (!again) this.editor.tell(question, "warning");
    return again;
  }
}
