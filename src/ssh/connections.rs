//! Who is still connected to a service, as its host's kernel sees it.
//!
//! Owns the reading of `/proc/net/tcp` and `tcp6`. Must never report zero because it could not look.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Remote;
use crate::host::{Command, ConnectionCount, Output};
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::text::escape;

/// Peers that are named.
const PEERS: usize = 10;

/// `$1` port in hex, `$2` and `$3` local addresses in hex as little- and big-endian kernels print them, or nothing for any.
/// Answers the byte order, the number of connections, the peers with most of them, and the ends of those that begin or end. State 01 is
/// ESTABLISHED, 07 CLOSE, 0A LISTEN.
const SCRIPT: &str = r#"
LC_ALL=C; export LC_ALL
[ -r /proc/net/tcp ] || { echo "/proc/net/tcp cannot be read" >&2; exit 1; }
order=$(printf '\1\0' | od -An -tu2 | tr -d ' \t')
[ "$order" = 1 ] && here=$2 || here=$3
echo "order $order"
{ cat /proc/net/tcp; cat /proc/net/tcp6 2>/dev/null; } | awk -v port="$1" -v here=" $here " '
  $4 != "07" && $4 != "0A" {
    split($2, local, ":"); split($3, peer, ":")
    if (local[2] != port || !(here == "  " || index(here, " " local[1] " "))) next
    if ($4 == "01") { n++; count[peer[1]]++ } else if (++ends <= 1000) print -1, $3
  }
  END { print n + 0, "total"; for (p in count) print count[p], p }' | sort -rn | awk '$1 < 0 || ++told <= 12'
"#;

/// Counts the established connections to a local port of a host; `address` limits them to one local address.
pub async fn connections(
    remote: &dyn Remote,
    host: &Host,
    address: Option<IpAddr>,
    port: u16,
) -> Result<ConnectionCount, Error> {
    let (little, big) = address.map(|ip| (forms(ip, true), forms(ip, false))).unwrap_or_default();
    let args = vec![format!("{port:04X}"), little, big];
    let output = remote.run(host, &Command { script: SCRIPT.to_owned(), args, ..Command::default() }).await?;
    parse(&output).ok_or_else(|| {
        let said = escape(if output.stderr.is_empty() { &output.stdout } else { &output.stderr }, 200);
        let what = format!("its connections cannot be counted: {said}");
        Error::new(host.name.clone(), Kind::Refused, what)
    })
}

/// How the kernel prints an address: IPv4 also as IPv6 sockets see it.
fn forms(ip: IpAddr, little: bool) -> String {
    let word = |bytes: [u8; 4]| {
        let n = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        format!("{n:08X}")
    };
    let long = |ip: Ipv6Addr| -> String {
        ip.octets().chunks_exact(4).filter_map(|chunk| chunk.try_into().ok()).map(word).collect()
    };
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("{} {}", word(ip.octets()), long(ip.to_ipv6_mapped())),
        IpAddr::V6(ip) => long(ip),
    }
}

fn parse(output: &Output) -> Option<ConnectionCount> {
    let text = std::str::from_utf8(&output.stdout).ok().filter(|_| output.status == 0)?;
    let mut lines = text.lines();
    let little = match lines.next()?.split_once(' ')? {
        ("order", "1") => true,
        ("order", "256") => false,
        _ => return None,
    };
    let (mut count, mut peers, mut lately) = (None, Vec::new(), BTreeSet::new());
    for line in lines {
        let (n, who) = line.trim().split_once(' ')?;
        if n == "-1" {
            let (hex, port) = who.split_once(':')?;
            let ip = address(hex, little)?;
            lately.insert(format!("{ip}:{}", u16::from_str_radix(port, 16).ok()?));
            continue;
        }
        let n: u64 = n.parse().ok()?;
        match who {
            "total" => count = Some(n),
            hex if peers.len() < PEERS => peers.push(format!("{} ({n})", address(hex, little)?)),
            _ => {}
        }
    }
    Some(ConnectionCount { count: count?, peers, lately })
}

/// An address as the kernel prints it.
fn address(hex: &str, little: bool) -> Option<IpAddr> {
    let word = |at: usize| {
        let n = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        Some(if little { n.to_le_bytes() } else { n.to_be_bytes() })
    };
    match hex.len() {
        8 => Some(IpAddr::from(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: i32, stdout: &str) -> Output {
        Output { status, stdout: stdout.into(), stderr: Vec::new(), truncated: false }
    }

    #[test]
    fn addresses_are_written_as_the_kernel_writes_them() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(forms(local, true), "0100007F 0000000000000000FFFF00000100007F");
        assert_eq!(forms(local, false), "7F000001 00000000000000000000FFFF7F000001");
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(forms(six, true), "B80D0120000000000000000001000000");
        for little in [true, false] {
            for ip in [local, six] {
                assert_eq!(address(forms(ip, little).split(' ').next().unwrap(), little), Some(ip));
                assert_eq!(address(forms(ip, little).split(' ').next_back().unwrap(), little), Some(ip));
            }
        }
    }

    #[test]
    fn peers_are_counted_and_named() {
        let text = "order 1\n5 total\n3 0700000A\n2 0000000000000000FFFF00000800000A\n-1 0900000A:9CBB\n";
        let peers = vec!["10.0.0.7 (3)".to_owned(), "10.0.0.8 (2)".to_owned()];
        let lately = BTreeSet::from(["10.0.0.9:40123".to_owned()]);
        assert_eq!(parse(&output(0, text)), Some(ConnectionCount { count: 5, peers, lately }));
        assert_eq!(parse(&output(0, "order 1\n0 total\n")), Some(ConnectionCount::default()));
    }

    #[test]
    fn an_answer_that_is_not_understood_is_not_zero() {
        let bad = [
            "",
            "order 1\n",
            "order 2\n0 total\n",
            "order 1\n0 total\nx y\n",
            "order 1\n1 total\n1 0X\n",
            "0 total\n",
            "order 1\n0 total\n-1 0X\n",
        ];
        for text in bad {
            assert_eq!(parse(&output(0, text)), None, "{text:?}");
        }
        assert_eq!(parse(&output(1, "order 1\n0 total\n")), None);
    }
}
