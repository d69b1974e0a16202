// Sheets over the editor: the keys, and the structure's protocol.

import { button, make } from "./dom.js";

// Show a sheet; Escape, its button and a click beside it close it and give the focus back.
export function openSheet(root, title, content, closed) {
  const close = () => {
    sheet.remove();
    closed();
  };
  const shut = button("Close", { key: "Esc", act: close });
  const box = make(
    "div", { role: "dialog", "aria-modal": "true", "aria-label": title, tabindex: "-1" },
    make("h2", { text: title }), content, shut,
  );
  const sheet = make("div", { class: "sheet" }, box);
  sheet.addEventListener("pointerdown", (event) => {
    if (event.target === sheet) close();
  });
  sheet.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape" || event.key === "?") {
      event.preventDefault();
      close();
    }
    // The sheet's one control keeps the focus while it is open.
    if (event.key === "Tab") {
      event.preventDefault();
      shut.focus();
    }
  });
  root.append(sheet);
  box.focus();
  return close;
}

export function keysTable(keys) {
  const sections = keys.help().map(([group, rows]) =>
    make(
      "section", {}, make("h3", { text: group }),
      make(
        "dl", {},
        ...rows.flatMap(([key, words]) => [make("dt", {}, make("kbd", { text: key })), make("dd", { text: words })]),
      ),
    ),
  );
  const mouse = [
    ["Wheel", "Slices; with Ctrl zoom"],
    ["Right drag", "Window (or Shift and drag)"],
    ["Middle drag", "Move the picture (or Alt and drag)"],
    ["Ctrl", "Erase while painting; clear with lasso, polygon, fill"],
  ];
  sections.push(
    make(
      "section", {}, make("h3", { text: "Mouse and pen" }),
      make(
        "dl", {},
        ...mouse.flatMap(([key, words]) => [make("dt", {}, make("kbd", { text: key })), make("dd", { text: words })]),
      ),
    ),
  );
  return make("div", { class: "columns" }, ...sections);
}

export function protocolText({ version, text, picture_url: pictureUrl }) {
  const picture = pictureUrl ? make("img", { src: pictureUrl, alt: "Picture of the definition" }) : null;
  return make("div", {}, make("p", { text }), picture, make("p", { class: "soft", text: `Version ${version}` }));
}
