// Mouse, pen and touch on the pictures: what a press means, and what moving it does.

const WHEEL_STEP = 40;

export class PointerInput {
  #gesture = null;
  #wheel = 0;

  // `act` holds what the editor does: aim, press, move, release, cursorTo, dragWindow, step, zoom.
  constructor(stage, settings, act) {
    this.stage = stage;
    this.settings = settings;
    this.act = act;
    const { element } = stage;
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    element.addEventListener("pointerup", (event) => this.#up(event));
    element.addEventListener("pointercancel", (event) => this.#up(event));
    element.addEventListener("pointerleave", () => act.aim(null));
    element.addEventListener("dblclick", () => act.finish());
    element.addEventListener("wheel", (event) => this.#scroll(event), { passive: false });
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  // The place of an event: {point, axis, x, y} on a pane (that of the gesture, once one runs).
  #place(event, pane = null) {
    const bounds = this.stage.element.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const hit = pane ?? this.stage.paneAt(x, y);
    if (!hit) return null;
    return { x, y, pane: hit, axis: hit.axis, point: hit.toPoint(x, y, this.stage.cursor[hit.axis]) };
  }

  #down(event) {
    const at = this.#place(event);
    if (!at || this.#gesture) return;
    event.preventDefault();
    this.stage.element.focus({ preventScroll: true });
    this.stage.element.setPointerCapture(event.pointerId);
    this.act.activate(at.axis);
    const kind = this.#kindOf(event);
    this.#gesture = { kind, pane: at.pane, x: at.x, y: at.y, id: event.pointerId };
    if (kind === "cursor") this.act.cursorTo(at);
    if (kind === "tool") this.act.press(at, { erase: event.ctrlKey || event.metaKey || event.buttons === 32 });
  }

  #kindOf(event) {
    if (event.button === 2 || event.shiftKey) return "window";
    if (event.button === 1 || event.altKey) return "pan";
    return this.settings.tool === "look" ? "cursor" : "tool";
  }

  #move(event) {
    const gesture = this.#gesture;
    const at = this.#place(event, gesture?.pane);
    this.act.aim(at);
    if (!gesture || event.pointerId !== gesture.id || !at) return;
    const [dx, dy] = [at.x - gesture.x, at.y - gesture.y];
    gesture.x = at.x;
    gesture.y = at.y;
    if (gesture.kind === "window") this.act.dragWindow(dx, dy);
    else if (gesture.kind === "pan") this.act.pan(gesture.pane, dx, dy);
    else if (gesture.kind === "cursor") this.act.cursorTo(at);
    else for (const part of parts(event)) this.act.move(this.#place(part, gesture.pane));
  }

  #up(event) {
    const gesture = this.#gesture;
    if (!gesture || event.pointerId !== gesture.id) return;
    this.#gesture = null;
    if (gesture.kind === "tool") this.act.release();
  }

  #scroll(event) {
    const at = this.#place(event);
    if (!at) return;
    event.preventDefault();
    event.stopPropagation();
    const pixels = event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_STEP;
    if (event.ctrlKey || event.metaKey) {
      this.act.zoom(at.pane, at.x, at.y, Math.exp(-pixels / 300));
      return;
    }
    this.#wheel += pixels;
    const steps = Math.trunc(this.#wheel / WHEEL_STEP);
    if (steps === 0) return;
    // A notch of a mouse's wheel is one slice, however many pixels the system makes of it.
    this.#wheel = 0;
    this.act.step(at.axis, -Math.sign(steps));
    this.act.aim(this.#place(event));
  }
}

// All places since the last frame, so that a fast stroke stays round.
function parts(event) {
  const all = event.getCoalescedEvents?.() ?? [];
  return all.length > 0 ? all : [event];
}
