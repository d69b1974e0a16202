// The editor: one item at a time, and the parts that look at it, draw on it and send it.

import { actionsOf, LOCKED, ONCE } from "./actions.js";
import { DraftKeeper } from "./draft_keeper.js";
import { make } from "./dom.js";
import { Drawing } from "./drawing.js";
import { FootLine } from "./foot_line.js";
import { gzip } from "./gzip.js";
import { HeadBar } from "./head_bar.js";
import { loadLayers, openItem } from "./item.js";
import { Judging } from "./judging.js";
import { KeyInput } from "./key_input.js";
import { Keys } from "./keys.js";
import { watchLeaving } from "./leaving.js";
import { PointerInput } from "./pointer_input.js";
import { ServerWork } from "./server_work.js";
import { firstSettings } from "./settings.js";
import { SidePanel } from "./side_panel.js";
import { Stage } from "./stage.js";
import { STYLES } from "./styles.js";
import { SurfaceView } from "./surface_view.js";
import { ToolRail } from "./tool_rail.js";
import { TOOLS } from "./tools.js";
import { Viewing } from "./viewing.js";
import { Wire } from "./wire.js";

export class Editor {
  #actions = actionsOf(this);

  constructor(host, { setTriggerValue }) {
    this.host = host;
    this.trigger = setTriggerValue;
    this.settings = firstSettings();
    this.keys = new Keys();
    this.item = null;
    this.busy = false;
    this.transfer = new Set();
    this.tell = (text, kind = "") => this.foot.tell(text, kind);
    this.#build();
  }

