// The panel on the right: verdicts, layers, the place in the body, operations, the 3D surface.

import { button, make, square } from "./dom.js";
import { readable } from "./overlay.js";

const VERDICTS = [
  ["accept", "Accept"],
  ["absent", "Absent"],
  ["reject", "Reject"],
  ["unsure", "Unsure"],
];
// What takes the first members' masks whole; others have their buttons alone.
const TAKE_ACTIONS = ["take_first", "take_second"];
// [operation, words, its one number: [parameter, start, step, unit] or null].
const OPERATIONS = [
  ["remove_islands", "Islands under", ["min_ml", 1, 0.1, "mL"]],
  ["smooth", "Smooth by", ["mm", 2, 0.5, "mm"]],
  ["grow", "Grow by", ["mm", 1, 0.5, "mm"]],
  ["shrink", "Shrink by", ["mm", 1, 0.5, "mm"]],
];

export class SidePanel {
  #checks = [];

  constructor(editor) {
    this.editor = editor;
    this.layers = make("div", { class: "group" });
    this.body = make("div", { class: "body-picture hidden" });
    this.overlaps = make("div", { class: "group overlaps hidden", role: "group", "aria-label": "Overlaps" });
    this.note = make("div", { class: "soft" });
    this.element = make(
      "aside", { class: "side", "aria-label": "Item" },
      this.#verdicts(), this.layers, this.body, this.#operations(), this.#surface(), this.note, this.overlaps,
    );
  }

