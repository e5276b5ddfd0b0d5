//! `migrate report`: what a run was, as a page, as Markdown and for programs.

use migrate::event::{Event, Record, RunState, StepResult};
use migrate::planner::cost;
use migrate::planner::observed::Observed;
use migrate::render::{Audit, Beside, Chronicle, Format, Style};
use migrate::step::{Graph, Step, StepKind};

use super::played;
use super::run::migrate_in;

fn told(format: Format) -> String {
    let (spec, graph) = played::compiled();
    let (records, state) = played::run(&graph);
    let bill = cost::bill(&spec, &graph, &Observed::default());
    let audit = Audit { intact: true, says: vec!["Sealed up to record 7.".into()] };
    let beside = Beside { live: false, description: spec.plan.description.clone(), bill, audit: Some(audit) };
    format.render(&Chronicle::new(&records, &state, beside), Style::default()).unwrap()
}

#[test]
fn a_post_mortem_has_what_moved_what_was_seen_and_who_decided_what() {
    insta::assert_snapshot!("report-markdown", told(Format::Markdown));
}

#[test]
fn programs_get_everything_as_json() {
    let json: serde_json::Value = serde_json::from_str(&told(Format::Json)).unwrap();
    let mut short = json.clone();
    // Long lists of the same: their first entries say what all are like.
    for list in ["looks", "carried", "compared", "acts"] {
        short[list].as_array_mut().unwrap().truncate(2);
    }
    for pair in short["pairs"].as_array_mut().unwrap() {
        pair["spans"].as_array_mut().unwrap().truncate(2);
    }
    insta::assert_snapshot!("report-json", serde_json::to_string_pretty(&short).unwrap());
    let freezes: Vec<u64> =
        json["pairs"].as_array().unwrap().iter().filter_map(|p| p["freeze"]["millis"].as_u64()).collect();
    assert_eq!(json["totals"]["longest_freeze_ms"].as_u64(), freezes.into_iter().max());
    assert_eq!(json["halts"].as_array().unwrap().len(), 3, "paused, held, interrupted: {}", json["halts"]);
    let halted = json["totals"]["halted_ms"].as_u64().unwrap();
    assert_eq!(halted / 1000, 600 + 1800 + 240);
    let web = json["shares"].as_array().unwrap().iter().find(|share| share["service"] == "web").unwrap();
    let wanted: Vec<u64> = web["wanted"].as_array().unwrap().iter().map(|w| w["tenths"].as_u64().unwrap()).collect();
    assert_eq!(wanted, [0, 50, 250, 571, 1000], "the last but one has targets beside sources, which then leave");
}

#[test]
fn a_freeze_that_ended_on_its_way_back_is_told_and_a_share_only_where_traffic_moves() {
    let (_, graph) = played::compiled();
    let (mut records, state) = played::run(&graph);
    let freeze = "uploads/dal-1/freeze";
    let frozen =
        records.iter().position(|r| matches!(&r.event, Event::Outcome { step, .. } if step == freeze)).unwrap();
    records.truncate(frozen + 1);
    let began = records.last().unwrap().at;
    let back = Event::RollbackBegan { by: played::by("ada"), to: None, why: "wrong day".into(), accept_gap: false };
    let result = StepResult::Done { evidence: "open".into(), millis: 1, figures: None };
    let intent = Event::Intent { step: freeze.into(), attempt: 2, undo: true, before: None };
    let outcome = Event::Outcome { step: freeze.into(), attempt: 2, undo: true, result };
    for (event, seconds) in [(back, 5), (intent, 10), (outcome, 12)] {
        let seq = records.len() as u64;
        records.push(Record { seq, at: began + jiff::SignedDuration::from_secs(seconds), event });
    }
    let folded = RunState::fold(records.iter().cloned(), state.graph.clone()).unwrap();
    let told = Chronicle::new(&records, &folded, Beside::default());
    let pair = told.pairs.iter().find(|pair| pair.source == "dal-1").unwrap();
    assert_eq!(pair.freeze.map(|freeze| freeze.millis), Some(12_150), "from the freeze to the end of its undo");
    assert_eq!((pair.share, pair.is), (Some(0), "under way"));
    // The same plan without traffic.
    let steps = graph.steps.iter().filter(|step| !matches!(step.kind, StepKind::Traffic(_)));
    let steps: Vec<Step> = steps.map(|step| Step { after: Vec::new(), ..step.clone() }).collect();
    let quiet = Graph { steps: steps.into(), ..Graph::default() };
    let mut first = records[0].clone();
    if let Event::Started(started) = &mut first.event {
        started.steps = quiet.steps.len();
    }
    let state = RunState::begin(first.clone(), quiet.into()).unwrap();
    let told = Chronicle::new(&[first], &state, Beside::default());
    assert!(told.pairs.iter().all(|pair| pair.share.is_none()), "{:?}", told.pairs);
}

