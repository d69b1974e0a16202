// The editor's look: a dark, calm reading room. Colours stand here once; a test checks contrasts.

export const COLORS = {
  room: "#131517",
  surface: "#1b1e22",
  raised: "#272b31",
  chosen: "#2f4457",
  line: "#363b43",
  text: "#e7e4dc",
  soft: "#aeb2b8",
  accent: "#8cbfea",
  primary: "#2c6aa3",
  onPrimary: "#ffffff",
  warning: "#ffd08a",
  error: "#ffa59a",
  good: "#a5d6a7",
};

// Every pair of text and ground that the styles use.
export const TEXT_PAIRS = [
  ["text", "room"],
  ["text", "surface"],
  ["text", "raised"],
  ["text", "chosen"],
  ["soft", "room"],
  ["soft", "surface"],
  ["soft", "raised"],
  ["soft", "chosen"],
  ["accent", "surface"],
  ["onPrimary", "primary"],
  ["warning", "room"],
  ["warning", "surface"],
  ["error", "room"],
  ["error", "surface"],
  ["good", "room"],
  ["good", "surface"],
];

const variables = Object.entries(COLORS)
  .map(([name, color]) => `--${name}: ${color};`)
  .join(" ");

export const STYLES = `
.editor { ${variables}
  display: grid; grid-template: auto minmax(0, 1fr) auto / 116px minmax(0, 1fr) 212px;
  grid-template-areas: "head head head" "rail stage side" "foot foot foot";
  height: 100%; min-height: 460px; color: var(--text); background: var(--room);
  font: 14px/1.3 "Source Sans", "Source Sans Pro", "Source Sans 3", system-ui, sans-serif; border-radius: 6px;
  overflow: hidden; position: relative; box-sizing: border-box; }
.editor *, .editor *::before { box-sizing: border-box; }
.editor header { grid-area: head; display: flex; align-items: center; gap: 6px;
  padding: 6px 10px; background: var(--surface); border-bottom: 1px solid var(--line); }
.editor h2 { font-size: 15px; font-weight: 600; margin: 0; white-space: nowrap; color: inherit; padding: 0; }
.facts { color: var(--soft); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; flex: 1 1 0; min-width: 0; }
.rail { grid-area: rail; padding: 8px; background: var(--surface); overflow-y: auto;
  display: flex; flex-direction: column; gap: 3px; border-right: 1px solid var(--line); }
.side { grid-area: side; padding: 8px 10px; background: var(--surface); overflow-y: auto;
  display: flex; flex-direction: column; gap: 8px; border-left: 1px solid var(--line); }
.side > *, .rail > * { flex: none; }
.stage { grid-area: stage; position: relative; background: #000; touch-action: none; min-width: 0; outline: none; }
.stage canvas { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.stage.painting { cursor: none; }
.stage.aiming { cursor: crosshair; }
.stage:focus-visible::after { content: ""; position: absolute; inset: 0; border: 1px solid var(--accent); pointer-events: none; }
.veil { position: absolute; inset: 0; display: grid; place-items: center; background: rgb(0 0 0 / 72%); color: var(--text); text-align: center; padding: 20px; }
.editor footer { grid-area: foot; display: flex; gap: 14px; align-items: center; padding: 4px 10px;
  background: var(--room); border-top: 1px solid var(--line); min-height: 28px; }
.footer-message { flex: 1 1 0; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; color: var(--soft); white-space: pre; }
.number.warning { color: var(--warning); } .number.error { color: var(--error); } .number.good { color: var(--good); }
.editor button, .editor select, .editor input[type=number] { font: inherit; color: var(--text);
  background: var(--raised); border: 1px solid transparent; border-radius: 4px; padding: 4px 8px; min-height: 27px; margin: 0; }
.editor button { display: inline-flex; align-items: center; justify-content: space-between; gap: 8px; cursor: pointer; text-align: left; white-space: nowrap; }
.editor button:hover:not(:disabled) { border-color: var(--soft); }
.editor button:disabled { opacity: 0.45; cursor: default; }
.editor button[aria-pressed=true] { background: var(--chosen); border-color: var(--accent); }
.editor button.primary { background: var(--primary); color: var(--onPrimary); }
.editor button.primary kbd { color: var(--onPrimary); }
.editor button.bare { background: none; padding: 4px 6px; }
.editor :is(button, select, input, summary):focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
kbd { font: 11px/1 ui-monospace, monospace; color: var(--soft); background: none; border: 0; padding: 0; }
.square { display: inline-block; width: 11px; height: 11px; border-radius: 2px; border: 1px solid #fff5; flex: none; margin: 0; }
.group { display: flex; flex-direction: column; gap: 4px; }
.group > h3 { font-size: 12px; font-weight: 600; color: var(--soft); margin: 4px 0 0; padding: 0; }
.rail .row { gap: 2px; } .rail .row > .fixed { padding: 4px 5px; }
.row { display: flex; gap: 4px; align-items: center; }
.row > * { flex: 1 1 auto; min-width: 0; }
.row > .fixed { flex: none; }
.row.member > .check { flex: 1 1 0; margin-left: 14px; }
.row.member > button { padding: 1px 6px; min-height: 22px; font-size: 12px; gap: 6px; }
.side > .overlaps { position: sticky; bottom: -8px; max-height: 34%; overflow-y: auto; margin: auto -10px -8px; padding: 6px 10px;
  background: var(--surface); border-top: 1px solid var(--line); }
.overlaps > * { flex: none; } .overlaps > h3 { margin: 0; }
.overlaps .check { align-items: start; } .overlaps input { margin-top: 2px; flex: none; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; }
.segment { display: flex; gap: 2px; }
.segment button { padding: 4px 7px; }
.check { display: flex; gap: 6px; align-items: center; cursor: pointer; min-height: 22px; }
.check input { accent-color: var(--accent); margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 0 10px; margin-left: 14px; }
.editor select { padding: 4px 2px; }
.legend .check { cursor: default; min-height: 20px; min-width: 0; align-items: start; line-height: 20px; }
.legend .square { margin-top: 4px; } .legend .check .name { white-space: normal; }
.check kbd { margin-left: auto; }
.check .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.editor input[type=range] { width: 100%; accent-color: var(--accent); margin: 2px 0; }
.editor input[type=number] { width: 100%; }
.editor summary { cursor: pointer; color: var(--text); font-weight: 600; padding: 3px 0; }
.editor details[open] > summary { margin-bottom: 4px; }
.body-picture { position: relative; display: block; line-height: 0; background: #000; border-radius: 3px; overflow: hidden; text-align: center; }
.body-picture img { max-width: 100%; max-height: 132px; }
.body-picture span { position: relative; display: inline-block; }
.body-picture i { position: absolute; border: 1.5px solid var(--accent); background: rgb(140 191 234 / 18%); }
.surface-view { width: 100%; aspect-ratio: 1; background: #000; border-radius: 3px; cursor: grab; touch-action: none; display: block; }
.warning { color: var(--warning); }
.error { color: var(--error); }
.good { color: var(--good); }
.soft { color: var(--soft); }
.hidden { display: none !important; }
.sheet { position: absolute; inset: 0; z-index: 5; background: rgb(8 9 10 / 78%); display: grid; place-items: center; }
.sheet > div { background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 16px 20px;
  max-width: min(880px, 94%); max-height: 92%; overflow: auto; outline: none; }
.sheet .columns { columns: 2 320px; column-gap: 28px; }
.sheet section { break-inside: avoid; margin-bottom: 10px; }
.sheet dl { display: grid; grid-template-columns: 92px 1fr; gap: 3px 10px; margin: 0; }
.sheet dt { text-align: right; } .sheet dd { margin: 0; }
.sheet h3 { font-size: 13px; color: var(--accent); margin: 6px 0 4px; padding: 0; }
.sheet p { white-space: pre-wrap; max-width: 70ch; margin: 6px 0; }
.sheet img { max-width: 100%; }
@container (max-width: 1020px) {
  .editor { grid-template-columns: 96px minmax(0, 1fr) 186px; }
  .rail { padding: 6px; } .rail kbd, .editor header kbd { display: none; }
  .side { padding: 6px 8px; } .side .pair kbd { display: none; }
}
@media (prefers-reduced-motion: no-preference) { .editor button { transition: background 80ms; } }
`;
