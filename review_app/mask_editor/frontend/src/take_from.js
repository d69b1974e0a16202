// Take a piece from another mask of the same region: a member's, or the mask as it was opened.

import { connected } from "./fill.js";

// The voxels of the connected piece around the seed in which two masks differ, in one slice or 3D.
export function differingPiece(grid, { seed, axis = null, mask, source }) {
  const passes = (index) => mask[index] !== source[index];
  return connected(grid, { seed, axis, passes }).indices;
}

// The voxel nearest to `seed` (in mm, within `reachMm`, same slice) where two masks differ, or null:
// a click beside a thin difference means that difference.
export function nearestDifference(grid, { seed, axis, mask, source, reachMm }) {
  const plane = grid.plane(axis);
  let best = null;
  let bestMm2 = reachMm * reachMm;
  const base = seed[axis] * plane.strideW;
  const reachU = Math.ceil(reachMm / plane.spacingU);
  const reachV = Math.ceil(reachMm / plane.spacingV);
  for (let v = Math.max(0, seed[plane.v] - reachV); v <= Math.min(plane.nv - 1, seed[plane.v] + reachV); v++) {
    for (let u = Math.max(0, seed[plane.u] - reachU); u <= Math.min(plane.nu - 1, seed[plane.u] + reachU); u++) {
      const index = base + u * plane.strideU + v * plane.strideV;
      if (mask[index] === source[index]) continue;
      const du = (u - seed[plane.u]) * plane.spacingU;
      const dv = (v - seed[plane.v]) * plane.spacingV;
      if (du * du + dv * dv <= bestMm2) {
        bestMm2 = du * du + dv * dv;
        best = grid.voxel(index);
      }
    }
  }
  return best;
}
