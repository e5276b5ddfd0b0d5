// One run.
const now = { name: '', view: null, next: null, tiles: [], chosen: null, frame: 0, older: null };
const FEW = 40, ROWS = 30, WAITS = 12, LINES = 3000;

function showRun(name) {
  now.name = name;
  byId('main').replaceChildren(
    el('div', { id: 'first', role: 'alert' }), el('section', { id: 'state', 'aria-live': 'polite' }), el('div', { id: 'controls', class: 'row controls' }),
    el('dl', { id: 'facts', class: 'facts' }),
    el('div', { class: 'grid' },
      el('div', { class: 'col' },
        el('section', { class: 'card' }, el('h2', {}, 'Waits for ', el('small', { id: 'waits-n' })), el('div', { id: 'waits' })),
        el('section', { class: 'card' }, el('h2', {}, 'Waves and pairs ', el('small', { id: 'pairs-n' })), el('div', { id: 'waves' }), el('div', { id: 'chosen' }), el('div', { id: 'look' }))),
      el('div', { class: 'col' },
        el('section', { class: 'card', id: 'capacity', hidden: true }), el('section', { class: 'card', id: 'shares', hidden: true }),
        el('section', { class: 'card', id: 'way-back', hidden: true }), el('section', { class: 'card', id: 'errand', hidden: true }))),
    el('section', {}, el('h2', {}, 'Log ', el('small', { id: 'log-n' })), logTools(), el('ol', { id: 'log', class: 'log', tabindex: 0, 'aria-label': 'Log' })));
  listen(`/api/runs/${name}/events`, () => now.next, {
    view: view => { now.view = view; draw(true); },
    change: change => { merge(change); later(); },
    lines: (lines, id) => { addLines(lines); if (id) now.next = Number(id); },
    note: text => addLines([[null, text]]),
  });
}

function merge(change) {
  const view = now.view;
  if (!view) return;
  for (const part of ['head', 'shares', 'capacity']) if (change[part]) view[part] = change[part];
  for (const [n, pair] of Object.entries(change.pairs || {})) {
    view.pairs[n] = pair;
    if (now.tiles[n]) retile(now.tiles[n], pair, now.chosen === Number(n));
  }
}
// However much comes, it is drawn once a frame; a page that nobody sees has no frames.
function later() {
  if (document.hidden) return draw(false);
  if (!now.frame) now.frame = requestAnimationFrame(() => { now.frame = 0; draw(false); });
}
function choose(n) {
  const before = now.chosen;
  now.chosen = before === n ? null : n;
  for (const at of [before, n]) if (at !== null && now.tiles[at]) retile(now.tiles[at], now.view.pairs[at], now.chosen === at);
  draw(false);
}

function draw(anew) {
  const { head, pairs, shares, capacity } = now.view;
  byId('main').removeAttribute('aria-busy');
  document.title = `${head.paused ? 'paused' : head.status} · ${head.run}`;
  show('first', [head.cut_off, head.stopped], () => [cutOff(head.cut_off), stopped(head.stopped)]);
  show('state', [head.status, head.summary, head.next, head.paused, head.hint, head.live, head.over, head.back, head.drift, head.trouble], () => state(head));
  show('controls', [Boolean(head.paused), head.live, head.over, head.status === 'finished', may()], () => controls(head));
  facts(head, pairs);
  show('waits-n', head.waits.length, () => el('span', {}, head.waits.length ? count(head.waits.length, 'step') + ' under way' : ''));
  show('waits', [head.waits, head.live], () => waits(head));
  waves(pairs, anew);
  show('capacity', capacity, () => capacity.length && [el('h2', {}, 'Capacity ', el('small', {}, 'against its floor')), capacity.map(floor)]);
  show('shares', [shares, head.last], () => shares.length && [el('h2', {}, 'Share of traffic ', el('small', {}, 'line: wanted, strokes: counted')), shares.map(s => curve(s, Date.parse(head.last)))]);
  wayBack(pairs);
  show('errand', head.errand, () => head.errand && [el('h2', {}, 'Started from here ', el('small', {}, head.errand.command)),
    el('p', {}, `by ${head.errand.by}, `, head.errand.code === null ? ['for ', since(head.errand.since)] : head.errand.code === 0 ? 'done' : `ended with exit code ${head.errand.code}`),
    el('pre', { class: 'mono' }, head.errand.says)]);
}

