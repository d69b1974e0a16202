// The keyboard: read at the editor's root and kept there, so that no key reaches the page around.

const FIELDS = new Set(["INPUT", "SELECT", "TEXTAREA"]);
const ALWAYS = new Set(["save", "undo", "redo"]);

export class KeyInput {
  // `act` holds: do(action), startAtCursor(erase), stopAtCursor(); `keys()` returns the Keys.
  constructor(root, { keys, settings, act, home }) {
    this.keys = keys;
    this.settings = settings;
    this.act = act;
    this.home = home;
    this.painting = false;
    root.addEventListener("keydown", (event) => this.#down(event));
    root.addEventListener("keyup", (event) => this.#up(event));
    root.addEventListener("keypress", (event) => event.stopPropagation());
  }

  #down(event) {
    event.stopPropagation();
    const target = event.composedPath()[0];
    const action = this.keys().action(event, { keyboardCursor: this.settings.keyboardCursor });
    if (FIELDS.has(target.tagName)) {
      if (event.key === "Escape" || event.key === "Enter") this.home.focus();
      if (!ALWAYS.has(action) && !isCheckbox(target)) return;
    }
    // Space and Enter press the button (or box) that has the focus.
    if (target !== this.home && (event.key === " " || event.key === "Enter")) return;
    if (action === null || event.isComposing) return;
    event.preventDefault();
    if (action === "paint") this.#startPainting(event);
    else this.act.do(action, { repeated: event.repeat });
  }

  #startPainting(event) {
    if (event.repeat || this.painting) return;
    this.painting = true;
    this.act.startAtCursor(event.ctrlKey);
  }

  #up(event) {
    event.stopPropagation();
    if (!this.painting || event.key !== " ") return;
    this.painting = false;
    this.act.stopAtCursor();
  }
}

function isCheckbox(target) {
  return target.type === "checkbox";
}
