// What can draw here: WebGL2 on a graphics processor, in software, or not at all.

const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render|software/i;

// Returns {kind: "gpu" | "software" | "none", renderer}.
export function findGraphics(makeCanvas = () => document.createElement("canvas")) {
  const gl = makeCanvas().getContext("webgl2");
  if (!gl) return { kind: "none", renderer: "" };
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return { kind: SOFTWARE.test(renderer) ? "software" : "gpu", renderer };
}

// What is said about it, or "" where all is well.
export function graphicsNote({ kind }, drawnBy) {
  if (drawnBy === "webgl") {
    return kind === "software" ? "WebGL2 in software: pictures are slow here." : "";
  }
  if (kind === "none") return "No WebGL2 here: the pictures are drawn by the processor.";
  if (kind === "software") return "No graphics processor: the pictures are drawn by the processor.";
  return "The pictures are drawn by the processor.";
}
