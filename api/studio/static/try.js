// Try: whose recommendations, what was understood, who moved, and why.

import { get, post, stream } from "./api.js";
import { remember } from "./app.js";
import { debounced, field, h, notify, replace } from "./dom.js";
import { moves, parts, steps } from "./pictures.js";
import { duration, language, number, t } from "./words.js";

const SHOWN = 100;

export async function open(box, address) {
  const state = read(address);
  const view = new TryView(state);
  replace(box, view.form, h("div", { class: "results" }, view.past, view.answer));
  await view.start();
  return () => view.leave();
}

// What the address says. `own` is a history that was clicked together: pairs of an event and an item.
function read(address) {
  return {
    user: address.get("user") ?? "",
    own: JSON.parse(address.get("own") ?? "null"),
    wish: address.get("wish") ?? "",
    profile: address.get("profile") ?? "",
    k: Number(address.get("k") ?? 5),
    rank: address.get("rank") ?? "",
    reason: address.get("reason") ?? "",
    filter: JSON.parse(address.get("filter") ?? "null"),
    words: address.get("words") ?? "",
  };
}

class TryView {
  constructor(state) {
    this.state = state;
    this.newer = [];
    this.past = h("section", { class: "history card", "aria-label": t("history") });
    this.answer = h("section", { class: "answer", "aria-live": "off" });
    this.form = this.makeForm();
  }

  leave() {
    this.stop?.abort();
  }

  async start() {
    this.users = await get("v1/users?limit=50").catch(() => ({ users: [], total: 0 }));
    replace(this.suggested, this.users.users.map((user) => h("option", { value: user })));
    if (!this.state.user && !this.state.own && !this.state.wish && this.users.users.length) {
      this.state.user = this.user.value = this.users.users[0];
    }
    await this.listPrompts();
    await this.showHistory();
    if (this.state.user || this.state.own || this.state.wish) await this.recommend();
  }

  makeForm() {
    const { state } = this;
    this.suggested = h("datalist", { id: "users" });
    this.user = h("input", { list: "users", value: state.user, autocomplete: "off", spellcheck: "false" });
    this.user.addEventListener("change", () => this.choose(this.user.value.trim()));
    this.wish = h("textarea", { rows: "2", maxlength: "2000" });
    this.wish.value = state.wish;
    this.wish.addEventListener("input", () => Object.assign(this.state, { filter: null, words: "" }));
    this.profile = h("textarea", { rows: "2" });
    this.profile.value = state.profile;
    this.count = h("input", { type: "number", min: "1", max: "20", value: String(state.k) });
    this.rank = h("select", {});
    this.reason = h("select", {});
    this.kinds = h("div", { class: "row", role: "group", "aria-label": t("whom") });
    this.ownBox = h("div", { class: "own" });
    this.go = h("button", { class: "main", type: "submit" }, t("recommend"));
    const form = h(
      "form",
      {
        class: "card",
        onsubmit: (event) => {
          event.preventDefault();
          this.recommend();
        },
      },
      h("h1", {}, t("tryTitle")),
      this.kinds,
      this.ownBox,
      this.suggested,
      field(t("wish"), this.wish, t("wishHint")),
      h(
        "details",
        { open: Boolean(state.profile || state.rank || state.reason) },
        h("summary", {}, t("options")),
        field(t("profile"), this.profile, t("profileHint")),
        field(t("howMany"), this.count),
        field(t("rankPrompt"), this.rank),
        field(t("reasonPrompt"), this.reason),
      ),
      h("div", { class: "row" }, this.go, this.button(t("link"), () => copy(location.href)), this.button(t("curl"), () => copy(this.curl()))),
    );
    this.showKind();
    return form;
  }

  button(label, action, properties) {
    return h("button", { type: "button", onclick: action, ...properties }, label);
  }

  showKind() {
    const own = this.state.own !== null;
    replace(
      this.kinds,
      this.button(t("known"), () => this.choose(this.user.value.trim() || this.users.users[0] || ""), { "aria-pressed": String(!own) }),
      this.button(t("built"), () => this.build([]), { "aria-pressed": String(own) }),
    );
    replace(
      this.ownBox,
      own
        ? this.finder()
        : h("div", { class: "row end" }, field(t("user"), this.user), this.button(t("another"), () => this.another())),
    );
  }

  async choose(user) {
    Object.assign(this.state, { user, own: null });
    this.newer = [];
    this.user.value = user;
    this.showKind();
    await this.showHistory();
    if (user) await this.recommend();
  }

  async another() {
    if (!this.users.total) return;
    const offset = Math.floor(Math.random() * this.users.total);
    const page = await get(`v1/users?limit=1&offset=${offset}`);
    await this.choose(page.users[0] ?? this.users.users[0]);
  }

