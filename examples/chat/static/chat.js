// The room in a browser.  Whatever people typed only ever becomes textContent.
"use strict";

const KEPT = 200; // messages on the page, as many as a worker remembers
const byId = (id) => document.getElementById(id);
const log = byId("log"), list = byId("messages"), where = byId("where");

const known = new Set(); // "origin:n" of every message on the page
const pending = new Map(); // ref -> what we sent and have not seen come back
let messages = []; // what is on the page, oldest first
let socket = null;
let tries = 0;

byId("name").value = localStorage.getItem("name") || "";

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws?after=${encodeURIComponent(cursor())}`);
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    show("connecting", "reconnecting …");
    setTimeout(connect, pause(event.code));
  };
}

// 1012 (service restart) and 1001 (going away) are said by a worker that leaves on
// purpose: another one is there already, so come back soon, but not all at once.
// Anything else may be trouble that a crowd would make worse: wait longer each time.
function pause(code) {
  if (code === 1012 || (code === 1001 && tries === 0)) {
    tries = 1;
    return 50 + Math.random() * 950;
  }
  tries += 1;
  return 200 + Math.random() * Math.min(15000, 250 * 2 ** tries);
}

// What we have, so that another worker can tell us exactly what we miss.
function cursor() {
  const last = new Map();
  for (const m of messages) last.set(m.origin, Math.max(m.n, last.get(m.origin) || 0));
  return Array.from(last, ([origin, n]) => `${origin}:${n}`).join(",");
}

function receive(frame) {
  if (frame.hello) {
    tries = 0;
    const { slot, generation, pid } = frame.hello;
    show("open", `you are on worker ${slot}`);
    where.title = `worker=${slot} gen=${generation} pid=${pid}`;
    for (const message of frame.messages) add(message);
    // Sent just before the old connection went, and it never came back to us.
    for (const said of pending.values()) socket.send(JSON.stringify(said));
  } else if (frame.message) {
    add(frame.message);
  } else if (frame.error) {
    pending.clear();
    trouble(frame.error);
  }
}

function add(message) {
  const id = `${message.origin}:${message.n}`;
  if (known.has(id)) return;
  known.add(id);
  const own = pending.delete(message.ref) || mine(message.ref);
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  // Almost always the last place; a message that was long on its way goes where it belongs.
  let place = messages.length;
  while (place > 0 && messages[place - 1].at > message.at) place -= 1;
  messages.splice(place, 0, message);
  list.insertBefore(item(message, own), list.children[place] || null);
  while (messages.length > KEPT) {
    const oldest = messages.shift();
    known.delete(`${oldest.origin}:${oldest.n}`);
    list.firstElementChild.remove();
  }
  byId("empty").hidden = true;
  if (atEnd || own) log.scrollTop = log.scrollHeight;
}

function item(message, own) {
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };
  const li = element("li", own ? "own" : "", "");
  const by = element("div", "by", "");
  const time = new Date(message.at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  by.append(element("b", "", message.name), element("span", "", `worker ${message.slot} · ${time}`));
  li.append(by, element("p", "text", message.text));
  return li;
}

// Refs begin with this tab's own mark, so that history tells our messages from others'.
const mark = sessionStorage.getItem("mark") || Math.random().toString(36).slice(2, 12);
sessionStorage.setItem("mark", mark);
const mine = (ref) => ref.startsWith(mark + ".");

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  const name = byId("name").value.trim();
  if (!text) return;
  localStorage.setItem("name", name);
  const said = { name, text, ref: `${mark}.${Date.now().toString(36)}` };
  pending.set(said.ref, said);
  // Not open: it goes out with the next greeting.
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(said));
  byId("text").value = "";
  trouble("");
});

function show(state, text) {
  where.dataset.state = state;
  byId("where-text").textContent = text;
}

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

connect();
