"use strict";
// Keeps the live pages up to date. Everything is put in as text, never as markup.
(() => {
  const root = document.getElementById("live");
  const connection = document.getElementById("connection");
  const alerts = document.getElementById("alerts");
  const calls = document.getElementById("calls");
  const turns = document.getElementById("turns");
  const none = document.getElementById("none");
  const speakers = new Map();

  const clock = (ms) => {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    const text = `${hours ? String(minutes).padStart(2, "0") : minutes}:${String(seconds % 60).padStart(2, "0")}`;
    return hours ? `${hours}:${text}` : text;
  };
  const copy = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
  const nameOf = (call, leg, role) => (speakers.get(call) || new Map()).get(leg) || ({ mixed: "Both parties", unknown: "Speaker" }[role] || role[0].toUpperCase() + role.slice(1));

  const tick = () => {
    for (const node of document.querySelectorAll(".elapsed")) {
      const since = Number(node.dataset.since);
      if (since > 0) node.textContent = clock(Date.now() - since);
    }
  };

  // Words that are shown already keep their elements: nothing flickers, and what somebody has selected stays so.
  const put = (node, words) => {
    const keys = words.map((word) => JSON.stringify(word));
    let same = 0;
    while (node.shown && same < Math.min(keys.length, node.shown.length) && keys[same] === node.shown[same]) same += 1;
    if (same === 0) node.replaceChildren();
    while (node.childNodes.length > 2 * same) node.lastChild.remove();
    for (const [text, mark, hidden, firm, said] of words.slice(same)) {
      const word = document.createElement("span");
      word.className = hidden ? "w gone" : firm ? "w" : "w unsure";
      word.textContent = hidden ? text : text + mark;
      if (said) word.title = `Said: ${said}`;
      node.append(word, hidden ? `${mark} ` : " ");
    }
    node.shown = keys;
  };

  const card = (call) => {
    let node = document.getElementById(`call-${call}`);
    if (!node) {
      node = copy("call-template");
      node.id = `call-${call}`;
      node.href = `/live/${call}`;
      node.querySelector("b").textContent = "A call";
      calls.prepend(node);
      none.hidden = true;
    }
    return node;
  };

  const onCall = (message) => {
    const names = new Map();
    for (const [leg, role, name] of message.speakers) names.set(leg, name || nameOf("", leg, role));
    speakers.set(message.call, names);
    const joined = [...names.values()].join(" and ");
    if (calls) {
      const node = card(message.call);
      if (joined) node.querySelector("b").textContent = joined;
      if (!node.classList.contains("over")) node.querySelector(".elapsed").dataset.since = String(message.started_at_ms);
    } else if (joined) document.getElementById("names").textContent = joined;
  };

  const onSegment = (message) => {
    if (!message.reading.length) return;
    if (calls) onCardSegment(message); else onTurn(message);
  };

  const onCardSegment = (message) => {
    const last = card(message.call).querySelector(".last");
    let line = [...last.children].find((one) => one.dataset.id === message.id || (one.classList.contains("partial") && one.dataset.leg === String(message.leg)));
    if (!line) {
      line = document.createElement("p");
      last.append(line);
      while (last.children.length > 2) last.firstElementChild.remove();
    }
    line.dataset.id = message.id;
    line.dataset.leg = String(message.leg);
    line.className = message.final ? "" : "partial";
    if (!line.firstElementChild) {
      const who = document.createElement("span"), words = document.createElement("span");
      words.className = "line";
      line.append(who, " ", words);
    }
    const who = line.firstElementChild;
    who.className = `speaker ${message.role}`;
    who.textContent = nameOf(message.call, message.leg, message.role);
    put(line.lastElementChild, message.reading);
  };

  const onTurn = (message) => {
    none.hidden = true;
    const stick = innerHeight + scrollY >= document.documentElement.scrollHeight - 160;
    let node = [...turns.children].find((one) => one.dataset.id === message.id);
    for (const one of [...turns.children]) {
      const replaced = one !== node && one.classList.contains("partial") && one.dataset.leg === String(message.leg) && Number(one.dataset.start) <= message.start_ms;
      if (replaced) { if (node) one.remove(); else node = one; }
    }
    if (!node) node = copy("turn-template");
    node.dataset.id = message.id;
    node.dataset.leg = String(message.leg);
    node.dataset.start = String(message.start_ms);
    node.className = `turn ${message.role}${message.final ? "" : " partial"}`;
    node.querySelector(".at").textContent = clock(message.start_ms);
    const who = node.querySelector(".speaker");
    who.className = `speaker ${message.role}`;
    who.textContent = nameOf(message.call, message.leg, message.role);
    put(node.querySelector(".for-reading"), message.reading);
    put(node.querySelector(".as-spoken"), message.spoken);
    const later = [...turns.children].find((one) => one !== node && Number(one.dataset.start) > message.start_ms);
    if (later) turns.insertBefore(node, later); else turns.append(node);
    if (stick) scrollTo({ top: document.documentElement.scrollHeight });
  };

  const onAlert = (message) => {
    if ([...alerts.children].some((one) => one.dataset.alert === message.alert)) return;
    const node = copy("alert-template");
    node.dataset.alert = message.alert;
    node.classList.add(message.severity);
    const chip = node.querySelector(".chip");
    chip.classList.add(message.severity);
    chip.textContent = message.severity;
    node.querySelector(".quiet").textContent = `just now, at ${clock(message.at_ms)} of the call`;
    node.querySelector("h3").textContent = message.title;
    node.querySelector(".why").textContent = message.why;
    const follow = node.querySelector(".to-call");
    if (calls) follow.href = `/live/${message.call}`; else follow.parentElement.remove();
    node.querySelector("[name=alert]").value = message.alert;
    alerts.prepend(node);
  };

  // What the page still shows and is over: it was rendered a moment ago, or the connection was lost for a while.
  const onNow = (message) => {
    for (const one of [...alerts.children]) if (!message.alerts.includes(one.dataset.alert)) one.remove();
    if (!calls) return;
    for (const one of [...calls.children]) if (!message.calls.includes(one.id.slice("call-".length))) one.remove();
    none.hidden = calls.children.length > 0;
  };

  const onEnded = (message) => {
    if (calls) {
      const node = document.getElementById(`call-${message.call}`);
      if (!node || node.classList.contains("over")) return;
      node.classList.add("over");
      end(node.querySelector(".elapsed"));
      leaveSoon(node);
    } else if (message.call === root.dataset.call) end(document.querySelector(".elapsed"));
  };
  const leaveSoon = (node) => setTimeout(() => { node.remove(); none.hidden = calls.children.length > 0; }, 60000);
  const end = (node) => { node.dataset.since = "0"; node.textContent = "ended"; };

  const say = (state, text) => { connection.dataset.state = state; connection.textContent = text; };
  const source = new EventSource(root.dataset.stream);
  source.addEventListener("open", () => say("on", "live"));
  source.addEventListener("error", () => say("lost", source.readyState === EventSource.CLOSED ? "not connected; load the page again" : "connecting again"));
  source.addEventListener("message", (event) => {
    const message = JSON.parse(event.data);
    switch (message.type) {
      case "now": onNow(message); break;
      case "call": onCall(message); break;
      case "segment": onSegment(message); break;
      case "alert": onAlert(message); break;
      case "answered": for (const one of [...alerts.children]) if (one.dataset.alert === message.alert) one.remove(); break;
      case "ended": onEnded(message); break;
      case "resync": case "logged_out": location.reload(); break;
    }
  });
  if (calls) for (const one of [...calls.children]) if (one.classList.contains("over")) leaveSoon(one);
  tick();
  setInterval(tick, 1000);
})();
