// Create elements. Text only ever becomes text nodes, so that titles and model output cannot become markup.

const SVG = "http://www.w3.org/2000/svg";

function build(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, properties, ...children) => build(document.createElement(tag), properties, children);
export const svg = (tag, properties, ...children) => build(document.createElementNS(SVG, tag), properties, children);

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let fields = 0;

// A labelled form control.
export function field(label, control, hint) {
  control.id ||= `field-${++fields}`;
  const help = hint ? h("p", { class: "hint", id: `${control.id}-hint` }, hint) : null;
  if (help) control.setAttribute("aria-describedby", help.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, help);
}

export function debounced(action, ms) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), ms);
  };
}

export function notify(text, kind = "") {
  const notice = h("p", { class: `notice ${kind}` }, text);
  document.getElementById("notices").append(notice);
  setTimeout(() => notice.remove(), kind === "bad" ? 12000 : 5000);
}

// A list of lines of a unified difference, each with its class; colours alone never say what a line is.
export function difference(text, nothing) {
  if (!text) return h("p", { class: "hint" }, nothing);
  const kinds = { "+": "added", "-": "removed", "@": "place" };
  return h(
    "pre",
    { class: "diff", tabindex: "0" },
    text.split("\n").map((line) => h("span", { class: kinds[line[0]] ?? "" }, `${line}\n`)),
  );
}