/// Every tag of a page, without those that close.
fn tags(page: &str) -> Vec<&str> {
    let tags = page.split('<').skip(1).map(|rest| rest.split(['>', ' ', '\n']).next().unwrap());
    tags.filter(|tag| !tag.starts_with('/')).collect()
}

#[test]
fn the_page_loads_nothing_runs_nothing_and_takes_nothing_from_outside_for_markup() {
    let page = told(Format::Html);
    let known = [
        "!doctype",
        "html",
        "head",
        "meta",
        "style",
        "title",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "span",
        "p",
        "div",
        "dl",
        "dt",
        "dd",
        "nav",
        "a",
        "main",
        "section",
        "figure",
        "figcaption",
        "ul",
        "li",
        "svg",
        "rect",
        "line",
        "text",
        "polyline",
        "circle",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "footer",
        "code",
    ];
    let other: Vec<&str> = tags(&page).into_iter().filter(|tag| !known.contains(tag)).collect();
    assert!(other.is_empty(), "{other:?}");
    assert!(
        page.contains("&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;"),
        "what a director said is told as it was"
    );
    assert!(page.contains("Chat leaves Dallas; &lt;b&gt;nobody&lt;/b&gt; notices &amp; nobody waits"));
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("), "nothing from elsewhere");
    for link in page.split("href=\"").skip(1) {
        assert!(link.starts_with('#'), "{}", &link[..40]);
    }
    assert!(!page.contains(" on") || !page.contains(" onload"), "no handlers");
    // Each chart has its sense as text.
    assert_eq!(page.matches("<svg viewBox=\"0 0 1000").count(), page.matches("<figcaption>").count());
    assert!(page.matches("role=\"img\" aria-label=\"").count() >= 5);
    if let Some(out) = std::env::var_os("REPORT_OUT") {
        std::fs::write(out, page).unwrap();
    }
}

#[test]
fn the_command_writes_a_page_and_says_what_is_wrong_with_what_was_asked() {
    let place = tempfile::tempdir().unwrap();
    played::keep(place.path(), 60);
    let ran = migrate_in(place.path(), place.path(), &["report", "chat", "--out", "chat.html"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let page = std::fs::read_to_string(place.path().join("chat.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("chat-1"), "{page}");
    assert!(page.contains("interrupted"), "nobody works on it");
    let markdown = migrate_in(place.path(), place.path(), &["report", "chat-1", "--format", "markdown"]);
    assert!(markdown.code == 0 && markdown.out.starts_with("# Run chat-1: interrupted"), "{}", markdown.out);
    let unknown = migrate_in(place.path(), place.path(), &["report", "nope"]);
    assert!(unknown.code == 1 && unknown.err.contains("there is no run or plan named nope"), "{}", unknown.err);
    let nowhere = migrate_in(place.path(), place.path(), &["report", "chat", "--out", "none/chat.html"]);
    assert!(nowhere.code == 1 && nowhere.err.contains("choose another place for --out"), "{}", nowhere.err);
    let format = migrate_in(place.path(), place.path(), &["report", "chat", "--format", "csv"]);
    assert!(format.code != 0 && format.err.contains("html"), "{}", format.err);
}