const cutOff = outage => outage && el('div', { class: 'box bad' },
  el('p', { class: 'lead' }, 'Users may be cut off', outage.since ? [' for ', since(outage.since)] : '', outage.attended ? '; a controller is at work on it' : '; nobody is at work on it'),
  outage.pairs.slice(0, 8).map(p => el('p', {}, `${p.service}: ${p.source} ${p.frozen ? 'takes no writes' : 'gets no traffic'}, and ${p.target} does not serve`)),
  outage.pairs.length > 8 && el('p', {}, `and ${count(outage.pairs.length - 8, 'pair')} more`),
  outage.next && el('p', {}, 'do first: ', el('code', {}, outage.next)));
const stopped = words => words && el('div', { class: 'box warn' },
  el('p', { class: 'lead' }, 'Every run on this machine is stopped'), el('p', {}, words), may() && control('go-on', 'all runs'));

function state(head) {
  const word = head.paused && !head.over ? 'paused' : head.status;
  const mood = head.paused ? 'warn' : MOOD[head.status];
  return el('div', { class: `box ${mood || 'work'}` },
    el('div', { class: 'row' }, badge(word, mood), el('span', { class: 'lead' }, head.summary), head.back && badge('goes back', 'warn'), !head.live && !head.over && badge('no controller', 'bad')),
    head.next && el('p', {}, 'next: ', el('code', {}, head.next)),
    head.trouble.slice(0, 5).map(step => el('p', { class: 'bad' }, el('b', {}, step.step), ` is ${step.state}: ${step.says}`)),
    head.drift && el('p', { class: 'warn' }, `changed behind its back (${count(head.drifts, 'time')}): ${head.drift}`));
}
function controls(head) {
  if (!may()) return null;
  if (head.over) return head.status === 'finished' && control('rollback', head.run);
  return [head.paused ? control('resume', head.run) : head.live && control('pause', head.run),
    head.live && control('abort', head.run), control('set', head.run), !head.live && control('rollback', head.run)];
}

function facts(head, pairs) {
  const moved = pairs.filter(p => p.is === 'moved').length;
  const frozen = pairs.map(p => p.freeze_ms).filter(ms => ms !== null);
  const at = pairs.length ? Math.round(pairs.reduce((sum, p) => sum + p.share, 0) / pairs.length) : 0;
  const ready = pairs.filter(p => p.ready === true).length, reversed = pairs.filter(p => p.ready === true || p.ready === false).length;
  const tuned = Object.entries(head.tuning).filter(([, v]) => v !== null).length;
  const told = [
    ['pairs moved', pairs.length && `${moved} of ${pairs.length}`], ['steps done', `${head.done} of ${head.steps}`],
    ['share of targets', pairs.length && `${at} %`], ['longest freeze', frozen.length && lasts(Math.max(...frozen))],
    ['ready to go back', reversed && `${ready} of ${reversed}`], ['settings changed', tuned && String(tuned)],
  ].filter(([, value]) => value);
  show('facts', [told, head.began, head.over], () => [
    ...told.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))),
    el('div', {}, el('dt', {}, head.over ? 'took' : 'began'), el('dd', {}, head.over ? lasts(Date.parse(head.last) - Date.parse(head.began)) : [since(head.began), el('small', { class: 'soft' }, ' ago')]))]);
}

function waits(head) {
  if (!head.waits.length) return el('p', { class: 'soft' }, head.over ? 'It is over.' : head.live ? 'Nothing is under way.' : 'Nobody works on it.');
  // What people have to answer comes first.
  const all = [...head.waits].sort((a, b) => (b.approved ? 1 : 0) - (a.approved ? 1 : 0));
  return [all.slice(0, WAITS).map(wait => el('div', { class: `wait${wait.approved ? ' gate' : ''}`, 'data-step': wait.step },
    el('div', { class: 'head' }, el('b', {}, wait.step), el('span', { class: 'soft' }, since(wait.since))),
    el('div', { class: 'soft' }, wait.what),
    wait.part && barOf(wait.part[0], wait.part[1]),
    wait.seen && el('div', {}, wait.seen),
    wait.approved && wait.approved.length > 0 && el('div', {}, `yes by ${wait.approved.join(', ')}`),
    el('div', { class: 'soft' }, `ends when ${wait.ends}`),
    wait.approved && may() && control('approve', head.run, { step: wait.step }))),
  all.length > WAITS && el('p', { class: 'soft' }, `and ${count(all.length - WAITS, 'step')} more`)];
}

