// A text area that becomes an editor with highlighting once its bundle is loaded; without the bundle it stays.

import { h } from "./dom.js";

export async function openEditor(place, source, label, changed) {
  const area = h("textarea", { class: "plain", rows: "22", spellcheck: "false", "aria-label": label });
  area.value = source;
  area.addEventListener("input", changed);
  place.replaceChildren(area);
  try {
    const { createEditor } = await import("./vendor/editor/editor.js");
    // In a shadow root the editor's styles are constructed sheets, which the page's policy allows.
    const host = h("div", { class: "host" });
    const editor = createEditor(host.attachShadow({ mode: "open" }), area.value, label, changed);
    if (document.activeElement === area) editor.focus();
    place.replaceChildren(host);
    return editor;
  } catch (error) {
    console.warn("the editor's bundle was not loaded; the plain text area stays", error);
    return plain(area, changed);
  }
}

function plain(area, changed) {
  return {
    text: () => area.value,
    set(text) {
      area.value = text;
      changed();
    },
    insert(text) {
      area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
      area.focus();
      changed();
    },
    mark(line) {
      area.setAttribute("aria-invalid", String(line !== null));
    },
    focus: () => area.focus(),
    close() {},
  };
}
