// What the reader has chosen: tool, brush, what is shown. Kept while items come and go.

import { AXIAL } from "./grid.js";

export const BRUSH_STEPS_MM = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30];

export function firstSettings() {
  return {
    tool: "look",
    brushMm: 6,
    ball: false,
    gate: { on: false, lowHu: -50, highHu: 200 },
    takeFrom: "start",
    takeHow: "piece",
    scribble: 1,
    windowName: null,
    windowHu: [-160, 240],
    opacity: 0.3,
    show: {
      mask: true,
      heat: false,
      members: false,
      neighbours: true,
      hiddenMembers: new Set(),
    },
    main: AXIAL,
    active: AXIAL,
    keyboardCursor: false,
  };
}

// The next brush diameter of the steps, up (1) or down (-1).
export function nextBrushMm(brushMm, direction) {
  const steps = direction > 0 ? BRUSH_STEPS_MM : [...BRUSH_STEPS_MM].reverse();
  return steps.find((step) => (step - brushMm) * direction > 1e-6) ?? brushMm;
}
