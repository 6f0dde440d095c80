// The page: shows what api/v1/status, api/v1/events and api/v1/history say, for either role.
//
// Whatever comes from there goes in as text, never as markup: names, addresses and errors may be
// written by strangers. Everything is made once and then only changed, so nothing flickers, and
// neither the focus nor the place on the page is lost.

let state = null; // the last snapshot
let arrived = 0; // when it came, by this browser's steady clock
let base = null; // { time, started, totals }: what rates are measured from
let rates = new Map(); // name of a service, or "" for all -> { received, sent } in bytes a second
let past = null; // { range, step, time, series: name -> Series }
let trouble = null; // why there is no news, in words

const isServer = () => state.role === "server";
/** Now, by the clock of the program that we look at: the browser's may be wrong. */
const now = () => state.time + (performance.now() - arrived) / 1000;

// ---- Numbers and times as people read them: a text, or `[text, what it is exactly]`

const NONE = ["–", "not known"];
const grouped = new Intl.NumberFormat("en");
const exactTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const minute = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const at = (format, seconds) => format.format(new Date(seconds * 1000));

function scaled(value, units) {
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit > 0 && value < 9.95 ? 1 : 0)} ${units[unit]}`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const short = (number) =>
  number < 1e7 ? grouped.format(number) : scaled(number, ["", "k", "M", "G", "T", "P", "E"]);
const many = (number, one, more = one + "s") => `${short(number)} ${number === 1 ? one : more}`;
const count = (number) => [short(number), grouped.format(number)];
const bytes = (number) => [scaled(number, UNITS), `${grouped.format(number)} bytes`];
const perSecond = (number) => `${scaled(number, UNITS)}/s`;
const rate = (number) => number === undefined ? ["–", "measured from the second look on"]
  : [perSecond(number), `${grouped.format(Math.round(number))} bytes a second`];
/** A value with words around it. */
const with_ = ([text, exact], after, before = "") => [before + text + after, exact];

function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h`;
  if (whole < 63072000) return `${Math.floor(whole / 86400)} days`;
  return `${grouped.format(Math.floor(whole / 31557600))} years`;
}
const ago = (time) =>
  [now() - time < 1 ? "just now" : `${span(now() - time)} ago`, at(exactTime, time)];
const lasting = (time) => [`for ${span(now() - time)}`, `since ${at(exactTime, time)}`];

/** A short time: a round trip, a turn. */
function brief(seconds) {
  const ms = seconds * 1000;
  const text = ms >= 59950 ? span(seconds) : ms >= 999.5 ? `${seconds.toFixed(1)} s`
    : ms > 0 && ms < 0.05 ? "under 0.1 ms" : `${ms.toFixed(ms < 9.95 ? 1 : 0)} ms`;
  return [text, `${ms} ms`];
}

/** How many of each kind: its word is that of the access log and of the metrics. */
function counts(list) {
  const named = ({ kind, count }) => `${short(count)} ${kind.replaceAll("_", " ")}`;
  return [
    list.map(named).join(", ") || "none",
    list.map(({ kind, count }) => `${kind}: ${grouped.format(count)}`).join("\n"),
  ];
}

const BOUNDS = [0.001, 0.0025, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]; // in seconds

/** Durations in buckets: up to which bound half of them are, and nearly all. */
function spread({ counts }) {
  const all = sum(counts);
  const bound = (bucket) =>
    BOUNDS[bucket] < 1 ? `${BOUNDS[bucket] * 1000} ms` : `${BOUNDS[bucket]} s`;
  const within = (part) => {
    let seen = 0;
    const bucket = counts.findIndex((number) => (seen += number) >= all * part);
    return BOUNDS[bucket] ? `within ${bound(bucket)}` : `over ${bound(bucket - 1)}`;
  };
  const each = counts.map((number, bucket) =>
    `${BOUNDS[bucket] ? `up to ${bound(bucket)}` : "longer"}: ${grouped.format(number)}`);
  return [all ? `half ${within(0.5)}, 95 % ${within(0.95)}` : "none yet", each.join("\n")];
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const most = (numbers) => numbers.reduce((top, number) => Math.max(top, number), 0);
const listed = (words) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
const few = (words) => words.length < 4 ? words.join(", ")
  : [`${words.slice(0, 2).join(", ")} and ${words.length - 2} more`, words.join("\n")];

// ---- Elements

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
/** An element: `el("td.num", { title: "…" }, …)`. Children that are strings become text. */
function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag);
  if (classes.length > 0) node.className = classes.join(" ");
  return fill(node, attributes, children);
}
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

function set(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}
function show(node, value = "") {
  const [text, title] = Array.isArray(value) ? value : [value];
  if (node.textContent !== text) node.textContent = text;
  if (title) set(node, "title", title);
  else node.removeAttribute("title");
}
/** Children of `node`, as many as there are items, made once for each place. */
function repeat(node, items, make, update) {
  while (node.children.length > items.length) node.lastChild.remove();
  while (node.children.length < items.length) node.append(make());
  items.forEach((item, place) => update(node.children[place], item, place));
}

