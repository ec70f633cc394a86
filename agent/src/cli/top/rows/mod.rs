//! The rows of each tab, and what is said of one of them at length: from the API's types to words.

pub(super) mod processes;
pub(super) mod tree;
pub(super) mod models;
pub(super) mod calls;
pub(super) mod budgets;
pub(super) mod breakers;
pub(super) mod health;

use super::super::text::{bytes, count, short, usd};
use super::grid::{Cell, Key};
use crate::admin::money::Usd;

/// A count with its thousands apart.
fn counted(number: u64) -> Cell {
    Cell::figure(&count(number), number)
}

/// A count in thousands or millions.
fn scaled(number: u64) -> Cell {
    Cell::figure(&short(number), number)
}

/// An amount of memory.
fn sized(number: u64) -> Cell {
    Cell::figure(&bytes(number), number)
}

/// Dollars. What nothing is known about is no amount of zero.
fn cost(amount: Usd, calls: u64, unpriced: u64) -> Cell {
    match (calls, unpriced) {
        (0, _) => Cell::absent("-"),
        (calls, unpriced) if calls == unpriced => Cell::absent("?"),
        _ => Cell::figure(&usd(amount), Key::Whole(amount.0.0)),
    }
}

/// A name that may be missing.
fn named(name: Option<&str>) -> Cell {
    name.map_or_else(|| Cell::absent("-"), Cell::text)
}
