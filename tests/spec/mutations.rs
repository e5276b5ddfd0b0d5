//! Any input gives a model or says what is wrong, and never panics.

use proptest::prelude::*;

use crate::spec::support::{Files, good};

/// Loads a plan and an inventory of these bytes; a failure has something to say, and what it says is safe to print.
fn survives(plan: &[u8], inventory: &[u8]) {
    let files = Files::new("", "");
    files.write("plan.yaml", plan);
    files.write("inventory.yaml", inventory);
    let said = match files.load() {
        Ok((spec, warnings)) => {
            assert_eq!(warnings.errors(), 0);
            assert!(!spec.plan.services.is_empty());
            files.show(&warnings)
        }
        Err(problems) => {
            assert!(problems.errors() > 0);
            serde_json::to_string(&problems).unwrap();
            files.show(&problems)
        }
    };
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
}

fn text(name: &str) -> Vec<u8> {
    std::fs::read(good(name)).unwrap()
}

/// One change of a text.
#[derive(Debug, Clone)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, Vec<u8>),
    Copy(usize, usize, usize),
    DropLine(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let snippet = prop_oneof![
        Just(b"{{".to_vec()),
        Just(b": ".to_vec()),
        Just(b"&a ".to_vec()),
        Just(b"*a".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\n  ".to_vec()),
        Just(b"[".to_vec()),
        Just(b"}".to_vec()),
        Just(b"'".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"yes".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"<<: *a".to_vec()),
        Just(b"|\n".to_vec()),
        Just(b"!!str ".to_vec()),
        Just(b"\"\\e\\0\"".to_vec()),
        Just("é🦀\u{202e}".as_bytes().to_vec()),
        Just(b"99999999999999999999".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..4),
    ];
    let at = 0usize..4000;
    prop_oneof![
        (at.clone(), 1usize..30).prop_map(|(at, len)| Edit::Delete(at, len)),
        (at.clone(), snippet).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at.clone(), 1usize..60, at).prop_map(|(from, len, to)| Edit::Copy(from, len, to)),
        (0usize..80).prop_map(Edit::DropLine),
    ]
}

fn apply(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let clamp = |n: usize, bytes: &[u8]| n % (bytes.len() + 1);
        match edit {
            Edit::Delete(at, len) => {
                let at = clamp(*at, &bytes);
                let end = (at + len).min(bytes.len());
                bytes.drain(at..end);
            }
            Edit::Insert(at, new) => {
                let at = clamp(*at, &bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Edit::Copy(from, len, to) => {
                let from = clamp(*from, &bytes);
                let piece = bytes[from..(from + len).min(bytes.len())].to_vec();
                let to = clamp(*to, &bytes);
                bytes.splice(to..to, piece);
            }
            Edit::DropLine(n) => {
                let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
                if *n < lines.len() {
                    lines.remove(*n);
                }
                bytes = lines.concat();
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_survived(plan in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&plan, &text("inventory.yaml"));
    }

    #[test]
    fn arbitrary_text_is_survived(plan in "[ -~\n]{0,200}", inventory in "[a-z:{}\\[\\]*&!|>'\", \n-]{0,200}") {
        survives(plan.as_bytes(), inventory.as_bytes());
    }

    #[test]
    fn a_valid_plan_with_arbitrary_changes_is_survived(plan in proptest::collection::vec(edit(), 0..6), inventory in proptest::collection::vec(edit(), 0..3)) {
        survives(&apply(text("plan.yaml"), &plan), &apply(text("inventory.yaml"), &inventory));
    }

    #[test]
    fn every_single_change_of_a_valid_inventory_is_survived(change in edit()) {
        survives(&text("plan.yaml"), &apply(text("inventory.yaml"), &[change]));
    }
}
