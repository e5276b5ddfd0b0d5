//! What is said about inventories that are wrong.

use crate::spec::support::Files;

/// A snapshot of what is said about an inventory.
macro_rules! inventory {
    ($name:ident, $text:expr) => {
        #[test]
        fn $name() {
            insta::with_settings!({ omit_expression => true }, {
                insta::assert_snapshot!(Files::new("", $text).inventory_problems());
            });
        }
    };
}

inventory!(
    hosts_cannot_be_named_or_reached_like_options,
    "\
hosts:
  -rf: { address: 10.0.0.1 }
  \"a b\": { address: 10.0.0.1 }
  a: { address: -oProxyCommand=x }
  b: { address: 10.0.0.256 }
  c: { address: \"web 1\" }
  d: { address: 10.0.0.1, ssh: { user: -l, port: 70000, jump: nobody, key: ~root/key, work_dir: tmp } }
  e: { address: 10.0.0.1:22 }
  f: {}
  g:
  h: { address: 10.0.0.1, site: nowhere, capacity: lots, cost_per_month: 412.50, tags: [\"a b\"], vars: { name: x, a-b: y, c: [1] } }
  web-[1-3]: { address: \"10.0.0.[1-2]\" }
  db-[1-2]: { address: 10.0.0.9 }
  x-[5-1]: { address: 10.0.0.9 }
  y-[1-99999]: { address: 10.0.0.9 }
  z-[1-2]: { address: \"{{ nmae }}.example.com\" }
defaults: { ssh: { address: 10.0.0.1 } }
"
);

inventory!(
    who_programs_become_is_said_in_one_way,
    "\
hosts:
  a: { address: 10.0.0.1, ssh: { become: su } }
  b: { address: 10.0.0.2, ssh: { become: { method: sudo, user: -x } } }
  c: { address: 10.0.0.3, ssh: { become: { method: sudo, password: hunter2 } } }
  d: { address: 10.0.0.4, ssh: { become: { method: doas, password: { env: DOAS } } } }
  e: { address: 10.0.0.5, ssh: { become: { command: [dzdo], user: root } } }
  f: { address: 10.0.0.6, ssh: { become: { command: [] } } }
  g: { address: 10.0.0.7, ssh: { become: [sudo] } }
"
);

inventory!(
    jump_hosts_do_not_go_round_in_circles,
    "\
hosts:
  a: { address: 10.0.0.1, ssh: { jump: b } }
  b: { address: 10.0.0.2, ssh: { jump: [c] } }
  c: { address: 10.0.0.3, ssh: { jump: a } }
  d: { address: 10.0.0.4, ssh: { jump: a } }
  e: { address: 10.0.0.5, ssh: { jump: e } }
"
);

inventory!(
    groups_have_members_that_exist,
    "\
sites: { dal: }
hosts:
  a: { address: 10.0.0.1, site: dal }
  b: { address: 10.0.0.2 }
  b2: { address: 10.0.0.3 }
groups:
  a: [a]
  empty: []
  twice: [a, b, a]
  gone: [c]
  nobody: { tags: [web] }
  nowhere: { site: dall }
  bad: { name: \"[\" , excpet: [a] }
  range: [\"x-[1-\"]
  both: { hosts: [b], tags: web }
  first: { hosts: [a, b], ssh: { become: sudo } }
  second: { hosts: b, ssh: { user: ops } }
  through: { hosts: b2, ssh: { jump: b3, address: 10.0.0.9 } }
"
);

inventory!(
    directors_have_a_kind_and_an_address,
    "\
hosts: { lb-1: { address: 10.0.0.1 } }
directors:
  none: {}
  both: { haproxy: \"unix:/x\", dns: {} }
  envoy: { envoy: \"tcp:10.0.0.1:1\" }
  bare: { haproxy: /run/haproxy.sock }
  tcp: { haproxy: [\"tcp:10.0.0.1\", \"tcp:10.0.0.1:0\", \"tcp:::1:80\", \"unix:\", \"ssh:lb-2:/x\", \"ssh:lb-1\"] }
  nothing: { haproxy: [] }
  zone: { dns: { zone: \"a b\", primary: ns1.example.com, key: { name: k, algorithm: md5, secret: hunter2-very-secret } } }
  tsig: { dns: { zone: a.example, primary: 10.0.0.1, resolvers: [10.0.0.1:x], key: { secret: { env: \"A-B\", file: x }, colour: red } } }
  exec: { dns: { zone: a.example, primary: 10.0.0.1, key: { name: k, secret: { exec: pass show x } } } }
  ours: { command: { run: [], can: { weights: 0 } } }
  there: { command: { run: /x, can: { weights: presence, drain: true }, secrets: { A-B: hunter2-very-secret }, within: 1h } }
  proxy: { nginx: { file: web.conf, marker: /run/, on: [], command: [] } }
  cloud: { route53: { zone: a/b, domain: 10.0.0.1, records: latency, credentials: { profile: x }, endpoint: ftp://x } }
  google: { cloud_dns: { project: ../x, zone: A b, domain: 10.0.0.1, records: multivalue, servers: [ns1], credentials: { metadata: false }, endpoint: ftp://x } }
  own: { powerdns: { domain: 10.0.0.1, servers: [ns1], api_key: hunter2-very-secret, endpoint: ftp://x, server: localhost } }
  keys: { cloud_dns: { project: a, zone: b, domain: example.com, credentials: { service_account: hunter2-very-secret } } }
"
);