  #verdicts() {
    const { editor } = this;
    const each = ([action, words]) =>
      button(words, { key: editor.keys.label(action), act: () => editor.do(action), name: action });
    this.next = button("Next disputed", {
      key: editor.keys.label("next_disputed"), act: () => editor.do("next_disputed"), name: "next_disputed",
    });
    return make(
      "div", { class: "group" }, this.next,
      make("div", { class: "pair" }, ...VERDICTS.filter(([action]) => editor.offers(action)).map(each)),
    );
  }

  #operations() {
    const { editor } = this;
    const rows = OPERATIONS.map(([name, words, [parameter, start, step, unit]]) => {
      const field = make("input", {
        type: "number", min: step, step, value: start, "aria-label": `${words} (${unit})`,
      });
      const act = () => void editor.server.operation(name, { [parameter]: field.value }, `${words} ${field.value} ${unit}`);
      const run = button(words, { act, name });
      field.style.flex = "0 0 58px";
      return make("div", { class: "row" }, run, field, make("span", { class: "soft fixed", text: unit }));
    });
    const plain = (name, words, parameters, title) =>
      button(words, { act: () => void editor.server.operation(name, parameters(), words), name, title });
    const cursor = () => {
      const [x, y, z] = editor.stage.cursor;
      return { x, y, z };
    };
    return make(
      "details", { "data-name": "operations" }, make("summary", { text: "Operations" }),
      make(
        "div", { class: "group" },
        button("Interpolate slices", {
          key: editor.keys.label("interpolate"), act: () => editor.do("interpolate"), name: "interpolate",
          title: "Between the slices drawn on; only what was drawn",
        }),
        plain("keep_component", "Keep piece at cursor", cursor, "Every other piece is removed"),
        plain("remove_component", "Remove piece at cursor", cursor, "This piece alone is removed"),
        plain("fill_holes", "Fill holes in 3D", () => ({ axis: "3d" }), "Closed holes alone"),
        plain("fill_holes", "Fill holes in slices", () => ({ axis: editor.settings.active }), "In the active plane"),
        ...rows,
        button("Widen the region", {
          act: () => editor.do("widen"), name: "widen", title: "A larger piece of the CT; your draft is kept",
        }),
        button("Reset the whole mask", { act: () => editor.do("reset"), name: "reset" }),
      ),
    );
  }

  #surface() {
    const { editor } = this;
    this.canvas = make("canvas", {
      class: "surface-view hidden", width: 384, height: 384, tabindex: "0", role: "img",
      "aria-label": "3D surface; drag or use the arrows to turn it",
    });
    this.renew = button("Show 3D surface", {
      key: editor.keys.label("surface"), act: () => editor.do("surface"), name: "surface",
    });
    return make("div", { class: "group" }, this.renew, this.canvas);
  }

  open(item) {
    this.#fillLayers(item);
    this.#showBody(item.document.body);
    this.canvas.classList.add("hidden");
    this.update();
  }

  #fillLayers(item) {
    const { editor } = this;
    this.#checks = [];
    const rows = [this.#layerCheck("hide", item.document.display, item.document.rgb, () => editor.settings.show.mask)];
    this.opacity = make("input", {
      type: "range", min: 0, max: 0.8, step: 0.05, "aria-label": "Fill opacity",
      oninput: () => editor.set({ opacity: Number(this.opacity.value) }),
    });
    rows.push(this.opacity);
    const of = (kind) => item.layers.filter((layer) => layer.kind === kind);
    if (of("heat").length > 0) rows.push(this.#layerCheck("heat", of("heat")[0].name, null, () => editor.settings.show.heat));
    if (of("member").length > 0) {
      rows.push(this.#layerCheck("members", "Members", null, () => editor.settings.show.members));
      rows.push(...of("member").map((layer, number) => this.#memberRow(layer, number)));
    }
    if (of("neighbour").length > 0) {
      rows.push(this.#layerCheck("neighbours", "Neighbours", null, () => editor.settings.show.neighbours));
      rows.push(make("div", { class: "legend" }, ...of("neighbour").map((layer) => legend(layer))));
    }
    this.layers.replaceChildren(...rows);
  }

  #layerCheck(action, words, rgb, isOn) {
    const { editor } = this;
    const input = make("input", { type: "checkbox", onchange: () => editor.do(action) });
    this.#checks.push(() => (input.checked = isOn()));
    const key = make("kbd", { text: editor.keys.label(action), "aria-hidden": "true" });
    const parts = [input, rgb ? square(rgb) : null, make("span", { class: "name", text: words, title: words }), key];
    return make("label", { class: "check", "data-name": action }, ...parts);
  }

  // Its outline on or off, and its mask whole in one press.
  #memberRow(layer, number) {
    const { drawing, keys } = this.editor;
    const action = TAKE_ACTIONS[number];
    const take = button("Take all", {
      key: action ? keys.label(action) : "", name: `take whole ${number}`,
      title: `Replace the mask by all of ${layer.name}; undo brings yours back`,
      act: () => drawing.takeWhole(number),
    });
    take.classList.add("fixed");
    return make("div", { class: "row member" }, this.#memberCheck(layer), take);
  }

  #memberCheck(layer) {
    const { editor } = this;
    const { hiddenMembers } = editor.settings.show;
    const input = make("input", {
      type: "checkbox",
      onchange: () => {
        if (input.checked) hiddenMembers.delete(layer.id);
        else hiddenMembers.add(layer.id);
        editor.changedLook();
      },
    });
    this.#checks.push(() => {
      input.checked = !hiddenMembers.has(layer.id);
      input.disabled = !editor.settings.show.members;
    });
    const name = make("span", { class: "name", text: layer.name, title: layer.name });
    return make("label", { class: "check" }, input, square(readable(layer.rgb)), name);
  }

  #showBody(body) {
    this.body.classList.toggle("hidden", !body);
    if (!body) return;
    const [left, top, right, bottom] = body.box.map((value) => 100 * value);
    const box = make("i");
    Object.assign(box.style, {
      left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
    });
    const picture = make("img", { src: body.image_url, alt: "The whole CT, with the region as a box" });
    this.body.replaceChildren(make("span", {}, picture, box));
  }

  // Overlaps with neighbours whose masks exclude this one, each to be taken over when saving. They
  // stand at the lower end, in sight whatever is scrolled, so that they push no layer away.
  showOverlaps(found) {
    this.overlaps.classList.toggle("hidden", found.length === 0);
    this.overlaps.replaceChildren(
      make("h3", { text: "Take when saving" }),
      ...found.map((overlap) => (overlap.kept ? keptOverlap(overlap) : this.#overlapCheck(overlap))),
    );
  }

  #overlapCheck({ id, name, voxels }) {
    const { editor } = this;
    const input = make("input", { type: "checkbox", onchange: () => editor.setTransfer(id, input.checked) });
    input.checked = editor.transfer.has(id);
    const title = `Take ${voxels} shared voxels from ${name} when saving`;
    const words = make("span", { class: "warning", text: `${voxels} from ${name}`, title });
    return make("label", { class: "check" }, input, words);
  }

  update() {
    for (const check of this.#checks) check();
    this.note.textContent = this.editor.stage.note;
    if (this.opacity) this.opacity.value = this.editor.settings.opacity;
    for (const each of this.element.querySelectorAll("button")) each.disabled = this.editor.busy;
    const left = this.editor.judging.disputedLeft;
    this.next.firstChild.textContent = left > 0 ? `Next disputed (${left})` : "Next item";
  }
}

// A neighbour that waits for a blind look gives nothing up.
function keptOverlap({ name, voxels }) {
  const title = `${name} waits for a blind look as it is: ${voxels} shared voxels stay with it too`;
  return make("div", { class: "check warning", text: `${voxels} stay with ${name} too`, title });
}

function legend(layer) {
  const name = make("span", { class: "name soft", text: layer.name, title: layer.name });
  return make("div", { class: "check" }, square(readable(layer.rgb)), name);
}
