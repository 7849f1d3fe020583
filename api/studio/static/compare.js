// Compare: start a comparison of two prompts, follow it, and read its verdict.

import { get, post } from "./api.js";
import { remember } from "./app.js";
import { difference, field, h, notify, replace } from "./dom.js";
import { moment, number, percent, t } from "./words.js";

const EVERY_MS = 2000;

export async function open(box, address) {
  const view = new CompareView(box, address);
  await view.start();
  return () => view.leave();
}

class CompareView {
  constructor(box, address) {
    this.box = box;
    this.shown = address.get("experiment");
    this.wanted = { baseline: address.get("baseline"), candidate: address.get("candidate") };
    this.list = h("section", { class: "card", "aria-label": t("compare") });
    this.report = h("section", { class: "report" });
  }

  leave() {
    this.left = true;
    clearTimeout(this.timer);
  }

  async start() {
    const { prompts } = await get("v1/prompts");
    const references = prompts
      .filter((one) => !["reason", "draft", "broken"].includes(one.kind) && one.family !== "rerank")
      .flatMap((one) => [...one.versions.map((version) => `${one.name}@${version}`), ...(one.draft ? [`${one.name}@draft`] : [])]);
    const choice = (chosen) => {
      const select = h("select", {}, references.map((one) => h("option", { value: one }, one)));
      if (references.includes(chosen)) select.value = chosen;
      return select;
    };
    const production = prompts.find((one) => one.serves.includes("recommendations") && one.kind !== "reason");
    const baseline = choice(this.wanted.baseline ?? (production && `${production.name}@${production.aliases.production}`));
    const candidate = choice(this.wanted.candidate ?? references.find((one) => one.endsWith("@draft")) ?? references.find((one) => one !== baseline.value));
    const users = h("input", { type: "number", min: "10", max: "100000", value: "100" });
    const margin = h("input", { type: "number", min: "0.1", max: "99", step: "0.1", value: "2" });
    const form = h(
      "form",
      {
        class: "card",
        onsubmit: async (event) => {
          event.preventDefault();
          try {
            const found = await post("v1/experiments", { baseline: baseline.value, candidate: candidate.value, users: Number(users.value), margin: Number(margin.value) / 100 });
            this.shown = found.id;
            await this.refresh();
          } catch (error) {
            notify(String(error), "bad");
          }
        },
      },
      h("h1", {}, t("compareTitle")),
      h("p", { class: "hint" }, t("compareHint")),
      h("div", { class: "row end" }, field(t("baseline"), baseline), field(t("candidate"), candidate), field(t("users"), users), field(t("margin"), margin), h("button", { class: "main" }, t("start"))),
    );
    replace(this.box, form, this.list, this.report, blind(prompts));
    await this.refresh();
  }

  async refresh() {
    clearTimeout(this.timer);
    const { experiments } = await get("v1/experiments");
    if (this.left) return;
    replace(this.list, experiments.length ? h("ul", { class: "experiments" }, experiments.map((one) => this.entry(one))) : h("p", { class: "hint" }, t("noComparisons")));
    const shown = experiments.find((one) => one.id === this.shown);
    if (shown?.state === "done" && this.drawn !== shown.id) await this.show(shown);
    if (experiments.some((one) => one.state === "running")) this.timer = setTimeout(() => this.refresh(), EVERY_MS);
  }

  entry(one) {
    const { progress } = one;
    const button = (label, work, told) => h("button", { type: "button", class: "small", onclick: work, "aria-label": told }, label);
    return h(
      "li",
      {},
      h(
        "div",
        { class: "row top" },
        h("strong", { class: "grow" }, `${one.asked.candidate} – ${one.asked.baseline}`),
        h("span", { class: `badge ${one.outcome ?? one.state}` }, t(one.outcome ?? one.state)),
        one.state === "done" ? button(t("showReport"), () => this.show(one), `${t("showReport")}: ${one.asked.candidate} – ${one.asked.baseline}, ${moment(one.started)}`) : null,
        one.state === "running" ? button(t("stop"), async () => (await post(`v1/experiments/${one.id}/stop`), this.refresh()), `${t("stop")}: ${one.asked.candidate}`) : null,
      ),
      h("p", { class: "hint" }, `${moment(one.started)} · ${number(one.asked.users)} ${t("users").toLowerCase()}`),
      one.sentence ? h("p", {}, one.sentence) : null,
      one.problem ? h("p", { class: "problem" }, one.problem) : null,
      one.state === "running" && progress
        ? [
            h("progress", { max: String(Math.max(progress.total, 1)), value: String(progress.done), "aria-label": progress.step }),
            h("p", { class: "hint" }, `${progress.step}: ${number(progress.done)} / ${number(progress.total)}`, progress.minutes === null ? "" : ` · ${t("predicted", { tokens: number(progress.tokens), minutes: number(progress.minutes, 1) })}`),
          ]
        : null,
    );
  }

