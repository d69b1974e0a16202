// The 3D surface: a mesh from the server, drawn without WebGL, so that it works everywhere.

// uint32 vertices, uint32 triangles, float32 xyz in mm, uint32 corners; little endian.
export function decodeMesh(buffer) {
  const head = new DataView(buffer);
  const vertices = head.getUint32(0, true);
  const triangles = head.getUint32(4, true);
  const expected = 8 + 12 * vertices + 12 * triangles;
  if (buffer.byteLength !== expected) {
    throw new Error(`a mesh of ${vertices} points has ${expected} bytes, got ${buffer.byteLength}`);
  }
  return {
    points: new Float32Array(buffer, 8, 3 * vertices),
    corners: new Uint32Array(buffer, 8 + 12 * vertices, 3 * triangles),
  };
}

// Draw the mesh into RGBA pixels, seen from the front and turned by two angles (radians): a depth
// buffer, light from above the eye, shades smooth over the faces. Returns the pixels.
export function drawMesh(mesh, { width, height, turn, tilt, rgb }) {
  const { seen, shades } = project(mesh, { width, height, turn, tilt });
  const pixels = new Uint8ClampedArray(4 * width * height);
  const depth = new Float32Array(width * height).fill(-Infinity);
  const screen = { seen, shades, width, height, pixels, depth, rgb };
  for (let i = 0; i < mesh.corners.length; i += 3) {
    fillTriangle(screen, mesh.corners[i], mesh.corners[i + 1], mesh.corners[i + 2]);
  }
  return pixels;
}

// RAS mm to pixels: right of the picture is the patient's left, up is the head, near is the front.
function project(mesh, { width, height, turn, tilt }) {
  const { points } = mesh;
  mesh.normals ??= vertexNormals(mesh);
  const { middle, radius } = ballAround(points);
  const scale = (0.46 * Math.min(width, height)) / radius;
  const turned = rotation(turn, tilt);
  const seen = new Float32Array(points.length);
  const shades = new Float32Array(points.length / 3);
  for (let i = 0; i < points.length; i += 3) {
    const [right, up, near] = turned(points[i] - middle[0], points[i + 1] - middle[1], points[i + 2] - middle[2]);
    seen[i] = width / 2 + scale * right;
    seen[i + 1] = height / 2 - scale * up;
    seen[i + 2] = scale * near;
    shades[i / 3] = lightOf(turned(mesh.normals[i], mesh.normals[i + 1], mesh.normals[i + 2]));
  }
  return { seen, shades };
}

// A function from RAS offsets to right, up and near on the screen.
function rotation(turn, tilt) {
  const [ct, st, cp, sp] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  return (x, y, z) => {
    const near = ct * y + st * x;
    return [-ct * x + st * y, cp * z - sp * near, sp * z + cp * near];
  };
}

// How bright a place is whose normal is seen as right, up, near. Which way round the corners run is
// not told, so a normal that looks away counts as its opposite.
function lightOf([right, up, near]) {
  const length = Math.hypot(right, up, near);
  if (length === 0) return 0.3;
  const side = near < 0 ? -1 : 1;
  const facing = (side * (0.9 * near + 0.35 * up - 0.25 * right)) / length;
  return 0.3 + 0.7 * Math.max(0, Math.min(1, facing));
}

// The mean of the faces' normals around each vertex, weighed by their areas.
function vertexNormals({ points, corners }) {
  const normals = new Float32Array(points.length);
  for (let i = 0; i < corners.length; i += 3) {
    const [a, b, c] = [3 * corners[i], 3 * corners[i + 1], 3 * corners[i + 2]];
    const [ux, uy, uz] = [0, 1, 2].map((axis) => points[b + axis] - points[a + axis]);
    const [vx, vy, vz] = [0, 1, 2].map((axis) => points[c + axis] - points[a + axis]);
    const face = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const corner of [a, b, c]) {
      for (let axis = 0; axis < 3; axis++) normals[corner + axis] += face[axis];
    }
  }
  return normals;
}

function ballAround(points) {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i++) {
    low[i % 3] = Math.min(low[i % 3], points[i]);
    high[i % 3] = Math.max(high[i % 3], points[i]);
  }
  const middle = low.map((value, axis) => (value + high[axis]) / 2);
  const radius = Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2;
  return { middle, radius: radius > 0 ? radius : 1 };
}

function fillTriangle({ seen, shades, width, height, pixels, depth, rgb }, one, two, three) {
  const [ax, ay, az] = [seen[3 * one], seen[3 * one + 1], seen[3 * one + 2]];
  const [bx, by, bz] = [seen[3 * two], seen[3 * two + 1], seen[3 * two + 2]];
  const [cx, cy, cz] = [seen[3 * three], seen[3 * three + 1], seen[3 * three + 2]];
  const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
  if (area === 0) return;
  const x1 = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx)));
  const y1 = Math.min(height - 1, Math.floor(Math.max(ay, by, cy)));
  for (let y = Math.max(0, Math.ceil(Math.min(ay, by, cy))); y <= y1; y++) {
    for (let x = Math.max(0, Math.ceil(Math.min(ax, bx, cx))); x <= x1; x++) {
      const p = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area;
      const q = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area;
      if (p < 0 || q < 0 || p + q > 1) continue;
      const r = 1 - p - q;
      const z = p * az + q * bz + r * cz;
      const at = y * width + x;
      if (z <= depth[at]) continue;
      depth[at] = z;
      const shade = p * shades[one] + q * shades[two] + r * shades[three];
      for (let i = 0; i < 3; i++) pixels[4 * at + i] = rgb[i] * shade;
      pixels[4 * at + 3] = 255;
    }
  }
}
