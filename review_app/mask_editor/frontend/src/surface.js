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
// buffer and one light from the eye. Returns the pixels.
export function drawMesh(mesh, { width, height, turn, tilt, rgb }) {
  const seen = project(mesh.points, { width, height, turn, tilt });
  const pixels = new Uint8ClampedArray(4 * width * height);
  const depth = new Float32Array(width * height).fill(-Infinity);
  for (let i = 0; i < mesh.corners.length; i += 3) {
    const a = 3 * mesh.corners[i];
    const b = 3 * mesh.corners[i + 1];
    const c = 3 * mesh.corners[i + 2];
    fillTriangle(seen, [a, b, c], { width, height, pixels, depth, rgb });
  }
  return pixels;
}

// RAS mm to pixels: right of the picture is the patient's left, up is the head, near is the front.
function project(points, { width, height, turn, tilt }) {
  const { middle, radius } = ballAround(points);
  const scale = (0.46 * Math.min(width, height)) / radius;
  const [ct, st, cp, sp] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  const seen = new Float32Array(points.length);
  for (let i = 0; i < points.length; i += 3) {
    const x = -(points[i] - middle[0]);
    const front = points[i + 1] - middle[1];
    const up = points[i + 2] - middle[2];
    const near = ct * front - st * x;
    seen[i] = width / 2 + scale * (ct * x + st * front);
    seen[i + 1] = height / 2 - scale * (cp * up - sp * near);
    seen[i + 2] = scale * (sp * up + cp * near);
  }
  return seen;
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

function fillTriangle(seen, [a, b, c], { width, height, pixels, depth, rgb }) {
  const [ax, ay, az] = [seen[a], seen[a + 1], seen[a + 2]];
  const [bx, by, bz] = [seen[b], seen[b + 1], seen[b + 2]];
  const [cx, cy, cz] = [seen[c], seen[c + 1], seen[c + 2]];
  const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
  if (area === 0) return;
  const shade = lightOf([bx - ax, by - ay, bz - az], [cx - ax, cy - ay, cz - az]);
  const x1 = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx)));
  const y1 = Math.min(height - 1, Math.floor(Math.max(ay, by, cy)));
  for (let y = Math.max(0, Math.ceil(Math.min(ay, by, cy))); y <= y1; y++) {
    for (let x = Math.max(0, Math.ceil(Math.min(ax, bx, cx))); x <= x1; x++) {
      const p = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area;
      const q = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area;
      if (p < 0 || q < 0 || p + q > 1) continue;
      const z = p * az + q * bz + (1 - p - q) * cz;
      const at = y * width + x;
      if (z <= depth[at]) continue;
      depth[at] = z;
      for (let i = 0; i < 3; i++) pixels[4 * at + i] = rgb[i] * shade;
      pixels[4 * at + 3] = 255;
    }
  }
}

// How much a face looks at the eye, whichever way its corners run round.
function lightOf([ux, uy, uz], [vx, vy, vz]) {
  const nx = uy * vz - uz * vy;
  const ny = uz * vx - ux * vz;
  const nz = ux * vy - uy * vx;
  const length = Math.hypot(nx, ny, nz);
  return length > 0 ? 0.25 + 0.75 * (Math.abs(nz) / length) : 0.25;
}
