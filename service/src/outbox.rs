// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Messages to groups: the engine's effects as event records, and grants as replies. No state and no I/O;
//! [`crate::state`] sends the records.

use buffersync_aidl::event::{self, Record};
use buffersync_aidl::reply::Granted;
use buffersync_engine::{
    BufferId, EvictionCause, FailureCause, GrantedBuffer, GroupId, Time, Token,
};

/// `LockReply.grant` of a lock that is granted at once, or `LockState.grant`.
pub fn reply(deadline: Time, granted: &[GrantedBuffer], implicit: bool) -> Vec<i64> {
    let told = granted.iter().map(|granted| buffer(granted, implicit));
    Granted::numbers(when(deadline), told)
}

/// GRANTED, and a record for each buffer.
pub fn granted(
    token: Token,
    deadline: Time,
    granted: &[GrantedBuffer],
    implicit: bool,
) -> (Record, impl ExactSizeIterator<Item = Record> + '_) {
    let head = Record {
        value0: when(deadline),
        value1: wire(granted.len() as u64),
        ..record(event::GRANTED, token)
    };
    let buffers = granted.iter().map(move |granted| {
        let event::Buffer { id: value0, generation: value1, flags } = buffer(granted, implicit);
        Record { flags, value0, value1, ..record(event::BUFFER, token) }
    });
    (head, buffers)
}

/// LOCK_FAILED; `reason` is an errno.
pub fn lock_failed(token: Token, buffer: BufferId, reason: i32, cause: FailureCause) -> Record {
    let flags = match cause {
        FailureCause::Operation => 0,
        FailureCause::ImplicitFence => event::FLAG_FENCE,
    };
    let failed = record(event::LOCK_FAILED, token);
    Record { flags, value0: wire(buffer.0), value1: reason.into(), ..failed }
}

/// EVICTED, with the lock that was waiting.
pub fn evicted(token: Token, cause: EvictionCause, by: Option<(GroupId, Token)>) -> Record {
    let flags = match cause {
        EvictionCause::Deadline => 0,
        EvictionCause::Fence => event::FLAG_FENCE,
    };
    Record { flags, ..of_other(event::EVICTED, token, by) }
}

/// TIMED_OUT, with the lock in the way.
pub fn timed_out(token: Token, by: Option<(GroupId, Token)>) -> Record {
    of_other(event::TIMED_OUT, token, by)
}

/// A record that names another lock; 0 is none.
fn of_other(kind: i32, token: Token, other: Option<(GroupId, Token)>) -> Record {
    let (value0, value1) = other.map_or((0, 0), |(id, of)| (wire(id.serial()), wire(of.0)));
    Record { value0, value1, ..record(kind, token) }
}

/// CONTENDED.
pub fn contended(token: Token, deadline: Time) -> Record {
    Record { value0: when(deadline), ..record(event::CONTENDED, token) }
}

/// WOUNDED.
pub fn wounded(token: Token) -> Record {
    record(event::WOUNDED, token)
}

/// A buffer of a grant. The service finds out which implicit fences there are only when the client asks
/// for them, so each device's buffer of a group that takes part counts as fenced.
fn buffer(granted: &GrantedBuffer, implicit: bool) -> event::Buffer {
    let fenced = granted.fenced || implicit && granted.access.is_dma();
    let flag = |set: bool, flag: i32| if set { flag } else { 0 };
    let flags = flag(granted.evicted, event::FLAG_EVICTED)
        | flag(granted.torn, event::FLAG_TORN)
        | flag(fenced, event::FLAG_FENCED);
    event::Buffer { id: wire(granted.buffer.0), generation: wire(granted.generation), flags }
}

fn record(kind: i32, token: Token) -> Record {
    Record { kind, token: wire(token.0), ..Record::default() }
}

/// A deadline; 0 for none.
fn when(deadline: Time) -> i64 {
    if deadline == Time::NEVER {
        0
    } else {
        wire(deadline.0)
    }
}

/// Ids, generations and times count from 0 and stay far below 2^63.
pub fn wire(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use buffersync_engine::Access;

    use super::*;

    #[test]
    fn a_reply_and_an_event_say_the_same_of_a_buffer() {
        let buffers = [GrantedBuffer {
            buffer: BufferId(3),
            access: Access::DmaRead,
            generation: 9,
            evicted: true,
            torn: true,
            fenced: false,
        }];
        for (implicit, fenced) in [(false, 0), (true, event::FLAG_FENCED)] {
            let flags = event::FLAG_EVICTED | event::FLAG_TORN | fenced;
            assert_eq!(reply(Time(5), &buffers, implicit), [5, 3, 9, flags.into()]);
            let (head, mut more) = granted(Token(7), Time(5), &buffers, implicit);
            assert_eq!(
                (head.kind, head.token, head.value0, head.value1),
                (event::GRANTED, 7, 5, 1)
            );
            let of = more.next().unwrap();
            assert_eq!((of.kind, of.token, of.flags), (event::BUFFER, 7, flags));
            assert_eq!((of.value0, of.value1, more.len()), (3, 9, 0));
        }
    }
}
