// What the server does with the mask: keep it, change it, make its surface. The mask waits meanwhile.

import { voxelCount } from "./dom.js";
import { differing } from "./item.js";
import { Saver } from "./saving.js";

export class ServerWork {
  #saver = null;

  constructor(editor) {
    this.editor = editor;
  }

  open(item) {
    this.#saver = new Saver(item);
  }

  // Run slow work with the mask locked; errors are told, never thrown.
  async whileBusy(text, work) {
    const { editor } = this;
    if (editor.busy) return;
    editor.setBusy(true);
    if (text) editor.tell(text);
    try {
      await work();
    } catch (error) {
      if (error.name !== "AbortError") this.#complain(error);
    } finally {
      editor.setBusy(false);
    }
  }

  #complain(error) {
    const isLost = error.name === "Unreachable";
    this.editor.tell(isLost ? "The server cannot be reached; try again." : error.message, "error");
  }

  // Store the correction and tell Python its receipt.
  async save() {
    const { editor } = this;
    const { item } = editor;
    editor.edit.commit();
    // The server saves every part that holds edits, wherever the reader stands when he saves.
    if (differing(item.edit.voxels, item.base) === 0 && !item.document.edited_elsewhere) {
      const accept = editor.keys.label("accept");
      const words = `Nothing is changed. ${accept} accepts the mask as it is.`;
      editor.tell(editor.offers("accept") ? words : "Nothing is drawn yet.", "warning");
      return;
    }
    await this.whileBusy("Saving …", async () => {
      const { revision, ...receipt } = await this.#saver.save();
      editor.judging.savedRevision = revision;
      editor.keeper.settled(revision);
      const transfer = editor.transfer.size > 0 ? { transfer: [...editor.transfer] } : {};
      editor.trigger("save", { document: item.document.id, receipt, ...transfer });
      const border = receipt.at_border ? " The mask reaches the region's border." : "";
      editor.tell(`Saved: ${voxelCount(receipt.voxels_changed)} changed.${border}`, border ? "warning" : "good");
      editor.root.dataset.saved = receipt.sha256;
    });
  }

  // Change the mask by one of the server's operations; its answer is one step of the history.
  async operation(name, parameters, words) {
    const { editor } = this;
    await this.whileBusy(`${words} …`, async () => {
      const voxels = await this.#saver.operation(name, parameters, editor.loading.signal);
      const step = editor.drawing.replace(words, voxels);
      editor.tell(step ? `${words}: ${voxelCount(step.flipped.length)} changed.` : `${words}: nothing to change.`);
    });
  }

  // Fit the mask to the scribbles.
  async refine() {
    const { editor } = this;
    if (editor.scribbles.revision === 0) {
      editor.tell("Scribble inside (and outside) first.", "warning");
      return;
    }
    await this.operation("refine", { method: "random_walker" }, "Refine");
  }

  async surface() {
    const { editor } = this;
    await this.whileBusy("Making the surface …", async () => {
      const mesh = await this.#saver.surface(editor.loading.signal);
      editor.surface.show(mesh, editor.item.document.rgb);
      editor.side.renew.firstChild.textContent = "Renew 3D surface";
      editor.tell("");
    });
  }
}
