// All runs.
function showList() {
  document.title = 'migrate: runs';
  byId('main').replaceChildren(el('div', { id: 'first', role: 'alert' }), el('section', { id: 'list' }));
  listen('/api/events', () => null, {
    list: list => drawList(list),
    trouble: why => show('first', why, () => el('div', { class: 'box bad' }, el('p', {}, why))),
  });
}

function drawList({ runs, stopped: words }) {
  byId('main').removeAttribute('aria-busy');
  show('first', words, () => stopped(words));
  const open = runs.filter(run => !run.over), over = runs.filter(run => run.over);
  // What needs somebody comes first.
  const need = run => run.cut_off ? 0 : run.status !== 'running' ? 1 : run.paused ? 2 : 3;
  open.sort((a, b) => need(a) - need(b));
  show('list', runs, () => [
    open.length === 0 && el('p', { class: 'soft' }, runs.length ? 'No run is open.' : 'There are no runs yet: migrate apply PLAN begins one.'),
    open.map(run => el('a', { class: 'run card', href: `/runs/${run.run}`, 'data-run': run.run },
      el('div', { class: 'row' }, el('h1', {}, run.run), badge(run.paused ? 'paused' : run.status, run.paused ? 'warn' : MOOD[run.status]),
        run.back && badge('goes back', 'warn'), !run.live && badge('no controller', 'bad'), el('span', { class: 'soft' }, run.began ? ['began ', since(run.began), ' ago'] : '')),
      barOf(run.done, run.steps), el('p', { class: 'soft' }, `${run.done} of ${run.steps} steps`),
      run.cut_off && el('div', { class: 'box bad' }, el('p', { class: 'lead' }, `Users may be cut off: ${count(run.cut_off.pairs.length, 'pair')}`), run.cut_off.next && el('p', {}, 'do first: ', el('code', {}, run.cut_off.next))),
      run.paused && el('p', {}, `paused ${run.paused}`), run.why && el('p', {}, run.why))),
    over.length > 0 && el('section', {}, el('h2', {}, 'Over ', el('small', {}, count(over.length, 'run'))),
      el('table', {}, el('thead', {}, el('tr', {}, ['run', 'status', 'steps', 'began', 'ended'].map(name => el('th', { scope: 'col' }, name)))),
        el('tbody', {}, over.map(run => el('tr', {}, el('td', {}, el('a', { href: `/runs/${run.run}` }, run.run)), el('td', {}, badge(run.status)),
          el('td', { class: 'num' }, `${run.done} of ${run.steps}`), el('td', { class: 'num' }, moment(run.began)), el('td', { class: 'num' }, moment(run.last)))))))]);
}
