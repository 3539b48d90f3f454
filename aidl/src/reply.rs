// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The numbers of `LockReply.grant` and `LockState.grant`: the deadline, then three numbers for each
//! buffer.
//!
//! Service and client use this definition, so the order that the AIDL promises is in the code once.

use crate::event::{Buffer, FLAG_FENCED, MAX_BUFFERS_PER_GROUP};

/// The numbers of one buffer: id, generation, flags.
const NUMBERS: usize = 3;

/// The numbers are neither empty nor a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A grant in a `LockReply` or a `LockState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted<'a> {
    /// In nanoseconds of `CLOCK_MONOTONIC`; 0 if there is none yet.
    pub deadline_ns: i64,
    buffers: &'a [i64],
}

impl<'a> Granted<'a> {
    /// The grant of these numbers; `None` if the lock has none yet.
    pub fn of(numbers: &'a [i64]) -> Result<Option<Self>, Malformed> {
        let Some((&deadline_ns, buffers)) = numbers.split_first() else { return Ok(None) };
        let possible = NUMBERS..=NUMBERS * MAX_BUFFERS_PER_GROUP;
        if buffers.len() % NUMBERS != 0 || !possible.contains(&buffers.len()) {
            return Err(Malformed);
        }
        Ok(Some(Self { deadline_ns, buffers }))
    }

    /// The buffers of the lock.
    pub fn buffers(self) -> impl ExactSizeIterator<Item = Buffer> + 'a {
        self.buffers.chunks_exact(NUMBERS).map(|buffer| match *buffer {
            // The flags are an AIDL int, so no bit is lost.
            [id, generation, flags] => Buffer { id, generation, flags: flags as i32 },
            // Can't happen: every chunk has NUMBERS numbers.
            _ => Buffer::default(),
        })
    }

    /// Makes the numbers of `LockReply.grant`.
    pub fn numbers(deadline_ns: i64, buffers: impl ExactSizeIterator<Item = Buffer>) -> Vec<i64> {
        let mut numbers =
            Vec::with_capacity(buffers.len().saturating_mul(NUMBERS).saturating_add(1));
        numbers.push(deadline_ns);
        for Buffer { id, generation, flags } in buffers {
            numbers.extend_from_slice(&[id, generation, i64::from(flags)]);
        }
        numbers
    }
}

/// Takes FLAG_FENCED off the buffers of a grant, because no fence is pending any more.
pub fn unfence(numbers: &mut [i64]) {
    for buffer in numbers.get_mut(1..).unwrap_or_default().chunks_exact_mut(NUMBERS) {
        if let [_, _, flags] = buffer {
            *flags &= !i64::from(FLAG_FENCED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FLAG_FENCED;

    #[test]
    fn a_grant_is_a_deadline_and_three_numbers_for_each_buffer() {
        let all = [
            Buffer { id: 1, generation: i64::MAX, flags: FLAG_FENCED },
            Buffer { id: 2, generation: 0, flags: 0 },
        ];
        let numbers = Granted::numbers(77, all.into_iter());
        assert_eq!(numbers, [77, 1, i64::MAX, 4, 2, 0, 0]);
        let granted = Granted::of(&numbers).expect("whole").expect("granted");
        assert_eq!(granted.deadline_ns, 77);
        assert!(granted.buffers().eq(all));
    }

    #[test]
    fn an_empty_array_is_no_grant_and_any_other_must_be_complete() {
        assert_eq!(Granted::of(&[]), Ok(None));
        let most = 1 + NUMBERS * MAX_BUFFERS_PER_GROUP;
        for len in [1, 2, 3, 5, 6, most - 1, most + NUMBERS] {
            assert_eq!(Granted::of(&vec![7; len]), Err(Malformed), "{len} numbers");
        }
        assert!(matches!(Granted::of(&vec![7; most]), Ok(Some(_))));
    }
}
