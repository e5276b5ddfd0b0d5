//! Connections that are ended by the kernel of the host they are on: both ends see a reset.
//!
//! Owns the scripts: what ends some, and what tells before whether that can be. Must never end one at another port or address of the host.

use std::net::IpAddr;

/// Ends `MIGRATE_COUNT` connections in `MIGRATE_WITHIN` seconds, a few each second. What `ss` says of it is no word: `RTNETLINK answers` stands
/// there where it has worked, too; what is left is counted by whoever asked.
const SCRIPT: &str = r#"PATH=$PATH:/usr/sbin:/sbin
left=$MIGRATE_COUNT
each=$(((left + MIGRATE_WITHIN - 1) / MIGRATE_WITHIN))
while [ "$left" -gt 0 ]; do
  [ "$each" -le "$left" ] || each=$left
  some=$(ss -tn state established "$of" | awk -v n="$each" 'NR > 1 && n-- > 0 { print $3, $4 }') || exit 1
  [ -n "$some" ] || exit 0
  echo "$some" | awk '
    { these = these (these == "" ? "" : " or ") "( src " $1 " and dst " $2 " )" }
    NR % 50 == 0 { print these; these = "" }
    END { if (these != "") print these }' |
    while IFS= read -r these; do ss -K -tn state established "$these" >/dev/null 2>&1; done
  left=$((left - each))
  [ "$left" -le 0 ] || sleep 1
done
"#;

/// What ends connections to a local port; `address` limits them to one local address.
pub fn script(address: Option<IpAddr>, port: u16) -> String {
    let of = match address {
        Some(IpAddr::V4(ip)) => format!("src {ip}:{port}"),
        Some(IpAddr::V6(ip)) => format!("src [{ip}]:{port}"),
        None => format!("( sport = :{port} )"),
    };
    format!("of='{of}'\n{SCRIPT}")
}

/// Status of [`PROBE`]: there is no `ss`.
pub const NO_SS: i32 = 7;
/// The login may not end connections.
pub const NO_RIGHT: i32 = 8;
/// The kernel cannot.
pub const NO_KERNEL: i32 = 9;
/// Nobody can tell whether the kernel can.
pub const UNCLEAR: i32 = 10;

/// Whether a host can end connections. Ends none but its own, in a network that is made for it and gone with it, and that only where the
/// kernel's configuration is not to be read.
pub const PROBE: &str = r#"PATH=$PATH:/usr/sbin:/sbin
command -v ss >/dev/null || exit 7
may=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
[ $((0x${may:-0} >> 12 & 1)) = 1 ] || exit 8
config=$(zcat /proc/config.gz 2>/dev/null | grep '^CONFIG_INET' || grep -h '^CONFIG_INET' "/boot/config-$(uname -r)" 2>/dev/null)
case $config in
*CONFIG_INET_DIAG_DESTROY=y*) exit 0 ;;
?*) exit 9 ;;
esac
command -v python3 >/dev/null && command -v unshare >/dev/null || exit 10
unshare -n python3 -c '
import socket, subprocess, sys
try:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    at = socket.socket(); at.bind(("127.0.0.1", 0)); at.listen()
    here = socket.create_connection(at.getsockname()); there, _ = at.accept()
    subprocess.run(["ss", "-K", "-tn", "state", "established"], capture_output=True)
    here.settimeout(0)
    try: here.recv(1)
    except ConnectionError: sys.exit(0)
    except BlockingIOError: sys.exit(9)
    sys.exit(9)
except (OSError, subprocess.SubprocessError): sys.exit(10)
'
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_to_the_service_are_named() {
        let of = |ip: Option<&str>| script(ip.map(|ip| ip.parse().unwrap()), 80).lines().next().unwrap().to_owned();
        assert_eq!(of(Some("10.0.0.7")), "of='src 10.0.0.7:80'");
        assert_eq!(of(Some("2001:db8::1")), "of='src [2001:db8::1]:80'");
        assert_eq!(of(None), "of='( sport = :80 )'");
    }
}
