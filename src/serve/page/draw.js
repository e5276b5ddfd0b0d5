// Bars, tiles and curves.
const GLYPH = { waiting: '', begun: '', working: '▸', moved: '✓', cut_off: '!', trouble: '✕', back: '↩' };
const WORD = {
  waiting: 'waits', begun: 'begun', working: 'under way', moved: 'moved',
  cut_off: 'users may be cut off', trouble: 'needs a look', back: 'back at its source',
};
const MOOD = {
  running: 'work', finished: 'good', held: 'warn', stopped: 'warn', 'rolled back': 'warn', abandoned: 'warn',
  stuck: 'bad', interrupted: 'bad', unreadable: 'bad',
};
const ORDER = ['moved', 'back', 'working', 'begun', 'cut_off', 'trouble'];

const badge = (word, mood) => el('span', { class: `badge ${mood || MOOD[word] || ''}` }, word);
const barOf = (done, of) => el('div', { class: 'bar', role: 'img', 'aria-label': `${done} of ${of}` }, wide(el('i'), of ? done / of : 0));

function segments(pairs) {
  const bar = el('div', { class: 'bar', role: 'img', 'aria-label': ORDER.map(now => `${pairs.filter(p => p.now === now).length} ${WORD[now]}`).join(', ') });
  for (const now of ORDER) {
    const n = pairs.filter(pair => pair.now === now).length;
    if (n) bar.append(wide(el('i', { 'data-now': now }), n / pairs.length));
  }
  return bar;
}

function tile(pair, n, chosen) {
  const node = el('button', { class: 'tile', type: 'button', 'data-pair': n, click: () => choose(n) });
  retile(node, pair, chosen);
  return node;
}
function retile(node, pair, chosen) {
  node.dataset.now = pair.now;
  node.textContent = GLYPH[pair.now];
  node.title = `${pair.service} ${pair.pair}: ${WORD[pair.now]}${pair.next ? `, next: ${pair.next}` : ''}, ${pair.done} of ${pair.steps} steps`;
  node.setAttribute('aria-label', node.title);
  node.setAttribute('aria-pressed', String(chosen));
}

function pairRow(pair) {
  const more = [];
  if (pair.next && pair.now !== 'moved') more.push(`next: ${pair.next}`);
  if (pair.after && pair.after.length && pair.now !== 'moved') more.push(`waits for ${pair.after.join(', ')}`);
  if (pair.freeze_ms !== null) more.push(`frozen for ${lasts(pair.freeze_ms)}`);
  return el('div', { class: 'pair', 'data-now': pair.now },
    el('div', {}, el('span', { class: 'soft' }, pair.service, ' '), el('b', {}, pair.pair)),
    el('div', { class: 'num' }, mark(pair.now), ` · target ${pair.share} %`),
    (() => { const bar = barOf(pair.done, pair.steps); bar.firstChild.dataset.now = pair.now; return bar; })(),
    el('div', { class: 'more soft' }, [`${pair.done} of ${pair.steps} steps`, ...more].join(' · ')),
    (pair.way_back || []).map(said => el('div', { class: 'more' }, el('span', { class: 'soft' }, 'way back: '), said)));
}
const mark = now => el('span', { class: { moved: 'good', cut_off: 'bad', trouble: 'bad', working: 'work' }[now] || 'soft' }, `${GLYPH[now]} ${WORD[now]}`.trim());

const percent = tenths => `${tenths % 10 ? (tenths / 10).toFixed(1) : tenths / 10} %`;

// What was set is a line, what was counted are the strokes on it.
function curve(share, until) {
  const first = Date.parse(share.wanted[0].at), last = Math.max(until, first + 1000);
  const x = at => ((Date.parse(at) - first) / (last - first) * 1000).toFixed(1), y = tenths => (100 - tenths / 10).toFixed(1);
  let path = '', before = null;
  for (const point of share.wanted) {
    path += before === null ? `M0 ${y(point.tenths)}` : `H${x(point.at)}V${y(point.tenths)}`;
    before = point;
  }
  const counted = share.measured[share.measured.length - 1];
  const now = share.wanted[share.wanted.length - 1].tenths;
  const said = counted ? `; counted ${percent(counted.tenths)} of ${count(counted.sessions, 'new session')}, by its weights ${percent(counted.wanted)}` : '; nothing was counted yet';
  return el('div', {},
    el('p', {}, el('b', {}, share.service), `: targets are to get ${percent(now)}${share.of_all ? '' : ' in the mean of all pairs'}${said}`),
    svg('svg', { viewBox: '0 -4 1000 108', preserveAspectRatio: 'none', role: 'img', 'aria-label': `Share of ${share.service}: ${percent(now)}${said}` },
      [0, 50, 100].map(at => svg('line', { class: 'grid-line', x1: 0, x2: 1000, y1: at, y2: at })),
      svg('path', { class: 'wanted', d: `${path}H1000` }),
      share.measured.map(m => svg('line', { class: 'measured', x1: x(m.began), x2: x(m.ended), y1: y(m.tenths), y2: y(m.tenths) }))),
    el('div', { class: 'axis' }, el('span', {}, clock(share.wanted[0].at)), el('span', {}, '0 to 100 %'), el('span', {}, clock(new Date(last).toISOString()))));
}

function floor(pool) {
  const most = Math.max(pool.all, pool.serves, pool.floor, 1), low = pool.serves < pool.floor;
  const bar = el('div', { class: `bar floor${low ? ' low' : ''}`, role: 'img', 'aria-label': `${pool.serves} serves, ${pool.floor} must` },
    wide(el('i'), pool.serves / most));
  const at = el('b');
  at.style.left = `${(pool.floor / most * 100).toFixed(2)}%`;
  bar.append(at);
  return el('div', {}, el('p', {}, el('b', {}, pool.pool), ': ', el('span', { class: low ? 'bad' : '' }, `${pool.serves} of ${pool.all} serves, at least ${pool.floor} must`)), bar);
}
