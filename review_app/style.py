"""The pages' few style rules, and small pieces of HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping

STYLE = """<style>
.stMainBlockContainer { padding: .6rem 1.4rem 2rem; max-width: 100rem; }
/* Beside the editor nothing is to be read in long lines: pictures take the whole screen. */
.stMainBlockContainer:has(.st-key-mask_editor) { max-width: none; }
.stAppHeader { display: none; }
[data-testid="stVerticalBlock"] { gap: .5rem; }
.brand { font-weight: 600; font-size: 1.05rem; white-space: nowrap; }
.who { float: right; opacity: .8; font-size: .9rem; white-space: nowrap; }
.st-key-bar { border-bottom: 1px solid #8884; padding-bottom: .3rem; }
.line { display: grid; grid-template-columns: 12.5rem 6.4rem 2.6rem 8.8rem 2.4rem 1fr 10.5rem;
  gap: .6rem; align-items: center; font-size: .9rem; line-height: 1.3; }
.line.head { font-size: .8rem; opacity: .7; border-bottom: 1px solid #8884; }
.ct { border-top: 1px solid #8883; padding-top: .25rem; font-size: .9rem; }
[class*="st-key-ct-"] { gap: .15rem !important; }
[class*="st-key-ct-"] .stButton button { min-height: 2rem; padding: .1rem .6rem; }
.line .num { text-align: right; font-variant-numeric: tabular-nums; }
.swatch { display: inline-block; width: .75rem; height: .75rem; margin-right: .45rem;
  border-radius: 2px; border: 1px solid #8886; vertical-align: -.06rem; }
.st-key-structures { gap: 0 !important; }
.st-key-structures button { min-height: 1.9rem; padding: .05rem .5rem; text-align: left; }
.st-key-structures button::before { content: ""; flex: none; width: .75rem; height: .75rem;
  margin-right: .55rem; border-radius: 2px; border: 1px solid #8886; }
[data-testid="stHorizontalBlock"] { gap: .6rem; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem .9rem; font-size: .82rem; }
.why { font-size: .9rem; line-height: 1.35; margin: 0; }
.soft { opacity: .75; font-size: .85rem; }
p.soft { margin: 0; }
p.soft + p.why { margin-top: .5rem; }
/* Names of keys in buttons are read, too: Streamlit draws them at a contrast under 3. */
.stButton button:not(:disabled) kbd { opacity: 1; color: inherit; }
/* What is chosen stands at 4.47 in Streamlit's red on its own pink, and in the dark at 3.61. */
@media (prefers-color-scheme: light) {
  button[data-selected="true"], button[data-selected="true"] p { color: #b32d3d !important; }
}
@media (prefers-color-scheme: dark) {
  button[data-selected="true"], button[data-selected="true"] p,
  [data-testid="stSliderThumbValue"] p { color: #ff8a94 !important; }
}
.links a { margin-right: 1rem; font-size: .9rem; }
.figures td { font-size: .9rem; padding: .1rem 1rem .1rem 0; border: 0; }
h3.part { font-size: 1rem; margin: .6rem 0 .1rem; padding: 0; }
h2.item { font-size: 1.25rem; margin: 0; padding: 0; }
.protocol { font-size: .88rem; line-height: 1.35; }
.protocol h4 { font-size: .9rem; margin: .5rem 0 .1rem; padding: 0; }
.protocol li { font-size: .88rem; }
.protocol ul { margin: 0; padding-left: 1.1rem; }
.protocol img { width: 100%; max-width: 30rem; border: 1px solid #8884; border-radius: 3px; }
.stImage img { background: #000; border-radius: 3px; }
</style>"""


def swatch(rgb: tuple[int, int, int]) -> str:
    """Return a small coloured square."""
    red, green, blue = rgb
    return f'<i class="swatch" style="background: rgb({red} {green} {blue})"></i>'


def swatches(rgb_of: Mapping[str, tuple[int, int, int]]) -> str:
    """Return rules that put a small coloured square before the buttons with these keys."""
    rules = "".join(
        f".st-key-{key} button::before {{ background: rgb({red} {green} {blue}); }}"
        for key, (red, green, blue) in rgb_of.items()
    )
    return f"<style>{rules}</style>"


def legend(entries: list[tuple[tuple[int, int, int], str]]) -> str:
    """Return a line of colours and what each stands for."""
    parts = "".join(f"<span>{swatch(rgb)}{html.escape(text)}</span>" for rgb, text in entries)
    return f'<div class="legend">{parts}</div>'
