// Prompts: versions, an editor with a live preview, a trial beside production, and who changed what.

import { call, get, post } from "./api.js";
import { remember } from "./app.js";
import { difference, field, h, notify, replace } from "./dom.js";
import { openEditor } from "./editor.js";
import { percent, moment, number, t } from "./words.js";

const WHO = "whyrank-who";
const TRIAL_USERS = 10;

export async function open(box, address) {
  const view = new PromptsView(box, address.get("name"), address.get("user") ?? "");
  await view.start();
  return () => view.editing?.close();
}

class PromptsView {
  constructor(box, name, user) {
    Object.assign(this, { box, name, user });
    this.list = h("nav", { class: "prompt-list card", "aria-label": t("prompts") });
    this.detail = h("div", { class: "detail" });
  }

  async start() {
    replace(this.box, this.list, this.detail);
    await this.load();
    this.name ??= this.found.prompts.find((one) => one.serves.includes("recommendations"))?.name ?? this.found.prompts[0].name;
    await this.show(this.name);
  }

  async load() {
    this.found = await get("v1/prompts");
    replace(
      this.list,
      h("h1", {}, t("promptsTitle")),
      this.found.writable ? null : h("p", { class: "warning" }, t("readOnly")),
      h(
        "ul",
        {},
        this.found.prompts.map((one) =>
          h(
            "li",
            {},
            h(
              "a",
              { href: `#prompts?name=${one.name}`, "aria-current": one.name === this.name ? "true" : null, onclick: (event) => (event.preventDefault(), this.show(one.name)) },
              h("strong", {}, one.name),
              h("span", { class: "hint" }, ` ${one.kind}${one.locale ? ` · ${one.locale}` : ""}${one.draft ? ` · ${t("source_draft")}` : ""}`),
            ),
            h("span", { class: one.serves.length ? "badge good" : "badge" }, one.serves.length ? t("serves", { what: one.serves.map((what) => t(what)).join(", ") }) : t("servesNothing")),
            one.problem ? h("p", { class: "problem" }, one.problem) : null,
          ),
        ),
      ),
    );
  }