  build(own) {
    Object.assign(this.state, { own, user: "" });
    this.newer = [];
    this.showKind();
    this.showHistory();
  }

  // Search the catalog, and add what was found to the history.
  finder() {
    const list = h("ul", { class: "found" });
    const search = h("input", { type: "search", autocomplete: "off" });
    const look = debounced(async () => {
      const query = search.value.trim();
      const path = query ? `v1/items?limit=8&query=${encodeURIComponent(query)}` : "v1/items?limit=8";
      const found = await get(path).catch((error) => (notify(String(error), "bad"), { items: [] }));
      replace(
        list,
        found.items.map((item) =>
          h(
            "li",
            {},
            h("span", { class: "grow" }, item.title),
            ["liked", "viewed", "disliked"].map((did) =>
              this.button(t(did), () => this.add(did, item), { class: "small", "aria-label": `${t(did)}: ${item.title}` }),
            ),
          ),
        ),
      );
    }, 150);
    search.addEventListener("input", look);
    look();
    return [field(t("findItems"), search), list];
  }

  add(did, item) {
    const event = { liked: "like", viewed: "view", disliked: "dislike" }[did];
    this.state.own = [...this.state.own.filter(([, one]) => one !== item.item_id), [event, item.item_id]];
    this.showHistory();
  }

  async listPrompts() {
    const found = await get("v1/prompts").catch(() => null);
    for (const [select, task] of [
      [this.rank, "rank"],
      [this.reason, "reason"],
    ]) {
      const listed = (found?.prompts ?? []).filter((one) => (one.kind === "reason") === (task === "reason") && one.family !== "rerank");
      const references = listed.flatMap((one) => [one.name, ...one.versions.map((version) => `${one.name}@${version}`), ...(one.draft ? [`${one.name}@draft`] : [])]);
      if (this.state[task] && !references.includes(this.state[task])) references.push(this.state[task]);
      replace(select, h("option", { value: "" }, t("automatic")), references.map((one) => h("option", { value: one }, one)));
      select.value = this.state[task];
    }
  }

  async showHistory() {
    const { user, own } = this.state;
    this.entries = [];
    let all = 0;
    if (own) {
      const items = await Promise.all(own.map(([, id]) => get(`v1/items/${encodeURIComponent(id)}`).catch(() => null)));
      this.entries = own.map(([event, item_id], index) => ({ event, item_id, title: items[index]?.title ?? item_id })).reverse();
      all = own.length;
    } else if (user) {
      const found = await get(`v1/users/${encodeURIComponent(user)}?limit=${SHOWN}`).catch(() => null);
      this.entries = found?.history ?? [];
      all = found?.interactions ?? 0;
    }
    this.drawHistory(all);
  }

  drawHistory(all = this.entries.length) {
    const rows = this.entries.map((entry) =>
      h(
        "li",
        { "data-item": entry.item_id },
        h("span", { class: "grow" }, entry.title ?? entry.text),
        h("span", { class: "did" }, entry.event === "rating" ? `★ ${number(entry.weight, 1)}` : entry.event),
        this.state.own
          ? this.button("×", () => {
              this.state.own = this.state.own.filter(([, id]) => id !== entry.item_id);
              this.showHistory();
            }, { class: "small", "aria-label": `${t("remove")}: ${entry.title}` })
          : null,
      ),
    );
    replace(
      this.past,
      h("h2", {}, t("history")),
      rows.length ? h("p", { class: "hint" }, t("latest", { shown: rows.length, all })) : h("p", { class: "hint" }, t("noHistory")),
      h("ol", { class: "entries", reversed: true }, rows),
    );
  }

  request() {
    const { state } = this;
    const profile = Object.fromEntries(
      this.profile.value
        .split("\n")
        .map((line) => line.split(/[:：](.*)/s).map((part) => part?.trim()))
        .filter(([name, value]) => name && value),
    );
    const wish = (state.words || this.wish.value).trim();
    const body = { k: Number(this.count.value) || 5, locale: language(), deadline_ms: 120000 };
    if (state.own) body.history = state.own.map(([event, item_id]) => ({ item_id, event }));
    else if (state.user) body.user_id = state.user;
    if (this.newer.length) body.newer = this.newer;
    if (wish) body.query = wish;
    if (state.filter) Object.assign(body, { filter: state.filter, understand: false });
    if (Object.keys(profile).length) body.profile = profile;
    const prompts = Object.fromEntries([["rank", this.rank.value], ["reason", this.reason.value]].filter(([, one]) => one));
    if (Object.keys(prompts).length) body.prompts = prompts;
    return body;
  }

