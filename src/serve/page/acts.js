// What people ask for: each thing is confirmed by typing the name of what it is about.
const SETTINGS = [
  ['hold', '30s', 'watch time after each shift, from the next one on'],
  ['bandwidth', '50MiB', 'bytes per second of each copy; 0 for no limit'],
  ['total_bandwidth', '1GiB', 'bytes per second of all copies together; 0 for no limit'],
  ['max_unavailable', '1', 'pairs out of service at once, or a percentage of the wave'],
  ['on_drift', 'restore', 'restore sets again what others have changed; hold waits'],
  ['pace', '50/s', 'connections that a wave lets go in a second'],
];
const ACTS = {
  pause: { title: 'Pause', says: 'Nothing new begins. What is under way comes to its end, and frozen pairs are handed over to their targets first.', why: true },
  resume: { title: 'Resume', says: 'The run goes on.' },
  abort: { title: 'Abort', says: 'The run stops at the next safe point and is held. Then it can go on (migrate apply) or back.', why: true, danger: true },
  approve: { title: 'Approve', says: 'You say yes to this gate, in your name, for good.', why: true },
  set: { title: 'Set', says: 'A setting of the run changes while it goes on.', setting: true },
  rollback: { title: 'Roll back', says: 'Everything that is done is undone, the last step first, with the same care. It works in a process of its own on the machine of this server.', why: true, danger: true },
  stop: { title: 'Stop all', says: 'Every run on this machine begins nothing new, those that will be started, too, until that is taken back. Frozen pairs are handed over to their targets first.', why: true, danger: true },
  'go-on': { title: 'Let all go on', says: 'What the switch had paused goes on.' },
};

function act(word, about, extra) {
  const what = ACTS[word], dialog = byId('dialog');
  const field = (name, label, props) => {
    const input = el('input', { name, autocomplete: 'off', spellcheck: 'false', ...props });
    return [input, el('label', {}, label, input)];
  };
  const [why, whyField] = field('why', 'Why, for the journal', { maxlength: 400 });
  const [confirm, confirmField] = field('confirm', ['To confirm, type ', el('b', { class: 'mono' }, about)], { placeholder: about });
  const key = el('select', { name: 'key' }, SETTINGS.map(([name, , says]) => el('option', { value: name }, `${name}: ${says}`)));
  const [value, valueField] = field('value', 'Value');
  const eg = () => { value.placeholder = SETTINGS.find(([name]) => name === key.value)[1]; };
  key.addEventListener('change', eg); eg();
  const said = el('div', { role: 'status' });
  const go = el('button', { type: 'submit', class: what.danger ? 'danger' : 'main', disabled: true }, what.title);
  const ready = () => { go.disabled = confirm.value !== about || what.why && !why.value.trim() || what.setting && !value.value.trim(); };
  const form = el('form', { autocomplete: 'off' },
    el('h2', { id: 'dialog-title' }, `${what.title}: ${extra && extra.step || about}`), el('p', {}, what.says),
    what.setting && el('label', {}, 'Setting', key), what.setting && valueField, what.why && whyField, confirmField, said,
    el('div', { class: 'row' }, go, el('button', { type: 'button', click: () => dialog.close() }, 'Leave it')));
  form.addEventListener('input', ready);
  form.addEventListener('submit', async event => {
    event.preventDefault();
    go.disabled = true;
    said.replaceChildren(el('p', { class: 'soft' }, 'asking …'));
    const body = { confirm: confirm.value, ...extra };
    if (what.why) body.why = why.value;
    if (what.setting) body.setting = `${key.value}=${value.value.trim()}`;
    const path = word === 'stop' || word === 'go-on' ? `/api/${word}` : `/api/runs/${about}/${word}`;
    try {
      const answer = await post(path, body);
      said.replaceChildren(el('div', { class: 'box good' }, el('p', {}, answer.said)));
      go.remove();
      form.querySelector('button').textContent = 'Close';
    } catch (e) {
      said.replaceChildren(el('div', { class: 'box bad' }, el('p', {}, e.message), e.hint && el('p', { class: 'soft' }, e.hint)));
      if (e.status === 401) enter();
      ready();
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
  (what.why ? why : what.setting ? value : confirm).focus();
}
const control = (word, about, extra) => el('button', { type: 'button', 'data-act': word, class: ACTS[word].danger ? 'danger' : '', click: () => act(word, about, extra) }, `${ACTS[word].title} …`);
