// Keys: the actions, their default keys, what the document remaps, and the help table.

// [action, default key, what the help says, group]. Keys are written Ctrl+Shift+Z, Space, ArrowUp.
export const ACTIONS = [
  ["next_disputed", "n", "Next disputed place; none left: next item", "Item"],
  ["accept", "a", "Accept the mask", "Item"],
  ["edit", "e", "Correct the mask", "Item"],
  ["absent", "x", "Structure is absent", "Item"],
  ["reject", "r", "Reject the mask", "Item"],
  ["unsure", "u", "Unsure: ask somebody else", "Item"],
  ["save", "Ctrl+S", "Save the correction", "Item"],
  ["leave", "q", "Leave the editor; the draft stays", "Item"],
  ["undo", "Ctrl+Z", "Undo", "Item"],
  ["redo", "Ctrl+Y", "Redo (or Ctrl+Shift+Z)", "Item"],
  ["brush", "1", "Brush", "Tools"],
  ["eraser", "2", "Eraser", "Tools"],
  ["lasso", "3", "Lasso", "Tools"],
  ["polygon", "4", "Polygon (Enter closes, Undo takes a corner back)", "Tools"],
  ["fill", "5", "Fill a hole", "Tools"],
  ["take", "6", "Take a piece from another mask", "Tools"],
  ["scribble", "7", "Scribbles for Refine", "Tools"],
  ["take_first", "8", "Take the first member's mask whole", "Tools"],
  ["take_second", "9", "Take the second member's mask whole", "Tools"],
  ["look", "Escape", "Put the tool away", "Tools"],
  ["smaller", "[", "Smaller brush", "Tools"],
  ["larger", "]", "Larger brush", "Tools"],
  ["ball", "b", "Brush in 3D on or off", "Tools"],
  ["gate", "g", "Paint within a HU range only", "Tools"],
  ["interpolate", "i", "Interpolate between the slices drawn on", "Tools"],
  ["slice_up", "ArrowUp", "Next slice (with the wheel too)", "Pictures"],
  ["slice_down", "ArrowDown", "Slice before", "Pictures"],
  ["page_up", "PageUp", "Ten slices on", "Pictures"],
  ["page_down", "PageDown", "Ten slices back", "Pictures"],
  ["plane", "p", "Other plane large", "Pictures"],
  ["zoom_in", "+", "Zoom in (or Ctrl and the wheel)", "Pictures"],
  ["zoom_out", "-", "Zoom out", "Pictures"],
  ["whole", "0", "Whole picture", "Pictures"],
  ["window", "w", "Next window", "Pictures"],
  ["hide", "h", "Hide or show the mask", "Pictures"],
  ["members", "m", "Members' outlines on or off", "Pictures"],
  ["neighbours", "o", "Neighbours' outlines on or off", "Pictures"],
  ["heat", "t", "Heat map on or off", "Pictures"],
  ["surface", "s", "3D surface", "Pictures"],
  ["keyboard_cursor", "k", "Move the cursor by arrows, paint with Space", "Keyboard alone"],
  ["left", "Shift+ArrowLeft", "Cursor left", "Keyboard alone"],
  ["right", "Shift+ArrowRight", "Cursor right", "Keyboard alone"],
  ["up", "Shift+ArrowUp", "Cursor up", "Keyboard alone"],
  ["down", "Shift+ArrowDown", "Cursor down", "Keyboard alone"],
  ["paint", "Space", "Use the tool at the cursor", "Keyboard alone"],
  ["finish", "Enter", "Close a lasso or polygon", "Keyboard alone"],
  ["help", "?", "Show the keys", "Keyboard alone"],
];

const ARROWS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };

export class Keys {
  // `remapped` is the document's {action: key}; unknown actions are left out and named.
  constructor(remapped = {}) {
    const known = new Set(ACTIONS.map(([action]) => action));
    this.unknown = Object.keys(remapped).filter((action) => !known.has(action));
    this.byAction = new Map(
      ACTIONS.map(([action, key]) => [action, normal(remapped[action] ?? key)]),
    );
    this.byKey = new Map();
    this.clashes = [];
    for (const [action, key] of this.byAction) {
      if (this.byKey.has(key)) this.clashes.push([key, this.byKey.get(key), action]);
      else this.byKey.set(key, action);
    }
  }

  // The action of a keydown event, or null. With the keyboard cursor on, plain arrows move it.
  action(event, { keyboardCursor = false } = {}) {
    const key = nameOf(event);
    if (keyboardCursor && key in ARROWS) return ARROWS[key];
    if (key === "Ctrl+Shift+Z") return "redo";
    return this.byKey.get(key) ?? null;
  }

  label(action) {
    const words = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };
    const key = this.byAction.get(action) ?? "";
    return key.replace(/Arrow\w+|Escape/, (word) => words[word]);
  }

  // Rows for the help: [group, [[key, words], ...]].
  help() {
    const groups = new Map();
    for (const [action, , words, group] of ACTIONS) {
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push([this.label(action), words]);
    }
    return [...groups];
  }
}

// A key's name from an event: letters small unless Ctrl is held, Command counts as Ctrl.
export function nameOf(event) {
  const key = event.key === " " ? "Space" : event.key;
  const single = key.length === 1;
  const letter = single && key.toLowerCase() !== key.toUpperCase();
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("Ctrl");
  if (event.altKey) parts.push("Alt");
  // With a sign such as ? the shift key is part of the sign.
  if (event.shiftKey && (!single || letter)) parts.push("Shift");
  parts.push(letter ? (parts.length > 0 ? key.toUpperCase() : key.toLowerCase()) : key);
  return parts.join("+");
}

function normal(key) {
  const parts = key.split(/\+(?=.)/);
  const last = parts.pop();
  const single = last.length === 1;
  parts.push(single ? (parts.length > 0 ? last.toUpperCase() : last.toLowerCase()) : last);
  return parts.join("+");
}
