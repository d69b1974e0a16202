// Connected regions: what a fill, an erased piece and a piece taken from a member are made of.

// The indices of all voxels that hang together with the seed through faces and pass, in one slice
// (across `axis`) or in 3D (axis null). `reachesBorder` says that the region ends at the grid's
// own border there, where nobody knows how it goes on.
export function connected(grid, { seed, axis = null, passes }) {
  const start = grid.index(seed);
  const found = [];
  let reachesBorder = false;
  if (!passes(start)) return { indices: found, reachesBorder };
  const seen = new Uint8Array(grid.size);
  const axes = [0, 1, 2].filter((each) => each !== axis);
  const queue = [start];
  seen[start] = 1;
  while (queue.length > 0) {
    const index = queue.pop();
    found.push(index);
    const voxel = grid.voxel(index);
    for (const each of axes) {
      for (const step of [-1, 1]) {
        const moved = voxel[each] + step;
        if (moved < 0 || moved >= grid.shape[each]) {
          reachesBorder = true;
          continue;
        }
        const next = index + step * grid.strides[each];
        if (!seen[next] && passes(next)) {
          seen[next] = 1;
          queue.push(next);
        }
      }
    }
  }
  return { indices: found, reachesBorder };
}
