// The round brush in mm: every voxel whose centre lies within the radius of a stroke's segment.

// Call visit(index) for each voxel of the capsule between two points (in voxel units).
// With an axis the brush is a disc in the slice of `to`; without one (null) it is a ball.
// The voxel that holds `to` belongs to it always, so a brush finer than a voxel still paints.
export function sweep(grid, { from, to, radiusMm, axis = null }, visit) {
  const flat = (point) => {
    const copy = [...point];
    if (axis !== null) copy[axis] = Math.round(to[axis]);
    return copy;
  };
  const start = flat(from);
  const end = flat(to);
  const nearest = end.map(Math.round);
  if (grid.contains(nearest)) visit(grid.index(nearest));
  eachInBox(grid, boxAround(grid, { start, end, radiusMm, axis }), (index, voxel) => {
    if (distance2Mm(grid.spacingMm, start, end, voxel) <= radiusMm * radiusMm) visit(index);
  });
}

function boxAround(grid, { start, end, radiusMm, axis }) {
  return [0, 1, 2].map((each) => {
    const reach = each === axis ? 0 : radiusMm / grid.spacingMm[each];
    const low = Math.ceil(Math.min(start[each], end[each]) - reach);
    const high = Math.floor(Math.max(start[each], end[each]) + reach);
    return [Math.max(0, low), Math.min(grid.shape[each] - 1, high)];
  });
}

function eachInBox(grid, [[x0, x1], [y0, y1], [z0, z1]], visit) {
  const voxel = [0, 0, 0];
  for (let z = z0; z <= z1; z++) {
    for (let y = y0; y <= y1; y++) {
      for (let x = x0; x <= x1; x++) {
        voxel[0] = x;
        voxel[1] = y;
        voxel[2] = z;
        visit(grid.index(voxel), voxel);
      }
    }
  }
}

// The squared distance in mm of a voxel's centre from the segment between two points.
function distance2Mm(spacing, start, end, voxel) {
  let along = 0;
  let length2 = 0;
  for (let axis = 0; axis < 3; axis++) {
    const step = (end[axis] - start[axis]) * spacing[axis];
    along += step * (voxel[axis] - start[axis]) * spacing[axis];
    length2 += step * step;
  }
  const share = length2 > 0 ? Math.min(1, Math.max(0, along / length2)) : 0;
  let distance2 = 0;
  for (let axis = 0; axis < 3; axis++) {
    const nearest = start[axis] + share * (end[axis] - start[axis]);
    const offset = (voxel[axis] - nearest) * spacing[axis];
    distance2 += offset * offset;
  }
  return distance2;
}