  async show(one) {
    this.shown = this.drawn = one.id;
    remember("compare", { experiment: one.id });
    let report;
    try {
      report = await get(`v1/experiments/${one.id}/report`);
    } catch (error) {
      notify(String(error), "bad");
      return;
    }
    const { verdict } = report;
    const plus = (value) => `${value > 0 ? "+" : ""}${number(value, 4)}`;
    const table = (heads, rows) =>
      h(
        "div",
        { class: "wide", tabindex: "0", role: "region", "aria-label": heads[0] },
        h("table", {}, h("thead", {}, h("tr", {}, heads.map((head, place) => h("th", { scope: "col", class: place ? "n" : null }, head)))), h("tbody", {}, rows.map(([head, ...cells]) => h("tr", {}, h("th", { scope: "row" }, head), cells.map((cell) => h("td", { class: "n" }, cell)))))),
      );
    replace(
      this.report,
      h("div", { class: `card verdict ${verdict.outcome}` }, h("h2", {}, t(verdict.outcome)), h("p", {}, verdict.sentence), report.partial ? h("p", { class: "warning" }, report.partial) : null, h("p", {}, h("a", { href: `v1/experiments/${one.id}/page`, target: "_blank", rel: "noopener" }, t("openReport")))),
      h(
        "div",
        { class: "card" },
        table([t("arm"), "NDCG@10", t("interval")], report.arms.map((arm) => (({ mean, low, high }) => [arm.arm, mean === null ? "" : number(mean, 4), mean === null ? "" : `${number(low, 4)} – ${number(high, 4)}`])(arm.metrics["ndcg@10"]))),
      ),
      report.slices.length
        ? h("div", { class: "card" }, h("h3", {}, t("slices")), table([t("slices"), t("users"), t("difference"), t("interval"), ""], report.slices.map((slice) => [`${slice.by}: ${slice.slice}`, number(slice.verdict.users), plus(slice.verdict.difference), `${plus(slice.verdict.low)} – ${plus(slice.verdict.high)}`, t(slice.verdict.outcome)])))
        : null,
      h("details", { class: "card" }, h("summary", {}, t("difference")), difference(report.template_diff, t("noDifference"))),
    );
  }
}

// A blind choice between the reasons of two templates.
function blind(prompts) {
  const references = prompts
    .filter((one) => one.kind === "reason")
    .flatMap((one) => [...one.versions.map((version) => `${one.name}@${version}`), ...(one.draft ? [`${one.name}@draft`] : [])]);
  const choice = () => h("select", {}, references.map((one) => h("option", { value: one }, one)));
  const [first, second, shown, told] = [choice(), choice(), h("div", {}), h("p", { role: "status" })];
  if (references.length > 1) second.value = references[1];

  async function tally() {
    try {
      const found = await get(`v1/choices?first=${encodeURIComponent(first.value)}&second=${encodeURIComponent(second.value)}`);
      const share = (value) => (value === null ? "–" : percent(value));
      told.textContent = found.first + found.second + found.ties
        ? t("tally", { first: first.value, second: second.value, a: found.first, b: found.second, ties: found.ties, share: share(found.share), low: share(found.low), high: share(found.high) })
        : t("tallyNone");
    } catch (error) {
      told.textContent = String(error);
    }
  }

  async function pair() {
    replace(shown, h("p", { class: "hint busy" }, t("loading")));
    try {
      const found = await post("v1/choices/pairs", { first: first.value, second: second.value });
      if (!found.items.length) {
        replace(shown, h("p", { class: "hint" }, t("alike")));
        return;
      }
      const decide = (side) => async () => {
        const chosen = await post("v1/choices", { pair_id: found.pair_id, choice: side }).catch((error) => (notify(String(error), "bad"), null));
        if (!chosen) return;
        notify(`${t("left")}: ${chosen.left}, ${t("right")}: ${chosen.right}`);
        await tally();
        await pair();
      };
      const side = (name) => h("section", { class: "card" }, h("h3", {}, t(name)), h("ul", {}, found.items.map((item) => h("li", {}, item[name]))), h("button", { type: "button", class: "main", onclick: decide(name) }, t(name)));
      replace(
        shown,
        h("p", { class: "hint" }, `${t("history")}: ${found.history.join(", ")}`),
        h("div", { class: "split" }, side("left"), side("right")),
        h("button", { type: "button", onclick: decide("none") }, t("noPreference")),
      );
    } catch (error) {
      replace(shown, h("p", { class: "problem", role: "alert" }, String(error)));
    }
  }

  for (const select of [first, second]) select.addEventListener("change", tally);
  tally();
  return h(
    "section",
    { class: "card" },
    h("h2", {}, t("blind")),
    h("p", { class: "hint" }, t("blindHint")),
    h("div", { class: "row end" }, field(t("baseline"), first), field(t("candidate"), second), h("button", { type: "button", class: "main", onclick: pair }, t("fetchPair"))),
    told,
    shown,
  );
}
