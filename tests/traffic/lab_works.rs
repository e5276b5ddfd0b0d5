//! The lab's own servers do what the other tests take for granted.

use std::net::SocketAddr;

use crate::lab::bind::{Bind, Key, Zone};
use crate::lab::haproxy::{Backend, Haproxy};

#[test]
fn haproxy_starts_answers_and_forgets_weights_at_a_reload() {
    let addr: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut haproxy = Haproxy::start(&[Backend::http("web").server("old", addr, 100).server("new", addr, 0)]);
    assert_eq!(haproxy.command("set weight web/old 7").trim(), "");
    assert_eq!(haproxy.command("get weight web/old").trim(), "7 (initial 100)");
    haproxy.reload();
    assert_eq!(haproxy.command("get weight web/old").trim(), "100 (initial 100)");
}

#[test]
fn bind_serves_a_zone_on_a_primary_a_secondary_and_a_resolver() {
    let key = Key::generate("mover", "hmac-sha256");
    let zone = Zone::new("lab.test", &["www 5 IN A 192.0.2.1", "www 5 IN A 192.0.2.2"]);
    let (primary, secondaries) = Bind::cluster(&zone, &key, 1);
    let resolver = Bind::resolver("lab.test", primary.addr);
    assert_eq!(primary.dig("www.lab.test", "A"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(secondaries[0].dig("www.lab.test", "A"), ["192.0.2.1", "192.0.2.2"]);
    let _ = resolver;
    primary.rndc(&["freeze", "lab.test"]);
    primary.rndc(&["thaw", "lab.test"]);
}
