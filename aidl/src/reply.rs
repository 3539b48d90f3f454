// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The numbers of `LockReply.grant`: the deadline, then three for each buffer.
//!
//! Both sides use this one definition, so that the order that the AIDL promises is written down in
//! code once.

use crate::event::{Buffer, MAX_BUFFERS_PER_GROUP};
use crate::runtime::vendor::buffersync::LockReply::LockReply;

/// Numbers of one buffer.
const NUMBERS: usize = 3;

/// Numbers that are neither a grant's nor none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A grant as a `LockReply` tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted<'a> {
    /// When it is taken away, in nanoseconds of `CLOCK_MONOTONIC`.
    pub deadline_ns: i64,
    buffers: &'a [i64],
}

impl<'a> Granted<'a> {
    /// What a reply grants; `None` if the lock is queued.
    pub fn of(reply: &'a LockReply) -> Result<Option<Self>, Malformed> {
        let Some((&deadline_ns, buffers)) = reply.grant.split_first() else { return Ok(None) };
        let possible = NUMBERS..=NUMBERS * MAX_BUFFERS_PER_GROUP;
        if buffers.len() % NUMBERS != 0 || !possible.contains(&buffers.len()) {
            return Err(Malformed);
        }
        Ok(Some(Self { deadline_ns, buffers }))
    }

    /// In the order of their addition.
    pub fn buffers(self) -> impl ExactSizeIterator<Item = Buffer> + 'a {
        self.buffers.chunks_exact(NUMBERS).map(|buffer| match *buffer {
            // Bits beyond an int are none that there can be.
            [id, generation, flags] => Buffer { id, generation, flags: flags as i32 },
            // No chunk has another length.
            _ => Buffer::default(),
        })
    }

    /// `LockReply.grant` of a deadline and these buffers.
    pub fn numbers(deadline_ns: i64, buffers: impl ExactSizeIterator<Item = Buffer>) -> Vec<i64> {
        let mut numbers =
            Vec::with_capacity(buffers.len().saturating_mul(NUMBERS).saturating_add(1));
        numbers.push(deadline_ns);
        for Buffer { id, generation, flags } in buffers {
            numbers.extend([id, generation, i64::from(flags)]);
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FLAG_FENCED;

    fn reply(grant: &[i64]) -> LockReply {
        LockReply { token: 1, grant: grant.to_vec(), acquireFence: None }
    }

    #[test]
    fn a_grant_is_its_deadline_and_three_numbers_a_buffer() {
        let all = [
            Buffer { id: 1, generation: i64::MAX, flags: FLAG_FENCED },
            Buffer { id: 2, generation: 0, flags: 0 },
        ];
        let numbers = Granted::numbers(77, all.into_iter());
        assert_eq!(numbers, [77, 1, i64::MAX, 4, 2, 0, 0]);
        let reply = reply(&numbers);
        let granted = Granted::of(&reply).expect("whole").expect("granted");
        assert_eq!(granted.deadline_ns, 77);
        assert!(granted.buffers().eq(all));
    }

    #[test]
    fn no_numbers_are_no_grant_and_others_are_a_whole_one() {
        assert_eq!(Granted::of(&reply(&[])), Ok(None));
        let most = 1 + NUMBERS * MAX_BUFFERS_PER_GROUP;
        for len in [1, 2, 3, 5, 6, most - 1, most + NUMBERS] {
            assert_eq!(Granted::of(&reply(&vec![7; len])), Err(Malformed), "{len} numbers");
        }
        assert!(matches!(Granted::of(&reply(&vec![7; most])), Ok(Some(_))));
    }
}
