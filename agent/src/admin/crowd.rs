//! The connections to the TCP listener: nobody knows whose they are, so no user can be given a
//! share. When all places are taken, whoever has waited longest without asking for anything gives
//! way to the next: a reader who asks at once is always answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections there are, the longest unheard first.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<VecDeque<Arc<Member>>>>);

#[derive(Debug, Default)]
struct Member {
    /// Requests being answered.
    busy: AtomicUsize,
    leave: Notify,
}

/// A connection's membership; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Membership {
    crowd: Crowd,
    member: Arc<Member>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Asking(Arc<Member>);

impl Crowd {
    /// One more.
    pub(super) fn join(&self) -> Membership {
        let member = Arc::<Member>::default();
        self.0.lock().push_back(Arc::clone(&member));
        Membership { crowd: self.clone(), member }
    }

    /// Asks the one that has been silent longest to leave; false where all are being answered.
    pub(super) fn make_room(&self) -> bool {
        let mut members = self.0.lock();
        let idle = members.iter().position(|member| member.busy.load(Relaxed) == 0);
        let Some(member) = idle.and_then(|at| members.remove(at)) else { return false };
        member.leave.notify_one();
        true
    }
}

impl Membership {
    /// A request has come: its connection has asked last.
    pub(super) fn asks(&self) -> Asking {
        self.member.busy.fetch_add(1, Relaxed);
        let mut members = self.crowd.0.lock();
        if let Some(at) = members.iter().position(|member| Arc::ptr_eq(member, &self.member))
            && let Some(member) = members.remove(at)
        {
            members.push_back(member);
        }
        Asking(Arc::clone(&self.member))
    }

    /// Resolves when it has to leave.
    pub(super) async fn has_to_leave(&self) {
        self.member.leave.notified().await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.crowd.0.lock().retain(|member| !Arc::ptr_eq(member, &self.member));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_told(membership: &Membership) -> bool {
        let told = membership.has_to_leave();
        tokio::time::timeout(std::time::Duration::from_millis(1), told).await.is_ok()
    }

    #[tokio::test]
    async fn the_longest_unheard_leaves_and_nobody_in_the_middle_of_an_answer() {
        let crowd = Crowd::default();
        let [first, second, third] = [crowd.join(), crowd.join(), crowd.join()];
        let answering = first.asks();
        drop(second.asks());
        assert!(crowd.make_room());
        assert!(is_told(&third).await && !is_told(&second).await && !is_told(&first).await);
        assert!(crowd.make_room());
        assert!(is_told(&second).await && !is_told(&first).await);
        assert!(!crowd.make_room(), "the one left is being answered");
        drop(answering);
        assert!(crowd.make_room());
        drop((first, second, third));
        assert!(crowd.0.lock().is_empty());
    }
}
