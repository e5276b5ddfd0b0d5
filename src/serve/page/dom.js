// Nodes, times and requests. Text becomes text and never markup.
const SVG = 'http://www.w3.org/2000/svg';
const byId = id => document.getElementById(id);

function fill(node, props, kids) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'click') node.addEventListener('click', value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...kids.flat(3).filter(kid => kid !== null && kid !== undefined && kid !== false));
  return node;
}
const el = (tag, props, ...kids) => fill(document.createElement(tag), props, kids);
const svg = (tag, props, ...kids) => fill(document.createElementNS(SVG, tag), props, kids);
const wide = (node, part) => { node.style.width = `${Math.max(0, Math.min(100, part * 100)).toFixed(2)}%`; return node; };

// Puts nodes in place of those in an element, when what they are made of is another.
function show(id, made, build) {
  const node = typeof id === 'string' ? byId(id) : id;
  const key = JSON.stringify(made);
  if (!node || node.made === key) return;
  node.made = key;
  node.replaceChildren(...[build()].flat(3).filter(Boolean));
  node.hidden = node.childNodes.length === 0;
}

const count = (n, noun) => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
const clock = at => at ? new Date(at).toISOString().slice(11, 19) : '';
const moment = at => at ? new Date(at).toISOString().slice(0, 19).replace('T', ' ') : '';
function lasts(millis) {
  const s = Math.max(0, Math.round(millis / 1000));
  if (millis < 1000) return `${Math.round(millis)} ms`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}
const age = at => lasts(Math.max(1000, Date.now() - Date.parse(at)));
// How long ago something was; it goes on by itself.
const since = at => at ? el('time', { datetime: at, title: `${moment(at)} UTC`, 'data-since': at, class: 'num' }, age(at)) : '';
setInterval(() => {
  for (const node of document.querySelectorAll('time[data-since]')) node.textContent = age(node.dataset.since);
}, 1000);

// Whether the server is heard.
const line = { lost: null };
function heard(yes) {
  if (yes === (line.lost === null) && byId('line').childNodes.length) return;
  line.lost = yes ? null : line.lost || new Date().toISOString();
  byId('line').replaceChildren(el('span', { class: yes ? 'dot live' : 'dot lost' }),
    ...(yes ? ['live'] : ['server lost for ', since(line.lost), '; trying again']));
  byId('line').dataset.is = yes ? 'live' : 'lost';
  document.body.dataset.line = yes ? 'live' : 'lost';
}

class Refused extends Error {
  constructor(status, said, hint) { super(said); this.status = status; this.hint = hint; }
}
async function ask(path, options) {
  const answer = await fetch(path, { credentials: 'same-origin', cache: 'no-store', redirect: 'error', ...options });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.said || `the server answered ${answer.status}`, said.hint);
  return said;
}
const post = (path, body, headers) => ask(path, { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) });

// Listens to events, and goes on from where it was when it had lost the server.
function listen(path, from, handlers) {
  let source = null, last = Date.now(), waits = null;
  const open = () => {
    const next = from();
    source = new EventSource(next === null ? path : `${path}?from=${next}`);
    source.onopen = () => { last = Date.now(); heard(true); };
    source.onerror = () => { heard(false); if (source.readyState === EventSource.CLOSED) again(); };
    for (const [name, handle] of Object.entries({ alive: () => {}, ...handlers })) {
      source.addEventListener(name, event => { last = Date.now(); heard(true); handle(JSON.parse(event.data), event.lastEventId); });
    }
  };
  const again = () => {
    source.close();
    if (waits) return;
    waits = setTimeout(async () => {
      waits = null;
      try { await ask('/api/me'); } catch (e) { if (e.status === 401) return enter(); }
      open();
    }, 1500);
  };
  setInterval(() => { if (Date.now() - last > 30000) { last = Date.now(); heard(false); again(); } }, 5000);
  open();
}