const MARKS = {
  good: "M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zM6.8 11.7 3.3 8.2l1.3-1.3 2.2 2.2 4.6-4.7 1.3 1.3z",
  bad: "M8 .6 16 15H0zM7.1 5.6v4.9h1.8V5.6zm0 6v1.8h1.8v-1.8z",
  wait: "M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zm0 1.9a6.1 6.1 0 1 1 0 12.2A6.1 6.1 0 0 1 8 1.9z" +
    "M7.1 4v5h4.6V7.3H8.8V4z",
  none: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm0 1.8a5.2 5.2 0 1 1 0 10.4A5.2 5.2 0 0 1 8 2.8z",
};

/** A value, with a mark before it if it has a kind: what is said is never said by colour alone. */
const sign = () => el("span.sign", {},
  draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, draw("path")), el("bdi"));
function put(node, value, kind) {
  const [mark, word] = node.children;
  set(node, "data-kind", kind || "");
  if (kind) set(mark.firstChild, "d", MARKS[kind]);
  show(word, value);
}

/** A value and its kind, below it a note, and what is wrong: `[value, note, kind, wrong]`. */
const pile = (tag) => el(tag, {}, sign(), el("small"), el("small.wrong"));
const visible = (value) => typeof value === "string" && !value.trim() ? "(blank)" : value;
function lay(node, [value, note, kind, wrong]) {
  const [word, below, error] = node.children;
  put(word, visible(value), kind);
  show(below, note);
  show(error, wrong || "");
}

/** Terms and what they are: `[term, value, note]`; with a histogram as note, its bars. */
function facts(list, entries) {
  const make = () => el("div", {}, el("dt"), el("dd", {}, el("span"), el("small")));
  repeat(list, entries, make, ({ firstChild, lastChild }, [term, value, note]) => {
    show(firstChild, term);
    show(lastChild.firstChild, value);
    if (note && note.counts) bars(lastChild.lastChild, note.counts);
    else show(lastChild.lastChild, note);
  });
}
function bars(place, counts) {
  if (!place.firstElementChild) {
    place.append(draw("svg", { class: "bars", viewBox: "0 0 96 24", "aria-hidden": "true" }));
  }
  const top = Math.max(1, most(counts));
  repeat(place.firstElementChild, counts, () => draw("path"), (bar, number, bucket) =>
    set(bar, "d", `M${8 * bucket} 24V${(23.4 - (23.4 * number) / top).toFixed(1)}h7V24z`));
}

// ---- Tables

const LIMIT = 12; // rows at first: sixty homes would bury what comes after them
let ids = 0;

/**
 * A table with a row for each key. A column is `[title, class, cell]`: `cell(item)` gives what
 * `lay` takes, or `cell.fill(td)` makes its own. `more(td)` fills the row that opens below; both
 * return what updates them.
 */
function table(place, { caption, things, columns, key, empty, more }) {
  const body = el("tbody", { role: "rowgroup" });
  const heads = columns.map(([title, kind]) =>
    el(`th${kind}`, { scope: "col", role: "columnheader" }, title));
  const node = el("table", { role: "table" }, el("caption.hidden", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)), body);
  const nothing = el("p.empty", {}, ...empty);
  const unfit = el("p.empty", {}, `No ${things[0]} has that in it.`);
  const all = el("button.all", { type: "button" });
  place.append(node, nothing, unfit, all);
  const rows = new Map();
  let open = false;
  let again;
  all.addEventListener("click", () => {
    open = !open;
    again();
  });

  function make() {
    const updates = [];
    const cells = columns.map(([title, kind, cell], column) => {
      const node = column === 0 ? el(`th${kind}`, { scope: "row", role: "rowheader" })
        : el(`td${kind}`, { role: "cell", "data-title": title });
      if (cell.fill) updates.push(cell.fill(node));
      else {
        const inner = node.appendChild(pile("div"));
        updates.push((item) => lay(inner, cell(item)));
      }
      return node;
    });
    const made = [el("tr", { role: "row" }, ...cells)];
    if (more) {
      const id = `more-${(ids += 1)}`;
      const cell = el("td", { role: "cell", colspan: columns.length });
      const rest = el("tr.rest", { role: "row", id, hidden: "" }, cell);
      const button = el("button.open", { type: "button", "aria-controls": id });
      const name = cells[0].firstChild;
      name.firstChild.replaceWith(button);
      button.append(sign());
      updates[0] = (item) => {
        const [value, note] = columns[0][2](item);
        put(button.firstChild, visible(value));
        show(name.children[1], note);
        set(button, "aria-expanded", String(!rest.hidden));
      };
      const update = more(cell);
      updates.push((item) => rest.hidden || update(item));
      button.addEventListener("click", () => {
        rest.hidden = !rest.hidden;
        again();
      });
      made.push(rest);
    }
    made.update = (item) => updates.forEach((update) => update(item));
    return made;
  }

  return function update(items, filtered = false) {
    again = () => update(items, filtered);
    const wanted = new Map();
    for (const item of open || filtered ? items : items.slice(0, LIMIT)) {
      let id = key(item);
      while (wanted.has(id)) id += " "; // two of a kind: another row
      const row = rows.get(id) || make();
      row.update(item);
      wanted.set(id, row);
      rows.set(id, row);
    }
    for (const [id, row] of rows) {
      if (wanted.has(id)) continue;
      row.forEach((part) => part.remove());
      rows.delete(id);
    }
    [...wanted.values()].flat().forEach((row, place) => moveTo(body, row, place));
    node.hidden = items.length === 0;
    nothing.hidden = items.length > 0 || filtered;
    unfit.hidden = items.length > 0 || !filtered;
    all.hidden = filtered || items.length <= LIMIT;
    set(all, "aria-expanded", String(open));
    show(all, open ? `Show the first ${LIMIT}` : `Show all ${many(items.length, ...things)}`);
  };
}

