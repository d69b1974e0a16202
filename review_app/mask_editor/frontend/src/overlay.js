// What lies over the CT: heat map, mask fill and outline, members, neighbours, letters.

import { AXIS_NAMES } from "./grid.js";
import { sliceEdges } from "./contours.js";
import { SlicePicture, clipTo, freshContext } from "./slice_picture.js";
import { heatTable } from "./windowing.js";

const HEAT = new Uint32Array(heatTable().buffer);
const LETTER = "rgb(226 219 200)";

export class Overlay {
  #fills = new Map();
  #heats = new Map();
  #edges = new Map();

  constructor(canvas) {
    this.canvas = canvas;
  }

  forget() {
    this.#fills.clear();
    this.#heats.clear();
    this.#edges.clear();
  }

  // scene: {grid, mask, revision, rgb, scribbles, layers: [{id, kind, rgb, voxels}], show, opacity}.
  draw(scene, { panes, cursor, active, width, height, ratio }) {
    const context = freshContext(this.canvas, width, height, ratio);
    for (const pane of panes) {
      clipTo(context, pane.rect, () => {
        if (scene.grid) this.#drawPane(context, scene, pane, cursor[pane.axis]);
        caption(context, pane, cursor[pane.axis], pane.axis === active && panes.length > 1);
      });
    }
  }

  #drawPane(context, scene, pane, slice) {
    const { show } = scene;
    if (show.heat) this.#drawHeat(context, scene, pane, slice);
    if (show.mask) this.#drawFill(context, scene, pane, slice);
    for (const layer of scene.layers) {
      if (!layer.voxels) continue;
      if (layer.kind === "neighbour" && show.neighbours) {
        this.#outline(context, pane, slice, { ...layer, scene, width: 1, alpha: 0.75 });
      } else if (layer.kind === "member" && show.members && !show.hiddenMembers.has(layer.id)) {
        this.#outline(context, pane, slice, { ...layer, scene, width: 1.25, alpha: 1, dash: [5, 3] });
      }
    }
    if (show.mask) {
      const mask = { id: "edit", voxels: scene.mask, rgb: scene.rgb, revision: scene.revision };
      this.#outline(context, pane, slice, { ...mask, scene, width: 1.75, alpha: 1 });
    }
    if (scene.scribbles) this.#drawScribbles(context, scene, pane, slice);
  }

  #drawHeat(context, scene, pane, slice) {
    const layer = scene.layers.find((each) => each.kind === "heat" && each.voxels);
    if (!layer) return;
    const picture = made(this.#heats, pane.axis);
    picture.update(scene.grid, pane.axis, slice, layer.id, (index) => HEAT[layer.voxels[index]]);
    picture.draw(context, pane, { smooth: true });
  }

  #drawFill(context, scene, pane, slice) {
    const picture = made(this.#fills, pane.axis);
    const [red, green, blue] = scene.rgb;
    const on = (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
    picture.update(scene.grid, pane.axis, slice, String(scene.revision), (index) =>
      scene.mask[index] ? on : 0,
    );
    picture.draw(context, pane, { smooth: false, alpha: scene.opacity });
  }

  #drawScribbles(context, scene, pane, slice) {
    const picture = made(this.#fills, `scribbles ${pane.axis}`);
    picture.update(scene.grid, pane.axis, slice, String(scene.scribbles.revision), (index) => {
      const kind = scene.scribbles.voxels[index];
      return kind === 1 ? 0xe040c878 : kind === 2 ? 0xe04a6af0 : 0;
    });
    picture.draw(context, pane, { smooth: false });
  }

  #outline(context, pane, slice, { id, voxels, rgb, scene, width, alpha, dash, revision = 0 }) {
    const edges = this.#edgesOf(scene.grid, { id, voxels, revision, axis: pane.axis, slice });
    if (edges.length === 0) return;
    context.save();
    context.globalAlpha = alpha;
    context.lineCap = "square";
    if (dash) context.setLineDash(dash);
    trace(context, pane, edges);
    context.strokeStyle = "rgb(0 0 0 / 45%)";
    context.lineWidth = width + 1.25;
    context.stroke();
    context.strokeStyle = `rgb(${readable(rgb).join(" ")})`;
    context.lineWidth = width;
    context.stroke();
    context.restore();
  }

  #edgesOf(grid, { id, voxels, revision, axis, slice }) {
    const place = `${id} ${axis}`;
    const key = `${slice} ${revision}`;
    const known = this.#edges.get(place);
    if (known?.key === key) return known.edges;
    const edges = sliceEdges(grid, voxels, axis, slice);
    this.#edges.set(place, { key, edges });
    return edges;
  }
}

// A structure's colour, light enough to be seen as a line on a dark CT.
export function readable(rgb) {
  const light = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
  if (light >= 130) return rgb;
  const share = (130 - light) / (255 - light);
  return rgb.map((value) => Math.round(value + share * (255 - value)));
}

function made(pictures, key) {
  if (!pictures.has(key)) pictures.set(key, new SlicePicture());
  return pictures.get(key);
}

function trace(context, pane, edges) {
  context.beginPath();
  for (let i = 0; i < edges.length; i += 4) {
    // Edges are in corner units; a voxel's centre lies half a unit from its corner.
    context.moveTo(...pane.toScreen(edges[i] - 0.5, edges[i + 1] - 0.5));
    context.lineTo(...pane.toScreen(edges[i + 2] - 0.5, edges[i + 3] - 0.5));
  }
}

function caption(context, pane, slice, isActive) {
  const [left, top, width, height] = pane.rect;
  const [up, right, down, leftLetter] = pane.letters;
  context.font = "600 12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "center";
  const write = (text, x, y) => {
    context.lineWidth = 3;
    context.strokeStyle = "rgb(0 0 0 / 70%)";
    context.strokeText(text, x, y);
    context.fillStyle = LETTER;
    context.fillText(text, x, y);
  };
  write(down, left + width / 2, top + height - 11);
  write(leftLetter, left + 11, top + height / 2);
  write(right, left + width - 11, top + height / 2);
  const words = `${AXIS_NAMES[pane.axis]} ${slice + 1} of ${pane.plane.nw}`;
  // In a small pane the letter on top makes room for the words.
  write(up, Math.max(left + width / 2, left + context.measureText(words).width + 24), top + 11);
  context.textAlign = "left";
  write(words, left + 9, top + 13);
  if (isActive) {
    context.strokeStyle = "rgb(120 170 215 / 70%)";
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
  }
}
