// Interpolation between edited slices: of what was drawn by hand alone, never of the whole mask.

import { signedDistance } from "./distance.js";

// Work out what to add and remove between the slices that were drawn on.
// `drawn` maps a voxel's index to 1 (added by hand) or 0 (removed by hand). Between two drawn
// slices that follow each other, the shapes that were added (removed) on both are blended by their
// signed distances, after moving both onto a common centre; a shape without a partner stays alone.
// Returns {add, remove}: arrays of indices on the slices in between.
export function betweenSlices(grid, { axis, drawn }) {
  return { add: blended(grid, axis, drawn, 1), remove: blended(grid, axis, drawn, 0) };
}

function blended(grid, axis, drawn, value) {
  const plane = grid.plane(axis);
  const shapes = shapesBySlice(plane, drawn, value);
  const slices = [...shapes.keys()].sort((a, b) => a - b);
  const indices = [];
  for (let i = 0; i + 1 < slices.length; i++) {
    const [low, high] = [slices[i], slices[i + 1]];
    if (high - low > 1) blendPair(plane, { low, high, shapes }, indices);
  }
  return indices;
}

function shapesBySlice(plane, drawn, value) {
  const shapes = new Map();
  for (const [index, kind] of drawn) {
    if (kind !== value) continue;
    const [slice, u, v] = place(plane, index);
    if (!shapes.has(slice)) shapes.set(slice, { voxels: [], sumU: 0, sumV: 0 });
    const shape = shapes.get(slice);
    shape.voxels.push([u, v]);
    shape.sumU += u;
    shape.sumV += v;
  }
  return shapes;
}

function place({ strideU, strideV, strideW, nu, nv, nw }, index) {
  const along = (stride, count) => Math.floor(index / stride) % count;
  return [along(strideW, nw), along(strideU, nu), along(strideV, nv)];
}

function blendPair(plane, { low, high, shapes }, indices) {
  const ends = [low, high].map((slice) => centred(plane, shapes.get(slice)));
  for (let slice = low + 1; slice < high; slice++) {
    const share = (slice - low) / (high - low);
    const centreU = ends[0].centreU + share * (ends[1].centreU - ends[0].centreU);
    const centreV = ends[0].centreV + share * (ends[1].centreV - ends[0].centreV);
    for (let v = 0; v < plane.nv; v++) {
      for (let u = 0; u < plane.nu; u++) {
        const distance =
          (1 - share) * ends[0].at(u - centreU, v - centreV) +
          share * ends[1].at(u - centreU, v - centreV);
        if (distance < 0) {
          indices.push(slice * plane.strideW + v * plane.strideV + u * plane.strideU);
        }
      }
    }
  }
}

// A shape's signed distance as a function of the place relative to its centre.
function centred(plane, shape) {
  const { nu, nv } = plane;
  const filled = new Uint8Array(nu * nv);
  for (const [u, v] of shape.voxels) filled[u + nu * v] = 1;
  const field = signedDistance(filled, plane);
  const centreU = shape.sumU / shape.voxels.length;
  const centreV = shape.sumV / shape.voxels.length;
  const at = (du, dv) => {
    const u = Math.min(nu - 1, Math.max(0, centreU + du));
    const v = Math.min(nv - 1, Math.max(0, centreV + dv));
    return bilinear(field, nu, nv, u, v);
  };
  return { centreU, centreV, at };
}

function bilinear(field, nu, nv, u, v) {
  const u0 = Math.min(Math.floor(u), nu - 1);
  const v0 = Math.min(Math.floor(v), nv - 1);
  const u1 = Math.min(u0 + 1, nu - 1);
  const v1 = Math.min(v0 + 1, nv - 1);
  const a = u - u0;
  const b = v - v0;
  const low = (1 - a) * field[u0 + nu * v0] + a * field[u1 + nu * v0];
  const high = (1 - a) * field[u0 + nu * v1] + a * field[u1 + nu * v1];
  return (1 - b) * low + b * high;
}
