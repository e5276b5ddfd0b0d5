//! Sections, inheritance and what is not understood.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn read(texts: &[&str]) -> Config {
    let file = |(n, text): (usize, &&str)| File { path: format!("{n}.cfg"), text: (*text).to_owned() };
    parse(&texts.iter().enumerate().map(file).collect::<Vec<_>>())
}

#[test]
fn a_backend_takes_what_its_defaults_say_and_what_it_says_itself_counts_more() {
    let config = read(&["
global
    server-state-file /var/lib/haproxy/state
defaults
    balance leastconn
    cookie SRV insert
    option persist
    default-server check slowstart 30s
    load-server-state-from-file global
frontend web
    bind :80
    default_backend web
backend web
    server a 10.0.0.1:80 # as it is
    default-server no-check disabled weight 7
    server b 10.0.0.2:80 enabled cookie b
    server c 10.0.0.3:80 backup agent-check agent-port 9 maxconn 200 slowstart 0
    stick-table type ip size 1m
    stick on src
backend other
    balance hdr(Host) use_domain_only
    hash-type consistent
    no option persist
peers mypeers
    server a 10.0.0.9:1024
"]);
    assert_eq!(config.state_file.as_deref(), Some("/var/lib/haproxy/state"));
    let web = config.backend("web").unwrap();
    assert_eq!(web.common.balance.as_ref().unwrap().algorithm, "leastconn");
    assert_eq!(
        (web.common.cookie.as_deref(), &web.common.persist[..]),
        (Some("SRV"), &["option persist".to_owned()][..])
    );
    assert_eq!((&web.stick[..], web.common.state.as_deref()), (&["stick on src".to_owned()][..], Some("global")));
    let names: Vec<&str> = web.servers.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"], "peers have servers of their own");
    let [a, b, c] = &web.servers[..] else { panic!() };
    assert_eq!((a.options.check, a.options.weight, a.options.slowstart), (true, None, Some(Duration::from_secs(30))));
    assert_eq!((b.options.check, b.options.weight, b.options.disabled), (false, Some(7), false));
    assert!(c.options.disabled && c.options.backup && c.options.agent_check && !c.options.unread);
    assert_eq!((c.options.maxconn, c.options.slowstart), (Some(200), None));
    assert_eq!((a.at.to_string().as_str(), a.line.as_str()), ("0.cfg:14", "    server a 10.0.0.1:80 # as it is"));
    assert_eq!(a.line.get(a.words[2].span.clone()), Some("10.0.0.1:80"));
    let other = config.backend("other").unwrap();
    let balance = other.common.balance.as_ref().unwrap();
    assert_eq!((balance.algorithm.as_str(), balance.written.as_str()), ("hdr", "hdr(Host) use_domain_only"));
    assert!(other.common.consistent && other.common.persist.is_empty() && other.common.unread.is_empty());
}

#[test]
fn named_defaults_are_followed_by_those_that_name_them_and_files_follow_each_other() {
    let config = read(&[
        "defaults base\n balance source\ndefaults more from base\n cookie C\n",
        "backend last\nbackend named from base\nbackend lost from nowhere\n server a 10.0.0.1:80\n",
    ]);
    let of = |name: &str| config.backend(name).unwrap();
    assert_eq!((of("last").common.balance.is_some(), of("last").common.cookie.is_some()), (true, true));
    assert_eq!((of("named").common.balance.is_some(), of("named").common.cookie.is_some()), (true, false));
    assert_eq!((of("lost").common.unread.len(), of("lost").servers.len()), (1, 1));
    assert_eq!(of("last").at.to_string(), "1.cfg:1");
}

#[test]
fn what_cannot_be_understood_is_told_and_never_guessed() {
    let config = read(&["
backend web
    balance \"$ALGO\"
    server \"$NAME\" 10.0.0.1:80
    server a 10.0.0.1:80 weight \"${W}\"
    server 'b
.if defined(CANARY)
    server c 10.0.0.3:80
.endif
    server-template t 2-3 db.example.com:80 weight 5
"]);
    let web = config.backend("web").unwrap();
    let unread: Vec<_> = web.common.unread.iter().map(|u| (u.at.line, u.why)).collect();
    assert_eq!(
        unread,
        [
            (3, "holds a variable"),
            (4, "holds a variable in the place of a server's name or address"),
            (6, "a quote is not closed"),
            (8, "stands in a conditional block"),
        ]
    );
    let read: Vec<_> = web.servers.iter().map(|s| (s.name.as_str(), s.options.weight, s.options.unread)).collect();
    assert_eq!(read, [("a", None, true), ("t2", Some(5), false), ("t3", Some(5), false)]);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(backend|defaults|listen|server|server-template|a|1-9| |\n|\"|'|\\.if|\\$|weight|#){0,60}") {
        let _ = read(&[&text]);
    }
}
