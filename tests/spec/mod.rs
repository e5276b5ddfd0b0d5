//! The language: what a valid plan becomes, and how everything that is wrong is said.

mod support;

mod model;

mod problems;

mod bounds;

mod mutations;

mod inventories;

mod limits;

mod waves;