  #build() {
    const { settings } = this;
    this.foot = new FootLine(this);
    this.stage = new Stage({
      settings,
      scene: () => this.#scene(),
      marks: () => this.drawing.marks(),
      tell: this.tell,
    });
    this.viewing = new Viewing(this);
    this.drawing = new Drawing(this);
    this.judging = new Judging(this);
    this.server = new ServerWork(this);
    this.root = make("div", { class: "editor", "data-state": "empty" });
    this.root.append(make("style", { text: STYLES }));
    this.#buildBars();
    this.#listen();
    this.host.append(this.root);
  }

  #listen() {
    const { drawing, settings, stage } = this;
    new PointerInput(stage, settings, this.#pointerActs());
    this.keyInput = new KeyInput(this.root, {
      keys: () => this.keys,
      settings,
      home: stage.element,
      act: {
        do: (action, how) => this.do(action, how),
        startAtCursor: (erase) => this.item && drawing.pressAtCursor(erase),
        stopAtCursor: () => drawing.releaseAtCursor(),
      },
    });
    // A click on a control leaves the keys with the pictures.
    this.root.addEventListener("click", (event) => {
      const target = event.composedPath()[0];
      if (event.detail > 0 && target.closest?.(CLICKED)) this.focus();
    });
    this.stopWatching = watchLeaving(
      this.root,
      () => this.item && { item: this.item, keeper: this.keeper },
    );
  }

  #pointerActs() {
    const { drawing, settings, stage, viewing } = this;
    return {
      aim: (at) => {
        drawing.aimed = at;
        if (this.item) stage.redraw("pointer");
      },
      activate: (axis) => viewing.activate(axis),
      press: (at, how) => drawing.press(at, how),
      move: (at) => at && drawing.move(at),
      release: () => drawing.release(),
      finish: () => settings.tool === "polygon" && drawing.finishLine(),
      cursorTo: (at) => viewing.moveCursor(at.point),
      dragWindow: (dx, dy) => viewing.dragWindow(dx, dy),
      pan: (pane, dx, dy) => viewing.pan(pane, dx, dy),
      zoom: (pane, x, y, factor) => viewing.zoomAt(pane, x, y, factor),
      step: (axis, by) => viewing.step(axis, by),
    };
  }

  // Head, rail and panel show key names, so they are made anew when the keys are remapped.
  #buildBars() {
    for (const each of [this.head, this.rail, this.side]) each?.element.remove();
    this.head = new HeadBar(this);
    this.rail = new ToolRail(this);
    this.side = new SidePanel(this);
    this.surface = new SurfaceView(this.side.canvas);
    this.root.append(
      this.head.element, this.rail.element, this.stage.element, this.side.element, this.foot.element,
    );
  }

  // What ToolUse works on: see its words.
  get grid() {
    return this.item.grid;
  }

  get ct() {
    return this.item.ct;
  }

  get edit() {
    return this.item.edit;
  }

  get scribbles() {
    return this.item.scribbles;
  }

  sourceOf(id) {
    if (id === "start") return this.item.base;
    return this.item.layers.find((layer) => layer.id === id)?.voxels ?? null;
  }

  get members() {
    return this.item?.layers.filter((layer) => layer.kind === "member") ?? [];
  }

  // Whether a verdict can be given on this item; all of them where the document names none.
  offers(verdict) {
    return this.item?.document.verdicts?.includes(verdict) ?? true;
  }

  focus() {
    this.stage.element.focus({ preventScroll: true });
  }

  // --- items -----------------------------------------------------------------------------------

  // What Python sends: {document_url, status, mode, renderer?}.
  async receive(data) {
    if (data.status) this.tell(data.status);
    if (data.document_url === this.documentUrl) return;
    this.documentUrl = data.document_url;
    const left = this.keeper;
    this.loading?.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    try {
      await this.#leave(left);
      if (signal.aborted) return;
      if (data.document_url) await this.#open(data, signal);
      else this.#showNothing();
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      this.root.dataset.state = "failed";
      this.stage.say(`This item cannot be opened: ${error.message}`);
    }
  }

  // Bring the old item's draft home, then let go of it: no stroke may fall between two items.
  async #leave(keeper) {
    if (!keeper) return;
    if (this.item) this.drawing.use.cancel();
    // Without a connection the keeper goes on trying behind the next item.
    if (await keeper.flush()) keeper.stop();
    this.item = null;
    this.keeper = null;
    this.stage.item = null;
  }

  #showNothing() {
    this.root.dataset.state = "empty";
    this.stage.say("No item is open.");
  }

  async #open(data, signal) {
    this.root.dataset.state = "loading";
    this.stage.say("Opening the region …");
    const started = performance.now();
    const wire = new Wire(data.document_url);
    const item = await openItem(wire, signal);
    await this.stage.chooseView(data.renderer);
    if (signal.aborted) return;
    this.#adopt(item, data);
    await this.stage.setItem(item);
    this.viewing.moveCursor(item.document.start_voxel);
    this.stage.say("");
    this.changed();
    this.root.dataset.document = item.document.id;
    this.root.dataset.openMs = String(Math.round(performance.now() - started));
    this.root.dataset.state = "ready";
    this.#greet(item, data);
    await loadLayers(item, signal, () => this.#layerLoaded());
    this.root.dataset.layers = "ready";
  }

  #adopt(item, data) {
    this.item = item;
    this.transfer.clear();
    this.drawing.open(item);
    this.judging = new Judging(this);
    this.server.open(item);
    delete this.root.dataset.layers;
    this.keys = new Keys(item.document.keys);
    this.#buildBars();
    this.keeper = new DraftKeeper({
      edit: item.edit,
      autosaveS: item.document.limits?.autosave_s,
      put: (voxels) => this.#putDraft(item, voxels),
      tell: (state, detail) => this.item === item && this.foot.tellDraft(state, detail),
    });
    this.foot.tellDraft("clean");
    const { settings } = this;
    settings.tool = data.mode === "edit" ? "brush" : "look";
    settings.takeFrom = "start";
    this.viewing.openWindow(item.document.windows);
    this.head.open(item);
    this.rail.open(item);
    this.side.open(item);
  }

  #greet(item, data) {
    const clashes = this.keys.clashes.map(([key, one, two]) => `${key}: ${one} and ${two}`).join("; ");
    if (clashes) this.tell(`Two actions share a key (${clashes}): the first one has it.`, "warning");
    else if (item.restoredAt) {
      const time = new Date(item.restoredAt).toLocaleString();
      this.tell(`Your draft of ${time} is restored. Undo begins here.`, "warning");
    } else this.tell(data.status || this.stage.note);
    const active = document.activeElement;
    const here = this.host.getRootNode().host ?? this.host;
    if (active === document.body || active === null || active === here) this.focus();
  }

  #layerLoaded() {
    this.changedLook();
    this.drawing.checkOverlaps();
  }

  // --- what is shown ---------------------------------------------------------------------------

  #scene() {
    const { item, settings } = this;
    return {
      grid: item.grid,
      mask: item.edit.voxels,
      revision: item.edit.revision,
      rgb: item.document.rgb,
      layers: item.layers,
      scribbles: item.scribbles.revision > 0 ? item.scribbles : null,
      show: settings.show,
      opacity: settings.opacity,
    };
  }

  // The mask changed: draw it and keep the draft.
  changed() {
    this.stage.redraw("over", "pointer");
    this.head.update();
    this.foot.update();
    this.keeper?.changed();
  }

  // Something about how it is shown changed.
  changedLook() {
    const { isRinged } = this.drawing;
    this.stage.element.classList.toggle("painting", isRinged);
    this.stage.element.classList.toggle("aiming", !isRinged && this.settings.tool !== "look");
    this.stage.redraw("over", "pointer");
    for (const part of [this.head, this.rail, this.side, this.foot]) part.update();
  }

  set(values) {
    Object.assign(this.settings, values);
    this.changedLook();
  }

  setBusy(isBusy) {
    this.busy = isBusy;
    if (isBusy && this.item) this.drawing.use.cancel();
    this.root.toggleAttribute("data-busy", isBusy);
    this.changedLook();
  }

  setGate(values) {
    const gate = { ...this.settings.gate, ...values };
    if (!(gate.lowHu <= gate.highHu)) this.tell("The HU range must rise; nothing is painted in it.", "warning");
    this.set({ gate });
  }

  setTransfer(id, isOn) {
    if (isOn) this.transfer.add(id);
    else this.transfer.delete(id);
  }

  clearScribbles() {
    this.scribbles.voxels.fill(0);
    this.scribbles.revision = 0;
    this.changedLook();
  }

  // --- actions ---------------------------------------------------------------------------------

  // Do what a key or button names.
  do(action, { repeated = false } = {}) {
    if (!this.item && action !== "help") return;
    if (this.busy && LOCKED.has(action)) return;
    if (TOOLS.includes(action)) this.drawing.choose(action);
    else if (action in this.#actions && !(repeated && ONCE.has(action))) this.#actions[action]();
  }

  // --- drafts and leaving ----------------------------------------------------------------------

  async #putDraft(item, voxels) {
    const answer = await item.wire.send("PUT", "draft", await gzip(voxels));
    return answer.json();
  }

  destroy() {
    this.stopWatching();
    this.keyInput.stop();
    const { keeper } = this;
    this.loading?.abort();
    // The last changes still go out after the editor has left the page.
    void keeper?.flush().then((isKept) => isKept && keeper.stop());
    this.stage.destroy();
    this.host.remove();
  }
}

// Controls that need the focus no more once they were clicked; fields for numbers keep it.
const CLICKED = "button, label, summary, input[type=range], input[type=checkbox]";
