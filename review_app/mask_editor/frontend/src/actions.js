// What each key and button does.

import { nextBrushMm } from "./settings.js";
import { keysTable, openSheet, protocolText } from "./sheets.js";

// What changes the mask waits while the server works on it.
export const LOCKED = new Set([
  "undo", "redo", "interpolate", "take_first", "take_second", "reset", "save", "surface", "refine", "finish",
]);
// Keys that do nothing more while they are held down.
export const ONCE = new Set([
  "accept", "absent", "reject", "unsure", "next_disputed", "leave", "save", "help", "surface", "interpolate",
  "take_first", "take_second",
]);

// The editor's actions by name, without the tools.
export function actionsOf(editor) {
  return {
    edit: () => editor.drawing.choose("brush"),
    next_disputed: () => editor.judging.nextDisputed(),
    accept: () => editor.judging.judge("accept"),
    absent: () => editor.judging.judge("absent"),
    reject: () => editor.judging.judge("reject"),
    unsure: () => editor.judging.judge("unsure"),
    widen: () => void editor.judging.act("widen"),
    leave: () => void editor.judging.act("leave"),
    save: () => void editor.server.save(),
    surface: () => void editor.server.surface(),
    refine: () => void editor.server.refine(),
    undo: () => editor.drawing.undo(),
    redo: () => editor.drawing.redo(),
    interpolate: () => editor.drawing.interpolate(),
    take_first: () => editor.drawing.takeWhole(0),
    take_second: () => editor.drawing.takeWhole(1),
    reset: () => reset(editor),
    finish: () => editor.drawing.finishLine(),
    smaller: () => editor.set({ brushMm: nextBrushMm(editor.settings.brushMm, -1) }),
    larger: () => editor.set({ brushMm: nextBrushMm(editor.settings.brushMm, 1) }),
    ball: () => editor.set({ ball: !editor.settings.ball }),
    gate: () => editor.setGate({ on: !editor.settings.gate.on }),
    slice_up: () => editor.viewing.step(editor.settings.active, 1),
    slice_down: () => editor.viewing.step(editor.settings.active, -1),
    page_up: () => editor.viewing.step(editor.settings.active, 10),
    page_down: () => editor.viewing.step(editor.settings.active, -10),
    plane: () => editor.viewing.nextPlane(),
    zoom_in: () => editor.viewing.zoom(1.25),
    zoom_out: () => editor.viewing.zoom(0.8),
    whole: () => editor.viewing.whole(),
    window: () => editor.viewing.nextWindow(),
    hide: () => editor.viewing.toggle("mask"),
    members: () => editor.viewing.toggle("members"),
    neighbours: () => editor.viewing.toggle("neighbours"),
    heat: () => editor.viewing.toggle("heat"),
    keyboard_cursor: () => toggleKeyboardCursor(editor),
    left: () => editor.drawing.nudge(-1, 0),
    right: () => editor.drawing.nudge(1, 0),
    up: () => editor.drawing.nudge(0, -1),
    down: () => editor.drawing.nudge(0, 1),
    help: () => show(editor, "Keys", keysTable(editor.keys)),
    protocol: () => showProtocol(editor),
  };
}

function reset(editor) {
  const step = editor.drawing.replace("Reset the mask", editor.item.base);
  editor.tell(step ? "The mask is as it was opened; undo brings your changes back." : "Nothing is changed.");
}

function toggleKeyboardCursor(editor) {
  const { keys, settings } = editor;
  editor.set({ keyboardCursor: !settings.keyboardCursor });
  const [paint, page] = [keys.label("paint"), keys.label("page_up")];
  const on = `Arrows move the cursor, ${paint} uses the tool, ${page} turns slices.`;
  editor.tell(settings.keyboardCursor ? on : "Arrows turn the slices again.");
}

function showProtocol(editor) {
  const { display, protocol } = editor.item.document;
  if (protocol) show(editor, `Protocol: ${display}`, protocolText(protocol));
}

function show(editor, title, content) {
  openSheet(editor.root, title, content, () => editor.focus());
}
