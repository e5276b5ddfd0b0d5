//! Events and plans to text.
