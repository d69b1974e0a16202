// One item: its document, the CT and mask first, then every other layer while the reader looks.

import { Grid } from "./grid.js";
import { MaskEdit } from "./mask_edit.js";

const LOADED_AT_ONCE = 3;

// What the reader needs to begin: {wire, document, grid, ct, base, edit, layers, restoredAt}.
export async function openItem(wire, signal) {
  const document = await wire.document(signal);
  const grid = new Grid(document.shape, document.spacing_mm);
  const [ct, base, draft] = await Promise.all([
    wire.ct(grid.size, signal),
    wire.mask("layer/mask", grid.size, signal),
    document.has_draft ? wire.mask("draft", grid.size, signal) : null,
  ]);
  const edit = new MaskEdit(grid, (draft ?? base).slice());
  const layers = document.layers
    .filter((layer) => layer.kind !== "mask")
    .map((layer) => ({ ...layer, voxels: null }));
  const scribbles = { voxels: new Uint8Array(grid.size), revision: 0 };
  const restoredAt = draft ? document.draft_saved_at : null;
  return { wire, document, grid, ct, base, edit, layers, scribbles, restoredAt };
}

// Load the other layers, a few at once; `loaded(layer)` is called for each.
export async function loadLayers(item, signal, loaded) {
  const waiting = [...item.layers];
  const inTurn = async () => {
    while (waiting.length > 0) {
      const layer = waiting.shift();
      const path = `layer/${encodeURIComponent(layer.id)}`;
      layer.voxels = await item.wire.mask(path, item.grid.size, signal);
      loaded(layer);
    }
  };
  try {
    await Promise.all(Array.from({ length: LOADED_AT_ONCE }, inTurn));
  } finally {
    // After a refusal the others load no more.
    waiting.length = 0;
  }
}

// How many voxels two masks differ in.
export function differing(a, b) {
  let total = 0;
  for (let index = 0; index < a.length; index++) total += a[index] ^ b[index];
  return total;
}

// For each neighbour whose overlap is a fault: how many voxels it shares with the mask, and whether
// it is kept as it is.
export function overlaps(item) {
  return item.layers
    .filter((layer) => layer.kind === "neighbour" && layer.exclusive && layer.voxels)
    .map((layer) => {
      const { id, name, kept = false } = layer;
      layer.places ??= placesOf(layer.voxels);
      return { id, name, kept, voxels: shared(item.edit.voxels, layer.places) };
    })
    .filter((overlap) => overlap.voxels > 0);
}

// Where a mask is set. A neighbour's never changes and fills little of the region, and what it shares
// is counted after each stroke.
function placesOf(voxels) {
  let total = 0;
  for (let index = 0; index < voxels.length; index++) total += voxels[index];
  const places = new Uint32Array(total);
  for (let index = 0, found = 0; found < total; index++) if (voxels[index]) places[found++] = index;
  return places;
}

function shared(voxels, places) {
  let total = 0;
  for (let at = 0; at < places.length; at++) total += voxels[places[at]];
  return total;
}
