//! "Did you mean": what somebody may have wanted to write.

/// Most names that a hint lists.
const MAX_LISTED: usize = 12;

/// The candidate that is close enough to be a misspelling, if there is one.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing is quadratic in the length; nothing that long was meant to be a name.
    let word: String = word.chars().take(80).collect::<String>().to_lowercase();
    let length = word.chars().count();
    let allowed = (length / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed && *distance < length.max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or the list of what there is. `kinds` is the plural, as in "hosts".
pub fn hint<'a>(word: &str, kinds: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = candidates.into_iter().collect();
    if let Some(found) = closest(word, all.iter().copied()) {
        return format!("did you mean `{found}`?");
    }
    if all.is_empty() {
        return format!("there are no {kinds}");
    }
    let mut shown: Vec<String> = all.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    if all.len() > MAX_LISTED {
        shown.push(format!("{} more", all.len() - MAX_LISTED));
    }
    format!("the {kinds} there are: {}", crate::text::list(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_anything_else_the_list() {
        let keys = ["health", "hooks", "state"];
        assert_eq!(hint("heath", "keys", keys), "did you mean `health`?");
        assert_eq!(hint("HOOKS", "keys", keys), "did you mean `hooks`?");
        assert_eq!(hint("zebra", "keys", keys), "the keys there are: `health`, `hooks` and `state`");
        assert_eq!(hint("x", "hosts", []), "there are no hosts");
        assert_eq!(hint("c", "hosts", ["a"]), "the hosts there are: `a`");
    }
}