function waves(pairs, anew) {
  const groups = new Map();
  pairs.forEach((pair, n) => { if (!groups.has(pair.wave)) groups.set(pair.wave, []); groups.get(pair.wave).push(n); });
  const many = pairs.length > FEW;
  show('pairs-n', [pairs.length, groups.size], () => el('span', {}, `${count(pairs.length, 'pair')} in ${count(groups.size, 'wave')}`));
  if (anew || now.tiles.length !== (many ? pairs.length : 0) || !byId('waves').firstChild) {
    now.tiles = many ? pairs.map((pair, n) => tile(pair, n, now.chosen === n)) : [];
    let at = 0;
    byId('waves').replaceChildren(...[...groups].map(([name, own]) => el('div', { class: 'wave' },
      el('div', { id: `wave-${at}` }), many ? el('div', { class: 'tiles' }, own.map(n => now.tiles[n])) : el('div', { id: `rows-${at++}` }), many && void at++)),
      many ? el('ul', { class: 'legend' }, [...ORDER, 'waiting'].map(word => el('li', {}, el('span', { class: 'tile', 'data-now': word }, GLYPH[word]), WORD[word]))) : '');
  }
  [...groups].forEach(([name, own], at) => {
    const here = own.map(n => pairs[n]);
    show(`wave-${at}`, [name, here.map(p => p.now)], () => [
      el('div', { class: 'row' }, el('b', {}, name || 'all'), el('span', { class: 'soft' }, `${here.filter(p => p.is === 'moved').length} of ${here.length} moved`)), segments(here)]);
    if (!many) show(`rows-${at}`, here, () => here.map(pairRow));
  });
  show('chosen', now.chosen === null ? null : pairs[now.chosen], () => now.chosen !== null && el('div', { class: 'box work' }, pairRow(pairs[now.chosen])));
  const look = many ? pairs.filter(p => !['waiting', 'moved', 'back'].includes(p.now)) : [];
  look.sort((a, b) => ORDER.indexOf(b.now) - ORDER.indexOf(a.now));
  show('look', [look.slice(0, ROWS), look.length], () => look.length && [el('h2', {}, 'Under way ', el('small', {}, count(look.length, 'pair'))),
    look.slice(0, ROWS).map(pairRow), look.length > ROWS && el('p', { class: 'soft' }, `and ${count(look.length - ROWS, 'pair')} more`)]);
}

function wayBack(pairs) {
  const told = pairs.filter(p => p.way_back && p.way_back.length), follow = told.filter(p => p.ready === true);
  const behind = told.filter(p => p.ready === false);
  // Where pairs are few, each says so itself.
  if (pairs.length <= FEW && !behind.length) return show('way-back', null, () => null);
  const shown = (behind.length ? behind : told).slice(0, 8);
  show('way-back', [told.length, behind.length, shown], () => told.length && [
    el('h2', {}, 'Way back ', el('small', {}, behind.length ? `${count(behind.length, 'source')} not in step` : `${count(follow.length, 'source')} in step`)),
    shown.map(p => el('p', { class: p.ready === false ? 'warn' : '' }, el('b', {}, p.pair), ': ', p.way_back.join('; '))),
    told.length > shown.length && el('p', { class: 'soft' }, `and ${count(told.length - shown.length, 'pair')} more`)]);
}

function logTools() {
  const find = el('input', { id: 'find', placeholder: 'find in the log', 'aria-label': 'Find in the log' });
  find.addEventListener('input', () => { for (const li of byId('log').children) li.hidden = !li.textContent.includes(find.value); });
  const older = el('button', { type: 'button', click: async () => {
    const lines = await ask(`/api/runs/${now.name}/log?before=${now.older ?? ''}`);
    if (!lines.length) older.disabled = true;
    byId('log').prepend(...lines.map(lineOf));
    if (lines.length) now.older = lines[0][0];
  } }, 'Older');
  return el('div', { class: 'row' }, el('div', { class: 'grow' }, find), older);
}
const KIND = [[/^\S+ ✓/, 'ok'], [/^\S+ ✗/, 'no'], [/^(\S+ [?!]|warning)/, 'eh'], [/^\S+ \S/, 'by']];
function lineOf([seq, text]) {
  const kind = KIND.find(([match]) => match.test(text));
  const find = byId('find').value;
  return el('li', { class: kind && kind[1], 'data-seq': seq, hidden: Boolean(find) && !text.includes(find) }, text);
}
function addLines(lines) {
  const log = byId('log'), follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  if (now.older === null && lines.length) now.older = lines[0][0];
  log.append(...lines.map(lineOf));
  while (log.childElementCount > LINES) log.firstChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
  byId('log-n').textContent = log.lastChild ? `last at ${log.lastChild.textContent.slice(0, 8)}` : '';
}
