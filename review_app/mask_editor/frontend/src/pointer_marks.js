// What follows the pointer: brush ring, crosshair, the lasso or polygon under way, disputed places.

import { clipTo, freshContext } from "./slice_picture.js";

export class PointerMarks {
  constructor(canvas) {
    this.canvas = canvas;
  }

  // marks: {ring: {axis, u, v, radiusMm, erase} | null, crosshair, line: {axis, slice, points, closed},
  // disputed: [[x, y, z]]}.
  draw(marks, { panes, cursor, width, height, ratio }) {
    const context = freshContext(this.canvas, width, height, ratio);
    for (const pane of panes) {
      clipTo(context, pane.rect, () => {
        drawDisputed(context, pane, cursor, marks.disputed);
        if (marks.crosshair) drawCrosshair(context, pane, cursor);
        if (marks.line?.axis === pane.axis && marks.line.slice === cursor[pane.axis]) {
          drawLine(context, pane, marks.line);
        }
        if (marks.ring?.axis === pane.axis) drawRing(context, pane, marks.ring);
      });
    }
  }
}

function drawCrosshair(context, pane, cursor) {
  const [x, y] = pane.toScreen(cursor[pane.plane.u], cursor[pane.plane.v]);
  const [left, top, width, height] = pane.rect;
  const gap = 9;
  context.strokeStyle = "rgb(150 190 225 / 55%)";
  context.lineWidth = 1;
  context.beginPath();
  for (const [from, to] of [[left, x - gap], [x + gap, left + width]]) {
    context.moveTo(from, Math.round(y) + 0.5);
    context.lineTo(to, Math.round(y) + 0.5);
  }
  for (const [from, to] of [[top, y - gap], [y + gap, top + height]]) {
    context.moveTo(Math.round(x) + 0.5, from);
    context.lineTo(Math.round(x) + 0.5, to);
  }
  context.stroke();
}

function drawRing(context, pane, { u, v, radiusMm, erase, keyboard }) {
  const [x, y] = pane.toScreen(u, v);
  const radius = Math.max(2, radiusMm * pane.scale);
  for (const [color, width] of [["rgb(0 0 0 / 60%)", 3], [erase ? "#ffb27a" : "#f4f4f2", 1.25]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.setLineDash(keyboard ? [4, 3] : []);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.moveTo(x - 3, y);
    context.lineTo(x + 3, y);
    context.moveTo(x, y - 3);
    context.lineTo(x, y + 3);
    context.stroke();
  }
  context.setLineDash([]);
}

function drawLine(context, pane, { points, closed }) {
  if (points.length === 0) return;
  context.beginPath();
  points.forEach(([u, v], i) => {
    const [x, y] = pane.toScreen(u, v);
    if (i === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  });
  if (closed) context.closePath();
  context.strokeStyle = "rgb(0 0 0 / 60%)";
  context.lineWidth = 3;
  context.stroke();
  context.strokeStyle = "#f4f4f2";
  context.lineWidth = 1.25;
  context.stroke();
  const [x, y] = pane.toScreen(...points[0]);
  context.strokeRect(x - 3.5, y - 3.5, 7, 7);
}

// A small mark at each disputed place of this slice; it points from the side, so it hides nothing.
function drawDisputed(context, pane, cursor, disputed) {
  for (const place of disputed) {
    if (place[pane.axis] !== cursor[pane.axis]) continue;
    const [x, y] = pane.toScreen(place[pane.plane.u], place[pane.plane.v]);
    context.fillStyle = "#ffd166";
    context.strokeStyle = "rgb(0 0 0 / 70%)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x - 8, y);
    context.lineTo(x - 17, y - 5);
    context.lineTo(x - 17, y + 5);
    context.closePath();
    context.fill();
    context.stroke();
  }
}
