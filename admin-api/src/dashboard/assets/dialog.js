// Questions before something is done: a dialog that holds the keyboard, says what will happen, and can always be left by Escape.
//
// What is done when it is agreed to is for who asked; while it is done the dialog says so, and it stays when that fails.

import { announce, el, swap } from "./dom.js";
import { problemBox } from "./problem.js";

/**
 * Asks. `content` are elements, `act` does it and may fail, `label` is the button's word. With `word` the person has to type that
 * word first. Answers what `act` answered, or undefined when it was left.
 */
export function ask({ title, content, label, act, word = null, danger = false }) {
  return new Promise((resolve) => {
    const wrong = el("div");
    const button = el("button", { type: "submit", class: danger ? "danger" : "primary" }, label);
    const typed = word === null ? null : typedWord(word, button);
    const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
    const heading = el("h2", { id: "dialog-title" }, title);
    let answer;
    const form = el(
      "form",
      {
        onsubmit: async (event) => {
          event.preventDefault();
          button.disabled = true;
          swap(wrong);
          announce(`${label}: under way`);
          try {
            answer = (await act(new FormData(form))) ?? true;
            dialog.close();
          } catch (problem) {
            swap(wrong, problemBox(problem));
            button.disabled = false;
          }
        },
      },
      heading,
      content,
      typed,
      wrong,
      el("div", { class: "actions" }, cancel, button),
    );
    const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A field in which `word` has to be typed before `button` can be pressed. */
export function typedWord(word, button) {
  const hint = el("p", { id: "typed-hint", class: "hint" }, "The button works once it is typed exactly.");
  button.disabled = true;
  const input = el("input", {
    id: "typed",
    name: "typed",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": "typed-hint",
    oninput: () => {
      const right = input.value === word;
      if (button.disabled === right) announce(right ? "It can be done now." : "Not typed right.");
      button.disabled = !right;
    },
  });
  return el(
    "div",
    { class: "field" },
    el("label", { for: "typed" }, "Type ", el("code", {}, word), " to confirm"),
    input,
    hint,
  );
}
