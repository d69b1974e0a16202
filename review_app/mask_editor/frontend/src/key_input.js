// The keyboard: read at the editor's root and kept there, so that no key reaches the page around.
// Letters and signs pressed beside the editor mean what they mean in it: the page has no verdict
// keys of its own, which would know nothing of strokes that are not sent yet.

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
    const beside = (event) => event.composedPath().includes(root) || this.#downBeside(event);
    window.addEventListener("keydown", beside, { capture: true });
    this.stop = () => window.removeEventListener("keydown", beside, { capture: true });
  }

  // Keys that turn pages and press buttons stay with the page, and so does what is typed in a field.
  #downBeside(event) {
    const target = event.composedPath()[0];
    const isField = FIELDS.has(target.tagName) && !isCheckbox(target);
    if (isField || target.isContentEditable || target.closest?.("[role=dialog]")) return;
    if (event.key.length !== 1 || event.key === " " || event.isComposing) return;
    const action = this.keys().action(event);
    if (action === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.act.do(action, { repeated: event.repeat });
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
