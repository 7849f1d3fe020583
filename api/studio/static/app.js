// The frame: views, languages, and the state of the page in its address.

import { h, notify, replace } from "./dom.js";
import { language, setLanguage, t } from "./words.js";

const VIEWS = ["try", "prompts", "compare", "health"];
const main = document.getElementById("main");
let leave = null;

// The address holds the view and its state: #prompts?name=rank
export function place() {
  const [view, query] = location.hash.slice(1).split(/\?(.*)/s);
  return { view: VIEWS.includes(view) ? view : "try", state: new URLSearchParams(query ?? "") };
}

// Write the state into the address. Without `visit`, the view does not change and no entry of the history is made.
export function remember(view, state, { visit = false } = {}) {
  const filled = Object.entries(state).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(filled).toString();
  const address = `#${view}${query ? `?${query}` : ""}`;
  if (visit) location.hash = address;
  else history.replaceState(null, "", address);
}

function frame() {
  document.documentElement.lang = language();
  document.title = `whyrank: ${t(place().view)}`;
  replace(
    document.getElementById("nav"),
    VIEWS.map((view) => h("a", { href: `#${view}`, "aria-current": view === place().view ? "page" : null }, t(view))),
  );
  replace(
    document.getElementById("tools"),
    h("a", { href: "docs" }, t("reference")),
    h(
      "button",
      {
        type: "button",
        lang: language() === "zh" ? "en" : "zh",
        onclick: () => {
          setLanguage(language() === "zh" ? "en" : "zh");
          show();
        },
      },
      language() === "zh" ? "English" : "中文",
    ),
  );
}

async function show() {
  const { view, state } = place();
  leave?.();
  leave = null;
  frame();
  const box = h("div", { class: `view ${view}` });
  replace(main, box);
  try {
    const { open } = await import(`./${view}.js`);
    leave = (await open(box, state)) ?? null;
  } catch (error) {
    notify(String(error), "bad");
    box.append(h("p", { class: "problem" }, String(error)));
  }
}

let shown = place().view;
addEventListener("hashchange", () => {
  show();
  if (place().view !== shown) main.focus();
  shown = place().view;
});
show();
