// The editor: one item at a time, everything that can be done with it, and what is shown of it.

import { betweenSlices } from "./between_slices.js";
import { DraftKeeper } from "./draft_keeper.js";
import { make } from "./dom.js";
import { FootLine } from "./foot_line.js";
import { AXES } from "./grid.js";
import { gzip } from "./gzip.js";
import { HeadBar } from "./head_bar.js";
import { differing, loadLayers, openItem, overlaps } from "./item.js";
import { Judging } from "./judging.js";
import { KeyInput } from "./key_input.js";
import { Keys } from "./keys.js";
import { watchLeaving } from "./leaving.js";
import { reachedSides } from "./mask_edit.js";
import { PointerInput } from "./pointer_input.js";
import { Saver } from "./saving.js";
import { firstSettings, nextBrushMm } from "./settings.js";
import { keysTable, openSheet, protocolText } from "./sheets.js";
import { SidePanel } from "./side_panel.js";
import { Stage } from "./stage.js";
import { STYLES } from "./styles.js";
import { SurfaceView } from "./surface_view.js";
import { ToolRail } from "./tool_rail.js";
import { RING_TOOLS, TOOLS, ToolUse } from "./tools.js";
import { Wire } from "./wire.js";
import { draggedWindow } from "./windowing.js";

export class Editor {
  constructor(host, { setTriggerValue }) {
    this.host = host;
    this.trigger = setTriggerValue;
    this.settings = firstSettings();
    this.keys = new Keys();
    this.item = null;
    this.busy = false;
    this.transfer = new Set();
    this.aimed = null;
    this.judging = new Judging(this);
    this.#build();
  }

  #build() {
    const { settings } = this;
    this.foot = new FootLine(this);
    this.stage = new Stage({
      settings,
      scene: () => this.#scene(),
      marks: () => this.#marks(),
      tell: (text, kind) => this.tell(text, kind),
    });
    this.root = make("div", { class: "editor", "data-state": "empty" });
    this.root.append(make("style", { text: STYLES }));
    this.#buildBars();
    this.use = new ToolUse(this);
    new PointerInput(this.stage, settings, this.#pointerActs());
    new KeyInput(this.root, {
      keys: () => this.keys,
      settings,
      home: this.stage.element,
      act: {
        do: (action, how) => this.do(action, how),
        startAtCursor: (erase) => this.#startAtCursor(erase),
        stopAtCursor: () => this.#stopAtCursor(),
      },
    });
    // A click on a button leaves the keys with the pictures.
    this.root.addEventListener("click", (event) => {
      const target = event.composedPath()[0];
      if (event.detail > 0 && target.closest?.("button")) this.focus();
    });
    this.host.append(this.root);
    this.stopWatching = watchLeaving(() => this.item && { item: this.item, keeper: this.keeper });
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

  tell(text, kind = "") {
    this.foot.tell(text, kind);
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
    this.use.cancel();
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
    this.stage.moveCursor(item.document.start_voxel);
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
    this.saver = new Saver(item);
    this.transfer.clear();
    this.judging = new Judging(this);
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
    const names = Object.keys(item.document.windows);
    if (!names.includes(settings.windowName)) settings.windowName = names[0] ?? null;
    if (settings.windowName) settings.windowHu = [...item.document.windows[settings.windowName]];
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
    this.#checkOverlaps();
  }

  // --- what is drawn ---------------------------------------------------------------------------

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

  #marks() {
    const { settings, aimed, item } = this;
    const { tool } = settings;
    const ringed = RING_TOOLS.has(tool) && !(tool === "take" && settings.takeHow === "piece");
    let ring = null;
    if (ringed && (aimed || settings.keyboardCursor)) {
      const axis = aimed?.axis ?? settings.active;
      const { u, v } = item.grid.plane(axis);
      const point = aimed?.point ?? this.stage.cursor;
      ring = {
        axis, u: point[u], v: point[v], radiusMm: settings.brushMm / 2,
        erase: tool === "eraser" || (this.use.isDrawing && this.use.erase),
        keyboard: !aimed,
      };
    }
    // The crosshair would hide what is being drawn.
    const crosshair = tool === "look" || (settings.keyboardCursor && !ring);
    return { ring, crosshair, line: this.use.line, disputed: item.document.disputed };
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
    const { tool, takeHow } = this.settings;
    const ringed = RING_TOOLS.has(tool) && !(tool === "take" && takeHow === "piece");
    this.stage.element.classList.toggle("painting", ringed);
    this.stage.element.classList.toggle("aiming", !ringed && tool !== "look");
    this.stage.redraw("over", "pointer");
    this.head.update();
    this.rail.update();
    this.side.update();
    this.foot.update();
  }

