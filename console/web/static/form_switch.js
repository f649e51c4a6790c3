"use strict";
// Which form of the words was chosen is kept in this browser; where it may keep nothing, nothing is kept.
(() => {
  const forms = [...document.querySelectorAll(".switch input")];
  try {
    const kept = forms.find((input) => input.value === localStorage.getItem("transcript-form"));
    if (kept) kept.checked = true;
  } catch { /* storage is switched off */ }
  for (const input of forms) {
    input.addEventListener("change", () => {
      try { localStorage.setItem("transcript-form", input.value); } catch { /* as above */ }
    });
  }
})();
