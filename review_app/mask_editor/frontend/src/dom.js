// Small pieces of DOM.

// Make an element: attributes by name, `on...` as listeners, `text` as its words.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// A button whose words and key stand beside each other.
export function button(words, { key = "", title = "", kind = "", act, name = "" }) {
  const shown = [make("span", { text: words })];
  if (key) shown.push(make("kbd", { text: key, "aria-hidden": "true" }));
  return make(
    "button",
    {
      type: "button",
      class: kind,
      title: title || null,
      "data-name": name || null,
      "aria-keyshortcuts": key || null,
      onclick: act,
    },
    ...shown,
  );
}

export function pressed(element, isPressed) {
  element.setAttribute("aria-pressed", String(isPressed));
}

export function square(rgb) {
  return make("i", { class: "square", style: `background: rgb(${rgb.join(" ")})` });
}

// Numbers with thin spaces between thousands.
export function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function voxelCount(number) {
  return `${grouped(number)} voxel${number === 1 ? "" : "s"}`;
}