  async show(name) {
    this.editing?.close();
    this.name = name;
    remember("prompts", { name, user: this.user });
    for (const link of this.list.querySelectorAll("a")) {
      if (link.getAttribute("href") === `#prompts?name=${name}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    this.summary = this.found.prompts.find((one) => one.name === name) ?? { name, versions: [], aliases: {}, draft: false };
    const versions = h("section", { class: "card" });
    const editor = h("section", { class: "card", "aria-label": t("editor") });
    const changes = h("section", { class: "card", "aria-label": t("audit") });
    replace(this.detail, versions, editor, changes);
    const [found, audit] = await Promise.all([get(`v1/prompts/${name}/versions`), get(`v1/prompts/${name}/changes`)]);
    this.drawVersions(versions, found.versions);
    drawChanges(changes, audit.changes);
    this.editing = new Editing(this, editor);
    await this.editing.start();
  }

  async reload() {
    await this.load();
    await this.show(this.name);
  }

  drawVersions(box, versions) {
    const { name } = this;
    const production = this.summary.aliases.production;
    const shown = h("div", {});
    const rows = versions.map((one) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, String(one.version), one.aliases.map((alias) => h("span", { class: "badge good" }, alias === "production" ? t("production") : alias))),
        h("td", {}, one.saved ? moment(one.saved) : t("shipped")),
        h("td", {}, one.who ?? ""),
        h("td", {}, one.note),
        h("td", { class: "n" }, number(one.answers)),
        h("td", { class: "n" }, refusals(one.reasons)),
        h("td", {}, one.scores.slice(0, 2).map((score) => h("p", {}, describeScore(score)))),
        h(
          "td",
          { class: "row" },
          this.action(t("edit"), () => this.editing.openVersion(one.version), `${t("editThis")}: ${name}@${one.version}`),
          one.version === production ? null : this.action(t("difference"), () => this.showDifference(shown, one.version), `${t("diffWith")}: ${name}@${one.version}`),
          one.version === production || !this.found.writable ? null : this.action(t("promote"), () => this.promote(one.version), `${t("promote")}: ${name}@${one.version}`),
        ),
      ),
    );
    replace(
      box,
      h("div", { class: "row top" }, h("h2", { class: "grow" }, name), production && this.found.writable ? this.action(t("rollback"), () => this.rollback(), `${t("rollback")}: ${name}`) : null),
      h("p", { class: "hint" }, this.summary.description),
      h(
        "div",
        { class: "wide", tabindex: "0", role: "region", "aria-label": t("versions") },
        h(
          "table",
          {},
          h("thead", {}, h("tr", {}, ["version", "saved", "who", "note", "answers", "refusedShare", "offline"].map((word) => h("th", { scope: "col" }, t(word))), h("td", {}))),
          h("tbody", {}, rows),
        ),
      ),
      shown,
    );
  }

  action(label, work, told) {
    return h("button", { type: "button", class: "small", "aria-label": told, onclick: () => guarded(work) }, label);
  }

  async showDifference(box, version) {
    const found = await get(`v1/prompts/${this.name}/diff?before=production&after=${version}`);
    replace(box, h("h3", {}, `${t("diffWith")}: ${version}`), difference(found.diff, t("noDifference")));
  }

  async promote(version) {
    const { name } = this;
    const said = await ask(t("promoteConfirm", { name, version }));
    if (!said) return;
    const path = `v1/prompts/${name}/aliases/production`;
    const [, etag] = await get(path, { withEtag: true }).catch((error) => (error.status === 404 ? [null, null] : Promise.reject(error)));
    // Moved since this page was drawn: somebody else decided meanwhile.
    const seen = this.summary.aliases.production;
    const more = etag ? { "if-match": `"${seen}"` } : { "if-none-match": "*" };
    await call("PUT", path, { body: { version, ...said }, more });
    notify(t("isNow", { name: `${name}@production`, version }));
    await this.reload();
  }

  async rollback() {
    const { name } = this;
    const seen = this.summary.aliases.production;
    const said = await ask(t("rollbackConfirm", { version: seen }));
    if (!said) return;
    const found = await post(`v1/prompts/${name}/aliases/production/rollback`, said, { more: { "if-match": `"${seen}"` } });
    notify(t("isNow", { name: `${name}@production`, version: found.version }));
    await this.reload();
  }
}

function refusals(reasons) {
  if (!reasons) return "";
  const refused = Object.values(reasons.refused).reduce((sum, count) => sum + count, 0);
  const all = refused + reasons.written;
  if (!all) return "";
  return h("span", { title: Object.entries(reasons.refused).map(([fault, count]) => `${fault} ${count}`).join(", ") }, percent(refused / all));
}

const signed = (value) => `${value > 0 ? "+" : ""}${number(value, 4)}`;
const describeScore = (score) =>
  `${score.metric} ${score.value === null ? "" : number(score.value, 4)} (${signed(score.difference)}, ${signed(score.low)} – ${signed(score.high)}; ${score.against})`;

function drawChanges(box, changes) {
  const one = (change) => {
    const what = change.alias ? `${change.action} ${change.alias}: ${change.before ?? t("none")} → ${change.after ?? ""}` : `${change.action} ${change.after ?? ""}`;
    return h("li", {}, h("span", { class: "hint" }, `${moment(change.when)} · ${change.who} · `), what, change.note ? h("q", {}, change.note) : null);
  };
  replace(box, h("h2", {}, t("audit")), changes.length ? h("ul", { class: "audit" }, changes.slice(0, 30).map(one)) : h("p", { class: "hint" }, t("noAudit")));
}

// Run an action; show what went wrong.
async function guarded(work) {
  try {
    return await work();
  } catch (error) {
    notify(String(error), "bad");
    return undefined;
  }
}

// Ask why, and who. Returns null if the answer is no.
function ask(question, { needsName = false } = {}) {
  return new Promise((resolve) => {
    const note = h("input", { maxlength: "1000" });
    const who = h("input", { maxlength: "80", value: localStorage.getItem(WHO) ?? "", required: needsName });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "ask-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "ask-title" }, question),
        field(t("note"), note),
        field(t("yourName"), who),
        h("div", { class: "row" }, h("button", { class: "main", value: "yes" }, t("ok")), h("button", { value: "", formnovalidate: true }, t("cancel"))),
      ),
    );
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      dialog.remove();
      localStorage.setItem(WHO, who.value.trim());
      resolve(dialog.returnValue === "yes" ? { note: note.value.trim(), who: who.value.trim() } : null);
    });
    dialog.showModal();
  });
}

// The editor of one template, with its preview, its draft, and its trial.
class Editing {
  constructor(view, box) {
    Object.assign(this, { view, box, name: view.name, etag: null, kept: "" });
  }

  close() {
    this.editor?.close();
    this.closed = true;
  }

  async start() {
    const { name, view } = this;
    let source = "";
    let from = `${name}@${t("production")}`;
    const draft = view.summary.draft ? await get(`v1/prompts/${name}/draft`, { withEtag: true }).catch(() => null) : null;
    if (draft) {
      [{ source }, this.etag] = draft;
      from = t("source_draft");
    } else source = (await get(`v1/prompts/${name}`).catch(() => ({ source: "" }))).source;
    this.kept = draft ? source : null;
    this.draw(from);
    this.editor = await openEditor(this.place, source, t("editor"), () => this.changed());
    this.drawDraftButtons();
    await this.preview();
  }

  draw(from) {
    const { view } = this;
    this.place = h("div", { class: "editor" });
    this.state = h("p", { class: "hint", role: "status" }, t("startedFrom", { what: from }));
    this.error = h("p", { class: "problem", role: "alert", hidden: true });
    this.shown = h("div", { class: "preview", tabindex: "0", role: "region", "aria-label": t("preview") });
    this.counted = h("p", { class: "hint" });
    this.draftButtons = h("div", { class: "row" });
    this.conflict = h("div", {});
    this.user = h("input", { list: "preview-users", value: view.user, placeholder: t("example"), autocomplete: "off" });
    this.user.addEventListener("change", () => {
      view.user = this.user.value.trim();
      remember("prompts", { name: this.name, user: view.user });
      this.preview();
    });
    const suggestions = h("datalist", { id: "preview-users" });
    get("v1/users?limit=50").then((found) => replace(suggestions, found.users.map((user) => h("option", { value: user }))), () => {});
    const inputs = view.found.inputs.map((one) =>
      h("li", {}, h("button", { type: "button", class: "small", onclick: () => this.editor.insert(one.example) }, one.name), h("span", { class: "hint" }, ` ${one.meaning}`)),
    );
    this.trialCount = h("input", { type: "number", min: "1", max: String(TRIAL_USERS), value: "3" });
    this.trialBox = h("div", {});
    replace(
      this.box,
      h("div", { class: "row top" }, h("h2", { class: "grow" }, t("editor")), this.draftButtons),
      this.state,
      this.conflict,
      h(
        "div",
        { class: "split" },
        h("div", {}, this.place, h("p", { class: "hint" }, t("editorHint")), this.error, h("details", {}, h("summary", {}, t("inputs")), h("ul", { class: "inputs" }, inputs))),
        h("div", {}, h("div", { class: "row end" }, field(`${t("preview")}: ${t("previewFor").toLowerCase()}`, this.user), suggestions), this.counted, this.shown),
      ),
      h(
        "details",
        { class: "trial" },
        h("summary", {}, t("trial")),
        h("p", { class: "hint" }, t("trialHint")),
        h("div", { class: "row end" }, field(t("users"), this.trialCount), h("button", { type: "button", class: "main", onclick: () => guarded(() => this.trial()) }, t("start"))),
        this.trialBox,
      ),
    );
  }

  drawDraftButtons() {
    const { writable } = this.view.found;
    const button = (label, work, kind) => h("button", { type: "button", class: kind, onclick: () => guarded(work) }, label);
    replace(
      this.draftButtons,
      writable ? [button(t("keepDraft"), () => this.keep()), this.etag ? button(t("discard"), () => this.discard()) : null, button(t("saveVersion"), () => this.save(), "main")] : null,
    );
  }

  async openVersion(version) {
    const { source } = await get(`v1/prompts/${this.name}?version=${version}`);
    this.editor.set(source);
    this.state.textContent = t("startedFrom", { what: `${this.name}@${version}` });
    this.box.scrollIntoView({ block: "start" });
  }

  changed() {
    if (this.closed) return;
    if (this.editor.text() !== this.kept) this.state.textContent = t("unsaved");
    this.preview();
  }

  // One preview at a time, and the newest text last: typing goes on while one is under way.
  async preview() {
    this.stale = true;
    if (this.previewing) return;
    this.previewing = true;
    while (this.stale && !this.closed) {
      this.stale = false;
      await this.render();
    }
    this.previewing = false;
  }

  async render() {
    const body = { source: this.editor.text(), ...(this.view.user ? { user_id: this.view.user } : {}) };
    try {
      const found = await post("v1/prompts/render", body);
      if (this.stale || this.closed) return;
      this.mark(null);
      replace(this.shown, drawPrompt(found));
      const left = found.trimmed.history ? ` · ${t("trimmed", { n: found.trimmed.history })}` : "";
      this.counted.textContent = (found.tokens === null ? t("noCount") : t("previewTokens", { tokens: number(found.tokens), context: number(found.context) })) + left;
    } catch (error) {
      if (!this.stale && !this.closed) this.mark(error);
    }
  }

  mark(error) {
    this.error.hidden = !error;
    // A text that was only sent has a name of its own in messages, which says nothing here.
    const told = error ? String(error).replace(/^template trial@draft: /, "") : "";
    const where = error?.line && !told.includes(`line ${error.line}`) ? `${t("line", { line: error.line })}: ` : "";
    this.error.textContent = where + told;
    this.editor.mark(error?.line ?? null, error?.column ?? null, told);
  }

  async keep(etag = this.etag) {
    const source = this.editor.text();
    const more = etag ? { "if-match": etag } : { "if-none-match": "*" };
    try {
      [, this.etag] = await call("PUT", `v1/prompts/${this.name}/draft`, { body: { source, who: localStorage.getItem(WHO) ?? "" }, more, withEtag: true });
    } catch (error) {
      if (error.status !== 412) throw error;
      await this.showConflict();
      return;
    }
    this.kept = source;
    replace(this.conflict);
    this.state.textContent = t("draftKept");
    this.drawDraftButtons();
    await this.view.load();
  }

  async showConflict() {
    const theirs = await get(`v1/prompts/${this.name}/draft`, { withEtag: true }).catch(() => null);
    const [{ source }, etag] = theirs ?? [{ source: "" }, null];
    const take = () => {
      this.etag = etag;
      this.kept = source;
      this.editor.set(source);
      replace(this.conflict);
    };
    replace(
      this.conflict,
      h(
        "div",
        { class: "warning", role: "alert" },
        h("p", {}, t("conflict")),
        h("pre", { class: "diff", tabindex: "0" }, source),
        h("div", { class: "row" }, h("button", { type: "button", onclick: take }, t("takeTheirs")), h("button", { type: "button", onclick: () => guarded(() => this.keep(etag)) }, t("keepMine"))),
      ),
    );
  }

  async discard() {
    await call("DELETE", `v1/prompts/${this.name}/draft`, { more: { "if-match": this.etag } });
    await this.view.reload();
  }

  async save() {
    const said = await ask(t("saveVersion"));
    if (!said) return;
    try {
      const found = await post(`v1/prompts/${this.name}`, { source: this.editor.text(), ...said });
      notify(t("savedAs", { version: found.version }));
    } catch (error) {
      this.mark(error);
      throw error;
    }
    if (this.etag) await call("DELETE", `v1/prompts/${this.name}/draft`, { more: { "if-match": this.etag } }).catch(() => {});
    await this.view.reload();
  }

  // Recommendations before and after, one user at a time so that progress shows.
  async trial() {
    const count = Math.min(Number(this.trialCount.value) || 1, TRIAL_USERS);
    const page = await get(`v1/users?limit=${TRIAL_USERS}`);
    const chosen = this.view.user ? [this.view.user, ...page.users.filter((user) => user !== this.view.user)] : page.users;
    const users = chosen.slice(0, count);
    const bar = h("progress", { max: String(users.length), value: "0", "aria-label": t("trial") });
    const told = h("p", { role: "status" });
    const list = h("div", {});
    replace(this.trialBox, bar, told, list);
    let changed = 0;
    for (const [place, user] of users.entries()) {
      const { users: tried } = await post("v1/prompts/try", { source: this.editor.text(), user_ids: [user], k: 5, deadline_ms: 120000 });
      if (this.closed) return;
      const [one] = tried;
      changed += one.trial.items.map((item) => item.item_id).join() !== one.production.items.map((item) => item.item_id).join();
      bar.value = place + 1;
      told.textContent = t("changedFor", { n: changed, all: place + 1 });
      list.append(drawTrial(one));
    }
  }
}

function drawPrompt(found) {
  const parts = found.messages ?? [{ role: "", content: found.text.split("\n-> ")[0] }];
  return [
    parts.map((one) => h("div", { class: "message" }, one.role ? h("p", { class: "name" }, one.role) : null, h("pre", {}, one.content))),
    found.continuations.length ? [h("p", { class: "name" }, t("continuations")), h("ul", { class: "continuations" }, found.continuations.map((one) => h("li", {}, one)))] : null,
  ];
}

function drawTrial(one) {
  const ranks = new Map(one.production.items.map((item) => [item.item_id, item.rank]));
  const list = (answer, isTrial) =>
    h(
      "div",
      {},
      h("h4", {}, isTrial ? t("withThis") : t("withProduction")),
      answer.degraded.map((degraded) => h("p", { class: "problem" }, degraded.message)),
      h(
        "ol",
        {},
        answer.items.map((item) => {
          const before = ranks.get(item.item_id);
          const moved = !isTrial || before === item.rank ? "" : before ? t("was", { rank: before }) : t("isNew");
          return h("li", {}, item.title, moved ? h("span", { class: "badge" }, moved) : null, item.reason ? h("p", { class: "hint" }, item.reason.text) : null);
        }),
      ),
    );
  return h("section", { class: "tried" }, h("h3", {}, `${t("user")} ${one.user_id}`), h("div", { class: "split" }, list(one.production, false), list(one.trial, true)));
}
