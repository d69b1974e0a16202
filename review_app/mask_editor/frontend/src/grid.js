// A region's voxel grid: RAS order, x fastest, index = x + nx * (y + ny * z).

// Of each axis (0 sagittal, 1 coronal, 2 axial): the axes that run along the plane.
const IN_PLANE = [
  [1, 2],
  [0, 2],
  [0, 1],
];

export const AXIAL = 2;
export const CORONAL = 1;
export const SAGITTAL = 0;
export const AXES = [AXIAL, CORONAL, SAGITTAL];
export const AXIS_NAMES = ["Sagittal", "Coronal", "Axial"];

export class Grid {
  constructor(shape, spacingMm) {
    if (shape.length !== 3 || shape.some((n) => !Number.isInteger(n) || n < 1)) {
      throw new Error(`a region's shape is three positive whole numbers, got ${shape}`);
    }
    if (spacingMm.length !== 3 || spacingMm.some((mm) => !(mm > 0))) {
      throw new Error(`a spacing is three positive numbers in mm, got ${spacingMm}`);
    }
    this.shape = [...shape];
    this.spacingMm = [...spacingMm];
    this.strides = [1, shape[0], shape[0] * shape[1]];
    this.size = shape[0] * shape[1] * shape[2];
    this.voxelMl = (spacingMm[0] * spacingMm[1] * spacingMm[2]) / 1000;
  }

  index([x, y, z]) {
    return x + this.strides[1] * y + this.strides[2] * z;
  }

  voxel(index) {
    const z = Math.floor(index / this.strides[2]);
    const rest = index - z * this.strides[2];
    const y = Math.floor(rest / this.strides[1]);
    return [rest - y * this.strides[1], y, z];
  }

  contains(voxel) {
    return voxel.every((value, axis) => value >= 0 && value < this.shape[axis]);
  }

  // The nearest voxel to a point in voxel units, inside the region.
  nearest(point) {
    return point.map((value, axis) =>
      Math.min(this.shape[axis] - 1, Math.max(0, Math.round(value))),
    );
  }

  // What a plane across one axis needs: its two axes, their counts, strides and spacings.
  plane(axis) {
    const [u, v] = IN_PLANE[axis];
    return {
      axis,
      u,
      v,
      nu: this.shape[u],
      nv: this.shape[v],
      nw: this.shape[axis],
      strideU: this.strides[u],
      strideV: this.strides[v],
      strideW: this.strides[axis],
      spacingU: this.spacingMm[u],
      spacingV: this.spacingMm[v],
    };
  }
}

// Call visit(index, u, v) for every voxel of one slice.
export function eachInSlice(grid, axis, slice, visit) {
  const { nu, nv, strideU, strideV, strideW } = grid.plane(axis);
  for (let v = 0; v < nv; v++) {
    let index = slice * strideW + v * strideV;
    for (let u = 0; u < nu; u++, index += strideU) visit(index, u, v);
  }
}
