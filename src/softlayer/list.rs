//! Whole lists, page by page. Nothing says that a list stays as it is while its pages are read: the pages must fit together.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value, json};

use super::client::{Api, Call, Failed, Why};
use crate::outside::{Error, Kind};

/// Rows asked for at once; what is too much at once is asked for in smaller parts.
const PAGE: usize = 100;
const SMALLEST: usize = 5;
/// Pages that are on their way at the same time.
const BESIDE: usize = 6;
/// How often a list that changes while it is read is begun again.
const TRIES: usize = 3;
/// More than any account has.
const MAX_ROWS: usize = 200_000;

/// A page: its rows with their ids, and how many there are in all, where that is said.
struct Page<T> {
    rows: Vec<(Option<u64>, T)>,
    total: Option<usize>,
}

/// What is kept of a row. As it comes, one of a machine takes twenty times as much.
type Keep<'a, T> = &'a (dyn Fn(Value) -> T + Sync);

impl Api {
    /// All rows of a list, by their ids. `root` is the property that filters begin at; empty where a method gives the list by itself.
    pub async fn list(&self, call: &Call, root: &str, filter: &Map<String, Value>) -> Result<Vec<Value>, Error> {
        self.kept(call, root, filter, std::convert::identity).await
    }

    /// What is to be kept of all rows of a list, by their ids. `root` is the property that filters begin at; empty where a method gives the list by itself.
    pub async fn kept<T: Send>(
        &self,
        call: &Call,
        root: &str,
        filter: &Map<String, Value>,
        keep: impl Fn(Value) -> T + Sync,
    ) -> Result<Vec<T>, Error> {
        let mut filter = filter.clone();
        // Without an order there is none, and pages would overlap.
        filter
            .insert("id".into(), json!({ "operation": "orderBy", "options": [{ "name": "sort", "value": ["ASC"] }] }));
        let filter = if root.is_empty() { Value::Object(filter) } else { json!({ root: filter }) };
        let call = Call { filter: Some(filter), ..call.clone() };
        for _ in 0..TRIES {
            let pages = self.pages(&call, &keep).await?;
            if let Some(rows) = fit_together(pages).map_err(|why| self.bad(&call, why))? {
                return Ok(rows);
            }
        }
        Err(self
            .bad(&call, "the list changed each time it was read")
            .hint("try again when less is ordered or cancelled"))
    }

    fn bad(&self, call: &Call, why: &str) -> Error {
        Error::new(self.at(), Kind::Disagrees, format!("{}: {why}", call.name()))
    }

    async fn pages<T: Send>(&self, call: &Call, keep: Keep<'_, T>) -> Result<Vec<Page<T>>, Failed> {
        let first = self.page(call, 0, keep).await?;
        match first.total {
            Some(total) => {
                let offsets = (PAGE..total.min(MAX_ROWS)).step_by(PAGE);
                let rest = futures_util::stream::iter(offsets).map(|offset| self.page(call, offset, keep));
                let mut pages = vec![first];
                pages.extend(rest.buffered(BESIDE).try_collect::<Vec<_>>().await?);
                Ok(pages)
            }
            None => self.until_short(call, first, keep).await,
        }
    }

    /// Where nobody says how many there are, the end is a page that is not full.
    async fn until_short<T: Send>(
        &self,
        call: &Call,
        first: Page<T>,
        keep: Keep<'_, T>,
    ) -> Result<Vec<Page<T>>, Failed> {
        let mut pages = vec![first];
        while pages.last().is_some_and(|page| page.rows.len() == PAGE) && pages.len() * PAGE < MAX_ROWS {
            pages.push(self.page(call, pages.len() * PAGE, keep).await?);
        }
        Ok(pages)
    }

    async fn page<T: Send>(&self, call: &Call, offset: usize, keep: Keep<'_, T>) -> Result<Page<T>, Failed> {
        let mut page = Page { rows: Vec::new(), total: None };
        let mut size = PAGE;
        while page.rows.len() < PAGE {
            let wanted = size.min(PAGE - page.rows.len());
            let part = Call { limit: Some((offset + page.rows.len(), wanted)), ..call.clone() };
            let answer = match self.ask(&part, wanted <= SMALLEST).await {
                Err(Failed { why: Why::TooMuch, .. }) if wanted > SMALLEST => {
                    size = (wanted / 2).max(SMALLEST);
                    continue;
                }
                answer => answer?,
            };
            page.total = answer.total.or(page.total);
            let rows = match answer.value {
                Value::Array(rows) => rows,
                Value::Null => Vec::new(),
                // Some getters give a list of one as that one.
                one => vec![one],
            };
            let got = rows.len();
            page.rows.extend(rows.into_iter().map(|row| (row.get("id").and_then(Value::as_u64), keep(row))));
            if got < wanted {
                break;
            }
        }
        Ok(page)
    }
}

/// The rows by their ids; `None` when the list must have changed between its pages.
fn fit_together<T>(pages: Vec<Page<T>>) -> Result<Option<Vec<T>>, &'static str> {
    let total = pages.first().and_then(|page| page.total);
    if pages.iter().any(|page| page.total != total) {
        return Ok(None);
    }
    let (mut rows, mut seen) = (BTreeMap::new(), 0);
    for (id, row) in pages.into_iter().flat_map(|page| page.rows) {
        seen += 1;
        rows.insert(id.ok_or("a row has no id")?, row);
    }
    let whole = rows.len() == seen && total.is_none_or(|total| total == seen);
    Ok(whole.then(|| rows.into_values().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: std::ops::Range<u64>, total: Option<usize>) -> Page<()> {
        Page { rows: ids.map(|id| (Some(id), ())).collect(), total }
    }

    #[test]
    fn pages_that_do_not_fit_together_are_no_list() {
        let ids = |pages| fit_together(pages).unwrap().map(|rows| rows.len());
        assert_eq!(ids(vec![page(0..100, Some(150)), page(100..150, Some(150))]), Some(150));
        assert_eq!(ids(vec![page(0..3, None)]), Some(3));
        // One went, so that another one was passed over; one came, so that another one came twice; more were promised.
        assert_eq!(ids(vec![page(0..100, Some(150)), page(101..150, Some(149))]), None);
        assert_eq!(ids(vec![page(0..100, None), page(99..150, None)]), None);
        assert_eq!(ids(vec![page(0..100, Some(101))]), None);
        assert_eq!(fit_together(vec![Page { rows: vec![(None, ())], total: None }]), Err("a row has no id"));
    }
}
