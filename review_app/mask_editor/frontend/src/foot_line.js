// The line below: messages, where the cursor is, the volume, whether the draft is kept.

import { grouped, make } from "./dom.js";

export class FootLine {
  constructor(editor) {
    this.editor = editor;
    this.message = make("span", { class: "footer-message", role: "status", "aria-live": "polite" });
    this.place = make("span", { class: "number" });
    this.volume = make("span", { class: "number", "data-name": "volume" });
    this.draft = make("span", { class: "number", "data-name": "draft", role: "status" });
    this.element = make("footer", {}, this.message, this.place, this.volume, this.draft);
  }

  tell(text, kind = "") {
    this.message.textContent = text;
    this.message.title = text;
    this.message.className = `footer-message ${kind}`;
  }

  // What the keeper of drafts says; see its states.
  tellDraft(state, detail) {
    const words = {
      clean: ["", ""],
      waiting: ["Draft: in a moment", ""],
      sending: ["Draft: saving", ""],
      saved: [`Draft saved ${clockOf(detail)}`, "good"],
      lost: ["No connection: draft not saved, trying again", "error"],
      refused: [`Draft refused: ${detail}`, "error"],
    };
    const [text, kind] = words[state];
    this.draft.textContent = text;
    this.draft.title = text;
    this.draft.className = `number ${kind}`;
    this.draft.dataset.state = state;
  }

  update() {
    const { item, stage } = this.editor;
    if (!item) return;
    const { cursor } = stage;
    const hu = item.ct[item.grid.index(cursor)];
    this.place.textContent = `${cursor.map((value) => value + 1).join(", ")}    ${hu} HU`;
    const ml = (item.edit.count * item.grid.voxelMl).toFixed(1);
    this.volume.textContent = `${ml} mL`;
    this.volume.title = `${grouped(item.edit.count)} voxels`;
  }
}

export function clockOf(iso) {
  const time = iso ? new Date(iso) : new Date();
  return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}
