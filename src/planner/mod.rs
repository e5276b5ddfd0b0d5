//! Spec and live reads to a step graph.
