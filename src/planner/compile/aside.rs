//! A target directory that a rollback gives back: moved aside before the first pass, back on the way back.
//!
//! Must never remove anything: what was copied meanwhile is moved away, too.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::HookPoint;
use crate::step::HookStep;
use crate::text;
use crate::text::shell::quote;

/// A rename takes no time, whatever is below.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The command that moves `to` on `host` aside, and its undo; both go by the name of the run.
pub fn hook(host: &str, to: &str) -> HookStep {
    let to = to.trim_end_matches('/');
    // Read by people in plans, where the start of a script is shown.
    let title = format!("# puts {} aside", text::escape(to.as_bytes(), 80));
    let names = format!("set -e; to={}; aside=$to.before-$MIGRATE_RUN", quote(to));
    HookStep {
        host: host.to_owned(),
        at: HookPoint::BeforeSeed,
        run: format!("{title}\n{names}\n{PUT_ASIDE}"),
        timeout: TIMEOUT,
        idempotent: false,
        done_when: None,
        undo: Some(format!("{names}\n{PUT_BACK}")),
        secrets: BTreeMap::new(),
    }
}

/// Where nothing was, an empty directory is put aside: that one is there says that the way back has not been gone.
const PUT_ASIDE: &str = r#"[ ! -e "$aside" ] || { echo "$aside is there already: move it away" >&2; exit 1; }
[ -e "$to" ] || mkdir -p -- "$to"
mv -T -- "$to" "$aside"
"#;

const PUT_BACK: &str = r#"[ -e "$aside" ] || exit 0
[ ! -e "$to" ] || mv -T -- "$to" "$to.copied-$MIGRATE_RUN-$(date +%s)"
mv -T -- "$aside" "$to"
"#;
