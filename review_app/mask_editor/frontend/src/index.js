// What Streamlit calls: once to mount, and again with new data; the editor stays where it is.

import { Editor } from "./editor.js";

const editors = new WeakMap();

export default function maskEditor(component) {
  const { data, parentElement, setTriggerValue } = component;
  let editor = editors.get(parentElement);
  if (!editor) {
    editor = new Editor(placeIn(parentElement, data), { setTriggerValue });
    editors.set(parentElement, editor);
  }
  editor.trigger = setTriggerValue;
  if (data) void editor.receive(data);
  return () => {
    editors.delete(parentElement);
    editor.destroy();
  };
}

// With height "window" the editor fills the window below the page's bar, else the box it is given.
function placeIn(parent, data) {
  const place = document.createElement("div");
  place.style.height = data?.height === "window" ? "max(540px, calc(100vh - 5.2rem))" : "100%";
  // The styles ask this box how wide the editor may be.
  place.style.containerType = "inline-size";
  parent.append(place);
  return place;
}