/** Keeps the focus that may be in what moves. */
function moveTo(parent, child, place) {
  const there = parent.children[place] || null;
  if (there === child) return;
  if (child.parentNode === parent && parent.moveBefore) return parent.moveBefore(child, there);
  const focus = child.contains(document.activeElement) && document.activeElement;
  parent.insertBefore(child, there);
  if (focus) focus.focus({ preventScroll: true });
}

// ---- Services, homes, servers

/** Of a name that stands for several, with the one that it is. */
const shownServer = ({ address, resolved }) =>
  resolved === null ? address : `${address} (${resolved})`;

/** Bytes of a service, or of strays: a server counts them for each entry, a client in all. */
function totals({ traffic, received_bytes: received, sent_bytes: sent }) {
  if (!traffic) return { received, sent };
  const of = (way) => sum(traffic.map((entry) => entry[way]));
  return { received: of("received_bytes"), sent: of("sent_bytes") };
}
const registered = (service) => service.registrations.some((one) => one.state === "registered");
const isWrong = (service) =>
  isServer() ? !service.online : !registered(service) || service.answers === false;

const rateOf = (name, way) => rate((rates.get(name) || {})[way]);
const flow = (title, way) => [title, ".num", (service) =>
  [rateOf(service.name, way), with_(bytes(totals(service)[way]), " so far")]];

const spark = { fill: (cell) => {
  const line = draw("path", { class: "sent" });
  const chart = draw("svg",
    { viewBox: "0 0 120 28", preserveAspectRatio: "none", role: "img" }, line);
  const note = el("small");
  cell.append(chart, note);
  let drawn;
  return ({ name }) => {
    const series = past && past.series.get(name);
    if (!past || (drawn === series && note.textContent)) return;
    drawn = series;
    const all = series ? series.all : 0;
    chart.toggleAttribute("hidden", !all);
    show(note, with_(all ? bytes(all) : ["nothing"], ` last ${past.range}`));
    if (!all) return;
    set(chart, "aria-label", `In the last ${past.range}: ${amounts(series)}`);
    set(line, "d", sparkline(series));
  };
} };
const busy = [
  ["Visitors", ".num", ({ visitors, waiting }) =>
    [count(visitors), waiting ? with_(count(waiting), " waiting") : ""]],
  ["Lately", ".spark", spark],
  flow("To visitors", "sent"),
  flow("From visitors", "received"),
];

const trip = (line) => line && line.round_trip_seconds !== null
  ? brief(line.round_trip_seconds) : "not measured";
const quality = [
  ["Round trip", ".num", (line) => [trip(line), line.least_round_trip_seconds === null
    ? "" : with_(brief(line.least_round_trip_seconds), "", "least ")]],
  ["Links", ".num", (line) =>
    [with_(count(line.used_links), " used"), with_(count(line.spare_links), " spare")]],
];

const code = (text) => el("code", {}, text);
const newService = (role, key) => ["No services yet. Add a table ", code(`[${role}.services.NAME]`),
  " with a ", code("token"), " and ", code(key),
  " to the file; once it is saved, the service stands here."];

const serviceTable = {
  caption: "Services, whether each is online, and what has passed it",
  things: ["service"],
  key: (service) => service.name,
  empty: newService("server", "hosts"),
  columns: [
    ["Service", "", (service) => [service.name,
      with_([few([...service.names, ...service.ports])].flat(), "", `${service.type}: `)]],
    ["State", ".state", ({ online, since }) =>
      [online ? "Online" : "Offline", lasting(since), online ? "good" : "bad"]],
    ["Home", ".far", ({ home }) => home === null ? ["no home is here"] : [home,
      with_([trip(state.homes.find((one) => one.address === home))].flat(), "", "round trip ")]],
    ...busy,
  ],
  more: (cell) => {
    const names = cell.appendChild(el("p.muted"));
    const list = cell.appendChild(el("div.entries"));
    const make = () => el("div", {}, el("p.entry"), el("dl.facts"));
    return ({ names: hosts, ports, traffic }) => {
      const all = [...hosts, ...ports];
      show(names, all.length > 3 ? all.join(", ") : traffic.length ? "" : "No visitor so far.");
      repeat(list, traffic, make, ({ firstChild, lastChild }, one) => {
        show(firstChild, one.entry);
        facts(lastChild, [
          ["Visits that are over", counts(one.ends)],
          ...(one.statuses.length > 0 ? [["Answers", counts(one.statuses)]] : []),
          ["To visitors", bytes(one.sent_bytes)],
          ["From visitors", bytes(one.received_bytes)],
          ["Until the first byte of the answer", spread(one.first_byte), one.first_byte],
          ["Wait for a link", spread(one.link_wait), one.link_wait],
        ]);
      });
    };
  },
};

