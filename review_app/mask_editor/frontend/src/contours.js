// Outlines of a mask on one slice: the edges between voxels that are in and voxels that are not.

// Runs of edges as a flat array [u0, v0, u1, v1, ...] in corner units: voxel (u, v) spans u..u+1,
// v..v+1. Straight runs are one entry each, so that drawing them is cheap.
export function sliceEdges(grid, voxels, axis, slice) {
  const { nu, nv, strideU, strideV, strideW } = grid.plane(axis);
  const base = slice * strideW;
  const at = (u, v) =>
    u >= 0 && u < nu && v >= 0 && v < nv ? voxels[base + u * strideU + v * strideV] : 0;
  const edges = [];
  collect(nv, nu, (line, i) => at(i, line - 1) !== at(i, line), (line, from, to) =>
    edges.push(from, line, to, line),
  );
  collect(nu, nv, (line, i) => at(line - 1, i) !== at(line, i), (line, from, to) =>
    edges.push(line, from, line, to),
  );
  return edges;
}

function collect(lines, count, isEdge, add) {
  for (let line = 0; line <= lines; line++) {
    let from = -1;
    for (let i = 0; i <= count; i++) {
      const edge = i < count && isEdge(line, i);
      if (edge && from < 0) from = i;
      if (!edge && from >= 0) {
        add(line, from, i);
        from = -1;
      }
    }
  }
}
