// Exact Euclidean distances on a plane, by lower envelopes of parabolas.
// Source: Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, 2012.

const FAR = 1e20;

// The signed distance in mm of each voxel from the border of a shape: negative inside.
// `shape` is a Uint8Array of nu * nv values, u fastest. An empty shape is far away everywhere.
export function signedDistance(shape, { nu, nv, spacingU, spacingV }) {
  const outside = squaredDistance(shape, 1, { nu, nv, spacingU, spacingV });
  const inside = squaredDistance(shape, 0, { nu, nv, spacingU, spacingV });
  const signed = new Float64Array(shape.length);
  const half = Math.min(spacingU, spacingV) / 2;
  for (let i = 0; i < shape.length; i++) {
    signed[i] = shape[i] ? half - Math.sqrt(inside[i]) : Math.sqrt(outside[i]) - half;
  }
  return signed;
}

function squaredDistance(shape, value, { nu, nv, spacingU, spacingV }) {
  const field = Float64Array.from(shape, (voxel) => (voxel === value ? 0 : FAR));
  for (let v = 0; v < nv; v++) envelope(field, { offset: v * nu, step: 1, count: nu, mm: spacingU });
  for (let u = 0; u < nu; u++) envelope(field, { offset: u, step: nu, count: nv, mm: spacingV });
  return field;
}

// Replace one line of squared distances by the lower envelope of its parabolas, in place.
function envelope(field, { offset, step, count, mm }) {
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = field[offset + i * step];
  const vertices = new Int32Array(count);
  const starts = new Float64Array(count + 1);
  let top = 0;
  starts[0] = -Infinity;
  starts[1] = Infinity;
  for (let i = 1; i < count; i++) {
    let cut = meeting(values, vertices[top], i, mm);
    while (cut <= starts[top]) {
      top -= 1;
      cut = meeting(values, vertices[top], i, mm);
    }
    top += 1;
    vertices[top] = i;
    starts[top] = cut;
    starts[top + 1] = Infinity;
  }
  top = 0;
  for (let i = 0; i < count; i++) {
    while (starts[top + 1] < i * mm) top += 1;
    const away = (i - vertices[top]) * mm;
    field[offset + i * step] = away * away + values[vertices[top]];
  }
}

// Where two parabolas of a line meet, in mm.
function meeting(values, left, right, mm) {
  const a = left * mm;
  const b = right * mm;
  return (values[right] + b * b - values[left] - a * a) / (2 * (b - a));
}