  keep() {
    const { state } = this;
    Object.assign(state, {
      wish: this.wish.value.trim(),
      profile: this.profile.value.trim(),
      k: Number(this.count.value) || 5,
      rank: this.rank.value,
      reason: this.reason.value,
    });
    remember("try", {
      ...state,
      own: state.own && JSON.stringify(state.own),
      filter: state.filter && JSON.stringify(state.filter),
      k: state.k === 5 ? "" : state.k,
    });
  }

  curl() {
    const body = JSON.stringify(this.request()).replaceAll("'", "'\\''");
    return `curl -s ${new URL("v1/recommendations", location.href.split("#")[0]).href} -H 'content-type: application/json' -d '${body}'`;
  }

  async recommend() {
    this.keep();
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    const shown = new AnswerPanel(this);
    replace(this.answer, h("p", { class: "hint busy" }, t("loading")));
    this.answer.setAttribute("aria-busy", "true");
    try {
      await stream("v1/recommendations", { ...this.request(), stream: true }, (event, data) => {
        if (stop.signal.aborted) return;
        if (event === "ranking") replace(this.answer, shown.ranking(data));
        else if (event === "reason") shown.reason(data);
        else if (event === "done") shown.done(data);
        else if (event === "error") notify(data.detail, "bad");
      }, stop.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(this.answer, h("p", { class: "problem", role: "alert" }, String(error)));
    }
    this.answer.removeAttribute("aria-busy");
  }

  // Tell the service what the user thinks of an item; the next list is asked for at once.
  async feedback(event, item, answer) {
    try {
      if (this.state.user) {
        const { verdicts } = await post("v1/events", {
          source: "studio",
          events: [
            {
              event_id: crypto.randomUUID(),
              user_id: this.state.user,
              event,
              item_id: item.item_id,
              ...(answer.recommendation_id ? { recommendation_id: answer.recommendation_id } : {}),
            },
          ],
        });
        if (verdicts[0].verdict !== "accepted") throw new Error(verdicts[0].detail);
      } else this.newer.push({ item_id: item.item_id, event });
      notify(t("sent"));
    } catch (error) {
      notify(String(error), "bad");
      return;
    }
    if (this.state.user) await this.showHistory();
    await this.recommend();
  }

  highlight(ids, on) {
    for (const row of this.past.querySelectorAll("[data-item]")) row.classList.toggle("lit", on && ids.includes(row.dataset.item));
  }
}

class AnswerPanel {
  constructor(view) {
    this.view = view;
    this.cards = new Map();
  }

  ranking(answer) {
    this.answer = answer;
    this.told = h("div", {});
    this.tell(answer.degraded, answer.warnings);
    this.cost = h("p", { class: "hint" });
    for (const item of answer.items) this.cards.set(item.item_id, this.card(item));
    const moved = answer.items.length > 1 ? h("details", { class: "card", open: innerWidth > 700 }, h("summary", {}, t("moved")), h("p", { class: "hint" }, t("movedHint")), moves(answer.items)) : null;
    return [
      this.understood(),
      this.told,
      h("p", { class: "hint" }, `${t("rankedBy")}: ${answer.ranker}`, ` · ${t("llm")}: ${t(`asked_${answer.llm_asked}`)}`, answer.model ? ` · ${answer.model}` : "", answer.prompts.rank ? ` · ${answer.prompts.rank.name}@${answer.prompts.rank.version}` : ""),
      answer.items.length ? h("ol", { class: "cards" }, [...this.cards.values()].map(({ card }) => card)) : h("p", {}, t("noItems")),
      moved,
      this.cost,
    ];
  }

  card(item) {
    const change = item.retrieval_rank - item.rank;
    const moved = change > 0 ? t("movedUp", { n: change }) : change < 0 ? t("movedDown", { n: -change }) : t("same");
    const reason = h("p", { class: "reason waiting" }, t("waiting"));
    const given = ["like", "dislike", "hide"].map((event) =>
      this.view.button(t(`${event}It`), () => this.view.feedback(event, item, this.answer), { class: "small", "aria-label": `${t(`${event}It`)}: ${item.title}` }),
    );
    const facts = Object.entries(item.attributes)
      .slice(0, 6)
      .map(([name, value]) => h("li", {}, h("span", { class: "name" }, name), " ", Array.isArray(value) ? value.join(", ") : String(value)));
    const card = h(
      "li",
      { class: "card item" },
      h("div", { class: "row top" }, h("span", { class: "rank" }, String(item.rank)), h("h2", { class: "grow" }, item.title), h("span", { class: `moved ${change > 0 ? "up" : change < 0 ? "down" : ""}` }, moved)),
      h("ul", { class: "facts" }, facts, h("li", {}, h("span", { class: "name" }, t("source")), " ", item.retrieval_source)),
      reason,
      h("details", { class: "score" }, h("summary", {}, `${t("score")} ${number(item.score, 3)}`), parts(item)),
      h("div", { class: "row" }, given),
    );
    return { card, reason };
  }