  set(values) {
    Object.assign(this.settings, values);
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
    this.item.scribbles.voxels.fill(0);
    this.item.scribbles.revision = 0;
    this.changedLook();
  }

  useWindow(name) {
    this.settings.windowName = name;
    this.#applyWindow(this.item.document.windows[name]);
  }

  #applyWindow(windowHu) {
    this.settings.windowHu = [...windowHu];
    this.stage.setWindow(windowHu);
    this.head.update();
  }

  // --- pointer and keyboard --------------------------------------------------------------------

  #pointerActs() {
    const { stage, settings } = this;
    return {
      aim: (at) => {
        this.aimed = at;
        if (this.item) stage.redraw("pointer");
      },
      activate: (axis) => this.#activate(axis),
      press: (at, how) => this.#press(at, how),
      move: (at) => at && this.#drawTo(at),
      release: () => this.#release(),
      finish: () => settings.tool === "polygon" && this.#finishLine(),
      cursorTo: (at) => this.moveCursor(at.point),
      dragWindow: (dx, dy) => {
        settings.windowName = null;
        this.#applyWindow(draggedWindow(settings.windowHu, dx, dy));
        this.tell(`Window ${settings.windowHu.join(" to ")} HU`);
      },
      pan: (pane, dx, dy) => {
        pane.panBy(dx, dy);
        stage.redraw("ct", "over", "pointer");
      },
      zoom: (pane, x, y, factor) => {
        pane.zoomAt(x, y, factor);
        stage.redraw("ct", "over", "pointer");
      },
      step: (axis, by) => this.#step(axis, by),
    };
  }

  #activate(axis) {
    if (this.settings.active === axis) return;
    this.settings.active = axis;
    this.changedLook();
  }

  moveCursor(voxel, how) {
    this.stage.moveCursor(voxel, how);
    this.stage.redraw("pointer");
    this.foot.update();
  }

  #step(axis, by) {
    const voxel = [...this.stage.cursor];
    voxel[axis] += by;
    this.moveCursor(voxel);
  }

  #press(at, how) {
    if (this.busy || !this.item) return;
    this.tell("");
    this.use.press(at, how);
    this.stage.redraw("over", "pointer");
  }

  #drawTo(at) {
    this.use.move(at);
    this.stage.redraw("over", "pointer");
  }

  #release() {
    if (!this.item) return;
    this.use.release();
    this.#afterStep();
  }

  #finishLine() {
    this.use.finishLine();
    this.#afterStep();
  }

  #afterStep() {
    this.changed();
    this.#checkOverlaps();
    const sides = reachedSides(this.grid, this.edit.voxels, this.item.document.at_ct_border);
    if (sides.length > 0) {
      this.tell(`The mask reaches the region's ${sides.join(", ")} border: “Widen the region” shows more.`, "warning");
    }
  }

  #checkOverlaps() {
    const found = this.item ? overlaps(this.item) : [];
    const ids = new Set(found.map((each) => each.id));
    for (const id of this.transfer) if (!ids.has(id)) this.transfer.delete(id);
    this.side.showOverlaps(found);
  }

  #cursorPlace() {
    return { point: this.stage.cursor.map(Number), axis: this.settings.active };
  }

  #startAtCursor(erase) {
    if (this.settings.tool === "look") {
      this.tell(`Choose a tool first: ${this.keys.label("brush")} is the brush.`);
      return;
    }
    // The lasso has no free hand on the keyboard: Space sets its corners, Enter closes it.
    if (this.settings.tool === "lasso") this.do("polygon");
    this.aimed = null;
    this.#press(this.#cursorPlace(), { erase });
  }

  #stopAtCursor() {
    if (this.settings.tool !== "look" && this.use.isDrawing) this.#release();
  }

  // Move the cursor on the screen by so many voxels to the right and down.
  #nudge(right, down) {
    if (!this.item) return;
    const pane = this.stage.pane(this.settings.active);
    const voxel = [...this.stage.cursor];
    // Along the screen both axes run against the voxels: see Pane.
    voxel[pane.plane.u] -= right;
    voxel[pane.plane.v] -= down;
    this.aimed = null;
    this.moveCursor(voxel, { show: pane.zoom > 1 });
    if (this.use.isDrawing) this.#drawTo(this.#cursorPlace());
  }

  // --- actions ---------------------------------------------------------------------------------

  // Do what a key or button names.
  do(action, { repeated = false } = {}) {
    if (!this.item && action !== "help") return;
    if (TOOLS.includes(action)) this.#chooseTool(action);
    else if (action in this.#acts && !(repeated && ONCE.has(action))) this.#acts[action]();
  }

  #acts = {
    edit: () => this.#chooseTool("brush"),
    next_disputed: () => this.judging.nextDisputed(),
    accept: () => this.judging.judge("accept"),
    absent: () => this.judging.judge("absent"),
    reject: () => this.judging.judge("reject"),
    unsure: () => this.judging.judge("unsure"),
    save: () => void this.#save(),
    undo: () => this.#travel(() => this.edit.undo(), "Undone", "Nothing to undo"),
    redo: () => this.#travel(() => this.edit.redo(), "Done again", "Nothing to redo"),
    smaller: () => this.set({ brushMm: nextBrushMm(this.settings.brushMm, -1) }),
    larger: () => this.set({ brushMm: nextBrushMm(this.settings.brushMm, 1) }),
    ball: () => this.set({ ball: !this.settings.ball }),
    gate: () => this.setGate({ on: !this.settings.gate.on }),
    interpolate: () => this.#interpolate(),
    slice_up: () => this.#step(this.settings.active, 1),
    slice_down: () => this.#step(this.settings.active, -1),
    page_up: () => this.#step(this.settings.active, 10),
    page_down: () => this.#step(this.settings.active, -10),
    plane: () => this.#nextPlane(),
    zoom_in: () => this.#zoom(1.25),
    zoom_out: () => this.#zoom(0.8),
    whole: () => this.#whole(),
    window: () => this.#nextWindow(),
    hide: () => this.#toggle("mask"),
    members: () => this.#toggle("members"),
    neighbours: () => this.#toggle("neighbours"),
    heat: () => this.#toggle("heat"),
    surface: () => void this.#showSurface(),
    keyboard_cursor: () => this.#toggleKeyboardCursor(),
    left: () => this.#nudge(-1, 0),
    right: () => this.#nudge(1, 0),
    up: () => this.#nudge(0, -1),
    down: () => this.#nudge(0, 1),
    finish: () => this.#finishLine(),
    help: () => openSheet(this.root, "Keys", keysTable(this.keys), () => this.focus()),
  };

  #chooseTool(tool) {
    if (tool === "look" && (this.use.line || this.use.isDrawing)) {
      this.use.cancel();
      this.tell("Given up.");
      this.changed();
      return;
    }
    this.use.finishLine();
    this.edit.commit();
    this.tell("");
    this.set({ tool });
    this.changed();
  }

  #travel(move, done, nothing) {
    if (this.busy) return;
    if (this.use.line) this.use.dropCorner();
    else if (this.use.isDrawing) {
      this.use.cancel();
      this.tell("Given up.");
    } else {
      const step = move();
      this.tell(step ? `${done}: ${step.name}` : nothing);
    }
    this.changed();
    this.#checkOverlaps();
  }

  #interpolate() {
    const axis = this.settings.active;
    const drawn = this.edit.drawnByHand(axis);
    const { add, remove } = betweenSlices(this.grid, { axis, drawn });
    this.edit.begin("Interpolate slices");
    for (const index of add) this.edit.set(index, 1);
    for (const index of remove) this.edit.set(index, 0);
    const step = this.edit.commit();
    if (step) this.tell(`Interpolated: ${step.flipped.length} voxels between the slices drawn on.`, "good");
    else this.tell("Draw on two slices of this plane with some between them first.", "warning");
    this.#checkOverlaps();
    this.changed();
  }

  #nextPlane() {
    const { settings } = this;
    settings.main = AXES[(AXES.indexOf(settings.main) + 1) % AXES.length];
    settings.active = settings.main;
    this.stage.resize();
    this.changedLook();
  }

  #zoom(factor) {
    const pane = this.stage.pane(this.settings.active);
    const { u, v } = pane.plane;
    const [x, y] = pane.toScreen(this.stage.cursor[u], this.stage.cursor[v]);
    pane.zoomAt(x, y, factor);
    this.stage.redraw("ct", "over", "pointer");
  }

  #whole() {
    for (const pane of this.stage.panes) pane.reset();
    this.stage.redraw("ct", "over", "pointer");
  }

  #nextWindow() {
    const names = Object.keys(this.item.document.windows);
    if (names.length === 0) return;
    const name = names[(names.indexOf(this.settings.windowName) + 1) % names.length];
    this.useWindow(name);
    this.tell(`Window: ${name}`);
  }

  #toggle(what) {
    this.settings.show[what] = !this.settings.show[what];
    this.changedLook();
  }

  #toggleKeyboardCursor() {
    this.set({ keyboardCursor: !this.settings.keyboardCursor });
    const on = `Arrows move the cursor, ${this.keys.label("paint")} uses the tool, ${this.keys.label("page_up")} turns slices.`;
    this.tell(this.settings.keyboardCursor ? on : "Arrows turn the slices again.");
  }

  // Ask for a larger region of the same item.
  widen() {
    void this.judging.act("widen");
  }

  // --- the server ------------------------------------------------------------------------------

  // Run slow work with the mask locked; errors are told, never thrown. Resolves to success.
  async whileBusy(text, work) {
    if (this.busy) return false;
    this.busy = true;
    this.use.cancel();
    this.root.dataset.busy = "";
    this.changedLook();
    if (text) this.tell(text);
    try {
      await work();
      return true;
    } catch (error) {
      if (error.name !== "AbortError") this.#complain(error);
      return false;
    } finally {
      this.busy = false;
      delete this.root.dataset.busy;
      this.changedLook();
    }
  }

  #complain(error) {
    const words = error.name === "Unreachable" ? "The server cannot be reached; try again." : error.message;
    this.tell(words, "error");
  }

  async #save() {
    const { item } = this;
    if (!item) return;
    this.edit.commit();
    if (differing(this.edit.voxels, item.base) === 0) {
      this.tell(`Nothing is changed. ${this.keys.label("accept")} accepts the mask as it is.`, "warning");
      return;
    }
    await this.whileBusy("Saving …", async () => {
      const { revision, ...receipt } = await this.saver.save();
      this.judging.savedRevision = revision;
      this.keeper.settled(revision);
      const transfer = this.transfer.size > 0 ? { transfer: [...this.transfer] } : {};
      this.trigger("save", { document: item.document.id, receipt, ...transfer });
      const border = receipt.at_border ? " The mask reaches the region's border." : "";
      this.tell(`Saved: ${receipt.voxels_changed} voxels changed.${border}`, border ? "warning" : "good");
      this.root.dataset.saved = receipt.sha256;
    });
  }

  async runOperation(name, parameters = {}, words = "") {
    const { item } = this;
    if (!item) return;
    if (name === "refine") {
      if (item.scribbles.revision === 0) {
        this.tell("Scribble inside (and outside) first.", "warning");
        return;
      }
      parameters = { method: "random_walker" };
    }
    const title = words || "Refine";
    await this.whileBusy(`${title} …`, async () => {
      const voxels = await this.saver.operation(name, parameters, this.loading.signal);
      const step = this.edit.replace(title, voxels);
      this.tell(step ? `${title}: ${step.flipped.length} voxels changed.` : `${title}: nothing to change.`);
    });
    if (this.item === item) this.#settleStep();
  }

  resetMask() {
    const step = this.edit.replace("Reset the mask", this.item.base);
    this.tell(step ? "The mask is as it was opened; undo brings your changes back." : "Nothing is changed.");
    this.#settleStep();
  }

  #settleStep() {
    this.changed();
    this.#checkOverlaps();
  }

  async #showSurface() {
    await this.whileBusy("Making the surface …", async () => {
      const mesh = await this.saver.surface(this.loading.signal);
      this.surface.show(mesh, this.item.document.rgb);
      this.side.renew.firstChild.textContent = "Renew 3D surface";
      this.tell("");
    });
  }

  showProtocol() {
    const { display, protocol } = this.item.document;
    openSheet(this.root, `Protocol: ${display}`, protocolText(protocol), () => this.focus());
  }

  // --- drafts and leaving ----------------------------------------------------------------------

  async #putDraft(item, voxels) {
    const answer = await item.wire.send("PUT", "draft", await gzip(voxels));
    return answer.json();
  }

  destroy() {
    this.stopWatching();
    const { keeper } = this;
    this.loading?.abort();
    // The last changes still go out after the editor has left the page.
    void keeper?.flush().then((isKept) => isKept && keeper.stop());
    this.stage.destroy();
    this.host.remove();
  }
}

// Keys that do nothing more while they are held down.
const ONCE = new Set(["accept", "absent", "reject", "unsure", "next_disputed", "save", "help", "surface", "interpolate"]);
