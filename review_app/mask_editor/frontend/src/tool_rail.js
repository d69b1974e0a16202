// The tools on the left, and what the chosen one can be set to.

import { button, make, pressed } from "./dom.js";
import { BRUSH_STEPS_MM } from "./settings.js";

const NAMES = {
  look: "Look",
  brush: "Brush",
  eraser: "Eraser",
  lasso: "Lasso",
  polygon: "Polygon",
  fill: "Fill",
  take: "Take from",
  scribble: "Scribble",
};
const HINTS = {
  look: "Drag moves the cursor",
  brush: "Ctrl erases",
  eraser: "Erase within the brush",
  lasso: "Draw around; Ctrl clears",
  polygon: "Click corners; Ctrl clears",
  fill: "Click into a hole; Ctrl clears a piece",
  take: "Click where the other mask differs",
  scribble: "Inside; Ctrl: outside. Then Refine",
};
const WITH_BRUSH = new Set(["brush", "eraser", "take", "scribble"]);
const WITH_BALL = new Set(["brush", "eraser", "take", "fill", "scribble"]);
const WITH_GATE = new Set(["brush", "lasso", "polygon", "fill"]);

export class ToolRail {
  #tools = new Map();

  constructor(editor) {
    this.editor = editor;
    const { keys, settings } = editor;
    for (const tool of Object.keys(NAMES)) {
      const act = () => editor.do(tool);
      this.#tools.set(tool, button(NAMES[tool], { key: keys.label(tool), title: HINTS[tool], act, name: tool }));
    }
    this.hint = make("div", { class: "soft" });
    this.size = this.#sizeControls();
    this.ball = this.#check("3D", "ball", () => settings.ball);
    this.gate = this.#gateControls();
    this.take = this.#takeControls();
    this.scribble = this.#scribbleControls();
    this.element = make(
      "nav", { class: "rail", "aria-label": "Tools" },
      ...this.#tools.values(), this.hint, this.size, this.ball.element, this.gate, this.take, this.scribble,
    );
  }

  #sizeControls() {
    const { editor } = this;
    const act = (words, action) => {
      const each = button(words, { title: `Brush size ${editor.keys.label(action)}`, act: () => editor.do(action) });
      each.classList.add("fixed");
      return each;
    };
    this.slider = make("input", {
      type: "range", min: 0, max: BRUSH_STEPS_MM.length - 1, step: 1, "aria-label": "Brush diameter",
      oninput: () => editor.set({ brushMm: BRUSH_STEPS_MM[Number(this.slider.value)] }),
    });
    this.sizeWords = make("span", { class: "number" });
    Object.assign(this.sizeWords.style, { textAlign: "center", overflow: "visible" });
    const line = make("div", { class: "row" }, act("−", "smaller"), this.sizeWords, act("+", "larger"));
    return make("div", { class: "group" }, line, this.slider);
  }

  #check(words, action, isOn) {
    const { editor } = this;
    const input = make("input", { type: "checkbox", onchange: () => editor.do(action) });
    const key = make("kbd", { text: editor.keys.label(action), "aria-hidden": "true" });
    const element = make("label", { class: "check", "data-name": action }, input, make("span", { text: words }), key);
    return { element, update: () => (input.checked = isOn()) };
  }

  #gateControls() {
    const { editor } = this;
    this.gateCheck = this.#check("HU range", "gate", () => editor.settings.gate.on);
    const field = (part, words) =>
      make("input", {
        type: "number", step: 10, min: -1100, max: 4000, "aria-label": words,
        onchange: (event) => editor.setGate({ [part]: Number(event.target.value) }),
      });
    this.low = field("lowHu", "Lowest HU painted");
    this.high = field("highHu", "Highest HU painted");
    this.gateFields = make("div", { class: "pair" }, this.low, this.high);
    return make("div", { class: "group" }, this.gateCheck.element, this.gateFields);
  }

  #takeControls() {
    const { editor } = this;
    this.source = make("select", {
      "aria-label": "Take from", "data-name": "take source",
      onchange: () => editor.set({ takeFrom: this.source.value }),
    });
    this.how = make("select", {
      "aria-label": "How to take", "data-name": "take how",
      onchange: () => editor.set({ takeHow: this.how.value }),
    });
    this.how.append(
      make("option", { value: "piece", text: "by piece" }),
      make("option", { value: "brush", text: "by brush" }),
    );
    return make("div", { class: "group" }, this.source, this.how);
  }

  #scribbleControls() {
    const { editor } = this;
    const kind = (words, value) => button(words, { act: () => editor.set({ scribble: value }), name: words });
    this.kinds = [kind("Inside", 1), kind("Outside", 2)];
    return make(
      "div", { class: "group" }, ...this.kinds,
      button("Refine", { act: () => editor.do("refine"), name: "refine", title: "Fit the mask to the scribbles" }),
      button("Clear", { act: () => editor.clearScribbles(), title: "Clear the scribbles" }),
    );
  }

  open(item) {
    const members = item.layers.filter((layer) => layer.kind === "member");
    this.source.replaceChildren(
      make("option", { value: "start", text: "as opened" }),
      ...members.map((layer) => make("option", { value: layer.id, text: layer.name })),
    );
    this.update();
  }

  update() {
    const { settings } = this.editor;
    const { tool } = settings;
    for (const [name, each] of this.#tools) pressed(each, name === tool);
    this.hint.textContent = HINTS[tool];
    show(this.size, WITH_BRUSH.has(tool) && !(tool === "take" && settings.takeHow === "piece"));
    show(this.ball.element, WITH_BALL.has(tool));
    show(this.gate, WITH_GATE.has(tool));
    show(this.gateFields, settings.gate.on);
    show(this.take, tool === "take");
    show(this.scribble, tool === "scribble");
    this.#values(settings);
  }

  #values(settings) {
    this.slider.value = BRUSH_STEPS_MM.findLastIndex((step) => step <= settings.brushMm);
    this.sizeWords.textContent = `${settings.brushMm} mm`;
    this.ball.update();
    this.gateCheck.update();
    this.low.value = settings.gate.lowHu;
    this.high.value = settings.gate.highHu;
    this.source.value = settings.takeFrom;
    this.how.value = settings.takeHow;
    this.kinds.forEach((each, i) => pressed(each, settings.scribble === i + 1));
  }
}

function show(element, isShown) {
  element.classList.toggle("hidden", !isShown);
}
