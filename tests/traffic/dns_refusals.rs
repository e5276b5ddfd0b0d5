//! What the DNS director cannot do: each time nothing has changed, and the message says what to do.

use std::net::SocketAddr;

use migrate::model::Mode;
use migrate::outside::Kind;
use migrate::secret::SecretRef;
use migrate::traffic::DirectorKind;
use migrate::traffic::dns::{Settings, TsigKey};

use crate::lab::bind::{Bind, Key, Zone};
use crate::traffic::dns::{Lab, NEW, OLD, OTHER, zone};
use crate::traffic::meddling::{Update, name_server};
use crate::traffic::support::{change, context, shown};

#[tokio::test]
async fn an_unsigned_success_is_not_believed() {
    let mut lab = Lab::start(&zone(), 0);
    lab.settings.primary = name_server(lab.primary.addr, Update::Forge);
    let replace = [(lab.settings.primary.to_string(), "PRIMARY")];
    let error = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &replace), @r"
    [unknown] dns (primary PRIMARY): whether www.lab.test was updated is unknown: its answer is not signed as it should be: unsigned answer
    hint: run again: the update is made only if it has not been made
    ");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let lab = Lab::start(&zone(), 0);
    lab.primary.pause();
    let error = lab.director().observe("www").await.unwrap_err();
    lab.primary.resume();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] dns (primary PRIMARY): no answer about www.lab.test: no answer in 6 s
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[tokio::test]
async fn the_last_address_is_never_taken_away() {
    let lab = Lab::start(&zone(), 0);
    let director = lab.director();
    let before = lab.records();
    let changes = [change(OLD, 0, Mode::Ready), change(OTHER, 1, Mode::Maint)];
    let error = director.apply("www", &changes).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [refused] dns (primary PRIMARY): this would take the last address away from www.lab.test; nothing was changed
    hint: add the new address before the old one goes
    ");
    assert_eq!(before, lab.records());
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_named() {
    let mut lab = Lab::start(&zone(), 0);
    lab.settings.key.as_mut().unwrap().name = "movre".to_owned();
    let director = lab.director();
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [refused] dns (primary PRIMARY): the server has no TSIG key `movre` with this algorithm (BADKEY); nothing was changed
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
    insta::assert_snapshot!(shown(&director.writable("www").await.unwrap_err(), &lab.replace()), @r"
    [refused] dns (primary PRIMARY): the server has no TSIG key `movre` with this algorithm (BADKEY)
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_wrong_algorithm_is_no_key_of_the_server() {
    let mut lab = Lab::start(&zone(), 0);
    lab.settings.key.as_mut().unwrap().algorithm = "hmac-sha512".to_owned();
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): the server has no TSIG key `mover` with this algorithm (BADKEY); nothing was changed
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_wrong_secret_is_told_from_a_wrong_name() {
    let mut lab = Lab::start(&zone(), 0);
    lab.secret = Key::generate("mover", "hmac-sha256").secret;
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): the secret of TSIG key `mover` is not the server's (BADSIG); nothing was changed
    hint: compare the secret with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_secret_that_is_no_base64_is_found_out_before_anything_is_sent() {
    let mut lab = Lab::start(&zone(), 0);
    lab.secret = "hunter2!".to_owned();
    let said = lab.refusal(&*lab.director(), "www").await;
    assert!(!said.contains("hunter2"));
    insta::assert_snapshot!(said, @r"
    [refused] dns (primary PRIMARY): the secret of TSIG key `mover` is not base64; nothing was changed
    hint: use the text after `secret` in named.conf, without quotes
    ");
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_said_to_be_missing() {
    let mut lab = Lab::start(&zone(), 0);
    lab.settings.key.as_mut().unwrap().secret = SecretRef::Env("ELSEWHERE".to_owned());
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): the secret of TSIG key `mover` cannot be had: secret from env ELSEWHERE: the variable is not set; nothing was changed
    hint: check where the inventory says that this secret is
    ");
}

#[tokio::test]
async fn an_unsigned_update_is_refused_with_the_remedy() {
    let mut lab = Lab::start(&zone(), 0);
    lab.settings.key = None;
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): it refuses unsigned updates of www.lab.test (REFUSED); nothing was changed
    hint: give the director a TSIG `key` that the zone's `allow-update` or `update-policy` lets in
    ");
}

#[tokio::test]
async fn a_key_without_a_grant_for_the_name_is_refused_and_known_beforehand() {
    let policy = "grant KEY name ftp.lab.test A AAAA;".to_owned();
    let lab = Lab::start(&Zone { policy: Some(policy), ..zone() }, 0);
    let director = lab.director();
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [refused] dns (primary PRIMARY): it refuses updates of www.lab.test with key `mover` (REFUSED); nothing was changed
    hint: either `update-policy` or `allow-update` does not grant the key A and AAAA at this name, or the zone is frozen: `rndc thaw lab.test`
    ");
    assert_eq!(director.writable("www").await.unwrap_err().kind, Kind::Refused);
}

#[tokio::test]
async fn a_frozen_zone_is_refused_and_works_again_when_thawed() {
    let lab = Lab::start(&zone(), 0);
    let director = lab.director();
    lab.primary.rndc(&["freeze", "lab.test"]);
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [refused] dns (primary PRIMARY): it refuses updates of www.lab.test with key `mover` (REFUSED); nothing was changed
    hint: either `update-policy` or `allow-update` does not grant the key A and AAAA at this name, or the zone is frozen: `rndc thaw lab.test`
    ");
    assert_eq!(director.writable("www").await.unwrap_err().kind, Kind::Refused);
    lab.primary.rndc(&["thaw", "lab.test"]);
    director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
}

#[tokio::test]
async fn a_zone_that_the_server_does_not_serve_is_named() {
    let mut lab = Lab::start(&zone(), 0);
    lab.settings.zone = "lba.test".to_owned();
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): it does not serve www.lba.test in zone lba.test: it answers REFUSED; nothing was changed
    hint: check the zone's name, and that this server has the zone and has loaded it
    ");
}

#[tokio::test]
async fn names_outside_the_zone_and_names_without_addresses_are_refused() {
    let lab = Lab::start(&zone(), 0);
    let director = lab.director();
    insta::assert_snapshot!(lab.refusal(&*director, "www.example.com.").await, @r"
    [refused] dns: `www.example.com.` is not a name in the zone `lab.test`
    hint: write it in full (`www.lab.test`), relative to the zone (`www`), or `@` for the zone itself
    ");
    insta::assert_snapshot!(lab.refusal(&*director, "wwww").await, @r"
    [refused] dns (primary PRIMARY): wwww.lab.test has no address records; nothing was changed
    hint: check the pool's name; the first record is made by hand, with the TTL that you want
    ");
    insta::assert_snapshot!(lab.refusal(&*director, "b\u{1b}d").await, @r"
    [refused] dns: `b\u{1b}d` is not a name in the zone `lab.test`
    hint: write it in full (`www.lab.test`), relative to the zone (`www`), or `@` for the zone itself
    ");
}

#[tokio::test]
async fn an_alias_is_detected_since_the_server_would_ignore_addresses_beside_it() {
    let lab = Lab::start(&zone(), 0);
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "alias").await, @r"
    [refused] dns (primary PRIMARY): alias.lab.test is an alias (CNAME) for www.lab.test and can have no addresses; nothing was changed
    hint: use the name that it stands for, or put address records in the place of the alias
    ");
}

#[tokio::test]
async fn addresses_from_a_wildcard_cannot_be_swapped_and_say_so() {
    let mut zone = zone();
    zone.records.push("* 5 IN A 192.0.2.9".to_owned());
    let lab = Lab::start(&zone, 0);
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "any").await, @r"
    [refused] dns (primary PRIMARY): any.lab.test answers 192.0.2.9 and has other records of its own; nothing was changed
    hint: its addresses may come from a wildcard or another view: give any.lab.test address records of its own
    ");
}

#[tokio::test]
async fn a_secondary_as_primary_is_refused() {
    let mut lab = Lab::start(&zone(), 1);
    lab.settings.primary = lab.settings.secondaries.remove(0);
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary SECONDARY): the server has no TSIG key `mover` with this algorithm (BADKEY); nothing was changed
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_primary_that_is_down_says_so() {
    let mut lab = Lab::start(&zone(), 0);
    let director = lab.director();
    lab.primary.stop();
    let error = director.observe("www").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] dns (primary PRIMARY): no answer about www.lab.test: connection refused
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[tokio::test]
async fn a_secondary_that_is_down_keeps_the_zone_as_it_is() {
    let mut lab = Lab::start(&zone(), 1);
    let director = lab.director();
    lab.secondaries[0].stop();
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [unknown] dns (secondary SECONDARY): no answer about www.lab.test: connection refused; nothing was changed
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[tokio::test]
async fn a_resolver_that_is_silent_is_neither_settled_nor_not() {
    let mut lab = Lab::start(&zone(), 0);
    let mut resolver = Bind::resolver("lab.test", lab.primary.addr);
    lab.settings.resolvers.push(resolver.addr);
    resolver.stop();
    let error = lab.director().settled("www").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] dns (resolver RESOLVER): no answer about www.lab.test: connection refused
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let primary: SocketAddr = "127.0.0.1:53".parse().unwrap();
    let key = |name: &str, algorithm: &str| {
        let secret = SecretRef::Env("KEY".to_owned());
        Some(TsigKey { name: name.to_owned(), algorithm: algorithm.to_owned(), secret })
    };
    let said = |zone: &str, key| {
        let (secondaries, resolvers) = (Vec::new(), Vec::new());
        let settings = Settings { zone: zone.to_owned(), primary, secondaries, resolvers, key };
        match settings.connect("dns", &context(&[])) {
            Ok(_) => panic!("accepted"),
            Err(e) => shown(&e, &[]),
        }
    };
    insta::assert_snapshot!(said("lab test", None), @r"
    [refused] dns: `lab test` cannot be the name of a zone
    hint: write it like `example.com`
    ");
    insta::assert_snapshot!(said("lab.test", key("mover", "hmac-md5")), @r"
    [refused] dns: unknown TSIG algorithm `hmac-md5`
    hint: there are hmac-sha1, hmac-sha256, hmac-sha384 and hmac-sha512
    ");
    insta::assert_snapshot!(said("lab.test", key("a..b", "hmac-sha256")), @r"
    [refused] dns: `a..b` cannot be the name of a TSIG key
    hint: use the name after `key` in named.conf
    ");
}
