// Calls of the service. Addresses are relative, so that the page works below any path.

import { h } from "./dom.js";
import { t } from "./words.js";

const KEY = "whyrank-key";

export class Problem extends Error {
  constructor(body, status) {
    super(body.detail ?? `HTTP ${status}`);
    Object.assign(this, { status, field: body.field, remedy: body.remedy, line: body.line, column: body.column, type: body.type ?? "" });
  }

  toString() {
    return [this.field ? `${this.field}: ${this.message}` : this.message, this.remedy].filter(Boolean).join(". ");
  }
}

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return { ...(key ? { authorization: `Bearer ${key}` } : {}), ...more };
}

async function send(method, path, { body, more, signal } = {}) {
  const content = body === undefined ? {} : { "content-type": "application/json" };
  for (;;) {
    let response;
    try {
      response = await fetch(path, {
        method,
        headers: headers({ ...content, ...more }),
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({ detail: t("unreachable") }, 0);
    }
    if (response.ok) return response;
    const found = await response.json().catch(() => ({}));
    if (response.status === 401 && (await askKey(found.detail))) continue;
    throw new Problem(found, response.status);
  }
}

export async function call(method, path, options) {
  const response = await send(method, path, options);
  const found = response.status === 204 ? null : await response.json();
  return options?.withEtag ? [found, response.headers.get("etag")] : found;
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { ...options, body });

// Server-sent events of a POST: calls `heard(event, data)` for each.
export async function stream(path, body, heard, signal) {
  const response = await send("POST", path, { body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (left + value).split(/\r?\n\r?\n/);
    left = parts.pop();
    for (const part of parts) {
      const lines = part.split(/\r?\n/);
      const event = lines.find((line) => line.startsWith("event:"))?.slice(6).trim();
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (event && data) heard(event, JSON.parse(data));
    }
  }
}

let asking = null;

// Ask for an API key, once for all requests that wait. It is kept for this tab alone.
function askKey(why) {
  asking ??= new Promise((resolve) => {
    const input = h("input", { type: "password", autocomplete: "off", id: "key", required: true });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "key-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "key-title" }, t("key")),
        h("p", {}, why ?? ""),
        h("label", { for: "key" }, t("keyLabel")),
        input,
        h("p", { class: "hint" }, t("keyHint")),
        h("div", { class: "row" }, h("button", { value: "use", class: "main" }, t("use")), h("button", { value: "", formnovalidate: true }, t("cancel"))),
      ),
    );
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      const used = dialog.returnValue === "use" && input.value.trim();
      if (used) sessionStorage.setItem(KEY, used);
      dialog.remove();
      asking = null;
      resolve(Boolean(used));
    });
    dialog.showModal();
  });
  return asking;
}
