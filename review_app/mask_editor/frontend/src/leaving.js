// The page is hidden, closed or left, or a button beside the editor is pressed: the draft goes out
// first, or as well as it can.

import { gzipNow } from "./gzip.js";

// Browsers send at most 64 KiB after a page is gone.
const LAST_BYTES = 60_000;
const LONGEST_WAIT_MS = 3000;

// Watch the page round the editor's `root`; `current()` returns {keeper, item} or null. Returns a
// function that stops it.
export function watchLeaving(root, current) {
  const behind = () => {
    const now = current();
    return now?.keeper.behind ? now : null;
  };
  const hidden = () => {
    if (document.visibilityState === "hidden") void behind()?.keeper.flush();
  };
  const gone = () => sendLast(behind());
  const unload = (event) => {
    if (behind()) event.preventDefault();
  };
  const pressed = pressesAfter(root, () => behind()?.keeper);
  window.addEventListener("click", pressed, { capture: true });
  document.addEventListener("visibilitychange", hidden);
  window.addEventListener("pagehide", gone);
  window.addEventListener("beforeunload", unload);
  return () => {
    window.removeEventListener("click", pressed, { capture: true });
    document.removeEventListener("visibilitychange", hidden);
    window.removeEventListener("pagehide", gone);
    window.removeEventListener("beforeunload", unload);
  };
}

// Holds the press of a button beside the editor back until the strokes before it are at the server:
// what the button does there must know of them. The last of several presses counts. Without a
// connection it goes through all the same. Tags, which draw themselves alone, are no such buttons.
function pressesAfter(root, keeperBehind) {
  let held = null;
  return (event) => {
    const path = event.composedPath();
    const button = path.find((each) => each.tagName === "BUTTON");
    if (!event.isTrusted || !button?.closest(".stButton") || path.includes(root)) return;
    const keeper = keeperBehind();
    if (!keeper && held === null) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const isFirst = held === null;
    held = button;
    if (!isFirst) return;
    const late = new Promise((done) => setTimeout(done, LONGEST_WAIT_MS));
    void Promise.race([keeper.flush(), late]).then(() => {
      const last = held;
      held = null;
      last.click();
    });
  };
}

// What fits is handed to the browser to be sent behind the page's back; nobody is left to be told.
function sendLast(now) {
  if (now === null || now.keeper.stopped) return;
  const body = gzipNow(now.item.edit.voxels);
  const keepalive = body.length <= LAST_BYTES;
  now.item.wire.send("PUT", "draft", body, { keepalive }).catch(() => undefined);
}
