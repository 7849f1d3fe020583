// Health: the last minutes at a glance.

import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { bars } from "./pictures.js";
import { duration, moment, number, percent, t } from "./words.js";

const EVERY_MS = 5000;

export async function open(box) {
  let timer = null;
  let open = true;
  async function draw() {
    try {
      const found = await get("v1/status");
      if (open) replace(box, page(found));
    } catch (error) {
      if (open) replace(box, h("h1", {}, t("healthTitle")), h("p", { class: "problem", role: "alert" }, String(error)));
    }
    if (open) timer = setTimeout(draw, EVERY_MS);
  }
  await draw();
  return () => {
    open = false;
    clearTimeout(timer);
  };
}

function page({ ready, llm, in_flight, minutes, prompts }) {
  const sum = (name) => minutes.reduce((total, minute) => total + minute[name], 0);
  const answers = sum("answers");
  const time = (minute) => new Date(minute.minute * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const series = (value) => minutes.map((minute) => [time(minute), value(minute)]);
  const latest = [...minutes].reverse().find((minute) => minute.answers);
  const codes = {};
  for (const minute of minutes) for (const [code, count] of Object.entries(minute.codes)) codes[code] = (codes[code] ?? 0) + count;
  const asked = llm ? llm.cache_hits + llm.cache_misses : 0;
  return [
    h("h1", {}, t("healthTitle")),
    ready.problems.length
      ? h("section", { class: "card bad" }, h("h2", {}, t("problems")), h("ul", {}, ready.problems.map((one) => h("li", {}, one))))
      : h("p", { class: "good" }, t("noProblems")),
    h(
      "div",
      { class: "tiles" },
      tile(t("llm"), t(ready.llm), ready.llm === "down" ? "bad" : "", llm ? [llm.model ?? "", llm.breaker === "closed" ? "" : ` · ${llm.breaker}`] : ""),
      tile(t("queue"), number(llm?.waiting ?? 0), "", [t("inFlight", { n: number(Math.max(in_flight - 1, 0)) }), llm ? ` · ${t("atLlm", { n: llm.in_flight, waiting: llm.waiting })}` : ""]),
      tile(t("latency"), latest ? duration(latest.p50_ms) : "–", "", latest ? t("p95", { ms: duration(latest.p95_ms) }) : t("noTraffic"), bars(series((minute) => minute.p50_ms), t("latency"), duration)),
      tile(t("answersPerMinute"), number(latest?.answers ?? 0), "", "", bars(series((minute) => minute.answers), t("answersPerMinute"))),
      tile(t("degradedShare"), answers ? percent(sum("degraded") / answers) : "–", sum("degraded") ? "bad" : "", Object.entries(codes).map(([code, count]) => `${code}: ${number(count)} `), bars(series((minute) => (minute.answers ? minute.degraded / minute.answers : null)), t("degradedShare"), percent)),
      tile(t("cache"), sum("prompt_tokens") ? percent(sum("cached_tokens") / sum("prompt_tokens")) : "–", "", asked ? t("results", { hits: number(llm.cache_hits), all: number(asked) }) : ""),
      tile(t("eventsIn"), number(sum("events")), "", "", bars(series((minute) => minute.events), t("eventsIn"))),
      tile(t("data"), ready.dataset, "", [t("itemsUsers", { items: number(ready.items), users: number(ready.users) }), h("br"), t("fitted", { when: moment(ready.created) })]),
    ),
    h("section", { class: "card" }, h("h2", {}, t("serving")), h("ul", { class: "facts" }, Object.entries(prompts).map(([name, version]) => h("li", {}, h("a", { href: `#prompts?name=${name}` }, `${name}@${version}`))))),
  ];
}

function tile(title, value, kind, more, picture) {
  return h("section", { class: `card tile ${kind}` }, h("h2", {}, title), h("p", { class: "big" }, value), picture ?? null, h("p", { class: "hint" }, more));
}
