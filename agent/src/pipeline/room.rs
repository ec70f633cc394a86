//! Memory for request bodies: one bound for all of them together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What there is for all bodies together. Clones share it.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

/// What one body has been given; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

/// Bytes are counted in these: a semaphore counts no further than 32 bits.
const UNIT: usize = 1024;

impl Room {
    /// Room for `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// A claim to nothing yet.
    pub fn claim(&self) -> Claim {
        Claim { room: Arc::clone(&self.0), held: None }
    }
}

impl Default for Room {
    /// 512 MiB: eight bodies of the largest size, or half a million usual ones.
    fn default() -> Self {
        Self::new(512 * 1024 * 1024)
    }
}

impl Claim {
    /// Extends the claim to `bytes` in all; false where there is no room for that.
    pub fn extend(&mut self, bytes: usize) -> bool {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT).saturating_sub(held);
        let Ok(missing) = u32::try_from(missing) else { return false };
        match Arc::clone(&self.room).try_acquire_many_owned(missing) {
            Ok(more) => {
                match &mut self.held {
                    Some(held) => held.merge(more),
                    None => self.held = Some(more),
                }
                true
            }
            Err(_full) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_room_and_give_it_back() {
        let room = Room::new(10 * UNIT);
        let (mut one, mut two) = (room.claim(), room.claim());
        assert!(one.extend(1) && one.extend(6 * UNIT) && one.extend(2));
        assert!(two.extend(4 * UNIT) && !two.extend(4 * UNIT + 1));
        drop(one);
        assert!(two.extend(10 * UNIT));
    }
}
