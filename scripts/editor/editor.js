// An editor for templates: Jinja highlighting, line numbers, undo, and one mark for an error. Tab leaves it.

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { jinja2 } from "@codemirror/legacy-modes/mode/jinja2";
import { setDiagnostics } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

// The page's own colours, so that the editor follows light and dark.
const colours = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--card)", fontSize: ".86rem", maxHeight: "36rem" },
  ".cm-scroller": { fontFamily: "ui-monospace, monospace", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--ink)", minHeight: "22rem" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  ".cm-gutters": { backgroundColor: "var(--back)", color: "var(--soft)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent) 8%, transparent)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 30%, transparent) !important" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
  ".cm-tooltip": { backgroundColor: "var(--card)", color: "var(--ink)", border: "1px solid var(--line)" },
});

const highlighting = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: tags.comment, color: "var(--soft)", fontStyle: "italic" },
  { tag: tags.string, color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.atom], color: "var(--warn)" },
  { tag: [tags.variableName, tags.tagName, tags.operator], color: "var(--accent)" },
]);

export function createEditor(root, text, label, changed) {
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: text,
      extensions: [
        lineNumbers(),
        history(),
        drawSelection(),
        highlightActiveLine(),
        bracketMatching(),
        EditorView.lineWrapping,
        StreamLanguage.define(jinja2),
        syntaxHighlighting(highlighting),
        keymap.of([...defaultKeymap, ...historyKeymap]),
        colours,
        EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false" }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) changed();
        }),
      ],
    }),
  });
  const replace = (from, to, insert, select) =>
    view.dispatch({ changes: { from, to, insert }, ...(select ? { selection: { anchor: from + insert.length } } : {}) });
  return {
    text: () => view.state.doc.toString(),
    set: (source) => replace(0, view.state.doc.length, source, false),
    insert(source) {
      const { from, to } = view.state.selection.main;
      replace(from, to, source, true);
      view.focus();
    },
    // Mark a place, counted from 1; null clears the mark.
    mark(line, column, message) {
      const found = [];
      if (line !== null && line <= view.state.doc.lines) {
        const at = view.state.doc.line(line);
        found.push({ from: Math.min(at.from + (column ?? 1) - 1, at.to), to: at.to, severity: "error", message });
      }
      view.dispatch(setDiagnostics(view.state, found));
    },
    focus: () => view.focus(),
    close: () => view.destroy(),
  };
}