const homeTable = {
  caption: "Homes that are connected, and how good their lines are",
  things: ["home"],
  key: (home) => home.address,
  empty: ["No home is connected. At home, run ", code("underpass client.toml"), " with ",
    code("remote_addr"), " set to this server's tunnel port and a service with the same name and ",
    code("token"), " as here."],
  columns: [
    ["Home", "", (home) => [home.services.length > 0 ? few(home.services) : "without a service",
      `${home.address}, ${home.program}`]],
    ["State", ".state", ({ draining, since }) =>
      [draining ? "Leaving" : "Connected", lasting(since), draining ? "wait" : "good"]],
    ...quality,
    ["Came back", ".num", ({ reconnects }) => [many(reconnects, "time")]],
  ],
};

/** By a map: a stranger may say "constructor". */
const lookup = (table) => new Map(Object.entries(table));

const UPSTREAM = lookup({
  connected: ["Connected", "good"],
  connecting: ["Connecting", "wait"],
  waiting: ["Waiting to try again", "bad"],
  leaving: ["Leaving", "wait"],
});

const upstreamTable = {
  caption: "Servers, and how good the line to each is",
  things: ["server"],
  key: shownServer,
  empty: ["No servers yet. Say ", code("remote_addr"), " in ", code("[client]"), " of the file."],
  columns: [
    ["Server", "", (server) => [shownServer(server), "", "", server.error]],
    ["State", ".state", (server) => {
      const [word, kind] = UPSTREAM.get(server.state) || [server.state, "wait"];
      return [word, lasting(server.since), kind];
    }],
    ...quality,
    ["Sessions", ".num", ({ sessions }) => [with_(count(sessions), " so far")]],
  ],
};

const REGISTRATION = lookup({
  registered: ["Registered", "good"],
  pending: ["Asked, no answer yet", "wait"],
  refused: ["Refused", "bad"],
  withdrawn: ["Taken away", "bad"],
});
const ANSWERS = new Map([
  [true, ["Answers", "good"]],
  [false, ["Does not answer", "bad"]],
]);

const homeServiceTable = {
  caption: "Services, what each server says of them, and whether they answer at home",
  things: ["service"],
  key: (service) => service.name,
  empty: newService("client", "local_addr"),
  columns: [
    ["Service", "", (service) => [service.name, `${service.type}: ${service.local_addr}`]],
    ["With the server", "", { fill: (cell) => {
      const list = cell.appendChild(el("ul"));
      return ({ registrations: all }) => repeat(list, all, () => pile("li"), (item, one) => {
        const [word, kind] = REGISTRATION.get(one.state) || [one.state, "wait"];
        lay(item, [word, all.length > 1 ? `with ${one.server}` : "", kind, one.reason]);
      });
    } }],
    ["At home", "", ({ answers, asked, error }) => {
      const [word, kind] = ANSWERS.get(answers) || ["Nobody has asked yet", "none"];
      return [word, asked === null ? "" : ago(asked), kind, error];
    }],
    ...busy,
  ],
  more: (cell) => {
    const list = cell.appendChild(el("dl.facts"));
    return (service) => facts(list, [
      ["Connections to what runs at home", counts(service.dials)],
      ["To visitors", bytes(service.sent_bytes)],
      ["From visitors", bytes(service.received_bytes)],
    ]);
  },
};

const failureTable = {
  caption: "Visitors who were not served as they wished, the newest first",
  things: ["failure"],
  key: (failure) => [failure.time, failure.visitor, failure.name, failure.end].join(" "),
  empty: ["Nothing has failed lately. Who is not served stands here, with the reason."],
  columns: [
    ["Visitor", "", (failure) => [failure.visitor, ago(failure.time)]],
    ["Asked for", "", ({ name, entry }) => [name ? [name, name] : "no name", `over ${entry}`]],
    ["Service", "", ({ service }) => [service === null ? "none" : service]],
    ["Why", ".why", ({ why, end }) => [why, end]],
  ],
};

const listenerTable = {
  caption: "Where it listens, and how many were let in",
  things: ["door"],
  key: (listener) => `${listener.entry} ${listener.address}`,
  empty: ["It listens nowhere yet. Say ", code("bind_addr"), " in ", code("[server]"), "."],
  columns: [
    ["Address", "", ({ address, entry, service }) =>
      [address, service === null ? entry : `${entry}, ${service}`]],
    ["Let in", ".num", ({ accepted }) => [count(accepted)]],
    ["Turned away", ".num", ({ refused }) => [count(refused)]],
  ],
};

const strayTable = {
  caption: "Visitors whom no service took",
  things: ["entry", "entries"],
  key: (traffic) => traffic.entry,
  empty: ["None: whoever came so far was taken by a service."],
  columns: [
    ["Entry", "", ({ entry }) => [entry]],
    ["Visits", ".why", ({ ends }) => [counts(ends)]],
    ["Bytes", ".num", (traffic) =>
      [bytes(traffic.received_bytes), with_(bytes(traffic.sent_bytes), " back")]],
  ],
};

// ---- The whole

let tables = null;

/** Once the role is known: its parts. */
function build() {
  for (const part of document.querySelectorAll("[data-role]")) {
    if (part.dataset.role !== state.role) part.remove();
  }
  show($("role"), state.role);
  const all = isServer()
    ? { services: serviceTable, homes: homeTable, failures: failureTable,
      listeners: listenerTable, strays: strayTable }
    : { services: homeServiceTable, servers: upstreamTable };
  tables = Object.fromEntries(Object.entries(all).map(([id, what]) => [id, table($(id), what)]));
  if (isServer()) $("explain").addEventListener("submit", explain);
  $("all").hidden = false;
}

