//! Hosts, groups and selectors.
