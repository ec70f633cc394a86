//! Workloads picked by what the kernel can tell apart.

use super::Check;
use crate::config::problem::Trail;
use crate::subject::Pick;

/// More than this is the whole host, which needs no list.
const MOST: usize = 64;

impl Check<'_> {
    /// `unit:`, `container:` and `user:` names.
    pub(super) fn picks(&mut self, words: &[String], trail: &Trail) -> Vec<Pick> {
        let mut kept = Vec::new();
        for (at, word) in self.items(trail, words) {
            match Pick::parse(word) {
                Some(pick) if kept.contains(&pick) => {
                    self.problem(&at, format!("`{pick}` is given twice"));
                }
                Some(pick) => kept.push(pick),
                None => {
                    let what = format!(
                        "`{word}` cannot be told apart by the kernel: give `unit:NAME.service`, \
                         `container:NAME` or `user:NAME`"
                    );
                    self.problem(&at, what);
                }
            }
        }
        if kept.len() > MOST {
            self.problem(trail, format!("takes at most {MOST} workloads"));
        }
        kept
    }
}
