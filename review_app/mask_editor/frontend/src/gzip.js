// Compression of what is sent.

import { gzipSync } from "fflate";

// Compress off the main thread where the browser can.
export async function gzip(bytes) {
  if (typeof CompressionStream === "undefined") return gzipSync(bytes, { level: 1, mtime: 0 });
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Compress at once, for a page that is about to go.
export function gzipNow(bytes) {
  return gzipSync(bytes, { level: 1, mtime: 0 });
}
