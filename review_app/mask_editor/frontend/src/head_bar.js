// The line on top: what is open, windows, undo and redo, save.

import { button, make, pressed, square } from "./dom.js";

export class HeadBar {
  #windows = new Map();

  constructor(editor) {
    this.editor = editor;
    const key = (action) => editor.keys.label(action);
    this.title = make("h2");
    this.facts = make("span", { class: "facts" });
    this.segment = make("span", { class: "segment", role: "group", "aria-label": "Window" });
    this.undo = button("Undo", { key: key("undo"), act: () => editor.do("undo"), name: "undo" });
    this.redo = button("Redo", { key: key("redo"), act: () => editor.do("redo"), name: "redo" });
    this.save = button("Save", {
      key: key("save"), kind: "primary", act: () => editor.do("save"), name: "save",
    });
    this.protocol = button("Protocol", { act: () => editor.do("protocol"), name: "protocol" });
    this.leave = button("Leave", {
      key: key("leave"), title: "Leave the editor; the draft stays", act: () => editor.do("leave"), name: "leave",
    });
    this.help = button("Keys", { key: key("help"), act: () => editor.do("help"), name: "help" });
    this.element = make(
      "header", {}, this.title, this.facts, this.segment, this.protocol, this.help,
      this.undo, this.redo, this.save, this.leave,
    );
  }

  open(item) {
    const { display, case_id: caseId, rgb, windows, protocol, spacing_mm: spacing } = item.document;
    this.title.replaceChildren(square(rgb), ` ${display}`);
    const mm = spacing.map((value) => value.toFixed(2)).join(" × ");
    this.facts.textContent = `${caseId}, ${mm} mm`;
    this.facts.title = `${item.document.shape.join(" × ")} voxels of ${mm} mm`;
    this.#windows.clear();
    for (const name of Object.keys(windows)) {
      this.#windows.set(name, button(name, { act: () => this.editor.viewing.useWindow(name), name: `window ${name}` }));
    }
    this.segment.replaceChildren(...this.#windows.values());
    this.protocol.classList.toggle("hidden", !protocol);
    this.update();
  }

  update() {
    const { settings, item, busy } = this.editor;
    for (const [name, each] of this.#windows) pressed(each, name === settings.windowName);
    const history = item?.edit.history;
    this.undo.disabled = busy || !history?.done.length;
    this.redo.disabled = busy || !history?.undone.length;
    this.undo.title = history?.done.length ? `Undo: ${history.done.at(-1).name}` : "Nothing to undo";
    this.redo.title = history?.undone.length ? `Redo: ${history.undone.at(-1).name}` : "Nothing to redo";
    this.save.disabled = busy || !item;
    this.leave.disabled = busy || !item;
  }
}
