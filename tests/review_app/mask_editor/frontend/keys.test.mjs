import assert from "node:assert/strict";
import test from "node:test";

import { ACTIONS, Keys, nameOf } from "../../../../review_app/mask_editor/frontend/src/keys.js";

const event = (key, held = {}) => ({ key, ...held });

test("the keys of the brief do what it says", () => {
  const keys = new Keys();
  const expected = {
    n: "next_disputed", a: "accept", e: "edit", x: "absent", r: "reject", u: "unsure",
    "[": "smaller", "]": "larger", h: "hide", "?": "help",
  };

  for (const [key, action] of Object.entries(expected)) assert.equal(keys.action(event(key)), action);
  assert.equal(keys.action(event("s", { ctrlKey: true })), "save");
  assert.equal(keys.action(event("s", { metaKey: true })), "save");
  assert.equal(keys.action(event("z", { ctrlKey: true })), "undo");
  assert.equal(keys.action(event("Z", { ctrlKey: true, shiftKey: true })), "redo");
  assert.equal(keys.action(event("?", { shiftKey: true })), "help");
  assert.equal(keys.action(event("A")), "accept", "with caps lock");
  assert.equal(keys.action(event("y")), null);
});

test("no two actions share a key, and each has words for the help", () => {
  assert.deepEqual(new Keys().clashes, []);
  assert.equal(new Set(ACTIONS.map(([action]) => action)).size, ACTIONS.length);
  const rows = new Keys().help().flatMap(([, listed]) => listed);
  assert.equal(rows.length, ACTIONS.length);
  assert.ok(rows.every(([key, words]) => key && words));
});

test("a document remaps keys; what it does not know or doubles is named", () => {
  const keys = new Keys({ accept: "j", undo: "ctrl+u".replace("ctrl", "Ctrl"), dance: "d", reject: "n" });

  assert.equal(keys.action(event("j")), "accept");
  assert.equal(keys.action(event("a")), null);
  assert.equal(keys.action(event("u", { ctrlKey: true })), "undo");
  assert.deepEqual(keys.unknown, ["dance"]);
  assert.deepEqual(keys.clashes, [["n", "next_disputed", "reject"]]);
});

test("with the keyboard's cursor on, arrows move it; else they turn slices", () => {
  const keys = new Keys();

  assert.equal(keys.action(event("ArrowUp")), "slice_up");
  assert.equal(keys.action(event("ArrowUp"), { keyboardCursor: true }), "up");
  assert.equal(keys.action(event("ArrowLeft", { shiftKey: true })), "left");
  assert.equal(nameOf(event(" ")), "Space");
});
