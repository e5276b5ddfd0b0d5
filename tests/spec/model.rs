//! What a valid plan becomes.

use migrate::spec::{load, load_inventory};

use crate::support::{good, options};

#[test]
fn a_plan_that_says_everything_becomes_the_model() {
    let (spec, warnings) = load(&good("plan.yaml"), None, &options()).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{warnings}");
    let shown = format!("{:#?}", spec.plan);
    insta::assert_snapshot!(shown);
}

#[test]
fn an_inventory_that_says_everything_becomes_the_model() {
    let (inventory, inputs, warnings) =
        load_inventory(&[&good("inventory.yaml")], &options()).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(inputs.len(), 1);
    let here = good("").display().to_string();
    insta::assert_snapshot!(format!("{inventory:#?}").replace(&here, "HERE/"));
}
