//! The users and groups in POSIX ACLs, as `linux/posix_acl_xattr.h` lays them out: a version, then tag, permissions and number of
//! each entry.
//!
//! Pure. Must never touch what it does not understand.

const VERSION: u32 = 2;
const HEAD: usize = 4;
const ENTRY: usize = 8;
/// `ACL_USER` and `ACL_GROUP`: the other tags name nobody.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// Databases of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Users.
    Passwd,
    /// Groups.
    Group,
}

impl IdKind {
    /// The name of its database.
    pub fn database(self) -> &'static str {
        match self {
            Self::Passwd => "passwd",
            Self::Group => "group",
        }
    }
}

/// The extended attributes that hold ACLs.
pub const KEYS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Whether an extended attribute holds an ACL.
pub fn is_acl(key: &[u8]) -> bool {
    KEYS.contains(&key)
}

/// The users and groups in an ACL, in its order.
pub fn owners(value: &[u8]) -> Vec<(IdKind, u32)> {
    let mut found = Vec::new();
    map(&mut value.to_vec(), |kind, id| {
        found.push((kind, id));
        id
    });
    found
}

/// Puts another number in place of each. The order stays, which no rule depends on, so that the way back leads to the same bytes.
pub fn map(value: &mut [u8], mut to: impl FnMut(IdKind, u32) -> u32) {
    let Some((head, entries)) = value.split_first_chunk_mut::<HEAD>() else { return };
    if u32::from_le_bytes(*head) != VERSION || entries.len() % ENTRY != 0 {
        return;
    }
    for entry in entries.chunks_exact_mut(ENTRY) {
        let [tag, tag_high, _, _, id @ ..] = entry else { continue };
        let kind = match u16::from_le_bytes([*tag, *tag_high]) {
            USER => IdKind::Passwd,
            GROUP => IdKind::Group,
            _ => continue,
        };
        if let Some(id) = id.first_chunk_mut::<4>() {
            *id = to(kind, u32::from_le_bytes(*id)).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&rights.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    #[test]
    fn only_named_users_and_groups_are_translated() {
        const NOBODY: u32 = u32::MAX;
        let of = |user, group| {
            acl(&[
                (1, 7, NOBODY),
                (USER, 6, user),
                (4, 5, NOBODY),
                (GROUP, 4, group),
                (0x10, 7, NOBODY),
                (0x20, 0, NOBODY),
            ])
        };
        let mut value = of(1000, 1000);
        assert_eq!(owners(&value), [(IdKind::Passwd, 1000), (IdKind::Group, 1000)]);
        map(&mut value, |kind, id| if kind == IdKind::Passwd { id + 1 } else { id + 2 });
        assert_eq!(value, of(1001, 1002));
    }

    proptest! {
        #[test]
        fn what_is_no_acl_stays_as_it_is(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut value = bytes.clone();
            map(&mut value, |_, id| id ^ 1);
            prop_assert_eq!(value.len(), bytes.len());
            let understood = bytes.starts_with(&VERSION.to_le_bytes()) && bytes.len() % ENTRY == HEAD;
            prop_assert!(understood || value == bytes);
            map(&mut value, |_, id| id ^ 1);
            prop_assert_eq!(value, bytes);
        }
    }
}