function render() {
  const [text, kind] = verdict();
  put($("verdict"), text, kind);
  const connected = isServer() ? many(state.homes.length, "home")
    : many(state.servers.filter((one) => one.state === "connected").length, "server");
  const gone = isServer() ? state.services.filter(isWrong) : [];
  const since = gone.length === 1 ? `offline ${lasting(gone[0].since)[0]}, ` : "";
  show($("summary"), with_(lasting(state.started), "", `${since}${connected} connected, running `));
  document.title = `${kind === "good" ? "all well" : text} – underpass`;
  icon(kind);
  const { file, error, loaded } = state.configuration;
  notice("wrong-file", error && ["The file as it is now does not run", error, with_(ago(loaded),
    ". Correct the file: it is read again once it is saved.", `What runs is ${file} as read `)]);
  renderFigures();
  renderServices();
  renderProgram();
  if (!isServer()) return tables.servers(state.servers);
  tables.failures(state.failures);
  tables.listeners(state.listeners);
  tables.strays(state.strays);
  const { tunnel } = state;
  facts($("junk"), [
    ["Have proved nothing yet", count(tunnel.strangers)],
    ["Failed handshakes", count(tunnel.failed_handshakes), "another key, or no client of ours"],
    ["Proved nothing in time", count(tunnel.timeouts)],
    ["Wrong tokens", count(tunnel.wrong_tokens)],
    ["Unknown services", count(tunnel.unknown_services), "the file has none of the name"],
  ]);
}

/** At a glance: a sentence, and the kind of its mark. */
function verdict() {
  const { services, servers } = state;
  const wrong = services.filter(isWrong);
  const names = (list) =>
    listed(list.map((name) => name.length > 40 ? `${name.slice(0, 40)}…` : name));
  const are = (list, one, more) => [`${list.length <= 3 ? names(list.map((each) => each.name))
    : `${list.length} of ${services.length} services`} ${list.length === 1 ? one : more}`, "bad"];
  const all = (one, more) => [services.length === 1 ? `${names([services[0].name])} ${one}`
    : `${services.length === 2 ? "Both" : `All ${services.length}`} services ${more}`, "good"];
  if (state.draining) return ["Shutting down: no new visitors", "wait"];
  if (servers) {
    if (servers.length === 0) return ["No servers yet", "none"];
    const off = servers.filter((one) => !["connected", "leaving"].includes(one.state));
    if (off.length === 1 && servers.length > 1 || off.length > 1 && off.length < servers.length) {
      return [`Connected to ${servers.length - off.length} of ${servers.length} servers`, "bad"];
    }
    if (off.length > 0) return [`Not connected to ${names(off.map(shownServer))}`, "bad"];
  }
  if (services.length === 0) return ["No services yet", "none"];
  if (isServer()) {
    if (wrong.length > 0) return are(wrong, "is offline", "are offline");
    return all("is online", "are online");
  }
  if (wrong.length === 0) return all("can be reached", "can be reached");
  if (wrong.every(registered)) {
    return are(wrong, "does not answer at home", "do not answer at home");
  }
  return are(wrong, "cannot be reached", "cannot be reached");
}

function icon(kind) {
  const colour = { good: "0d8075", bad: "c2411c" }[kind] || "85817a";
  set($("icon"), "href", "data:image/svg+xml," + encodeURIComponent(
    `<svg xmlns="${SVG}" viewBox="0 0 32 32"><path fill="#${colour}" d="${
      document.querySelector(".arch").getAttribute("d")}"/></svg>`));
}

function renderFigures() {
  const { services, strays, homes, servers } = state;
  const all = [...services, ...(strays ? [{ traffic: strays }] : [])].map(totals);
  const passed = (way) => with_(bytes(sum(all.map((one) => one[way]))), " so far");
  const of = (name) => sum(services.map((service) => service[name]));
  const [slowest, ...others] = (homes || servers)
    .filter((line) => line.round_trip_seconds !== null)
    .sort((a, b) => b.round_trip_seconds - a.round_trip_seconds);
  const online = services.filter((one) => isServer() ? one.online : registered(one)).length;
  facts($("figures"), [
    [`Services ${isServer() ? "online" : "registered"}`,
      `${short(online)} of ${short(services.length)}`],
    ["Visitors now", count(of("visitors")),
      isServer() && of("waiting") > 0 ? with_(count(of("waiting")), " wait for a link") : ""],
    ["To visitors", rateOf("", "sent"), passed("sent")],
    ["From visitors", rateOf("", "received"), passed("received")],
    slowest ? [others.length > 0 ? "Slowest line" : "The line", trip(slowest),
      homes && slowest.services.length > 0 ? few(slowest.services) : slowest.address]
      : ["The line", "–", "not measured"],
  ]);
}

