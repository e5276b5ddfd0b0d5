//! The order in which people count: `web-2` before `web-10`.

use std::cmp::Ordering;

/// Compares names with their runs of digits as numbers; names that differ only in leading zeros by text.
pub fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(l), Some(r)) = (left.chars().next(), right.chars().next()) {
        let ordering = if l.is_ascii_digit() && r.is_ascii_digit() {
            let (ln, rn) = (take_digits(&mut left), take_digits(&mut right));
            ln.len().cmp(&rn.len()).then_with(|| ln.cmp(rn))
        } else {
            left = left.get(l.len_utf8()..).unwrap_or_default();
            right = right.get(r.len_utf8()..).unwrap_or_default();
            l.cmp(&r)
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Splits the leading digits off; returns them without leading zeros.
fn take_digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_count_as_numbers() {
        let mut names =
            ["web-10", "web-2", "web-02", "web", "db-1", "web-2a", "web-99999999999999999999999", "web-1.b", "web-1.a"];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(
            names,
            ["db-1", "web", "web-1.a", "web-1.b", "web-02", "web-2", "web-2a", "web-10", "web-99999999999999999999999"]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_total_order(a in "[a0-2é.]{0,6}", b in "[a0-2é.]{0,6}", c in "[a0-2é.]{0,6}") {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            prop_assert_eq!(natural_cmp(&a, &b) == Ordering::Equal, a == b);
            if natural_cmp(&a, &b).is_le() && natural_cmp(&b, &c).is_le() {
                prop_assert!(natural_cmp(&a, &c).is_le());
            }
        }
    }
}
