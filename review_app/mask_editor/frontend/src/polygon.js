// Lasso and polygon: the voxels of one slice whose centre lies inside a closed line.

// Call visit(index) for each voxel inside the points [[u, v], ...] (in-plane voxel units, even-odd
// rule) on one slice. A centre that lies on the line to its right counts as inside, to its left as
// outside, so neighbouring polygons share no voxel.
export function fillPolygon(grid, { axis, slice, points }, visit) {
  if (points.length < 3) return;
  const { nu, nv, strideU, strideV, strideW } = grid.plane(axis);
  const rows = points.map((point) => point[1]);
  const first = Math.max(0, Math.ceil(Math.min(...rows)));
  const last = Math.min(nv - 1, Math.floor(Math.max(...rows)));
  for (let v = first; v <= last; v++) {
    const cuts = crossings(points, v);
    for (let pair = 0; pair + 1 < cuts.length; pair += 2) {
      const from = Math.max(0, Math.ceil(cuts[pair]));
      const to = Math.min(nu - 1, Math.ceil(cuts[pair + 1]) - 1);
      for (let u = from; u <= to; u++) visit(slice * strideW + v * strideV + u * strideU);
    }
  }
}

function crossings(points, v) {
  const cuts = [];
  for (let i = 0; i < points.length; i++) {
    const [u0, v0] = points[i];
    const [u1, v1] = points[(i + 1) % points.length];
    if (v0 <= v !== v1 <= v) cuts.push(u0 + ((v - v0) / (v1 - v0)) * (u1 - u0));
  }
  return cuts.sort((a, b) => a - b);
}