function renderServices() {
  const words = $("filter").value.trim().toLowerCase();
  const fits = (...texts) =>
    !words || texts.flat().some((text) => text && text.toLowerCase().includes(words));
  const { services, homes } = state;
  $("tools").hidden = services.length + (homes || []).length <= 8;
  const all = (service) => ((past && past.series.get(service.name)) || { all: 0 }).all;
  const order = $("order").value === "traffic" ? all : isWrong;
  tables.services(services.filter((one) =>
    fits(one.name, one.type, one.names, one.ports, one.home, one.local_addr))
    .sort((a, b) => order(b) - order(a)), words !== "");
  if (!homes) return;
  tables.homes(homes.filter((one) => fits(one.address, one.program, one.services)), words !== "");
}

function renderProgram() {
  const { configuration: file, process } = state;
  const reloads = file.failed_reloads
    ? with_(count(file.failed_reloads), " failed", "and ") : "none failed";
  facts($("configuration"), [
    ["File", file.file],
    ["Is what runs", file.error ? "no, see above" : "yes"],
    ["Read", ago(file.loaded)],
    ["Reloads", count(file.reloads), reloads],
    ["Started", ago(state.started)],
  ]);
  const of = (used, limit, show) => [
    [`${show(used)[0]} of ${show(limit)[0]}`, `${show(used)[1]} of ${show(limit)[1]}`],
    used > 0.9 * limit ? "nearly all" : "",
  ];
  facts($("process"), [
    ["Descriptors", ...of(process.descriptors, process.descriptor_limit, count)],
    ["Memory", bytes(process.resident_bytes)],
    ["Bytes held for slow readers", ...(process.held_limit_bytes
      ? of(process.held_bytes, process.held_limit_bytes, bytes)
      : [bytes(process.held_bytes), "without a limit"])],
    ["Processor time", [`${short(Math.round(process.cpu_seconds))} s`, `${process.cpu_seconds} s`]],
    ["Longest turn in the last minute", brief(process.longest_turn_seconds)],
    ["Log lines dropped", count(process.dropped_log_lines),
      process.dropped_log_lines ? "whoever reads a log is too slow" : ""],
  ]);
  show($("version"), `underpass ${state.version}`);
}

/** One that may stand at the top: `[title, quoted, text]`, or nothing. */
function notice(id, parts) {
  const node = $(id);
  node.hidden = !parts;
  if (parts) [...node.children].forEach((part, place) => show(part, parts[place]));
}

// ---- Plots

const amounts = (series) =>
  `${bytes(sum(series.sent))[0]} to visitors, ${bytes(sum(series.received))[0]} from visitors, ` +
  `at most ${many(most(series.visitors), "visitor")}`;

/** `values` in `number` groups of nearly the same size, each as `combine` makes it. */
function bins(values, number, combine) {
  const begin = (bin) => Math.floor((bin * values.length) / number);
  return Array.from({ length: number }, (_, bin) =>
    combine(values.slice(begin(bin), begin(bin + 1))));
}
const mean = (values) => sum(values) / values.length;
const path = (points) =>
  `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}Z`;

function sparkline({ sent, received }) {
  const both = sent.map((number, place) => number + received[place]);
  const values = bins(both, Math.min(60, both.length), mean);
  const [wide, top] = [120 / (values.length - 1 || 1), most(values)];
  return path([[0, 28], ...values.map((value, place) => [wide * place, 27 - (26 * value) / top]),
    [120, 28]]);
}

/** The next number that is 1, 2 or 5 times a power of ten. */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return power * ([1, 2, 5].find((factor) => factor * power >= value) || 10);
}

const RATES = 176; // heights: of both ways' rates, of the visitors, of the times below
const PEOPLE = 56;
const TIMES = 22;
const GAP = 22;
const GUTTER = 66; // for the scale's words; page.css knows it too
const FLOOR = RATES + GAP + PEOPLE;
let plot = null; // what is drawn, in so many bins from a time on
const across = (bin) => GUTTER + ((plot.width - GUTTER) * bin) / (plot.number - 1);

