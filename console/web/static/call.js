"use strict";
// The call page: the player, the playhead, and words that are heard when clicked. Without it the page reads as well.
(() => {
  const audio = document.getElementById("audio");
  const wave = document.querySelector(".wave");
  const duration = wave ? Number(wave.dataset.duration) : 0;
  const words = [...document.querySelectorAll(".w")].map((node) => ({
    node, start: Number(node.dataset.s), end: Number(node.dataset.e),
  })).sort((a, b) => a.start - b.start);

  const clock = (ms) => {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
    const hours = Math.floor(seconds / 3600);
    const text = `${hours ? String(parts[0]).padStart(2, "0") : parts[0]}:${String(parts[1]).padStart(2, "0")}`;
    return hours ? `${hours}:${text}` : text;
  };

  document.addEventListener("click", (event) => {
    const word = event.target.closest("[data-finding]");
    if (word && !audio) location.hash = word.dataset.finding;
  });
  if (!audio) return;

  document.querySelector(".sound").classList.add("ready");
  document.querySelector(".transcript").classList.add("ready-words");
  const playhead = document.querySelector(".playhead");
  const player = document.getElementById("player");

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    node.className = className;
    if (text) node.textContent = text;
    return node;
  };
  const shape = (path) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  };
  const PLAY = "M8 5v14l11-7z", PAUSE = "M7 5h4v14H7zM13 5h4v14h-4z";

  const button = make("button", "play");
  const back = make("button", "skip-button", "−5 s");
  const ahead = make("button", "skip-button", "+5 s");
  const slider = make("input", "slider");
  const times = make("span", "times");
  const at = document.createTextNode("0:00");
  const speed = make("select", "");
  const state = make("span", "state");
  for (const one of [button, back, ahead]) one.type = "button";
  slider.type = "range";
  slider.min = "0";
  slider.max = String(duration);
  slider.step = "100";
  slider.value = "0";
  slider.setAttribute("aria-label", "Position");
  times.append(at, make("span", "", ` / ${clock(duration)}`));
  for (const rate of ["0.75", "1", "1.25", "1.5", "2"]) speed.append(new Option(`${rate}×`, rate, rate === "1", rate === "1"));
  speed.setAttribute("aria-label", "Speed");
  state.setAttribute("role", "status");
  player.append(button, back, ahead, slider, times, speed, state);
  player.classList.add("own");

  const draw = () => {
    button.replaceChildren(shape(audio.paused ? PLAY : PAUSE));
    button.setAttribute("aria-label", audio.paused ? "Play" : "Pause");
  };
  let current = [];
  const show = (ms) => {
    at.data = clock(ms);
    slider.value = String(ms);
    const x = String(Math.min(1000, (1000 * ms) / duration));
    playhead.setAttribute("x1", x);
    playhead.setAttribute("x2", x);
    // Words are sorted by start; both legs may speak at once, each in two forms, so look back over the last few.
    let low = 0, high = words.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (words[middle].start <= ms) low = middle + 1; else high = middle;
    }
    const now = words.slice(Math.max(0, low - 32), low).filter((word) => ms < word.end);
    for (const word of current) if (!now.includes(word)) word.node.classList.remove("now");
    for (const word of now) word.node.classList.add("now");
    current = now;
  };
  let frame = 0;
  const follow = () => {
    show(audio.currentTime * 1000);
    frame = audio.paused ? 0 : requestAnimationFrame(follow);
  };
  const seek = (ms, play) => {
    audio.currentTime = Math.max(0, Math.min(ms, duration - 50)) / 1000;
    show(audio.currentTime * 1000);
    if (play) audio.play().catch(() => {});
  };

  button.addEventListener("click", () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()));
  back.addEventListener("click", () => seek(audio.currentTime * 1000 - 5000, false));
  ahead.addEventListener("click", () => seek(audio.currentTime * 1000 + 5000, false));
  slider.addEventListener("input", () => seek(Number(slider.value), false));
  speed.addEventListener("change", () => { audio.playbackRate = Number(speed.value); });
  audio.addEventListener("play", () => { draw(); if (!frame) frame = requestAnimationFrame(follow); });
  for (const name of ["pause", "ended"]) audio.addEventListener(name, draw);
  audio.addEventListener("seeked", () => show(audio.currentTime * 1000));
  audio.addEventListener("error", () => { state.textContent = "The recording cannot be played."; });
  audio.addEventListener("playing", () => { state.textContent = ""; });

  document.querySelector(".transcript").addEventListener("click", (event) => {
    const word = event.target.closest(".w");
    if (word && !String(getSelection())) seek(Number(word.dataset.s), true);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-seek]");
    if (!link) return;
    event.preventDefault();
    history.replaceState(null, "", `#t=${link.dataset.seek}`);
    seek(Number(link.dataset.seek), true);
  });
  wave.addEventListener("click", (event) => {
    if (event.target.closest("a")) return;
    const box = wave.getBoundingClientRect();
    seek((duration * (event.clientX - box.left)) / box.width, !audio.paused);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea, button, a, summary") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") { event.preventDefault(); button.click(); }
    if (event.key === "ArrowLeft") seek(audio.currentTime * 1000 - 5000, false);
    if (event.key === "ArrowRight") seek(audio.currentTime * 1000 + 5000, false);
  });

  const fromHash = () => {
    const match = /^#t=(\d{1,9})$/.exec(location.hash);
    if (!match) return;
    const ms = Number(match[1]);
    // Nothing is loaded yet, and loading is an access: only the position is noted.
    audio.addEventListener("loadedmetadata", () => { audio.currentTime = ms / 1000; }, { once: true });
    show(ms);
    const word = words.find((one) => one.end > ms);
    if (word) word.node.closest(".turn").scrollIntoView({ block: "center" });
  };
  draw();
  fromHash();
  addEventListener("hashchange", fromHash);
})();
