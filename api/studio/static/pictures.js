// Small pictures. Each has its numbers in words as well.

import { h, svg } from "./dom.js";
import { duration, number, t } from "./words.js";

const ROW = 26;
const WIDTH = 600;

// Retrieval's order on the left, the final one on the right, and a line for each item.
export function moves(items) {
  const before = [...items].sort((one, other) => one.retrieval_rank - other.retrieval_rank);
  const height = items.length * ROW + 8;
  const y = (place) => place * ROW + ROW / 2 + 4;
  const cut = (text) => (text.length > 30 ? `${text.slice(0, 29)}…` : text);
  const told = items.map((item) => `${item.title}: ${item.retrieval_rank} → ${item.rank}`).join("; ");
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, class: "moves", role: "img", "aria-label": `${t("moved")}: ${told}` },
    items.map((item, place) => {
      const from = before.indexOf(item);
      const change = Math.sign(item.retrieval_rank - item.rank);
      return svg(
        "g",
        { class: change > 0 ? "up" : change < 0 ? "down" : "" },
        svg("path", { d: `M246 ${y(from)} C 290 ${y(from)} 310 ${y(place)} 354 ${y(place)}` }),
        svg("text", { x: 238, y: y(from) + 5, "text-anchor": "end" }, `${cut(item.title)}  ${item.retrieval_rank}`),
        svg("text", { x: 362, y: y(place) + 5 }, `${item.rank}  ${cut(item.title)}`),
      );
    }),
  );
}

// What each signal adds to a score: bars to both sides of zero.
export function parts(item) {
  const found = Object.entries(item.score_parts ?? {});
  const rows = found.length ? found : [["retrieval_score", item.retrieval_score]];
  const most = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  return h(
    "table",
    { class: "parts" },
    h(
      "tbody",
      {},
      rows.map(([name, value]) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name.replaceAll("_", " ")),
          h("td", { class: "n" }, `${value > 0 ? "+" : ""}${number(value, 3)}`),
          h("td", { class: "bar" }, h("span", { class: value < 0 ? "less" : "more", style: { "--share": String(Math.abs(value) / most) } })),
        ),
      ),
      item.llm_score === null ? null : h("tr", {}, h("th", { scope: "row" }, "log p"), h("td", { class: "n" }, number(item.llm_score, 3)), h("td")),
    ),
  );
}

// How long each step took, as shares of one bar.
export function steps(timings) {
  const named = ["retrieve", "rank", "explain", "reasons"];
  const total = Math.max(...[timings.total, 1]);
  return h(
    "span",
    { class: "steps" },
    named.map((name) => h("span", { class: "step", style: { "--share": String(timings[name] / total) }, title: `${t(name)}: ${duration(timings[name])}` }, h("span", {}, `${t(name)} ${duration(timings[name])}`))),
  );
}

// A bar for each minute.
export function bars(values, label, shape = number) {
  const most = Math.max(...values.map(([, value]) => value ?? 0), 1e-9);
  const step = 24;
  return svg(
    "svg",
    { viewBox: `0 0 ${Math.max(values.length, 15) * step} 64`, class: "bars", role: "img", "aria-label": `${label}: ${values.map(([when, value]) => `${when} ${value === null ? t("none") : shape(value)}`).join(", ")}` },
    values.map(([when, value], place) => {
      const height = ((value ?? 0) / most) * 56;
      return svg("rect", { x: place * step + 3, y: 62 - height, width: step - 6, height: Math.max(height, value ? 2 : 0) }, svg("title", {}, `${when}: ${value === null ? t("none") : shape(value)}`));
    }),
  );
}
