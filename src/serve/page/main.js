// Who looks, and at what.
const me = { who: '', read_only: true };
const may = () => !me.read_only;

function top(name) {
  byId('top').replaceChildren(
    el('div', { class: 'where' }, name ? [el('a', { href: '/' }, 'Runs'), el('span', { class: 'soft' }, '/'), el('span', {}, name)] : 'Runs'),
    el('span', { id: 'line', class: 'link', role: 'status' }),
    el('span', { class: 'soft' }, me.who, me.read_only && me.who ? ' (read-only)' : ''),
    may() && el('button', { type: 'button', class: 'danger', 'data-act': 'stop', click: () => act('stop', 'all runs') }, 'Stop all …') || '');
}

function enter(said) {
  byId('top').replaceChildren(el('div', { class: 'where' }, 'migrate'), el('span', { id: 'line', class: 'link' }));
  const token = el('input', { type: 'password', id: 'token', autocomplete: 'off' });
  const form = el('form', { class: 'enter card' }, el('h1', {}, 'Who are you?'),
    el('p', {}, 'The token is in the link that migrate serve has printed, and in the file serve-token of the state directory.'),
    el('label', {}, 'Token', token), el('p', { class: 'bad', role: 'alert' }, said || ''), el('button', { type: 'submit', class: 'main' }, 'Enter'));
  form.addEventListener('submit', event => { event.preventDefault(); start(token.value.trim()); });
  byId('dialog').close();
  byId('main').replaceChildren(form);
  byId('main').removeAttribute('aria-busy');
  token.focus();
}

async function start(token) {
  try {
    const known = token ? await post('/api/enter', {}, { Authorization: `Bearer ${token}` }) : await ask('/api/me');
    Object.assign(me, known);
  } catch (e) {
    if (e.status) return enter(token ? e.message : '');
    return setTimeout(() => start(token), 1000);
  }
  const name = location.pathname.startsWith('/runs/') ? location.pathname.slice(6) : '';
  top(name);
  heard(true);
  if (name) showRun(name); else showList();
}

// The token leaves the address bar before anything else happens: nobody reads it over a shoulder or in the history.
const brought = new URLSearchParams(location.hash.slice(1)).get('token');
if (location.hash) history.replaceState(null, '', location.pathname);
start(brought);
