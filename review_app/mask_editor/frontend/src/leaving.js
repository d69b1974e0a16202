// The page is hidden, closed or left: the draft goes out first, or as well as it can.

import { gzipNow } from "./gzip.js";

// Browsers send at most 64 KiB after a page is gone.
const LAST_BYTES = 60_000;

// Watch the page; `current()` returns {keeper, item} or null. Returns a function that stops it.
export function watchLeaving(current) {
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
  document.addEventListener("visibilitychange", hidden);
  window.addEventListener("pagehide", gone);
  window.addEventListener("beforeunload", unload);
  return () => {
    document.removeEventListener("visibilitychange", hidden);
    window.removeEventListener("pagehide", gone);
    window.removeEventListener("beforeunload", unload);
  };
}

// What fits is handed to the browser to be sent behind the page's back; nobody is left to be told.
function sendLast(now) {
  if (now === null || now.keeper.stopped) return;
  const body = gzipNow(now.item.edit.voxels);
  const keepalive = body.length <= LAST_BYTES;
  now.item.wire.send("PUT", "draft", body, { keepalive }).catch(() => undefined);
}