function drawPlot() {
  const series = past.series.get("");
  const quiet = !series || series.all + sum(series.visitors) === 0;
  $("plot").hidden = quiet;
  $("no-traffic").hidden = !quiet;
  show($("no-traffic"), `Nothing has passed in the last ${past.range}. Once visitors come, what ` +
    "they use is drawn here: open one of your names in a browser.");
  plot = null;
  if (quiet) return;
  const width = Math.max(240, Math.floor($("canvas").clientWidth));
  const length = past.range === "hour" ? 3600 : 86400;
  const samples = Math.max(series.sent.length, Math.round(length / past.step));
  const unknown = samples - series.sent.length; // it has not been running for so long
  const number = Math.min(samples, Math.floor((width - GUTTER) / 3));
  const each = (values, combine) => bins([...Array(unknown).fill(0), ...values], number, combine);
  const perStep = (values) => mean(values) / past.step;
  plot = {
    width, number,
    known: Math.ceil((unknown * number) / samples),
    from: past.time - samples * past.step,
    each: (samples * past.step) / number,
    sent: each(series.sent, perStep),
    received: each(series.received, perStep),
    visitors: each(series.visitors, most),
  };
  const up = Math.max(1, most(plot.sent));
  const down = most(plot.received);
  const scale = RATES / (up + down);
  const zero = up * scale;
  const top = Math.max(1, most(plot.visitors));
  const area = (kind, base, factor) => {
    const points = plot[kind].map((value, bin) => [across(bin), base + value * factor]);
    const known = points.slice(plot.known);
    return draw("path", { class: kind, d: path([[known[0][0], base], ...known, [width, base]]) });
  };

  const marks = [];
  const text = (x, y, words, kind) => marks.push(draw("text", { x, y, class: kind }, words));
  const rule = (y, kind) =>
    marks.push(draw("path", { class: kind, d: `M${GUTTER} ${Math.round(y) + 0.5}H${width}` }));
  const level = (y, words) => {
    if (y < 6) return; // its word would be cut
    rule(y, "rule");
    text(GUTTER - 8, Math.round(y) + 4, words.replace(".0", ""), "level");
  };
  const step = round((up + down) / 6);
  for (let value = step; value <= up; value += step) level(zero - value * scale, perSecond(value));
  for (let value = step; value <= down; value += step) {
    level(zero + value * scale, perSecond(value));
  }
  level(RATES + GAP, short(top));
  rule(zero, "zero");
  rule(FLOOR, "zero");
  // Times at round minutes or hours of the clock on the wall.
  const shift = new Date(past.time * 1000).getTimezoneOffset() * 60;
  const every = (past.range === "hour" ? 600 : 10800) * (width < 480 ? 2 : 1);
  const begin = past.time - length;
  let time = Math.ceil((begin - shift) / every) * every + shift;
  for (; time <= past.time; time += every) {
    const x = Math.round(GUTTER + ((time - begin) / length) * (width - GUTTER));
    if (x < GUTTER + 18 || x > width - 18) continue;
    marks.push(draw("path", { class: "zero", d: `M${x + 0.5} ${FLOOR}v4` }));
    text(x, FLOOR + 17, at(minute, time), "time");
  }
  const picture = draw("svg", { width, height: FLOOR + TIMES, role: "img",
    "aria-label": `Plot of the last ${past.range}: ${amounts(series)}. The highest rates are ${
      perSecond(up)} to and ${perSecond(down)} from visitors.` },
  ...marks, area("sent", zero, -scale), area("received", zero, scale),
  area("visitors", FLOOR, -PEOPLE / top), draw("path", { class: "cursor", id: "cursor" }));
  const old = $("canvas").querySelector("svg");
  if (old) old.replaceWith(picture);
  else $("canvas").prepend(picture);
  if (scrub.max !== String(number - 1)) scrub.value = scrub.max = String(number - 1);
  readOut();
}

let looking = null; // the bin under the pointer, or where the slider stands while it has the focus

/** What the plot shows in all, or at one time; and the same for who hears the slider. */
function readOut() {
  if (!plot) return;
  const series = past.series.get("");
  const time = (bin) =>
    at(past.range === "hour" ? clock : minute, plot.from + (bin + 0.5) * plot.each);
  const values = (bin) => bin < plot.known ? [NONE, NONE, NONE]
    : [rate(plot.sent[bin]), rate(plot.received[bin]), count(plot.visitors[bin])];
  const bin = looking === null ? null : Math.min(looking, plot.number - 1);
  const shown = bin !== null ? values(bin)
    : [bytes(sum(series.sent)), bytes(sum(series.received)),
      `up to ${short(most(series.visitors))}`];
  show($("when"), bin === null ? `Last ${past.range}` : time(bin));
  document.querySelectorAll("#plot b").forEach((node, place) => show(node, shown[place]));
  set($("cursor"), "d", bin === null ? "" : `M${across(bin).toFixed(1)} 0V${FLOOR}`);
  const spot = Math.min(Number(scrub.value), plot.number - 1);
  const [sent, received, visitors] = values(spot).map(([text]) => text);
  set(scrub, "aria-valuetext",
    `${time(spot)}: ${sent} to visitors, ${received} from visitors, visitors: ${visitors}`);
}
function look(bin) {
  looking = bin;
  readOut();
}

// ---- Asking

const STALE = 10000; // ms without news, of which there is some every 2 s
let source = null;
let patience = 2000; // until the next try, in ms; longer from try to try
let trying = null;

/** A snapshot has come. */
function take(next) {
  if (state && state.role !== next.role) return location.reload();
  const former = state;
  state = next;
  arrived = performance.now();
  patience = 2000;
  trouble = null;
  measure();
  if (!tables) build();
  render();
  tick();
  if (former) announce(former);
}

/** Rates, from this snapshot and one at least a second older of the same run. */
function measure() {
  const current = new Map(state.services.map((service) => [service.name, totals(service)]));
  if (isServer()) current.set("", totals({ traffic: state.strays })); // no service has that name
  const between = base && base.started === state.started ? state.time - base.time : 0;
  if (between > 0 && between < 1) return;
  rates = new Map();
  if (between > 0) {
    const all = { received: 0, sent: 0 };
    for (const [name, { received, sent }] of current) {
      const old = base.totals.get(name);
      if (!old || received < old.received || sent < old.sent) continue;
      const one = {
        received: (received - old.received) / between,
        sent: (sent - old.sent) / between,
      };
      rates.set(name, one);
      all.received += one.received;
      all.sent += one.sent;
    }
    rates.set("", all);
  }
  base = { time: state.time, started: state.started, totals: current };
}

