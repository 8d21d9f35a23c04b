// The little that pages cannot do without a script. Everything else works without it.

// A window whose form was refused opens again, with what was typed.
for (const found of document.querySelectorAll("[popover][data-open]")) found.showPopover();

// Whether somebody has typed something into a form of this part that is shown and would be lost with it.
function isFilledIn(part) {
  const fields = part.querySelectorAll?.("form[method=post] :is(input, textarea)") ?? [];
  return [...fields].some((field) => field.value !== field.defaultValue && field.getClientRects().length);
}

// What somebody is writing or has written, or has reached by keyboard, is not replaced by newer content.
for (const name of ["htmx:beforeSwap", "htmx:sseBeforeMessage"]) {
  document.addEventListener(name, (event) => {
    const part = event.target;
    if (part.querySelector?.(":popover-open, :focus-visible") || isFilledIn(part)) event.preventDefault();
  });
}

// Nothing happens any more, or has not for long: the page is not renewed from here on.
document.addEventListener("htmx:sseClose", () => {
  for (const mark of document.querySelectorAll(".live")) mark.hidden = true;
});

// The box above a list ticks all boxes of its form.
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-tick-all]")) return;
  for (const box of event.target.form.querySelectorAll("input[type=checkbox][name=id]")) box.checked = event.target.checked;
});

// A form is sent once, however often its button is pressed. Coming back to the page, it can be sent again.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// "/" leads to the search, as on many pages.
document.addEventListener("keydown", (event) => {
  const search = document.querySelector("input[type=search]");
  if (event.key !== "/" || !search || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  search.focus();
  search.select();
});