  reason({ item_id, reason }) {
    const place = this.cards.get(item_id)?.reason;
    if (!place) return;
    const titles = reason.evidence.map((id) => this.view.entries.find((entry) => entry.item_id === id)?.title).filter(Boolean);
    const lit = (on) => () => this.view.highlight(reason.evidence, on);
    place.className = "reason";
    replace(
      place,
      reason.text,
      h("span", { class: "by" }, t(reason.source === "llm" ? "byLlm" : "byEvidence")),
      titles.length
        ? h("button", { type: "button", class: "small evidence", onmouseenter: lit(true), onmouseleave: lit(false), onfocus: lit(true), onblur: lit(false) }, `${t("evidence")}: ${titles.join(", ")}`)
        : null,
    );
  }

  done(answer) {
    this.tell(answer.degraded, answer.warnings);
    for (const { reason } of this.cards.values()) if (reason.classList.contains("waiting")) reason.remove();
    const { usage, timings_ms } = answer;
    replace(
      this.cost,
      `${t("cost")}: ${duration(timings_ms.total)} · `,
      t("tokens", { prompt: number(usage.prompt_tokens), cached: number(usage.cached_tokens), completion: number(usage.completion_tokens), requests: usage.llm_requests }),
      steps(timings_ms),
    );
  }

  tell(degraded, warnings) {
    const stages = new Map();
    for (const one of degraded) stages.set(one.message, [...(stages.get(one.message) ?? []), one.stage]);
    replace(
      this.told,
      [...stages].map(([message, names]) => h("p", { class: "problem", role: "alert" }, h("strong", {}, `${t("degraded")} (${names.join(", ")}): `), message)),
      warnings.map((one) => h("p", { class: "warning" }, one.message)),
    );
  }

  // What the wish was understood as. Each condition can be dropped; the rest is then sent as a filter.
  understood() {
    const { understood } = this.answer;
    const { view } = this;
    if (view.state.filter) {
      const again = view.button(t("understandAgain"), () => {
        Object.assign(view.state, { filter: null, words: "" });
        view.recommend();
      }, { class: "small" });
      const kept = Object.entries(view.state.filter).map(([name, wanted]) => this.chip(name, wanted, null));
      return h("div", { class: "understood row" }, h("span", { class: "name" }, t("understood")), kept, again);
    }
    if (!understood) return null;
    const titles = [...understood.liked.map((one) => [t("like"), one.title]), ...understood.disliked.map((one) => [t("unlike"), one.title])];
    return h(
      "div",
      { class: "understood row" },
      h("span", { class: "name" }, t("understood")),
      titles.map(([how, title]) => h("span", { class: "chip" }, `${how} ${title}`)),
      understood.conditions.map((one) => this.chip(one.attribute, one.wanted, one)),
      understood.text ? h("span", { class: "chip" }, `${t("meaning")}: ${understood.text}`) : null,
      view.button(t("asWords"), () => {
        Object.assign(view.state, { filter: {}, words: view.wish.value.trim() });
        view.recommend();
      }, { class: "small" }),
    );
  }

  chip(attribute, wanted, condition) {
    const note = condition?.relaxed ? ` (${t("relaxed")})` : condition && !condition.strict ? ` (${t("preferred")})` : "";
    return h(
      "span",
      { class: "chip" },
      `${attribute} ${describe(wanted)}${note}`,
      this.view.button("×", () => this.drop(attribute), { class: "bare", "aria-label": `${t("dropCondition")}: ${attribute}` }),
    );
  }

  drop(attribute) {
    const { view } = this;
    const { understood } = this.answer;
    const before = view.state.filter ?? Object.fromEntries((understood?.conditions ?? []).filter((one) => !one.relaxed).map((one) => [one.attribute, one.wanted]));
    const { [attribute]: _, ...filter } = before;
    Object.assign(view.state, { filter, words: view.state.words || understood?.text || view.wish.value.trim() });
    view.recommend();
  }
}

function describe(wanted) {
  const bounds = { gte: t("at_least"), lte: t("at_most"), gt: t("more_than"), lt: t("less_than"), not: t("not") };
  if (wanted === null || typeof wanted !== "object") return String(wanted);
  return Object.entries(wanted)
    .map(([name, value]) => `${bounds[name] ? `${bounds[name]} ` : ""}${Array.isArray(value) ? value.join(", ") : value}`)
    .join(", ");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notify(t("copied"));
  } catch {
    prompt("", text);
  }
}
