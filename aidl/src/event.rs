// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The 32 bytes of an `EventRecord` in a group's event channel.
//!
//! Service and client use this definition, so the layout that the AIDL promises is in the code once. It
//! does no I/O.

use crate::runtime::vendor::buffersync::EventRecord;

/// Bytes of one record.
pub const RECORD_BYTES: usize = 32;

/// A group has at most so many buffers: a grant of all of them fits one message.
pub const MAX_BUFFERS_PER_GROUP: usize = 126;

/// The longest message of an event channel.
pub const MESSAGE_BYTES: usize = EventRecord::MAX_MESSAGE_BYTES as usize;

// The values of `EventType`, as plain numbers.
pub const GRANTED: i32 = 1;
pub const BUFFER: i32 = 2;
pub const LOCK_FAILED: i32 = 3;
pub const EVICTED: i32 = 4;
pub const WOUNDED: i32 = 5;
pub const TIMED_OUT: i32 = 6;
pub const CONTENDED: i32 = 7;

pub const FLAG_EVICTED: i32 = EventRecord::FLAG_EVICTED;
pub const FLAG_FENCE: i32 = EventRecord::FLAG_FENCE;
pub const FLAG_FENCED: i32 = EventRecord::FLAG_FENCED;
pub const FLAG_TORN: i32 = EventRecord::FLAG_TORN;

/// One record. The type is a plain number, because a reader must skip types that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// An `EventType`.
    pub kind: i32,
    /// Bits `EventRecord.FLAG_*`.
    pub flags: i32,
    /// The number of the lock that the record is about.
    pub token: i64,
    /// See `EventType`.
    pub value0: i64,
    /// See `EventType`.
    pub value1: i64,
}

impl Record {
    pub fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[0..4].copy_from_slice(&self.kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.token.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.value0.to_ne_bytes());
        bytes[24..32].copy_from_slice(&self.value1.to_ne_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let int = |at| i32::from_ne_bytes(word(bytes, at));
        let long = |at| i64::from_ne_bytes(word(bytes, at));
        Self { kind: int(0), flags: int(4), token: long(8), value0: long(16), value1: long(24) }
    }
}

/// Copies bytes from `at` on. Has no index that could panic.
fn word<const SIZE: usize>(bytes: &[u8; RECORD_BYTES], at: usize) -> [u8; SIZE] {
    let mut word = [0; SIZE];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    word
}

/// A buffer of a grant, in a BUFFER record or in `LockReply.grant`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// The id that `ISyncGroup.add` returned.
    pub id: i64,
    /// The number of exclusive grants so far, this one included.
    pub generation: i64,
    /// `EventRecord.FLAG_EVICTED`, `FLAG_FENCED`, `FLAG_TORN`.
    pub flags: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::vendor::buffersync::EventType::EventType;

    #[test]
    fn record_survives_the_wire_field_by_field() {
        let record =
            Record { kind: BUFFER, flags: 3, token: 1 << 40, value0: -2, value1: i64::MAX };
        let bytes = record.to_bytes();
        assert_eq!(Record::from_bytes(&bytes), record);
        assert_eq!(bytes[8..16], (1i64 << 40).to_ne_bytes());
    }

    #[test]
    fn numbers_are_those_of_the_aidl() {
        assert_eq!(GRANTED, EventType::GRANTED.0);
        assert_eq!(BUFFER, EventType::BUFFER.0);
        assert_eq!(LOCK_FAILED, EventType::LOCK_FAILED.0);
        assert_eq!(EVICTED, EventType::EVICTED.0);
        assert_eq!(WOUNDED, EventType::WOUNDED.0);
        assert_eq!(TIMED_OUT, EventType::TIMED_OUT.0);
        assert_eq!(CONTENDED, EventType::CONTENDED.0);
    }

    #[test]
    fn each_flag_is_a_bit_of_its_own() {
        let flags = [FLAG_EVICTED, FLAG_FENCE, FLAG_FENCED, FLAG_TORN];
        assert_eq!(flags, [0x1, 0x2, 0x4, 0x8]);
    }

    #[test]
    fn the_largest_grant_is_one_message() {
        // GRANTED and its BUFFER records.
        const { assert!((1 + MAX_BUFFERS_PER_GROUP) * RECORD_BYTES <= MESSAGE_BYTES) };
    }
}
