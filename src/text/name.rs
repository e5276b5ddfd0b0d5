//! What things may be called, and ranges of names.

/// Longest name.
const MAX_LEN: usize = 128;
/// Most names that one range stands for.
const MAX_RANGE: usize = 10_000;
/// Most names in one file, ranges expanded.
pub const MAX_NAMES: usize = 100_000;
/// The rule, for hints.
pub const RULE: &str = "names begin with a letter or a digit and go on with letters, digits, `.`, `_` and `-`";

/// Whether something may be called this. Names end up in paths, command lines and on terminals.
pub fn check(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_LEN {
        return Err("it is longer than 128 bytes");
    }
    match name.chars().next() {
        None => return Err("it is empty"),
        Some('-') => return Err("it begins with `-`, which commands take for an option"),
        Some(c) if !c.is_ascii_alphanumeric() => return Err("it does not begin with a letter or a digit"),
        Some(_) => {}
    }
    match name.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) if c.is_whitespace() => Err("it holds a space"),
        Some(_) => Err("it holds a character that names cannot have"),
        None => Ok(()),
    }
}

/// Whether a variable may be called this.
pub fn check_variable(name: &str) -> Result<(), &'static str> {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match name.chars().next() {
        None => Err("it is empty"),
        Some(c) if c.is_ascii_digit() => Err("it begins with a digit"),
        Some(_) if name.len() > MAX_LEN => Err("it is longer than 128 bytes"),
        Some(_) if name.chars().all(ok) => Ok(()),
        Some(_) => Err("variables are made of letters, digits and `_`"),
    }
}

/// Whether SSH may log in as this user.
pub fn check_user(name: &str) -> Result<(), &'static str> {
    if name.starts_with('-') {
        return Err("it begins with `-`, which commands take for an option");
    }
    let bad = |c: char| c.is_whitespace() || c.is_control() || "'\"`$\\;&|<>()[]{}*?!#~/:,%".contains(c);
    if name.is_empty() || name.len() > MAX_LEN || name.contains(bad) {
        return Err("user names are made of letters, digits, `.`, `_`, `-` and `@`");
    }
    Ok(())
}

/// Whether this is an IP address or a DNS name.
pub fn check_address(address: &str) -> Result<(), &'static str> {
    if address.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    if address.starts_with('-') {
        return Err("it begins with `-`, which commands take for an option");
    }
    if address.contains(char::is_whitespace) {
        return Err("it holds a space");
    }
    if address.contains(':') || address.contains('[') {
        return Err("it is neither an IP address nor a DNS name; ports go under `ssh:` or into variables");
    }
    let name = address.strip_suffix('.').unwrap_or(address);
    let label = |l: &str| {
        let ok = l.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        ok && !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-')
    };
    // All digits and dots: somebody mistyped an IPv4 address.
    let numeric = name.chars().all(|c| c.is_ascii_digit() || c == '.');
    match name.len() <= 253 && name.split('.').all(label) && !numeric {
        true => Ok(()),
        false => Err("it is neither an IP address nor a DNS name"),
    }
}

/// Whether this is `host:port`, `[ipv6]:port` or the like.
pub fn check_host_port(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    if !matches!(port.parse::<u16>(), Ok(1..)) || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err("the port is not a number from 1 to 65535");
    }
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err("between the brackets is no IPv6 address"),
        None if host.contains(':') => Err("an IPv6 address goes between brackets, as in [::1]:80"),
        None => check_address(host),
    }
}

/// The names a pattern stands for: `web-[01-03]` is `web-01`, `web-02`, `web-03`; a text without brackets is itself.
/// At most `limit` of them.
pub fn expand(pattern: &str, limit: usize) -> Result<Vec<String>, &'static str> {
    let Some((prefix, rest)) = pattern.split_once('[') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let (range, suffix) = rest.split_once(']').ok_or("its `[` is not closed")?;
    if suffix.contains('[') {
        return Err("it has more than one range");
    }
    let (first, last) = range.split_once('-').ok_or("a range is written [1-20]")?;
    let digits = |t: &str| !t.is_empty() && t.len() <= 9 && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Err("a range goes from a number to a number, as in [1-20]");
    }
    let width = if first.starts_with('0') { first.len() } else { 0 };
    let (low, high) = (first.parse::<usize>().unwrap_or(0), last.parse::<usize>().unwrap_or(0));
    if high < low {
        return Err("its range goes backwards");
    }
    if high - low >= MAX_RANGE {
        return Err("its range stands for more than 10,000 names");
    }
    if high - low >= limit {
        return Err("the ranges of this file stand for more than 100,000 names");
    }
    Ok((low..=high).map(|n| format!("{prefix}{n:0width$}{suffix}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_be_options_paths_or_terminal_tricks() {
        for good in ["dal-1", "web.fra1.example.com", "1", "A_b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "-rf", ".hidden", "a b", "a/b", "a\nb", "a\u{202e}b", "é", "a;b", &"x".repeat(129)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_ip_addresses_or_dns_names() {
        for good in ["10.0.0.1", "::1", "fe80::1", "web.example.com", "web.example.com.", "localhost", "a_b.example"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in
            ["", "-oProxyCommand=x", "10.0.0.256", "10.0.0", "a b", "host:22", "[::1]", "a..b", "a-.b", "user@host"]
        {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_are_plain_words() {
        assert!(check_user("deploy").is_ok() && check_user("svc_web@corp").is_ok());
        for bad in ["", "-l", "a b", "$(id)", "root;id", "a\nb"] {
            assert!(check_user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_keep_leading_zeros_and_stay_bounded() {
        assert_eq!(expand("web-[08-11].x", MAX_NAMES).unwrap(), ["web-08.x", "web-09.x", "web-10.x", "web-11.x"]);
        assert_eq!(expand("10.0.0.[9-10]", MAX_NAMES).unwrap(), ["10.0.0.9", "10.0.0.10"]);
        assert_eq!(expand("plain", MAX_NAMES).unwrap(), ["plain"]);
        for bad in ["[1-20000]", "[5-1]", "[1-2][1-2]", "[a-b]", "[1-", "[1]", "[1-99999999999]"] {
            assert!(expand(bad, MAX_NAMES).is_err(), "{bad}");
        }
    }
}
