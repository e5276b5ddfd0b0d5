//! JUnit XML: what is known of a plan or its files as tests that pass or fail, for test reports of CI.

use super::markup::{Attribute, Markup};
use super::remarks::{Level, Remark, Spot};
use crate::text;

/// Tests that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// Its tests.
    pub cases: Vec<Case>,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it is about.
    pub class: String,
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub spot: Option<Spot>,
    /// What there is to say.
    pub says: Vec<String>,
    /// Why it fails, if it does.
    pub fails: Option<String>,
}

impl Suite {
    /// A test for each remark: those that keep things from being done fail.
    pub fn of(name: &str, remarks: &[Remark]) -> Self {
        Self { name: name.to_owned(), cases: remarks.iter().map(Case::of).collect() }
    }
}

impl Case {
    fn of(remark: &Remark) -> Self {
        let level = match remark.level {
            Level::Error => None,
            Level::Warning => Some("risk"),
            Level::Notice => Some("note"),
        };
        let first = remark.what.lines().next().unwrap_or_default();
        Self {
            class: remark.about.clone(),
            name: first.to_owned(),
            spot: Some(remark.spot.clone()),
            says: level.iter().map(|level| format!("{level}: {}", remark.text())).collect(),
            fails: level.is_none().then(|| remark.text()),
        }
    }
}

/// All suites as one report.
pub fn report(suites: &[Suite]) -> String {
    let mut page = Markup::default();
    page.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let cases = || suites.iter().flat_map(|suite| &suite.cases);
    page.open("testsuites", &[("name", &"migrate"), ("tests", &cases().count()), ("failures", &failures(cases()))]);
    page.line();
    for suite in suites {
        let (tests, fail) = (suite.cases.len(), failures(suite.cases.iter()));
        let counts: [Attribute<'_>; 5] =
            [("name", &suite.name), ("tests", &tests), ("failures", &fail), ("errors", &0), ("skipped", &0)];
        page.open("testsuite", &counts);
        page.line();
        suite.cases.iter().for_each(|case| test(&mut page, case));
        page.close("testsuite");
        page.line();
    }
    page.close("testsuites");
    page.line();
    page.finish()
}

fn failures<'a>(cases: impl Iterator<Item = &'a Case>) -> usize {
    cases.filter(|case| case.fails.is_some()).count()
}

fn test(page: &mut Markup, case: &Case) {
    let (path, line) = match &case.spot {
        Some(spot) => (Some(spot.path()), spot.line),
        None => (None, None),
    };
    let mut attributes: Vec<Attribute<'_>> = vec![("classname", &case.class), ("name", &case.name)];
    attributes.extend(path.iter().map(|path| ("file", path as _)));
    attributes.extend(line.iter().map(|line| ("line", line as _)));
    page.open("testcase", &attributes);
    if let Some(why) = &case.fails {
        let first = text::escape(why.lines().next().unwrap_or_default().as_bytes(), 300);
        page.element("failure", &[("message", &first), ("type", &"refused")], why);
    }
    if !case.says.is_empty() {
        page.element("system-out", &[], case.says.join("\n"));
    }
    page.close("testcase");
    page.line();
}
