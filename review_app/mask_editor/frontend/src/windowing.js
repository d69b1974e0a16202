// Grey values: HU to 0..255 by a window, as a table over all int16 values.

const OFFSET = 32768;

// A table of 65,536 greys, addressed by HU + 32768.
export function greyTable([lowHu, highHu]) {
  if (!(highHu > lowHu)) throw new Error(`a window rises, got ${lowHu} to ${highHu} HU`);
  const table = new Uint8ClampedArray(65536);
  const scale = 255 / (highHu - lowHu);
  for (let i = 0; i < table.length; i++) table[i] = (i - OFFSET - lowHu) * scale;
  return table;
}

export function greyOf(table, hu) {
  return table[hu + OFFSET];
}

// The window after a drag: to the right wider, upwards darker (a higher level), as readers know it.
export function draggedWindow([lowHu, highHu], dx, dy, huPerPixel = 2) {
  const width = Math.min(8000, Math.max(10, highHu - lowHu + dx * huPerPixel));
  const level = Math.min(4000, Math.max(-2000, (lowHu + highHu) / 2 - dy * huPerPixel));
  return [Math.round(level - width / 2), Math.round(level + width / 2)];
}

// The colours of heat maps: 0 is clear, then violet, orange and pale yellow, alpha rising.
const HEAT_STOPS = [
  [0, 60, 20, 110, 0],
  [40, 84, 26, 120, 90],
  [128, 205, 70, 75, 150],
  [200, 250, 150, 50, 185],
  [255, 252, 240, 160, 205],
];

export function heatTable() {
  const table = new Uint8ClampedArray(256 * 4);
  for (let stop = 0; stop + 1 < HEAT_STOPS.length; stop++) {
    const [from, ...low] = HEAT_STOPS[stop];
    const [to, ...high] = HEAT_STOPS[stop + 1];
    for (let value = from; value <= to; value++) {
      const share = (value - from) / (to - from);
      for (let c = 0; c < 4; c++) table[4 * value + c] = low[c] + share * (high[c] - low[c]);
    }
  }
  return table;
}
