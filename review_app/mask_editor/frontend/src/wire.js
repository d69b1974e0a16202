// The editor's requests, and what every writing one must carry.

import { Refused, Unreachable } from "./refusals.js";

export class Wire {
  // `documentUrl` is the address of the document; everything else lies beside it.
  constructor(documentUrl, fetcher = (...given) => fetch(...given)) {
    this.base = documentUrl.replace(/\/document$/, "");
    this.fetcher = fetcher;
    this.xsrf = "";
    this.baseVersion = "";
  }

  async document(signal) {
    const answer = await this.#ask("document", { signal });
    const found = await answer.json();
    this.xsrf = found.xsrf;
    this.baseVersion = found.base_version;
    return found;
  }

  async voxels(path, signal) {
    const answer = await this.#ask(path, { signal });
    return answer.arrayBuffer();
  }

  // The voxels of one layer (or the draft), which must fill the region.
  async mask(path, size, signal) {
    const found = new Uint8Array(await this.voxels(path, signal));
    return ofSize(found, size, path);
  }

  async ct(size, signal) {
    const bytes = await this.voxels("ct", signal);
    return ofSize(littleEndian(bytes), size, "ct");
  }

  // PUT or POST a mask; the same `request` id may be sent again without being written twice.
  async send(method, path, body, { request = requestId(), signal, keepalive = false } = {}) {
    const headers = {
      "Content-Type": "application/octet-stream",
      "X-AtlasLoop-Xsrf": this.xsrf,
      "X-AtlasLoop-Base": this.baseVersion,
      "X-AtlasLoop-Request": request,
    };
    return this.#ask(path, { method, headers, body, signal, keepalive });
  }

  async #ask(path, options) {
    let answer;
    try {
      answer = await this.fetcher(`${this.base}/${path}`, { credentials: "same-origin", ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Unreachable();
    }
    if (answer.ok) return answer;
    // A server that is being restarted, or the proxy before it: as good as no network.
    if (answer.status >= 500) throw new Unreachable();
    throw new Refused(answer.status, await reasonOf(answer));
  }
}

export function requestId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function reasonOf(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch (error) {
    if (error instanceof SyntaxError) return text || `the server answered ${answer.status}`;
    throw error;
  }
}

function littleEndian(bytes) {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Int16Array(bytes);
  const view = new DataView(bytes);
  return Int16Array.from({ length: bytes.byteLength / 2 }, (_, i) => view.getInt16(2 * i, true));
}

function ofSize(found, size, path) {
  if (found.length !== size) {
    throw new Refused(0, `${path} must hold ${size} voxels, got ${found.length}; open the item again`);
  }
  return found;
}