/** Says aloud what has changed for the better or worse, and nothing else. */
function announce(former) {
  const words = [];
  const [bad, good] = isServer() ? ["is offline", "is online"]
    : ["cannot be reached", "can be reached"];
  const then = new Map(former.services.map((service) => [service.name, isWrong(service)]));
  for (const service of state.services) {
    const wrong = isWrong(service);
    if (then.has(service.name) && then.get(service.name) !== wrong) {
      words.push(`${service.name} ${wrong ? bad : good}`);
    }
  }
  if (state.configuration.error && !former.configuration.error) {
    words.push("the file as it is now does not run");
  }
  const more = words.splice(5).length;
  if (more > 0) words.push(`${more} more changes`);
  if (words.length > 0) show($("announcer"), `${listed(words)}.`);
}

/** What the API answers; `{ error }` if it refuses, nothing if it cannot be reached. */
async function get(path) {
  try {
    const answer = await fetch(`api/v1/${path}`, { cache: "no-store" });
    if (answer.ok || answer.status === 400) return await answer.json();
    return { error: `it answers with status ${answer.status}` };
  } catch {
    return null;
  }
}

async function ask() {
  clearTimeout(trying);
  trying = null;
  const next = await get("status");
  if (!next || next.error) return fail(next ? next.error : "it cannot be reached");
  source = new EventSource("api/v1/events");
  source.addEventListener("status", (event) => take(JSON.parse(event.data)));
  const began = performance.now(); // where streams are cut at once, it asks as often as they tell
  source.addEventListener("error", () =>
    fail("its stream of news has ended", performance.now() - began > 5000 ? 500 : 2000));
  take(next);
}

function fail(why, wait = patience) {
  if (source) source.close();
  source = null;
  trouble = why;
  if (trying === null) trying = setTimeout(ask, wait);
  patience = Math.min(15000, patience * 1.5);
  tick();
}

/** Every second: ages grow, and silence is noticed. */
function tick() {
  const silent = performance.now() - arrived;
  if (source && silent > STALE) return fail("it says nothing");
  const since = state ? at(clock, state.time) : "";
  const was = $("live").dataset.kind;
  // A stream that ends and is there again a moment later is no news.
  const lost = trouble !== null && (!state || silent > 4000);
  if (lost) {
    put($("live"), "No news", "bad");
    document.title = "no news – underpass";
    icon("none");
  } else if (state) put($("live"), [`Live, ${since}`, at(exactTime, state.time)], "good");
  notice("no-news", lost && (state ? [`No news from underpass since ${since}`, "",
    `That is ${ago(state.time)[0]}, and what you see is from then: ${
      trouble}. Trying again by itself.`]
    : ["underpass does not answer yet", "", `Now ${trouble}. Trying again by itself.`]));
  if (lost && was === "good") show($("announcer"), `No news from underpass since ${since}.`);
  if (!lost && was === "bad") show($("announcer"), "The news from underpass is back.");
  if (state) show($("taken"), `as of ${at(exactTime, state.time)}`);
}

const chosenRange = () => document.querySelector("[name=range]:checked").value;
let asking = null;

/** What has passed lately; anew after a while, the longer the more there is of it. */
async function remember() {
  clearTimeout(asking);
  const range = chosenRange();
  const began = performance.now();
  const answer = await get(`history?range=${range}`);
  if (range !== chosenRange()) return;
  clearTimeout(asking);
  asking = setTimeout(remember, Math.max(15000, 100 * (performance.now() - began)));
  if (!answer || answer.error) {
    if (past) return;
    show($("no-traffic"), "What has passed lately cannot be had just now.");
    $("no-traffic").hidden = false;
    return;
  }
  const { step, time, services } = answer;
  for (const series of services) series.all = sum(series.sent) + sum(series.received);
  past = { range, step, time, series: new Map(services.map((one) => [one.name, one])) };
  drawPlot();
  if (state) renderServices();
}

async function explain(event) {
  event.preventDefault();
  const asked = $("asked").value.trim().replace(/^[a-z]+:\/\//i, "");
  const [, name, path] = /^([^/]*)(.*)$/.exec(asked);
  const answer = await get(`explain?${new URLSearchParams(path ? { name, path } : { name })}`)
    || { error: "No answer: underpass cannot be reached. Try again." };
  const bdi = (text) => el("bdi", {}, text);
  $("answer").replaceChildren(...(answer.error ? [el("p.wrong", {}, bdi(answer.error))] : [
    el("h3", {}, bdi(answer.name)),
    el("ul", {}, ...answer.lines.map((line) => el("li", {}, bdi(line)))),
  ]));
}

// ---- At work

const scrub = $("scrub");
for (const choice of document.querySelectorAll("[name=range]")) {
  choice.addEventListener("change", remember);
}
for (const id of ["filter", "order"]) {
  $(id).addEventListener("input", () => state && renderServices());
}
for (const kind of ["input", "focus"]) {
  scrub.addEventListener(kind, () => look(Number(scrub.value)));
}
scrub.addEventListener("blur", () => look(null));
scrub.addEventListener("pointermove", (event) => plot && look(Math.max(0, Math.min(plot.number - 1,
  Math.round((event.offsetX / (plot.width - GUTTER)) * (plot.number - 1))))));
scrub.addEventListener("pointerleave", () =>
  look(document.activeElement === scrub ? Number(scrub.value) : null));
new ResizeObserver(() => {
  if (plot && plot.width !== Math.floor($("canvas").clientWidth)) drawPlot();
}).observe($("canvas"));
setInterval(tick, 1000);
ask();
remember();
